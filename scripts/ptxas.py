"""Assembles PTX to machine code with ptxas."""

import re
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

PTXAS_PACKAGE = "nvidia-cuda-nvcc-cu12"
PTXAS = "cuda_nvcc/bin/ptxas"


class Spill(Exception):
    """Kernels that want local memory, which costs time at every launch, with what ptxas reports of them."""


def assembler() -> str:
    """ptxas and its version, as the manifest has it."""
    return f"ptxas {version(PTXAS_PACKAGE)}"


def assemble(ptx: str, chip: int) -> bytes:
    """The ELF file for a chip, given by its compute capability × 10."""
    import nvidia

    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder) / "kernels.ptx", Path(folder) / "kernels.cubin"
        source.write_text(ptx, encoding="utf-8", newline="\n")
        command = [Path(next(iter(nvidia.__path__))) / PTXAS, "-v", f"-arch=sm_{chip}", source, "-o", cubin]
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode != 0:
            raise subprocess.CalledProcessError(run.returncode, command, run.stdout, run.stderr)
        if found := spills(run.stderr):
            raise Spill("\n".join(found))
        return cubin.read_bytes()


def spills(report: str) -> list[str]:
    """A line for every kernel that a report of `ptxas -v` gives local memory."""
    kernel, found = "", []
    for line in report.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = match[1]
        elif (match := re.search(r"(\d+) bytes stack frame", line)) and match[1] != "0":
            found.append(f"{kernel}: {line.strip()}")
    return found
