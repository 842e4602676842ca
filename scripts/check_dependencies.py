#!/usr/bin/env python3
"""Two promises about dependencies, checked against what cargo resolves.

- With default features the library's normal tree is at most LIMIT crates, itself included.
- No dependency of the workspace needs a newer Rust than the workspace states.
"""

import json
import subprocess
import sys

LIMIT = 30


def cargo(*arguments: str) -> str:
    return subprocess.run(["cargo", *arguments], check=True, capture_output=True, text=True).stdout


def version(text: str) -> tuple[int, ...]:
    parts = [int(part) for part in text.split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


def main() -> int:
    tree = cargo("tree", "--package", "warpnorm", "--edges", "normal", "--prefix", "none", "--locked", "--no-dedupe")
    crates = sorted({line.split(" (")[0] for line in tree.splitlines() if line})
    print(f"the library's normal tree: {len(crates)} crates, at most {LIMIT}: {', '.join(crates)}")

    packages = json.loads(cargo("metadata", "--format-version", "1", "--locked"))["packages"]
    stated = next(package["rust_version"] for package in packages if package["name"] == "warpnorm")
    newer = [
        f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
        for package in packages
        if package["rust_version"] and version(package["rust_version"]) > version(stated)
    ]
    print(f"dependencies that need a newer Rust than {stated}: {', '.join(newer) or 'none'}")
    return 1 if newer or len(crates) > LIMIT else 0


if __name__ == "__main__":
    sys.exit(main())
