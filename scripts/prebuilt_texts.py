#!/usr/bin/env python3
"""Decompresses prebuilt PTX and machine code, for those who want to read it or to compare it.

    prebuilt_texts.py <folder of the prebuilt files> <output folder>

Copies the manifest too, without the hashes of the compressed files: these depend on the version of
liblzma, and what is compressed does not.
"""

import lzma
import re
import shutil
import sys
from pathlib import Path


def main() -> None:
    folder, output = map(Path, sys.argv[1:])
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    for path in folder.iterdir():
        if path.suffix == ".lzma":
            (output / path.stem).write_bytes(lzma.decompress(path.read_bytes()))
        elif path.name == "manifest.txt":
            listing = path.read_text(encoding="utf-8")
            listing = re.sub(r"^((?:file|cubin) \S+) \S+", r"\1", listing, flags=re.MULTILINE)
            (output / path.name).write_text(listing, encoding="utf-8", newline="\n")
        else:
            shutil.copy(path, output)


if __name__ == "__main__":
    main()
