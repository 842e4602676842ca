#!/usr/bin/env bash
# Runs what scripts/gpu_tests.sh has packed, beside which it lies as run.sh:
#
#   run.sh [tests] [bench] [sanitizers]     all of them, in this order, where none is named
#
# Leaves two files in $OUT, or else in ./out: summary.txt, and results.tar.gz with all logs and reports, which is
# packed anew after every step. Ends within RUN_SECONDS: a step gets its own seconds or what is left of these. Exits
# with 1 if a step failed, took too long or had no time left.
set -uo pipefail

# Some machines give a command ten minutes.
RUN_SECONDS=${RUN_SECONDS:-540}
TESTS_SECONDS=${TESTS_SECONDS:-240}
PTX_SECONDS=${PTX_SECONDS:-150}
CANDLE_SECONDS=${CANDLE_SECONDS:-60}
REPORT_SECONDS=${REPORT_SECONDS:-240}
COLD_SECONDS=${COLD_SECONDS:-90}
CRITERION_SECONDS=${CRITERION_SECONDS:-120}
SANITIZER_SECONDS=${SANITIZER_SECONDS:-150}
# All types, shapes and samples take hours.
few=(--dtype bf16 --samples 10)
ROWS_ARGUMENTS=${ROWS_ARGUMENTS:-${few[*]} --rows 1,64,8192 --hidden 1024,4096,8192 --segment --op rms-norm \
    add-rms-norm layer-norm add-layer-norm gated-rms-norm activation rms-norm-add rms-norm-add-rms-norm}
HEADS_ARGUMENTS=${HEADS_ARGUMENTS:-${few[*]} --rows 64,8192 --op head-rms-norm head-layer-norm \
    gated-input-group-rms-norm}
SANITIZERS=${SANITIZERS:-memcheck racecheck initcheck synccheck}
SMALL_TEST=streams::raw_outputs_may_lie_over_either_input
# Under a sanitizer these take long and tell nothing more: comparisons with the executor and of batches, large tensors,
# more values through the same code, and what counts allocations or has threads. What tests refusals runs no kernel, and
# a call that the driver refuses is an error there.
UNSANITIZED=(bits:: invariance:: large:: every_kind_of_values activations_of_every_16_bit_value
    columns::statistics_are_within errors:: hot_path:: streams::)

for part in "$@"; do
    case $part in
    tests | bench | sanitizers) ;;
    *)
        echo "usage: run.sh [tests] [bench] [sanitizers]" >&2
        exit 2
        ;;
    esac
