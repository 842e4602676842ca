#!/usr/bin/env bash
# Assembles every prebuilt PTX with the pinned ptxas for the chips that it serves. Prints a table of
# registers and shared memory, and exits with 1 on a register spill or any other use of local memory.
#   check_spills.sh [--all]
#     --all  one line per kernel and chip, not only one per module and chip
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ptxas=$(scripts/nvcc_home.sh)/bin/ptxas
export WARPNORM_PTX=prebuilt
exec cargo run --quiet --locked -p warpnorm-cli -- assemble --ptxas "$ptxas" "$@"
