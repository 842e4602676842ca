"""Compiles the CUDA sources of tests to the PTX that they run.

    test_ptx.py <CUDA_HOME> <repository> <output folder>

Run by scripts/test_ptx.sh, with the Python of an environment that holds NVRTC.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

from nvrtc_compile import TABLE, Failure, Nvrtc, Table, without_build_id

EMULATOR = "crates/ptx-emu/tests"


@dataclass
class Text:
    """One PTX file: where it goes, what it is made from, by which compiler, and how.

    Paths are relative to the repository."""

    output: str
    source: str
    compiler: str
    options: list[str]


def texts(root: Path) -> list[Text]:
    """All PTX files of the tests."""
    return emulator_texts(root) + header_texts(root)


def emulator_texts(root: Path) -> list[Text]:
    """Those of ptx-emu: a new source in planted/kernels is found here."""
    samples = f"{EMULATOR}/ptx/samples.cu"
    base = ["--std=c++17", "--gpu-architecture=compute_75", "-default-device", "-DBASE"]
    found = [
        Text(f"{EMULATOR}/ptx/samples.sm_75.ptx", samples, "nvrtc", base),
        Text(f"{EMULATOR}/ptx/samples.sm_90.ptx", samples, "nvcc", ["-arch=compute_90"]),
    ]
    for source in sorted((root / EMULATOR / "planted/kernels").glob("*.cu")):
        text = source.read_text(encoding="utf-8")
        headers = ("cluster.h", "dependent_launch.h")
        target = 90 if any(f'#include "{header}"' in text for header in headers) else 75
        for version, faulty in [("faulty", 1), ("correct", 0)]:
            options = [
                "--std=c++17",
                f"--gpu-architecture=compute_{target}",
                "-lineinfo",
                f"-DFAULTY={faulty}",
            ]
            output = f"{EMULATOR}/planted/ptx/{source.stem}.{version}.ptx"
            kernels = f"{EMULATOR}/planted/kernels/{source.name}"
            found.append(Text(output, kernels, "nvrtc", options))
    return found


def header_texts(root: Path) -> list[Text]:
    """Those of tests of the headers in kernels/, compiled as the kernels are: tests/<name>/kernels/*.cu,
    which may include what kernels/ has, becomes tests/<name>/ptx, for every target."""
    table = Table.read(root / "kernels" / TABLE)
    found = []
    for source in sorted(root.glob("tests/*/kernels/*.cu")):
        folder = source.parent.parent.relative_to(root)
        for target in table.targets:
            options = [
                f"--gpu-architecture=compute_{target}",
                *table.flags,
                f"-I{root / 'kernels'}",
            ]
            output = f"{folder}/ptx/{source.stem}.sm_{target}.ptx"
            found.append(Text(output, f"{folder}/kernels/{source.name}", "nvrtc", options))
    return found


def with_nvrtc(source: Path, options: list[str]) -> tuple[str, str]:
    nvrtc = Nvrtc()
    include = [f"-I{source.parent}", f"-I{nvrtc.cuda_include}"]
    return nvrtc.compile(source.read_text(encoding="utf-8"), source.name, [*options, *include])


def with_nvcc(cuda_home: Path, source: Path, options: list[str]) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as scratch:
        ptx = Path(scratch) / "out.ptx"
        command = [cuda_home / "bin/nvcc", "-ptx", *options, source, "-o", ptx]
        result = subprocess.run(command, capture_output=True, text=True)
        log = (result.stdout + result.stderr).strip()
        if result.returncode != 0:
            raise Failure(log)
        return without_build_id(ptx.read_text(encoding="utf-8")), log


def compile_text(cuda_home: Path, root: Path, text: Text) -> tuple[str, str]:
    """Returns the PTX and what the compiler has said."""
    source = root / text.source
    try:
        if text.compiler == "nvcc":
            ptx, log = with_nvcc(cuda_home, source, text.options)
        else:
            ptx, log = with_nvrtc(source, text.options)
    except Failure as failure:
        raise Failure(f"{text.output}: {failure}") from None
    # Line information names files by their whole paths.
    ptx = re.sub(r'^(\s*\.file\s+\d+ ")[^"]*/', r"\1", ptx, flags=re.MULTILINE)
    return ptx, log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cuda_home", type=Path)
    parser.add_argument("repository", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    root, output = arguments.repository.resolve(), arguments.output.resolve()
    todo = texts(root)
    # A process for each: NVRTC numbers the calls of all that a process compiles.
    with Pool(os.cpu_count(), maxtasksperchild=1) as pool:
        work = [(arguments.cuda_home, root, text) for text in todo]
        done = list(zip(todo, pool.starmap(compile_text, work, chunksize=1)))

    # Only now is anything replaced: a failed compilation leaves the old files.
    folders = {(output / text.output).parent for text in todo}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.ptx"):
            old.unlink()
    for text, (ptx, log) in done:
        (output / text.output).write_text(ptx, encoding="utf-8", newline="\n")
        if log:
            print(f"{text.output}:\n{log}", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"error: {failure}")
