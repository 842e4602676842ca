#!/usr/bin/env bash
# Makes the environment that compiles the prebuilt PTX, unless it is there, and
# prints the path of its Python. NVRTC 12.2 is the newest that writes PTX ISA
# 8.2, which is what drivers from R535 on load.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/target/nvrtc
"$root/scripts/cuda_venv.sh" "$venv" \
    nvidia-cuda-nvrtc-cu12==12.2.140 \
    nvidia-cuda-runtime-cu12==12.2.140 >/dev/null
echo "$venv/bin/python"
