#!/usr/bin/env bash
# Makes kernels/prebuilt anew from the sources, with NVRTC: no CUDA toolkit and
# no GPU needed. Run it after every change to kernels/, and commit the result.
#   prebuilt.sh [<output folder>]
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$("$root/scripts/nvrtc_home.sh")
exec "$python" "$root/scripts/nvrtc_compile.py" "$root/kernels" "${1:-$root/kernels/prebuilt}"
