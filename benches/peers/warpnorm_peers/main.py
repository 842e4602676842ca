"""The command line."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from . import abi, ops, registry, report
from .timing import Protocol, Untrusted


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    try:
        import torch

        available = torch.cuda.is_available()
        without = None if available else "no GPU: torch.cuda.is_available() is false"
    except Exception as error:  # torch may fail at import in any way.
        without = report.reason(error)
    loaded, failed = registry.load(exclude=options.exclude)
    loaded = {name: functions for name, functions in loaded.items() if not options.peer or name in options.peer}
    missing = [report.missing(name, report.reason(error)) for name, error in failed.items()]
    missing += [report.missing(name, "left out by --exclude") for name in options.exclude]
    library = open_library(options, without, missing)
    commit = options.commit or report.commit(abi.ROOT)
    version = library.version() if library else crate_version()
    common = {"version": version, "commit": commit, "seed": options.seed, "missing": missing}
    failures: list[str] = []
    if without is not None:
        # What could be imported has nowhere to run.
        missing += [report.missing(name, without) for name in loaded]
        found = report.report(
            **common,
            device=report.device("none", "no GPU", instead_of_gpu=without),
            clocks=report.clocks_unknown("there is no GPU whose clocks they would be"),
            protocol=None,
            not_a_timing=f"nothing ran: {without}",
            copy=None,
            cells=[],
        )
    else:
        from . import gpu

        # After every cell, so that what is timed is not lost with a run that is ended.
        keep = (lambda found: report.write(options.json, found)) if options.json else (lambda found: None)
        found, failures = run(gpu, options, common, library, loaded, keep)
    if options.json:
        report.write(options.json, found)
    print_summary(found)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if failures else 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peers", description="Times warpnorm beside the norms of other libraries.")
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument(
        "--op", nargs="+", choices=list(dict.fromkeys(op.name for op in ops.OPS)), help="the ops [default: all]"
    )
    parser.add_argument(
        "--quantise", nargs="+", choices=["none", ops.PER_TENSOR, ops.PER_TOKEN], help="codes of y [default: all]"
    )
    parser.add_argument("--dtype", nargs="+", choices=list(ops.DTYPES), default=["bf16"], help="[default: bf16]")
    parser.add_argument("--rows", nargs="+", type=positive, help="[default: 1 to 65536]")
    parser.add_argument("--hidden", nargs="+", type=positive, help="of heads too [default: 64 to 262144; heads to 256]")
    parser.add_argument("--peer", nargs="+", choices=[peer.name for peer in registry.PEERS], help="[default: all]")
    parser.add_argument(
        "--exclude", nargs="+", default=[], choices=[peer.name for peer in registry.PEERS], help="peers to leave out"
    )
    parser.add_argument("--samples", type=positive, default=Protocol().samples)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--commit", help="for the report [default: what git says]")
    parser.add_argument("--library", help=f"libwarpnorm.so [default: ${abi.LIBRARY_VARIABLE}, or target/]")
    parser.add_argument("--header", type=Path, help=f"warpnorm.h [default: {abi.HEADER}]")
    options = parser.parse_args(arguments)
    if not any(op.scaling is None or set(options.dtype) != {"f32"} for op in ops.chosen(options.op, options.quantise)):
        parser.error("no op is left: wanted an op that has these codes, which f32 has none of")
    return options


def positive(text: str) -> int:
    """A number above 0."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}: wanted at least 1")
    return value


def open_library(options, without: str | None, missing: list[dict]):
    """The library, on the GPU if there is one; None, and its reason among the missing, where it is not there."""
    try:
        library = abi.Library(abi.find_library(options.library), options.header)
        if without is None:
            library.open_cuda()
        return library
    except abi.LibraryError as error:
        missing.append(report.missing("warpnorm", report.reason(error)))
        return None


def crate_version() -> str:
    """The version that the workspace states."""
    try:
        text = (abi.ROOT / "Cargo.toml").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    match = re.search(r'^version = "([^"]+)"', text, re.MULTILINE)
    return match.group(1) if match else "unknown"


def run(gpu, options, common: dict, library, peers, keep) -> tuple[dict, list[str]]:
    """The report, which `keep` is given after every cell, too; and the cells that failed. Ends with the cells so far
    where a peer has left nothing to be trusted."""
    protocol = Protocol(samples=options.samples)
    peak = gpu.copy_peak(protocol)
    device = gpu.describe()
    grid = [
        (op, dtype, shape)
        for op in ops.chosen(options.op, options.quantise)
        for dtype in options.dtype
        # There are no codes of f32.
        if op.scaling is None or dtype != "f32"
        for shape in op.shapes(options.rows, options.hidden, dtype)
    ]
    cells, failures, dropped = [], [], {}
    clocks = report.clocks()

    def so_far() -> dict:
        return report.report(
            **common,
            device=device,
            clocks=clocks,
            protocol=protocol,
            not_a_timing=None,
            copy=peak,
            cells=cells,
        )

    for place, (op, dtype, shape) in enumerate(grid, 1):
        if sys.stderr.isatty():
            print(f"\r{place}/{len(grid)} cells", end="", file=sys.stderr, flush=True)
        where = f"{op.title} {dtype} {shape[0]}x{shape[1]}"
        try:
            found = gpu.cell(
                op, dtype, shape, library=library, peers=peers, dropped=dropped, protocol=protocol, seed=options.seed,
                peak=peak,
            )
            cells.append(found)
        except Untrusted as error:
            why = f"{where}: {report.reason(error)}"
            common["missing"].append(report.missing(error.name, why))
            again = f": start again with --exclude {error.name}" if error.name in peers else ""
            failures.append(f"{why}; ended after {len(cells)} of {len(grid)} cells{again}")
            break
        except Exception as error:
            why = f"{where}: {report.reason(error)}"
            common["missing"].append(report.missing("warpnorm", why))
            # Where a cell does not fit, nothing is wrong but the grid.
            if not isinstance(error, gpu.torch.OutOfMemoryError):
                failures.append(why)
        keep(so_far())
    # While the GPU is still at its clocks of work.
    clocks = report.clocks()
    return so_far(), failures


def print_summary(found: dict) -> None:
    """What there is, and what is missing. `warpnorm report` has the tables."""
    lines = [f"{found['device']['name']}: {len(found['cells'])} cells"]
    if not found["timing"]:
        lines.append(f"not a timing: {found['not_a_timing']}")
    lines += [f"missing: {one['baseline']}: {one['reason']}" for one in found["missing"]]
    try:
        print("\n".join(lines), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
