"""Timing on a GPU, by torch: rotating buffers, captured graphs, events."""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

import torch

from . import report
from .buffers import Source, head, places, spoil
from .formulas import verified
from .registry import PROGRAMMATIC, Tensors
from .timing import Protocol, Untrusted, attempted, bare, measure

# Elements of the rows that are held against f64.
CHECKED_ELEMENTS = 1 << 20

MAX_SETS = 2048

# Of the tensor that tells whether memory comes back.
PROBE_BYTES = 64 << 20

DEVICE = "cuda"

# A peer may fail; if one of these does, so does the cell.
OURS = ("warpnorm", "warpnorm" + PROGRAMMATIC)


class CaptureFailed(Exception):
    """What runs cannot be captured; it may have left torch in the middle of that."""


class Rotation:
    """Sets of tensors that launches take in turn, together four times the L2 cache where memory allows it."""

    def __init__(self, op, dtype: str, rows: int, hidden: int, seed: int, l2_bytes: int) -> None:
        # What the cell before has left; graphs and tensors of what failed may be in cycles.
        gc.collect()
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


def captured(fill: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """A graph of what this launches. Where that fails, torch stays on the stream of the capture, and allocates for it:
    both are ended here."""
    graph, stream, before = torch.cuda.CUDAGraph(), torch.cuda.Stream(), torch.cuda.current_stream()
    # Named here: a graph that is not there does not tell its pool.
    pool = torch.cuda.graph_pool_handle()
    failure, ended = None, False
    try:
        with torch.no_grad(), torch.cuda.graph(graph, pool=pool, stream=stream):
            try:
                fill()
            except Exception as error:
                # First the capture is ended.
                failure = bare(error)
        ended = True
    except Exception as error:
        # Of two, the first is the cause.
        failure = failure or bare(error)
    finally:
        torch.cuda.set_stream(before)
    if not ended:
        _end_allocation(pool)
    if failure is None:
        return graph
    # There may be memory for it in another cell.
    if ended and isinstance(failure, torch.OutOfMemoryError):
        raise failure
    raise CaptureFailed(report.reason(failure))


def _end_allocation(pool) -> None:
    device = torch.cuda.current_device()
    try:
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)
    except Exception:  # Ended already, or not of this version of torch: `probe` sees whether all is well.
        pass


def probe() -> None:
    """Captures, replays and frees, and raises where that does not do what it should."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    counts = torch.zeros(PROBE_BYTES // 4, dtype=torch.int32, device=DEVICE)
    graph = captured(lambda: counts.add_(1))
    graph.replay()
    graph.replay()
    if (total := counts.sum().item()) != 2 * counts.numel():
        raise RuntimeError(f"two replays of a graph that adds 1 to {counts.numel()} zeros make {total}")
    del graph, counts
    torch.cuda.empty_cache()
    if (after := torch.cuda.memory_reserved()) > before:
        raise RuntimeError(f"{after - before} bytes that were freed are not given back")


def clear_last_error(maps: Path = Path("/proc/self/maps")) -> None:
    """Takes the error that a refused call has left in a CUDA runtime: whoever asks next would have it for its own."""
    for path in sorted(set(re.findall(r"/\S*/libcudart[^/\s]*", maps.read_text(encoding="utf-8")))):
        ctypes.CDLL(path).cudaGetLastError()


def settle(name: str, error: Exception) -> None:
    """Removes what a subject that failed has left; raises Untrusted where the next cannot be timed after it."""
    gc.collect()
    clear_last_error()
    try:
        torch.cuda.synchronize()
        if isinstance(error, CaptureFailed):
            probe()
    except Exception as after:
        why = f"{report.reason(error)[:200]}; then nothing can be trusted: {report.reason(after)}"
    else:
        return
    raise Untrusted(name, why)


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

        def fill() -> None:
            for turn in range(launches):
                kept.append(self.launch(turn % self.sets))

        self.graph, self.kept = captured(fill), kept

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


def check(op, dtype: str, tensors: Tensors, timer: GraphTimer) -> float:
    """Launches on the first set, and holds its first rows against f64; then captures a launch, so that what cannot be
    captured fails before anything is timed. Returns the largest relative L2 error."""
    spoil(op, tensors)
    with torch.no_grad():
        result = timer.launch(0)
    torch.cuda.synchronize()
    error = verified(op, dtype, *head(op, tensors, result, CHECKED_ELEMENTS))
    timer.prepare(1)
    return error


def ours(library, op, dtype: str, rotation: Rotation, programmatic: bool = False):
    """The function of warpnorm, by turn."""
    norm = library.norm(op)
    library.warm_up(norm, dtype)
    rows, *_, hidden = rotation.sets[0].x.shape
    calls = [library.call(op, dtype, rows, hidden, places(op, tensors), programmatic) for tensors in rotation.sets]

    def launch(turn: int):
        library.run(norm, calls[turn], torch.cuda.current_stream().cuda_stream)
        return {name: getattr(rotation.sets[turn], name) for name in op.outputs}

    return launch


def forget_tuning() -> None:
    """Makes Triton's kernels be tuned anew. Their keys may leave out the number of rows: what is best for the first
    would be taken for all."""
    module = sys.modules.get("triton.runtime.autotuner")
    if module is None:
        return
    for one in gc.get_objects():
        # Not isinstance, which asks the object, and some of them import or raise then.
        if issubclass(type(one), module.Autotuner):
            one.cache.clear()


def cell(
    op, dtype: str, shape: tuple[int, int], *, library, peers, dropped: dict[str, str], protocol: Protocol, seed: int,
    peak,
) -> dict:
    """Times warpnorm and every peer that has the op. Each is checked before, on tensors that nothing has run on. A peer
    that cannot be captured is dropped, with the reason, and runs in no cell after."""
    rows, hidden = shape
    l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    rotation = Rotation(op, dtype, rows, hidden, seed, l2_bytes)
    floor = op.floor_bytes(rows, hidden, dtype)
    subjects, baselines = {}, []
    if library is not None:
        subjects["warpnorm"] = ours(library, op, dtype, rotation)
    for name, functions in peers.items():
        if op.title not in functions:
            continue
        if name in dropped:
            baselines.append(report.baseline(name, CaptureFailed(dropped[name])))
        else:
            subjects[name] = lambda turn, function=functions[op.title]: function(rotation.sets[turn])

    # Beside peers that are launched so.
    if library is not None and any(name.endswith(PROGRAMMATIC) for name in subjects):
        subjects["warpnorm" + PROGRAMMATIC] = ours(library, op, dtype, rotation, programmatic=True)

    def failed(name: str, error: Exception) -> None:
        if isinstance(error, CaptureFailed):
            dropped[name] = f"not run after {op.title} {dtype} {rows}x{hidden}: {error}"
        settle(name, error)

    # Compiled functions are of one shape, and what is tuned is best at one.
    torch._dynamo.reset()
    forget_tuning()
    errors, timers = {}, {}
    for name, launch in subjects.items():
        timer = GraphTimer(launch, len(rotation.sets))
        found = attempted(lambda: check(op, dtype, rotation.sets[0], timer), lambda error: failed(name, error))
        if isinstance(found, float):
            errors[name], timers[name] = found, timer
        elif name in OURS:
            raise found
        else:
            baselines.append(report.baseline(name, found))
    timers["copy"] = copy_timer(floor, l2_bytes)
    names = list(timers)
    found = measure(list(timers.values()), protocol, lambda place, error: failed(names[place], error))
    times = dict(zip(names, found))
    for name in OURS:
        if isinstance(times.get(name), Exception):
            raise times[name]
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
