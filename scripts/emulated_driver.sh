#!/usr/bin/env bash
# Runs a command as on a machine with a GPU: the NVIDIA driver that it finds is crates/emulated-driver, which runs PTX in
# the executor. EMULATED_GPU names the GPU that it says it is, such as t4; an H200 by default.
#
#   scripts/emulated_driver.sh cargo test --features emulator --test gpu -- --ignored graph:: streams::
#
# Large tensors take it long: WARPNORM_GPU_QUICK=1 has the tests take fewer.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (($# == 0)); then
    echo "usage: scripts/emulated_driver.sh COMMAND..." >&2
    exit 2
fi
# In the words of other builds of the workspace, so that nothing is built twice.
cargo build --quiet --workspace --features warpnorm/emulator,warpnorm-capi/emulator --locked
folder=$PWD/target/emulated-driver
mkdir -p "$folder"
for name in libcuda.so libcuda.so.1 libcublas.so; do
    ln -sfn "${CARGO_TARGET_DIR:-$PWD/target}/debug/libemulated_driver.so" "$folder/$name"
done
LD_LIBRARY_PATH=$folder${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$@"
