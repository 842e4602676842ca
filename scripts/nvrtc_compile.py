"""Compiles the kernels to PTX with NVRTC, and assembles it for some chips. Writes both compressed, with a manifest.

    nvrtc_compile.py <kernels folder> <output folder>

Run by scripts/prebuilt.sh, with the Python of an environment that holds NVRTC and ptxas.
"""

import argparse
import ctypes
import lzma
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from ptx_registers import with_shared_registers
from ptxas import Spill, assemble, assembler

NVRTC_PACKAGE = "nvidia-cuda-nvrtc-cu12"
TABLE = "modules.txt"
MANIFEST = "manifest.txt"
# The first target whose modules have kernels of other paths than the general one; build/table.rs has the same.
FIRST_WITH_PATHS = 90


class Failure(Exception):
    """What is wrong, for whoever ran the script."""


@dataclass(frozen=True, order=True)
class Instance:
    """One instance of a kernel: a module or columns line for one of its dtypes."""

    name: str
    dtype: str
    # Statistic, Source and Sink of the row kernel; none of the kernel of columns.
    templates: tuple[str, ...]
    # Kernels beside those for all calls and for long rows, of targets that they are made for.
    paths: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return "row.cu" if self.templates else "columns.cu"

    def defines(self, target: int) -> list[str]:
        paths = self.paths if target >= FIRST_WITH_PATHS else ()
        templates = zip(("STATISTIC", "SOURCE", "SINK"), self.templates)
        return [
            f"-DWARPNORM_MODULE={self.name}",
            *(f"-DWARPNORM_{which}={template}" for which, template in templates),
            f"-DWARPNORM_ACTIVATION_{self.dtype.upper()}",
            *(f"-DWARPNORM_PATH_{path.upper()}" for path in paths),
        ]

    @property
    def file(self) -> str:
        """The file that holds the PTX for all targets, which are much alike."""
        return f"{self.name}.{self.dtype}.ptx.lzma"

    def cubin_file(self, chip: int) -> str:
        """The file that holds the machine code for a chip."""
        return f"{self.name}.{self.dtype}.sm_{chip}.cubin.lzma"


@dataclass
class Table:
    """What modules.txt says; build/table.rs is the same reader in Rust."""

    targets: list[int] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    max_isa: tuple[int, ...] = ()
    cubins: list[int] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)

    @staticmethod
    def read(path: Path) -> "Table":
        table = Table()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            match words:
                case ["targets", *targets] if targets:
                    table.targets = sorted(int(target) for target in targets)
                case ["flags", *flags] if flags:
                    table.flags = flags
                case ["max-isa", isa]:
                    table.max_isa = tuple(int(part) for part in isa.split("."))
                case ["cubins", *chips] if chips:
                    table.cubins = sorted(int(chip) for chip in chips)
                case ["module", name, statistic, source, sink, *dtypes] if dtypes:
                    table.instances += [
                        Instance(name, dtype, (statistic, source, sink)) for dtype in dtypes
                    ]
                case ["paths", name, dtypes, *paths] if paths:
                    for dtype in dtypes.split(","):
                        mine = [i for i in table.instances if (i.name, i.dtype) == (name, dtype)]
                        if not mine:
                            raise Failure(f"{path}:{number}: no module above is {name} of {dtype}")
                        (instance,) = mine
                        at = table.instances.index(instance)
                        table.instances[at] = replace(instance, paths=tuple(paths))
                case ["columns", name, *dtypes] if dtypes:
                    table.instances += [Instance(name, dtype, ()) for dtype in dtypes]
                case _:
                    raise Failure(f"{path}:{number}: cannot read `{line}`")
        if not (table.targets and table.flags and table.max_isa and table.instances):
            raise Failure(f"{path}: targets, flags, max-isa and module lines are wanted")
        table.instances.sort()
        return table


