#!/usr/bin/env bash
# Exits with 1 and names the files if committed PTX, of the crate or of tests, or the
# crate's machine code is not byte for byte what the sources give. Of compressed files
# what is in them is compared.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
fresh=target/prebuilt-check
status=0

# compare <folder> <fresh folder> <what makes it> [<what the folder stands for>]
compare() {
    local differences what=${4:-$1}
    if differences=$(diff --brief --recursive --exclude='*.cu' "$1" "$2"); then
        echo "$what is what the sources give"
    else
        echo "$what is not what the sources give; run $3:"
        echo "$differences"
        status=1
    fi
}

scripts/prebuilt.sh "$fresh/kernels" >/dev/null
python3 scripts/prebuilt_texts.py kernels/prebuilt "$fresh/committed-texts"
python3 scripts/prebuilt_texts.py "$fresh/kernels" "$fresh/fresh-texts"
compare "$fresh/committed-texts" "$fresh/fresh-texts" scripts/prebuilt.sh kernels/prebuilt

scripts/test_ptx.sh "$fresh/tests"
for folder in crates/ptx-emu/tests/{ptx,planted/ptx} tests/*/ptx; do
    compare "$folder" "$fresh/tests/$folder" scripts/test_ptx.sh
done
exit "$status"
