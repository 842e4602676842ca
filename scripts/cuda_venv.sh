#!/usr/bin/env bash
# Makes a Python virtual environment with pinned packages, unless it is there:
#   cuda_venv.sh <folder> <package==version>...
# and prints its site-packages folder. PYTHON names the interpreter to use.
set -euo pipefail

venv=$1
shift

# pip leaves <name>-<version>.dist-info for each package, '-' written as '_':
# looking for those is far quicker than asking pip.
complete() {
    local pin name
    for pin in "$@"; do
        name=${pin%%==*}
        compgen -G "$venv/lib/python*/site-packages/${name//-/_}-${pin##*==}.dist-info" \
            >/dev/null || return 1
    done
}

if ! complete "$@"; then
    echo "making $venv: $*" >&2
    "${PYTHON:-python3}" -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --no-deps "$@" >&2
    complete "$@" || {
        echo "pip did not install what was asked for: $*" >&2
        exit 1
    }
fi
echo "$venv"/lib/python*/site-packages
