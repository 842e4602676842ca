#!/usr/bin/env bash
# Makes the PTX that tests run anew from its CUDA sources; no GPU needed. Run it after every change to
# one of them or to kernels/common, and commit the result.
#   test_ptx.sh [<output folder, in place of the repository>]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$("$root/scripts/nvrtc_home.sh")
cuda_home=$("$root/scripts/nvcc_home.sh")
exec "$python" "$root/scripts/test_ptx.py" "$cuda_home" "$root" "${1:-$root}"
