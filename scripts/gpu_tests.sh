#!/usr/bin/env bash
# Packs what is to be run on a machine that has a GPU, and need not have Rust: the GPU tests, those of the bridge to
# candle, the benchmark and the tool, with a run.sh that runs them. Takes the folder, target/gpu-package if none
# is given.
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
    pack gpu candle test --release -p warpnorm-candle --features cuda --test gpu --no-run
)
cat >"$package/run.sh" <<'RUN'
#!/usr/bin/env bash
# Runs the GPU tests, under compute-sanitizer too where that is on PATH, and the benchmark. Logs go to
# $OUT, or else to ./out. Exits with 1 if anything failed.
set -uo pipefail

out=${OUT:-out}
mkdir -p "$out"
out=$(realpath "$out")
cd "$(dirname "${BASH_SOURCE[0]}")"
CRITERION_HOME=$(mktemp -d)
export CRITERION_HOME
trap 'rm -rf "$CRITERION_HOME"' EXIT

failed=()
step() {
    local name=$1 start=$SECONDS
    shift
    if "$@" >"$out/$name.log" 2>&1; then
        echo "== $name: passed ($((SECONDS - start)) s)"
    else
        echo "== $name: FAILED with status $? ($((SECONDS - start)) s); the end of $out/$name.log:"
        tail -n 30 "$out/$name.log"
        failed+=("$name")
    fi
}

if command -v nvidia-smi >/dev/null; then nvidia-smi -q >"$out/nvidia-smi.log"; fi
# Without its cache the driver compiles every module.
step info env CUDA_CACHE_DISABLE=1 ./warpnorm info --load
step tests ./gpu --include-ignored
WARPNORM_GPU_QUICK=1 step tests-ptx ./gpu-ptx --include-ignored --skip large::
# candle is linked to libraries of CUDA 12, which come with a toolkit or with Python packages.
candle_libraries=$(python3 -c '
import glob, os, site
bases = [*site.getsitepackages(), site.getusersitepackages()]
files = [file for base in bases for file in glob.glob(f"{base}/nvidia/*/lib/*.so*")]
print(":".join(sorted({os.path.dirname(file) for file in files})))' 2>/dev/null)
candle_libraries=$candle_libraries:/usr/local/cuda/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
if missing=$(LD_LIBRARY_PATH=$candle_libraries ldd ./candle | grep 'not found'); then
    echo "== candle: left out, for there is no" $(awk '{ print $1 }' <<<"$missing")
else
    step candle env LD_LIBRARY_PATH="$candle_libraries" ./candle --include-ignored --skip with_candles_kernels
fi
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck synccheck; do
        # The large tests and the count of allocations tell nothing more here, and take long.
        WARPNORM_GPU_QUICK=1 step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
            ./gpu --include-ignored --test-threads 1 --skip large:: --skip hot_path:: --skip streams::
    done
else
    echo "== compute-sanitizer is not on PATH: no memcheck, racecheck, initcheck, synccheck"
fi
step bench ./norm-bench --bench kernels
commit=$(cat COMMIT)
# One type, and fewer samples: all of them take most of an hour.
step report ./warpnorm bench --device cuda --dtype bf16 --samples 10 ${commit:+--commit "$commit"} --json "$out/bench.json" --plots "$out/plots"
step cold-start ./warpnorm bench --device cuda --cold-start ${commit:+--commit "$commit"} --json "$out/cold-start.json"
if [[ -f $out/bench.log ]]; then grep -E '^kernels|time:|thrpt:' "$out/bench.log"; fi

if ((${#failed[@]})); then
    echo "failed: ${failed[*]}"
    exit 1
fi
echo "all passed"
RUN
chmod +x "$package/run.sh"

du -h "$package"/*
limit=$((60 << 20))
bytes=$(cat "$package"/* | wc -c)
if ((bytes >= limit)); then
    echo "gpu_tests.sh: $package has $bytes bytes, wanted fewer than $limit" >&2
    exit 1
fi
