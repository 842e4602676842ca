#!/usr/bin/env bash
# Exits with 1 and names the files if committed PTX, of the crate or of tests,
# is not byte for byte what the sources give.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
fresh=target/prebuilt-check
status=0

# compare <folder> <fresh folder> <what makes it>
compare() {
    local differences
    if differences=$(diff --brief --recursive --exclude='*.cu' "$1" "$2"); then
        echo "$1 is what the sources give"
    else
        echo "$1 is not what the sources give; run $3:"
        echo "$differences"
        status=1
    fi
}

scripts/prebuilt.sh "$fresh/kernels" >/dev/null
compare kernels/prebuilt "$fresh/kernels" scripts/prebuilt.sh

scripts/test_ptx.sh "$fresh/tests"
for folder in crates/ptx-emu/tests/{ptx,planted/ptx} tests/*/ptx; do
    compare "$folder" "$fresh/tests/$folder" scripts/test_ptx.sh
done
exit "$status"
