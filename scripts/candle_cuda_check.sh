#!/usr/bin/env bash
# Lints warpnorm-candle with its feature `cuda`, tests included, on a machine without a CUDA toolkit: its CUDA path is
# compiled against candle's and cudarc's, and what does not fit their types is an error here.
#
# candle's own kernels are compiled by nvcc in a build script. Nothing of them is checked here, so a stand-in that
# writes empty files is enough. Nothing is linked, and nothing runs: that is for a machine with a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stand_in=$PWD/target/stand-in-cuda
mkdir -p "$stand_in/bin" "$stand_in/include" "$stand_in/lib64"
cat >"$stand_in/bin/nvcc.new" <<'NVCC'
#!/usr/bin/env bash
# No compiler: every output that is asked for becomes an empty file.
folder=.
while (($#)); do
    case $1 in
    --version)
        # As cudarc and cudaforge read it.
        printf 'nvcc: a stand-in\n\n\nCuda compilation tools, release 12.8, V12.8.93\n'
        exit ;;
    --list-gpu-code) printf 'sm_75\nsm_80\nsm_90\n'; exit ;;
    -o) : >"$2"; shift ;;
    --output-directory) folder=$2; shift ;;
    --ptx) ptx=1 ;;
    *.cu) source=$1 ;;
    esac
    shift
done
if [[ ${ptx:-} && ${source:-} ]]; then : >"$folder/$(basename "$source" .cu).ptx"; fi
NVCC
chmod +x "$stand_in/bin/nvcc.new"
# Build scripts run again where the file is a newer one.
if cmp -s "$stand_in/bin/nvcc.new" "$stand_in/bin/nvcc"; then
    rm "$stand_in/bin/nvcc.new"
else
    mv "$stand_in/bin/nvcc.new" "$stand_in/bin/nvcc"
fi

export NVCC=$stand_in/bin/nvcc CUDA_HOME=$stand_in CUDA_COMPUTE_CAP=80 CUDARC_CUDA_VERSION=12080
export WARPNORM_PTX=prebuilt
exec cargo clippy -p warpnorm-candle --features cuda --all-targets --locked "$@" -- -D warnings
