"""Assembles PTX files for the chips that they serve and reports what ptxas says.

    ptxas_report.py [--all] <ptxas> <folder of PTX files>

Run by scripts/check_spills.sh. Exits with 1 on an error, a register spill or
any other use of local memory: the kernels are written to live in registers.
"""

import argparse
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

# Every generation that the driver would give the file to.
CHIPS = {75: [75, 80, 86, 89], 90: [90, 100, 120]}

FUNCTION = re.compile(r"Function properties for (\S+)")
MEMORY = re.compile(
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)
REGISTERS = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


@dataclass
class Function:
    """What ptxas says of one kernel, or of one function left out of line."""

    name: str
    stack: int = 0
    spills: int = 0
    registers: int = 0
    shared: int = 0


def parse(report: str) -> list[Function]:
    functions: dict[str, Function] = {}
    current = None
    for line in report.splitlines():
        if found := FUNCTION.search(line):
            current = functions.setdefault(found[1], Function(found[1]))
        if current and (found := MEMORY.search(line)):
            current.stack = int(found[1])
            current.spills = int(found[2]) + int(found[3])
        if current and (found := REGISTERS.search(line)):
            current.registers = int(found[1])
            shared = SHARED.search(line)
            current.shared = int(shared[1]) if shared else 0
    return list(functions.values())


def assemble(ptxas: str, file: Path, chip: int) -> tuple[list[Function], str]:
    """Returns what the report says of each function, and what went wrong."""
    done = subprocess.run(
        [ptxas, "--verbose", f"--gpu-name=sm_{chip}", "--output-file=/dev/null", file],
        capture_output=True,
        text=True,
    )
    report = done.stdout + done.stderr
    if done.returncode != 0:
        return [], report.strip()
    functions = parse(report)
    kernels = len(re.findall(r"^\.visible \.entry", file.read_text(encoding="utf-8"), re.MULTILINE))
    used = sum(function.registers > 0 for function in functions)
    if kernels == 0 or used < kernels:
        return functions, f"{kernels} kernels in the file, {used} in ptxas's report"
    return functions, ""


def print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        first, *rest = (cell.ljust(width) for cell, width in zip(row[:2], widths))
        numbers = (cell.rjust(width) for cell, width in zip(row[2:], widths[2:]))
        print("  ".join([first, *rest, *numbers]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="one line per kernel and chip")
    parser.add_argument("ptxas")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()

    work = []
    for file in sorted(arguments.folder.glob("*.ptx")):
        target = re.search(r"\.sm_(\d+)\.ptx$", file.name)
        if not target or int(target[1]) not in CHIPS:
            sys.exit(f"error: {file.name}: a name that ends in .sm_<n>.ptx is wanted, "
                     f"with n one of {sorted(CHIPS)}")
        work += [(file, chip) for chip in CHIPS[int(target[1])]]
    if not work:
        sys.exit(f"error: no PTX files in {arguments.folder}")

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        results = list(pool.map(lambda item: assemble(arguments.ptxas, *item), work))

    rows = [["kernel" if arguments.all else "module", "chip",
             *([] if arguments.all else ["kernels"]),
             "registers", "static shared", "stack", "spilled"]]
    faults = []
    in_local_memory: dict[tuple[str, str], list[tuple[Function, int]]] = {}
    for (file, chip), (functions, fault) in zip(work, results):
        if fault:
            faults.append(f"{file.stem} on sm_{chip}: {fault}")
        for function in functions:
            if function.stack or function.spills:
                seen = in_local_memory.setdefault((file.stem, function.name), [])
                seen.append((function, chip))
        if arguments.all:
            rows += [
                [function.name, f"sm_{chip}", *map(str, (
                    function.registers, function.shared, function.stack, function.spills))]
                for function in functions
            ]
        elif functions:
            rows.append([file.stem, f"sm_{chip}", str(len(functions)), *(
                str(max(getattr(function, what) for function in functions))
                for what in ("registers", "shared", "stack", "spills"))])

    faults += [
        f"{module}: {name}: up to {max(function.stack for function, _ in seen)} bytes of stack "
        f"frame, {max(function.spills for function, _ in seen)} bytes spilled, on "
        + ", ".join(f"sm_{chip}" for _, chip in seen)
        for (module, name), seen in in_local_memory.items()
    ]
    print_table(rows)
    if faults:
        print(*["", *faults], sep="\n")
    kernels = sum(len(functions) for functions, _ in results)
    print(f"\n{len(work)} files x chips, {kernels} kernels, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
