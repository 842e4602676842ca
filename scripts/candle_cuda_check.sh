#!/usr/bin/env bash
# Lints warpnorm-candle with its feature `cuda`, tests included, on a machine without a CUDA toolkit: its CUDA path is
# compiled against candle's and cudarc's, and what does not fit their types is an error here. candle's own kernels are
# not looked at, nothing is linked, and nothing runs.
#
#   candle_cuda_check.sh [run] [options of cargo]
#
# With `run`, it is linked, and its GPU tests run on crates/emulated-driver: all but those that use candle's own kernels.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CUDA_HOME=$(python3 scripts/stand_in_cuda.py)
export CUDA_HOME NVCC=$CUDA_HOME/bin/nvcc CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=12080 WARPNORM_PTX=prebuilt
if [[ ${1:-} != run ]]; then
    exec cargo clippy -p warpnorm-candle --features cuda --all-targets --locked "$@" -- -D warnings
fi
shift
cargo build --quiet -p emulated-driver --locked
host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
driver=${CARGO_TARGET_DIR:-$PWD/target}/debug/libemulated_driver.so
# In front of the library that all of the driver's names are in: candle's program wants every one to be somewhere.
export "CARGO_TARGET_${host}_RUNNER=env LD_PRELOAD=$driver LD_LIBRARY_PATH=$CUDA_HOME/lib64"
cargo test -p warpnorm-candle --features cuda --test cuda --locked "$@" -- --ignored --skip with_candles_kernels
