#!/usr/bin/env bash
# Makes the environment that compiles the prebuilt PTX and assembles it, unless it is
# there, and prints the path of its Python. NVRTC 12.2 is the newest that writes PTX
# ISA 8.2, which is what drivers from R535 on load. Drivers of CUDA 12 and later load
# what any ptxas of CUDA 12 assembles; that of 12.2 would spill registers.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/target/nvrtc
"$root/scripts/cuda_venv.sh" "$venv" \
    nvidia-cuda-nvrtc-cu12==12.2.140 \
    nvidia-cuda-runtime-cu12==12.2.140 \
    nvidia-cuda-nvcc-cu12==12.9.86 >/dev/null
echo "$venv/bin/python"
