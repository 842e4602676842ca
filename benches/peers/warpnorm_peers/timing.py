"""How samples are taken, whatever it is that is timed: the protocol of `warpnorm bench`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol as Interface

# Samples that even the slowest subject has, as far as so many are asked for.
LEAST = 5


class Untrusted(Exception):
    """A subject has left a state in which nothing is to be timed any more."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(why)
        self.name = name


class Stopwatch(Interface):
    """Something that runs launches of one subject, and knows how long they took."""

    # Sets of tensors that launches take in turn; a sample begins with the first.
    sets: int

    def prepare(self, launches: int) -> None:
        """Makes so many launches one sample."""

    def sample(self) -> float:
        """Runs a sample; the seconds that all its launches took together."""


@dataclass(frozen=True)
class Protocol:
    """How samples are taken."""

    samples: int = 30
    warm_up: int = 3
    sample_seconds: float = 5e-3
    max_launches: int = 2048
    subject_seconds: float = 2.0

    def launches(self, seconds: float, sets: int = 1) -> int:
        """Launches of a sample, for a launch that takes so long: whole rounds of the sets, and at least one. Fewer
        would leave sets out, and what is left might fit in a cache."""
        wanted = min(self.max_launches, math.ceil(self.sample_seconds / seconds))
        return sets * max(1, min(-(-wanted // sets), self.max_launches // sets))


@dataclass(frozen=True)
class Times:
    """Seconds of a launch, sorted, and the launches of each sample."""

    seconds: tuple[float, ...]
    launches: int

    def quantile(self, p: float) -> float:
        """Linear between the samples at either side of (n - 1)p: Hyndman and Fan's type 7."""
        place = (len(self.seconds) - 1) * p
        below = math.floor(place)
        above = min(below + 1, len(self.seconds) - 1)
        return self.seconds[below] + (self.seconds[above] - self.seconds[below]) * (place - below)


class _Run:
    def __init__(self, subject: Stopwatch, protocol: Protocol) -> None:
        subject.prepare(1)
        # The first may load, compile and allocate.
        subject.sample()
        self.launches = protocol.launches(_checked(subject.sample()), subject.sets)
        subject.prepare(self.launches)
        # One launch takes longer alone than among others: they tell how many of them make a sample.
        subject.sample()
        launches = protocol.launches(_checked(subject.sample()) / self.launches, subject.sets)
        if launches != self.launches:
            self.launches = launches
            subject.prepare(launches)
        for _ in range(protocol.warm_up):
            subject.sample()
        self.samples: list[float] = []

    def step(self, subject: Stopwatch, protocol: Protocol) -> None:
        total = sum(self.samples) * self.launches
        if len(self.samples) < LEAST or total < protocol.subject_seconds:
            self.samples.append(_checked(subject.sample()) / self.launches)


def bare(error: Exception) -> Exception:
    """The error alone: the frames behind it hold graphs and tensors, and are in a cycle with whoever keeps it."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def attempted(action: Callable, failed: Callable[[Exception], None]):
    """What the action returns, or the exception that it raised, which `failed` is told once its frames are gone."""
    try:
        return action()
    except Exception as error:  # Whatever a peer raises is a reason, and no end of the others.
        found = bare(error)
    failed(found)
    return found


def measure(
    subjects: list[Stopwatch], protocol: Protocol, failed: Callable[[int, Exception], None] = lambda *_: None
) -> list[Times | Exception]:
    """Takes samples of all subjects in turn, so that a drift of the clocks meets all of them alike. A subject that
    fails has its exception in the place of its times; `failed` is told its place, before the next one runs."""

    def attempt(place: int, action: Callable):
        return attempted(action, lambda error: failed(place, error))

    runs: list[_Run | Exception] = []
    for place, subject in enumerate(subjects):
        runs.append(attempt(place, lambda: _Run(subject, protocol)))
    for _ in range(protocol.samples):
        for place, subject in enumerate(subjects):
            run = runs[place]
            if isinstance(run, _Run):
                error = attempt(place, lambda: run.step(subject, protocol))
                if error is not None:
                    runs[place] = error
    return [run if isinstance(run, Exception) else Times(tuple(sorted(run.samples)), run.launches) for run in runs]


def _checked(seconds: float) -> float:
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a sample took {seconds} seconds, wanted a time above 0")
    return seconds
