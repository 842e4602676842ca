#!/usr/bin/env bash
# Fuzzes: each target of fuzz/ for so many seconds. Installs cargo-fuzz below target/ unless it is
# there, and exits with 1 on a find, whose input is then below fuzz/artifacts/.
#   fuzz.sh [<seconds>, 600 unless given] [<target>...]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
seconds=${1:-600}
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=(ptx_parser ops)

version=0.13.2
tools=$root/target/cargo-fuzz-$version
[ -x "$tools/bin/cargo-fuzz" ] || cargo install cargo-fuzz --version "$version" --locked --root "$tools"
PATH=$tools/bin:$PATH
export CARGO_TARGET_DIR=$root/target/fuzz

# What is fuzzed has no unsafe code, so that no sanitizer is needed, and the stable compiler will do.
build=(--sanitizer none --debug-assertions)
cargo fuzz build "${build[@]}"
corpus=fuzz/corpus
"${PYTHON:-python3}" scripts/fuzz_corpus.py "$corpus/ptx_parser"
mkdir -p "$corpus/ops"

for target in "${targets[@]}"; do
    # An input of ops is a few choices; longer ones only repeat themselves.
    length=(-max_len=16384)
    [ "$target" != ops ] || length=(-max_len=128 -len_control=0)
    echo "== $target, $seconds s"
    cargo fuzz run "${build[@]}" "$target" "$corpus/$target" -- \
        -max_total_time="$seconds" "${length[@]}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1
done
