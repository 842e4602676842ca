#!/usr/bin/env bash
# Exits with 1 and names the files if kernels/prebuilt is not byte for byte
# what the sources give.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
fresh=target/prebuilt-check
scripts/prebuilt.sh "$fresh" >/dev/null

if differences=$(diff --brief --recursive kernels/prebuilt "$fresh"); then
    echo "kernels/prebuilt is what the sources give"
else
    echo "kernels/prebuilt is not what the sources give; run scripts/prebuilt.sh:"
    echo "$differences"
    exit 1
fi
