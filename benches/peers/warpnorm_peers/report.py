"""Reports of the schema `warpnorm-bench/1`; `crates/warpnorm-bench` has its definition."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from .timing import Protocol, Times

SCHEMA = "warpnorm-bench/1"
TOOL = "benches/peers"

CLOCKS = ("driver", "sm_mhz", "max_sm_mhz", "memory_mhz", "max_memory_mhz", "power_limit_w", "temperature_c")
QUERY = "driver_version,clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem,power.limit,temperature.gpu"


def time_of(times: Times) -> dict:
    """Times in microseconds."""
    us = lambda p: times.quantile(p) * 1e6
    return {
        "median_us": us(0.5),
        "q1_us": us(0.25),
        "q3_us": us(0.75),
        "min_us": us(0.0),
        "max_us": us(1.0),
        "samples": len(times.seconds),
        "launches": times.launches,
    }


def gb_per_s(floor_bytes: int, time: dict) -> float:
    """10^9 bytes a second."""
    return floor_bytes / time["median_us"] / 1e3


def copy_of(floor_bytes: int, times: Times) -> dict:
    """The bandwidth of a copy that reads and writes so many bytes together."""
    time = time_of(times)
    return {"bytes": floor_bytes, "time": time, "gb_per_s": gb_per_s(floor_bytes, time)}


def baseline(name: str, times: Times | Exception, relative_l2: float | None = None) -> dict:
    """A baseline, or why there is none."""
    failed = isinstance(times, Exception)
    return {
        "name": name,
        "time": None if failed else time_of(times),
        "speed_up": None,
        "relative_l2": None if failed else relative_l2,
        "missing": reason(times) if failed else None,
    }


def cell(
    *,
    op: str,
    options: str,
    dtype: str,
    rows: int,
    parts: int = 1,
    hidden: int,
    tensors: list[str],
    floor_bytes: int,
    ours: Times | None,
    relative_l2: float | None,
    buffers: dict | None,
    baselines: list[dict],
    copy: dict | None,
) -> dict:
    """A cell, with all that follows from times and bytes."""
    time = None if ours is None else time_of(ours)
    speed = None if time is None else gb_per_s(floor_bytes, time)
    for one in baselines:
        if time is not None and one["time"] is not None:
            one["speed_up"] = one["time"]["median_us"] / time["median_us"]
    return {
        "op": op,
        "options": options,
        "dtype": dtype,
        "rows": rows,
        "parts": parts,
        "hidden": hidden,
        "tensors": tensors,
        "floor_bytes": floor_bytes,
        "time": time,
        "gb_per_s": speed,
        "copy_share": None if speed is None or copy is None else speed / copy["gb_per_s"],
        "relative_l2": relative_l2,
        "buffers": buffers,
        "baselines": baselines,
        "counters": None,
    }


def device(kind: str, name: str, **known) -> dict:
    """A device; what is not known of it is null."""
    fields = ("compute_capability", "multiprocessors", "cuda_driver", "l2_bytes", "instead_of_gpu")
    return {"kind": kind, "name": name} | {field: known.get(field) for field in fields}


def clocks_unknown(why: str) -> dict:
    """No clocks."""
    return dict.fromkeys(CLOCKS) | {"unknown": why}


def parse_clocks(line: str) -> dict:
    """What a line of nvidia-smi says; a value that it has no number for is null."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != len(CLOCKS):
        return clocks_unknown(f"nvidia-smi gave {len(fields)} values, wanted {len(CLOCKS)}")
    values: list = [fields[0]]
    for field in fields[1:]:
        try:
            values.append(float(field))
        except ValueError:
            values.append(None)
    return dict(zip(CLOCKS, values)) | {"unknown": None}


def clocks() -> dict:
    """The clocks of the first GPU, now."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", "-i", "0"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        return clocks_unknown(f"nvidia-smi: {reason(error)}")
    return parse_clocks(output.splitlines()[0] if output else "")


def commit(folder: Path) -> str | None:
    """What git says of a folder."""

    def git(*arguments: str) -> str | None:
        try:
            return subprocess.run(
                ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    head = git("rev-parse", "HEAD")
    return f"{head}-dirty" if head and git("status", "--porcelain", "--untracked-files=no") else head


def report(
    *, version: str, commit: str | None, device: dict, clocks: dict, protocol: Protocol | None, seed: int,
    not_a_timing: str | None, copy: dict | None, missing: list[dict], cells: list[dict],
) -> dict:
    """All that a run found."""
    sample = (
        "a replay of a CUDA graph of many launches, between two events, on rotating buffers; subjects in turn"
        if not_a_timing is None
        else "none"
    )
    return {
        "schema": SCHEMA,
        "tool": TOOL,
        "version": version,
        "commit": commit,
        "timing": not_a_timing is None,
        "not_a_timing": not_a_timing,
        "device": device,
        "clocks": clocks,
        "method": {
            "sample": sample,
            "samples": protocol.samples if protocol else None,
            "sample_seconds": protocol.sample_seconds if protocol else None,
            "seed": seed,
        },
        "copy": copy,
        "missing": missing,
        "cells": cells,
        "cold_starts": [],
    }


def missing(name: str, why: str) -> dict:
    """A baseline that is in no cell."""
    return {"baseline": name, "reason": why}


def reason(error: Exception) -> str:
    """An exception on one line."""
    text = " ".join(str(error).split())[:500]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def write(path: Path, contents: dict) -> None:
    """Writes a report whole or not at all, into a folder that is made where it is not there; a number that is not finite is
    an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(contents, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    os.replace(file.name, path)
