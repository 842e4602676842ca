"""Writes a report of times that are made up, by the code that writes those of a GPU: for the renderer's tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from warpnorm_peers import ops, report  # noqa: E402
from warpnorm_peers.timing import Protocol, Times  # noqa: E402


def times(us: float) -> Times:
    """Five samples about a median."""
    return Times(tuple(us * 1e-6 * part for part in (0.9, 0.95, 1.0, 1.1, 1.5)), 64)


# The ops that the renderer's tests lay beside those of the tool.
PLAIN = [op for op in ops.chosen(scalings=["none"]) if op.name.removeprefix("add-") in (
    "layer-norm", "rms-norm", "gated-rms-norm"
)]


def made_up(chosen=PLAIN) -> dict:
    """Of two peers, one of which has one op alone."""
    copy = report.copy_of(1 << 30, times(300.0))
    cells = []
    for op in chosen:
        for rows, hidden in op.shapes((1, 8192), (64, 4096)):
            us = 2.0 + rows * hidden / 1e6
            slow = report.baseline("slow", times(3.0 * us), 1e-3)
            other = times(2.0 * us) if op.title == "rms-norm" else ImportError("no module\nnamed other")
            cells.append(
                report.cell(
                    op=op.name,
                    options=op.options,
                    dtype="bf16",
                    rows=rows,
                    parts=op.heads,
                    hidden=hidden,
                    tensors=op.tensors,
                    floor_bytes=op.floor_bytes(rows, hidden, "bf16"),
                    ours=times(us),
                    relative_l2=1e-3,
                    buffers={"sets": 4, "bytes": 1 << 28, "larger_than_l2": True},
                    baselines=[slow, report.baseline("other", other, 2e-3)],
                    copy=copy,
                )
            )
    return report.report(
        version="0.1.0",
        commit="0" * 40,
        device=report.device("cuda", "A made-up GPU", compute_capability="9.0", cuda_driver="12.8"),
        clocks=report.parse_clocks("570.86.10, 1980, 1980, 3201, 3201, 700.00, 41"),
        protocol=Protocol(samples=5),
        seed=1,
        not_a_timing=None,
        copy=copy,
        missing=[report.missing("quack", "not installed")],
        cells=cells,
    )


if __name__ == "__main__":
    report.write(Path(sys.argv[1]), made_up())
