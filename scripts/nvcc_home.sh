#!/usr/bin/env bash
# Makes an environment with nvcc and ptxas, unless it is there, and prints the
# CUDA_HOME that it amounts to:
#   CUDA_HOME=$(scripts/nvcc_home.sh) cargo build
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
packages=$("$root/scripts/cuda_venv.sh" "$root/target/nvcc" \
    nvidia-cuda-nvcc==13.0.88 \
    nvidia-cuda-crt==13.0.88 \
    nvidia-nvvm==13.0.88 \
    nvidia-cuda-runtime==13.0.96 \
    nvidia-cuda-cccl==13.0.85)
echo "$packages/nvidia/cu13"
