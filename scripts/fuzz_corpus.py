#!/usr/bin/env python3
"""Makes the PTX corpus of the fuzz target ptx_parser from files of the repo.

  fuzz_corpus.py <folder>

The hand-written seeds as they are, and of every PTX that a compiler wrote each kernel as a module of
its own: short inputs are run more often.
"""

import hashlib
import lzma
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMPILED = [ROOT / "crates/ptx-emu/tests/ptx", ROOT / "kernels/prebuilt"]
# Longer modules only slow the search down.
MAX_BYTES = 16384


def kernels(text: str) -> list[str]:
    """One module per kernel, each with all that stands outside kernels."""
    # A kernel is all from its `.entry` to the brace in the first column.
    kernel = re.compile(r"^(?:\.visible |\.weak )*\.entry.*?^\}", re.MULTILINE | re.DOTALL)
    head = kernel.sub("", text)
    return [f"{head}\n{found}\n" for found in kernel.findall(text)]


def text_of(path: pathlib.Path) -> str:
    data = path.read_bytes()
    return (lzma.decompress(data) if path.suffix == ".lzma" else data).decode()


def main() -> int:
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    modules = [path.read_text() for path in sorted((ROOT / "fuzz/seeds").glob("*.ptx"))]
    for path in sorted(path for source in COMPILED for path in source.glob("**/*.ptx*")):
        modules.extend(kernels(text_of(path)))
    written = set()
    for module in modules:
        data = module.encode()
        if len(data) <= MAX_BYTES:
            name = hashlib.sha256(data).hexdigest()[:16]
            (folder / name).write_bytes(data)
            written.add(name)
    print(f"{len(written)} modules in {folder}; {len(modules) - len(written)} are too long, or the same")
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
