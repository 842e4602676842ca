#!/usr/bin/env bash
# Lints warpnorm-candle with its feature `cuda`, tests included, on a machine without a CUDA toolkit: its CUDA path is
# compiled against candle's and cudarc's, and what does not fit their types is an error here. candle's own kernels are
# not looked at, nothing is linked, and nothing runs: that is for a machine with a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CUDA_HOME=$(python3 scripts/stand_in_cuda.py)
export CUDA_HOME NVCC=$CUDA_HOME/bin/nvcc CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=12080 WARPNORM_PTX=prebuilt
cargo clippy -p warpnorm-candle --features cuda --all-targets --locked "$@" -- -D warnings
