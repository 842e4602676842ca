#!/usr/bin/env bash
# Installs the Python package into an environment of its own below target/, as a user would, and tests it there: on
# NumPy, and on PyTorch where TORCH=1 asks for that, gigabytes that they are. PYTHON names the interpreter, 3.10 or
# newer; WARPNORM_CARGO_PROFILE the profile that the library is built with, dev by default, which other tests have built.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export WARPNORM_CARGO_PROFILE=${WARPNORM_CARGO_PROFILE:-dev}
venv=target/python-venv
"${PYTHON:-python3}" -m venv --clear "$venv"
"$venv/bin/python" -m pip install --quiet --requirement python/tests/requirements.txt
if [ "${TORCH:-0}" = 1 ]; then "$venv/bin/python" -m pip install --quiet torch; fi
"$venv/bin/python" -m pip install --quiet ./python
unset WARPNORM_LIBRARY
(cd python && "../$venv/bin/python" -m mypy && "../$venv/bin/python" -m pytest --quiet "$@")
