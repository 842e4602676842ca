#!/usr/bin/env bash
# Writes crates/warpnorm-capi/include/warpnorm.h anew from the sources of the C library.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
WARPNORM_WRITE_HEADER=1 cargo test -q -p warpnorm-capi --all-features --locked --test header