done
if (($# == 0)); then set -- tests bench sanitizers; fi
wanted() { [[ " $parts " == *" $1 "* ]]; }
parts="$*"

deadline=$((SECONDS + RUN_SECONDS))
out=${OUT:-out}
mkdir -p "$out"
out=$(realpath "$out")
cd "$(dirname "${BASH_SOURCE[0]}")" || exit
temporary=$(mktemp -d)
results=$temporary/results
links=$temporary/links
mkdir "$results" "$links"
export CRITERION_HOME=$temporary/criterion
: >"$out/summary.txt"

note() { echo "== $*" | tee -a "$out/summary.txt"; }

pack() {
    cp "$out/summary.txt" "$results"
    tar -C "$temporary" -czf "$out/results.tar.gz.part" results && mv "$out/results.tar.gz.part" "$out/results.tar.gz"
}

child=
# What has run is kept when this is to end before its time.
interrupted() {
    if [[ $child ]]; then kill "$child" 2>/dev/null; fi
    note "ended from outside after $SECONDS s"
    pack
    exit 143
}
trap interrupted TERM INT
trap 'rm -rf "$temporary"' EXIT

failed=()
# Runs a command for at most so many seconds; what it says is its log.
step() {
    local name=$1 seconds=$2 start=$SECONDS left=$((deadline - SECONDS)) status
    shift 2
    if ((left < seconds)); then seconds=$left; fi
    if ((seconds < 1)); then
        note "$name: LEFT OUT, for no time is left"
        failed+=("$name")
        return
    fi
    # Waited for, and not run in the foreground, so that a signal is met at once.
    timeout --kill-after=5 "$seconds" "$@" >"$results/$name.log" 2>&1 &
    child=$!
    wait "$child"
    status=$?
    child=
    local took=$((SECONDS - start))
    if ((status == 0)); then
        note "$name: passed ($took s)"
    elif ((status == 124 || status == 137)) && ((took >= seconds)); then
        note "$name: OUT OF TIME after $took s"
    else
        note "$name: FAILED with status $status ($took s)"
    fi
    if ((status)); then
        failed+=("$name")
        echo "the end of $name.log:"
        tail -n 30 "$results/$name.log"
    fi
    pack
}

# Folders with libraries of CUDA: of a toolkit, and of Python packages.
folders=()
find_folders() {
    local folder
    while IFS= read -r folder; do
        if [[ -d $folder ]]; then folders+=("$folder"); fi
    done < <(
        printf '%s\n' ${CUDA_HOME:+"$CUDA_HOME/lib64"} /usr/local/cuda/lib64 /usr/local/cuda-*/lib64
        python3 -c '
import glob, sys
for base in filter(None, sys.path):
    print(*sorted(glob.glob(glob.escape(base) + "/nvidia/*/lib")), sep="\n")' 2>/dev/null
    )
}

# The file of a library, such as cublas, in the first of these versions that there is.
library() {
    local name=$1 version folder
    shift
    for version in "$@"; do
        for folder in ${folders[@]+"${folders[@]}"}; do
            if [[ -e $folder/lib$name.so.$version ]]; then
                echo "$folder/lib$name.so.$version"
                return
            fi
        done
    done
    return 1
}

# Where the loader is to look for libraries, besides where it does: in the links, and in these folders.
path_of() {
    local IFS=:
    echo "$links:$*${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
}

# cuBLAS is looked for as libcublas.so, or by the names of versions up to 12. What it needs itself lies beside it.
find_cublas() {
    local cublas
    if cublas=$(library cublas 13 12); then
        ln -s "$cublas" "$links/libcublas.so"
        cublas_path=$(path_of "$(dirname "$cublas")")
        note "cuBLAS: $(basename "$cublas")"
    else
        cublas_path=${LD_LIBRARY_PATH:-}
        note "cuBLAS: none in a toolkit or in Python packages, so that its baselines may be missing"
    fi
}

# What keeps the tests of candle from being loaded.
candle_lacks() { LD_LIBRARY_PATH=$candle_path ldd -r ./candle 2>&1 | grep -E 'not found|undefined symbol'; }

# candle is linked to libraries of CUDA 12. Its references name no versions of symbols, so that those of 13 do where
# they have all that it refers to, which ldd says.
run_candle() {
    local lacks name file candle_path
    candle_path=$(path_of ${folders[@]+"${folders[@]}"})
    for name in $(candle_lacks | awk '$3 $4 == "notfound" { print $1 }'); do
        file=${name#lib}
        if file=$(library "${file%%.so.*}" 13); then ln -s "$file" "$links/$name"; fi
    done
    if lacks=$(candle_lacks); then
        # Without a library its functions are missing, too.
        if grep -q 'not found' <<<"$lacks"; then lacks=$(grep 'not found' <<<"$lacks"); fi
        note "candle: left out; ldd says:" $lacks
    else
        step candle "$CANDLE_SECONDS" env LD_LIBRARY_PATH="$candle_path" ./candle --include-ignored \
            --skip with_candles_kernels
    fi
}

run_tests() {
    # Without its cache the driver compiles every module that has no machine code.
    step info 60 env CUDA_CACHE_DISABLE=1 ./warpnorm info --load
    step tests "$TESTS_SECONDS" ./gpu --include-ignored
    step tests-ptx "$PTX_SECONDS" env WARPNORM_GPU_QUICK=1 ./gpu-ptx --include-ignored --skip large::
    run_candle
}

# Reports are written as they grow, so that what is out of time has left what it measured.
run_bench() {
    local commit cublas_path
    find_cublas
    commit=$(cat COMMIT)
    report() {
        local name=$1 seconds=$2
        shift 2
        step "$name" "$seconds" env LD_LIBRARY_PATH="$cublas_path" ./warpnorm bench --device cuda "$@" \
            ${commit:+--commit "$commit"} --json "$results/$name.json"
    }
    # The options are words.
    # shellcheck disable=SC2086
    report rows "$REPORT_SECONDS" $ROWS_ARGUMENTS --plots "$results/plots"
    # shellcheck disable=SC2086
    report heads "$REPORT_SECONDS" $HEADS_ARGUMENTS --plots "$results/plots-heads"
    report cold-start "$COLD_SECONDS" --cold-start
    step criterion "$CRITERION_SECONDS" ./norm-bench --bench kernels --noplot --sample-size 10 --warm-up-time 0.5 \
        --measurement-time 1
    if [[ -f $results/criterion.log ]]; then grep -E '^kernels|time:|thrpt:' "$results/criterion.log"; fi
}

run_sanitizers() {
    local tool
    if ! command -v compute-sanitizer >/dev/null; then
        note "compute-sanitizer is not on PATH: no $SANITIZERS"
        return
    fi
    # On some virtual machines it has no device, and every launch under it fails.
    timeout 60 compute-sanitizer ./gpu --include-ignored --exact "$SMALL_TEST" >"$results/sanitizer.log" 2>&1
    if grep -q 'Device not supported' "$results/sanitizer.log"; then
        note "compute-sanitizer does not support the device: no $SANITIZERS"
        pack
        return
    fi
    for tool in $SANITIZERS; do
        step "$tool" "$SANITIZER_SECONDS" env WARPNORM_GPU_QUICK=1 compute-sanitizer --tool "$tool" --error-exitcode 1 \
            ./gpu --include-ignored --test-threads 1 $(printf -- '--skip %s ' "${UNSANITIZED[@]}")
    done
}

note "commit $(cat COMMIT): $parts"
if command -v nvidia-smi >/dev/null; then
    note "$(timeout 30 nvidia-smi --query-gpu=name,driver_version --format=csv,noheader)"
    timeout 30 nvidia-smi -q >"$results/nvidia-smi.log"
fi
find_folders
if wanted tests; then run_tests; fi
if wanted bench; then run_bench; fi
if wanted sanitizers; then run_sanitizers; fi

if ((${#failed[@]})); then note "not passed: ${failed[*]}"; else note "all passed: $parts"; fi
pack
((${#failed[@]} == 0))