def fnv1a(*parts: bytes) -> str:
    """FNV-1a, 64 bits: spots stale files. build/fnv.rs is the same in Rust."""
    value = 0xCBF29CE484222325
    for part in parts:
        for byte in part:
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def unix_newlines(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n")


def source_hash(kernels: Path) -> str:
    """The hash of all that the PTX is made from; see build/sources.rs."""
    files = [kernels / TABLE, *kernels.rglob("*.cu"), *kernels.rglob("*.cuh")]
    relative = sorted(file.relative_to(kernels).as_posix().encode() for file in files)
    parts = []
    for path in relative:
        text = unix_newlines((kernels / path.decode()).read_bytes())
        parts += [path, b"\0", text, b"\0"]
    return fnv1a(*parts)


class Nvrtc:
    """As much of libnvrtc as compiling one file takes."""

    def __init__(self) -> None:
        # The wheels put everything in one `nvidia` namespace package.
        import nvidia

        packages = Path(next(iter(nvidia.__path__)))
        self.cuda_include = packages / "cuda_runtime" / "include"
        self.lib = ctypes.CDLL(str(packages / "cuda_nvrtc" / "lib" / "libnvrtc.so.12"))
        self.lib.nvrtcGetErrorString.restype = ctypes.c_char_p

    def _check(self, result: int, log: str = "") -> None:
        if result != 0:
            name = self.lib.nvrtcGetErrorString(result).decode()
            raise Failure(f"{name}\n{log}" if log else name)

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        self._check(getattr(self.lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self.lib, f"nvrtcGet{what}")(program, buffer))
        return buffer.value.decode()

    def compile(self, source: str, name: str, options: list[str]) -> tuple[str, str]:
        """Returns the PTX and the compiler's log."""
        program = ctypes.c_void_p()
        self._check(
            self.lib.nvrtcCreateProgram(
                ctypes.byref(program), source.encode(), name.encode(), 0, None, None
            )
        )
        try:
            encoded = [option.encode() for option in options]
            result = self.lib.nvrtcCompileProgram(
                program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded)
            )
            log = self._text(program, "ProgramLog").strip()
            self._check(result, log)
            return without_build_id(self._text(program, "PTX")), log
        finally:
            self.lib.nvrtcDestroyProgram(ctypes.byref(program))


def without_build_id(ptx: str) -> str:
    """The build id tells nothing that the version below it does not."""
    return re.sub(r"^// Compiler Build ID: .*\n", "", ptx, flags=re.MULTILINE)


def without_comments(ptx: str) -> str:
    """Most of the comments are two around every inline instruction, and take room."""
    return re.sub(r"^[ \t]*//.*\n", "", ptx, flags=re.MULTILINE)


def without_padding(ptx: str) -> str:
    """One blank between the words of a line, and none in front of it or behind a comma. A brace in the first column
    ends a kernel: others keep a blank in front of them.
    """
    ptx = re.sub(r"[ \t]+", " ", ptx).replace(", ", ",")
    return re.sub(r"^ (?!\})|\s+$|\n(?=\n)", "", ptx, flags=re.MULTILINE).strip("\n") + "\n"


def without_unused_globals(ptx: str) -> str:
    """NVRTC keeps a variable for every static constant of a class and for every table, read or not."""
    def is_unused(line: str) -> bool:
        variable = re.match(r"\.(?:global|const) .*?(_Z\w+)(?:\[\d*\])?(?: = [^;]*)?;$", line)
        return variable is not None and len(re.findall(rf"{variable[1]}\b", ptx)) == 1

    return "\n".join(line for line in ptx.split("\n") if not is_unused(line))


def renumbered(ptx: str) -> str:
    """Numbers the registers and labels of each kernel anew, so that the text reads alike wherever it can: registers share
    numbers, and labels have theirs in the order in which the text names them.
    """
    kernels = re.split(r"(?=^\.visible \.entry )", ptx, flags=re.MULTILINE)
    return "".join(renumbered_labels(with_shared_registers(kernel)) for kernel in kernels)


def renumbered_labels(kernel: str) -> str:
    numbers: dict[str, int] = {}

    def renumber(match: re.Match[str]) -> str:
        name, number = match.groups()
        return f"{name}{numbers.setdefault(number, len(numbers) + 1)}"

    return re.sub(r"(\$L__BB\d+_)(\d+)\b", renumber, kernel)


def isa_of(ptx: str) -> tuple[int, ...]:
    found = re.search(r"^\.version (\d+)\.(\d+)$", ptx, re.MULTILINE)
    if not found:
        raise Failure("the PTX has no `.version` directive")
    return tuple(int(part) for part in found.groups())


def compress(content: bytes, position_bits: int) -> bytes:
    """A `.lzma` file, which the crate embeds as it is. What a byte means depends on so many bits of its position."""
    options = {
        "id": lzma.FILTER_LZMA1,
        "preset": 9 | lzma.PRESET_EXTREME,
        # Whoever decompresses it allocates as much. The text for one target is mostly that for another.
        "dict_size": max(len(content), 4096),
        "pb": position_bits,
    }
    if position_bits > 0:
        # Nor does it depend on the byte before it.
        options["lc"] = 0
    return lzma.compress(content, format=lzma.FORMAT_ALONE, filters=[options])


