#!/usr/bin/env bash
# Packs what is to be run on a machine that has a GPU, and need not have Rust: the GPU tests, those of the bridge to
# candle, the benchmark and the tool, with gpu_run.sh, which runs them, as run.sh. Takes the folder, target/gpu-package
# if none is given.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
package=${1:-target/gpu-package}

# Bindings of CUDA 12.8: those of 13 time events through an entry point that older drivers lack.
export CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-12080}
# What ships is what is tested; what nvcc makes is larger, and needs the driver of that nvcc.
export WARPNORM_PTX=${WARPNORM_PTX:-prebuilt}

# The executable of the one target of this name in cargo's messages.
executable() {
    python3 -c '
import json, sys

found = [
    message["executable"]
    for message in map(json.loads, sys.stdin)
    if message["reason"] == "compiler-artifact"
    and message["target"]["name"] == sys.argv[1]
    and message["executable"]
]
if len(found) != 1:
    sys.exit(f"gpu_tests.sh: {len(found)} executables of {sys.argv[1]}, wanted one")
print(found[0])
' "$1"
}

mkdir -p "$package"
pack() {
    local target=$1 name=$2
    shift 2
    local built
    built=$(cargo "$@" --message-format=json-render-diagnostics | executable "$target")
    strip -o "$package/$name" "$built"
}
pack gpu gpu test --release -p warpnorm --features emulator --test gpu --no-run
# Where machine code comes with the PTX, that is what runs. The PTX is to give the same.
WARPNORM_CUBINS=none pack gpu gpu-ptx test --release -p warpnorm --features emulator --test gpu --no-run
pack norm norm-bench bench -p warpnorm --bench norm --no-run
pack warpnorm warpnorm build --release -p warpnorm-cli
# For the report: there is no repository where it is measured.
commit=$(git rev-parse HEAD 2>/dev/null || true)
if [[ -n $commit && -n $(git status --porcelain --untracked-files=no) ]]; then commit+=-dirty; fi
echo "$commit" >"$package/COMMIT"
# candle with CUDA wants a toolkit to build: one that stands in for it, so that candle's own kernels are not there.
(
    CUDA_HOME=$(python3 scripts/stand_in_cuda.py)
    export CUDA_HOME NVCC=$CUDA_HOME/bin/nvcc CUDA_COMPUTE_CAP=80 WARPNORM_PTX=prebuilt
    pack cuda candle test --release -p warpnorm-candle --features cuda --test cuda --no-run
)
cp scripts/gpu_run.sh "$package/run.sh"

du -h "$package"/*
limit=$((60 << 20))
bytes=$(cat "$package"/* | wc -c)
if ((bytes >= limit)); then
    echo "gpu_tests.sh: $package has $bytes bytes, wanted fewer than $limit" >&2
    exit 1
fi
