"""Timing on a GPU, by torch: rotating buffers, captured graphs, events."""

from __future__ import annotations

import ctypes
from collections import deque

import torch

from . import report
from .buffers import Source, head, places, spoil
from .formulas import verified
from .registry import Tensors
from .timing import Protocol, measure

# Elements of the rows that are held against f64.
CHECKED_ELEMENTS = 1 << 20

MAX_SETS = 2048

DEVICE = "cuda"


class Rotation:
    """Sets of tensors that launches take in turn, together four times the L2 cache where memory allows it."""

    def __init__(self, op, dtype: str, rows: int, hidden: int, seed: int, l2_bytes: int) -> None:
        # What the cell before has left.
        torch.cuda.empty_cache()
        source = Source(op, dtype, rows, hidden, seed, DEVICE)
        self.set_bytes = source.moved_bytes()
        free, _ = torch.cuda.mem_get_info()
        room = free // 2 // source.held_bytes()
        self.sets = [source.draw() for _ in range(max(1, min(-(-4 * l2_bytes // self.set_bytes), room, MAX_SETS)))]

    def buffers(self, l2_bytes: int, launches: int) -> dict:
        """For the report: those that samples of so many launches reach."""
        sets = min(len(self.sets), launches)
        total = self.set_bytes * sets
        return {"sets": sets, "bytes": total, "larger_than_l2": total > l2_bytes}


class GraphTimer:
    """Events around the replay of a graph of launches, each on the next set."""

    def __init__(self, launch, sets: int) -> None:
        self.launch, self.sets, self.graph, self.kept = launch, sets, None, None

    def prepare(self, launches: int) -> None:
        self.graph, self.kept = None, None
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(stream):
            # What is compiled on first use is compiled outside the capture.
            self.launch(0)
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        # As many results as there are sets stay alive, so that allocated outputs rotate as the inputs do.
        kept: deque = deque(maxlen=self.sets)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            for turn in range(launches):
                kept.append(self.launch(turn % self.sets))
        self.graph, self.kept = graph, kept

    def sample(self) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        self.graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3


def describe() -> dict:
    """The device for the report."""
    properties = torch.cuda.get_device_properties(0)
    driver = ctypes.c_int()
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(driver))
        version = f"{driver.value // 1000}.{driver.value % 1000 // 10}"
    except OSError:
        version = None
    return report.device(
        "cuda",
        properties.name,
        compute_capability=f"{properties.major}.{properties.minor}",
        multiprocessors=properties.multi_processor_count,
        cuda_driver=version,
        l2_bytes=properties.L2_cache_size,
    )


def copy_timer(floor_bytes: int, l2_bytes: int) -> GraphTimer:
    """Copies that read half of these bytes and write as many."""
    half = max(1, -(-floor_bytes // 2))
    count = max(1, min(-(-4 * l2_bytes // (2 * half)), MAX_SETS))
    pairs = [tuple(torch.zeros(half, dtype=torch.uint8, device=DEVICE) for _ in range(2)) for _ in range(count)]
    return GraphTimer(lambda turn: pairs[turn][1].copy_(pairs[turn][0]), count)


def copy_peak(protocol: Protocol) -> dict:
    """The bandwidth of a copy of 512 MiB, or of an eighth of what is free."""
    free, _ = torch.cuda.mem_get_info()
    half = min(512 << 20, free // 8)
    times = measure([copy_timer(2 * half, 0)], protocol)[0]
    if isinstance(times, Exception):
        raise times
    return report.copy_of(2 * half, times)


def check(op, dtype: str, tensors: Tensors, launch) -> float:
    """Launches on the first set, and holds its first rows against f64. Returns the largest relative L2 error."""
    spoil(op, tensors)
    with torch.no_grad():
        result = launch(0)
    torch.cuda.synchronize()
    return verified(op, dtype, *head(op, tensors, result, CHECKED_ELEMENTS))


def ours(library, op, dtype: str, rotation: Rotation):
    """The function of warpnorm, by turn."""
    norm = library.norm(op)
    library.warm_up(norm, dtype)
    rows, *_, hidden = rotation.sets[0].x.shape
    calls = [library.call(op, dtype, rows, hidden, places(op, tensors)) for tensors in rotation.sets]

    def launch(turn: int):
        library.run(norm, calls[turn], torch.cuda.current_stream().cuda_stream)
        return {name: getattr(rotation.sets[turn], name) for name in op.outputs}

    return launch


def cell(op, dtype: str, shape: tuple[int, int], *, library, peers, protocol: Protocol, seed: int, peak) -> dict:
    """Times warpnorm and every peer that has the op. Each is checked before, on tensors that nothing has run on."""
    rows, hidden = shape
    l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    rotation = Rotation(op, dtype, rows, hidden, seed, l2_bytes)
    floor = op.floor_bytes(rows, hidden, dtype)
    subjects = {}
    if library is not None:
        subjects["warpnorm"] = ours(library, op, dtype, rotation)
    for name, functions in peers.items():
        if op.title in functions:
            subjects[name] = lambda turn, function=functions[op.title]: function(rotation.sets[turn])
    # Compiled functions are of one shape.
    torch._dynamo.reset()
    errors, timers, baselines = {}, {}, []
    for name, launch in subjects.items():
        try:
            errors[name] = check(op, dtype, rotation.sets[0], launch)
            timers[name] = GraphTimer(launch, len(rotation.sets))
        except Exception as error:
            if name == "warpnorm":
                raise
            baselines.append(report.baseline(name, error))
    timers["copy"] = copy_timer(floor, l2_bytes)
    times = dict(zip(timers, measure(list(timers.values()), protocol)))
    if isinstance(times.get("warpnorm"), Exception):
        raise times["warpnorm"]
    # What the copies go round is their own.
    reached = [one.launches for name, one in times.items() if name != "copy" and not isinstance(one, Exception)]
    mine = times.pop("warpnorm", None)
    baselines = [report.baseline(name, found, errors.get(name)) for name, found in times.items()] + baselines
    return report.cell(
        op=op.name,
        options=op.options,
        dtype=dtype,
        rows=rows,
        parts=op.heads,
        hidden=hidden,
        tensors=op.tensors,
        floor_bytes=floor,
        ours=mine,
        relative_l2=errors.get("warpnorm"),
        buffers=rotation.buffers(l2_bytes, min(reached)) if reached else None,
        baselines=baselines,
        copy=peak,
    )
