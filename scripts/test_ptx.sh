#!/usr/bin/env bash
# Makes the PTX of ptx-emu's tests anew from its CUDA sources; no GPU needed. Run it after every
# change to one of them, and commit the result.
#   test_ptx.sh [<output folder, in place of crates/ptx-emu/tests>]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$("$root/scripts/nvrtc_home.sh")
cuda_home=$("$root/scripts/nvcc_home.sh")
tests=$root/crates/ptx-emu/tests
exec "$python" "$root/scripts/test_ptx.py" "$cuda_home" "$tests" "${1:-$tests}"
