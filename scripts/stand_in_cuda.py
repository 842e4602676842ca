#!/usr/bin/env python3
"""Makes what candle's CUDA feature asks of a toolkit, for machines that have none, and prints its folder.

- `bin/nvcc` writes empty files for the kernels of candle, so that programs build without them. A program that then
  launches one of them gets an error of the driver; kernels of warpnorm are not affected.
- `lib64` has libraries to link to that name what the real ones of CUDA 12 are called, and do nothing. A program runs
  on a machine that has the real ones; on these, with the driver of crates/emulated-driver in front of them, as far as it
  needs no more of the others than that they are there.

The folder is CUDA_HOME, and its nvcc NVCC, for cargo.
"""

import json
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "stand-in-cuda"

# The library's name at run time, and the files of cudarc that declare what is linked.
LIBRARIES = {
    "cuda": ("libcuda.so.1", "driver"),
    "cublas": ("libcublas.so.12", "cublas"),
    "cublasLt": ("libcublasLt.so.12", "cublaslt"),
    "curand": ("libcurand.so.10", "curand"),
    "nvrtc": ("libnvrtc.so.12", "nvrtc"),
    "cudart": ("libcudart.so.12", None),
}

NVCC = r"""#!/usr/bin/env bash
# No compiler: every output that is asked for is an empty file, or the library that stands in for it.
folder=.
while (($#)); do
    case $1 in
    # As cudarc and cudaforge read it.
    --version) printf 'nvcc: a stand-in\n\n\nCuda compilation tools, release 12.8, V12.8.93\n'; exit ;;
    --list-gpu-code) printf 'sm_75\nsm_80\nsm_90\n'; exit ;;
    -o)
        case $2 in
        *.a) cp "$(dirname "$0")/../lib64/libmoe.a" "$2" ;;
        *) : >"$2" ;;
        esac
        shift ;;
    --output-directory) folder=$2; shift ;;
    --ptx) ptx=1 ;;
    *.cu) source=$1 ;;
    esac
    shift
done
if [[ ${ptx:-} && ${source:-} ]]; then : >"$folder/$(basename "$source" .cu).ptx"; fi
"""


def sources(*packages: str) -> dict[str, Path]:
    """The folders of packages that the workspace depends on."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--features", "warpnorm-candle/cuda"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    found = {package["name"]: Path(package["manifest_path"]).parent for package in json.loads(text)["packages"]}
    return {name: found[name] for name in packages}


def functions(path: Path, pattern: str) -> str:
    """C definitions, which do nothing and say that it went well, of the functions that a Rust file declares."""
    names = sorted(set(re.findall(pattern, path.read_text(encoding="utf-8"))))
    return "".join(f"int {name}(void) {{ return 0; }}\n" for name in names)


def compile_c(code: str, *arguments: str) -> None:
    subprocess.run(["cc", "-x", "c", "-fno-builtin", "-w", "-fPIC", *arguments, "-"], input=code, text=True, check=True)


def write_if_other(path: Path, text: str) -> bool:
    """Build scripts run again where a file is a newer one."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def main() -> None:
    library = FOLDER / "lib64"
    for folder in (FOLDER / "bin", FOLDER / "include", library):
        folder.mkdir(parents=True, exist_ok=True)
    found = sources("cudarc", "candle-kernels")
    for name, (runtime, module) in LIBRARIES.items():
        code = "" if module is None else functions(
            found["cudarc"] / "src" / module / "sys" / "mod.rs", r"pub unsafe fn (\w+)"
        )
        if write_if_other(library / f"{name}.c", code) or not (library / f"lib{name}.so").is_file():
            compile_c(code, "-shared", f"-Wl,-soname,{runtime}", "-o", str(library / f"lib{name}.so"))
        if not (library / runtime).is_symlink():
            (library / runtime).symlink_to(f"lib{name}.so")
    moe = functions(found["candle-kernels"] / "src" / "ffi.rs", r"pub fn (\w+)")
    if write_if_other(library / "moe.c", moe) or not (library / "libmoe.a").is_file():
        compile_c(moe, "-c", "-o", str(library / "moe.o"))
        (library / "libmoe.a").unlink(missing_ok=True)
        subprocess.run(["ar", "rcs", str(library / "libmoe.a"), str(library / "moe.o")], check=True)
    nvcc = FOLDER / "bin" / "nvcc"
    write_if_other(nvcc, NVCC)
    os.chmod(nvcc, 0o755)
    print(FOLDER)


if __name__ == "__main__":
    main()
