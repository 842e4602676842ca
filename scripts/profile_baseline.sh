#!/usr/bin/env bash
# Makes results/profile.json anew: what the prebuilt kernels move and cost on an H200, counted by the
# executor and assembled by the pinned ptxas, so that it is the same on every machine. Run it after
# every change to kernels/ that is meant, and commit the result.
#   profile_baseline.sh          writes results/profile.json
#   profile_baseline.sh --check  compares with it, and exits with 1 where something costs more
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in
    "") what=--json ;;
    --check) what=--baseline ;;
    *) echo "usage: profile_baseline.sh [--check]" >&2; exit 2 ;;
esac
ptxas=$(scripts/nvcc_home.sh)/bin/ptxas
mkdir -p results
export WARPNORM_PTX=prebuilt
exec cargo run --quiet --locked -p warpnorm-cli -- profile --gpu h200 --ptxas "$ptxas" "$what" results/profile.json
