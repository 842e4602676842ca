#!/usr/bin/env bash
# Assembles every prebuilt PTX with ptxas for the chips that it serves. Prints
# a table of registers and shared memory, and exits with 1 on an error, a
# register spill or any other use of local memory.
#   check_spills.sh [--all] [<folder of PTX files>]
#     --all  one line per kernel and chip, not only one per module and chip
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ptxas=$("$root/scripts/nvcc_home.sh")/bin/ptxas

all=()
if [ "${1:-}" = --all ]; then
    all=(--all)
    shift
fi
exec "${PYTHON:-python3}" "$root/scripts/ptxas_report.py" "${all[@]}" \
    "$ptxas" "${1:-$root/kernels/prebuilt}"