@dataclass(frozen=True)
class File:
    """A compressed file, and its lines in the manifest."""

    name: str
    compressed: bytes
    lines: list[str]

    @staticmethod
    def of_texts(name: str, texts: dict[int, str]) -> "File":
        """Of PTX: a line a target, in the order of their texts in the file."""
        compressed = compress("".join(texts.values()).encode(), position_bits=0)
        lines = []
        for target, ptx in texts.items():
            text = ptx.encode()
            isa = ".".join(map(str, isa_of(ptx)))
            facts = [name, fnv1a(compressed), isa, f"sm_{target}", str(len(text)), fnv1a(text)]
            lines.append(f"file {' '.join(facts)}")
        return File(name, compressed, lines)

    @staticmethod
    def of_cubin(name: str, chip: int, code: bytes) -> "File":
        """Of machine code, whose instructions are of 16 bytes."""
        compressed = compress(code, position_bits=4)
        facts = [name, fnv1a(compressed), f"sm_{chip}", str(len(code)), fnv1a(code)]
        return File(name, compressed, [f"cubin {' '.join(facts)}"])


def compile_module(kernels: Path, table: Table, instance: Instance) -> list[File]:
    texts = {target: compile_target(kernels, table, instance, target) for target in table.targets}
    cubins = [assemble_cubin(texts, instance, chip) for chip in table.cubins]
    return [File.of_texts(instance.file, texts), *cubins]


def assemble_cubin(texts: dict[int, str], instance: Instance, chip: int) -> File:
    """The machine code of the PTX that a driver would compile for the chip."""
    target = max(target for target in texts if target <= chip)
    try:
        code = assemble(texts[target], chip)
    except (Spill, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or ""
        raise Failure(f"{instance.name} for {instance.dtype}, sm_{chip}: {error}\n{said}") from None
    return File.of_cubin(instance.cubin_file(chip), chip, code)


def compile_target(kernels: Path, table: Table, instance: Instance, target: int) -> str:
    """Compiles one module for one target, and checks its PTX."""
    nvrtc = Nvrtc()
    options = [
        f"--gpu-architecture=compute_{target}",
        *table.flags,
        *instance.defines(target),
        f"-I{kernels}",
        f"-I{nvrtc.cuda_include}",
    ]
    what = f"{instance.name} for {instance.dtype}, compute_{target}"
    try:
        source = (kernels / instance.source).read_text(encoding="utf-8")
        ptx, log = nvrtc.compile(source, instance.source, options)
        if isa_of(ptx) > table.max_isa:
            raise Failure(f"its PTX ISA {isa_of(ptx)} is newer than {table.max_isa}")
        if f".target sm_{target}\n" not in ptx:
            raise Failure(f"its target is not sm_{target}")
        if str(kernels.parent) in ptx:
            raise Failure(f"it holds the path {kernels.parent}")
    except Failure as failure:
        reason = str(failure).replace(f"{kernels}/", "kernels/")
        raise Failure(f"{what}: {reason}") from None
    if log:
        print(f"{what}:\n{log}", file=sys.stderr)
    return renumbered(without_unused_globals(without_padding(without_comments(ptx))))


def manifest(kernels: Path, table: Table, files: list[File]) -> str:
    lines = [
        "# Written by scripts/prebuilt.sh, read by the build script. The hashes are",
        "# FNV-1a: they spot stale files and guard against nothing else.",
        "# file <name> <hash> <PTX ISA> <target> <bytes of the PTX text> <hash of the PTX text>",
        "# cubin <name> <hash> <chip> <bytes of the ELF file> <hash of the ELF file>",
        f"source-hash {source_hash(kernels)}",
        f"compiler NVRTC {version(NVRTC_PACKAGE)}",
        f"assembler {assembler()}",
        f"flags {' '.join(table.flags)}",
        *(line for file in files for line in file.lines),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kernels", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    kernels, output = arguments.kernels.resolve(), arguments.output.resolve()

    # Compiled from a copy, so that the files and the hash agree even if the
    # sources are edited meanwhile.
    with tempfile.TemporaryDirectory() as scratch:
        frozen = Path(scratch) / "kernels"
        shutil.copytree(kernels, frozen, ignore=shutil.ignore_patterns("prebuilt"))
        table = Table.read(frozen / TABLE)
        with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
            modules = list(pool.map(partial(compile_module, frozen, table), table.instances))
        files = [file for module in modules for file in module]
        listing = manifest(frozen, table, files)

    # Only now is anything replaced: a failed compilation leaves the old files.
    output.mkdir(parents=True, exist_ok=True)
    for old in output.glob("*.lzma"):
        old.unlink()
    for file in files:
        (output / file.name).write_bytes(file.compressed)
    (output / MANIFEST).write_text(listing, encoding="utf-8", newline="\n")
    print(listing, end="")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"error: {failure}")
