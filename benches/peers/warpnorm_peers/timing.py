"""How samples are taken, whatever it is that is timed: the protocol of `warpnorm bench`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol as Interface

# Samples that even the slowest subject has, as far as so many are asked for.
LEAST = 5


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
        """Launches of a sample, for a launch that takes so long: whole rounds of the sets, and at least one. Fewer would
        leave sets out, and what is left might fit in a cache."""
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


def measure(subjects: list[Stopwatch], protocol: Protocol) -> list[Times | Exception]:
    """Takes samples of all subjects in turn, so that a drift of the clocks meets all of them alike. A subject that
    fails has its exception in the place of its times."""
    runs: list[_Run | Exception] = []
    for subject in subjects:
        try:
            runs.append(_Run(subject, protocol))
        except Exception as error:  # Whatever a peer raises is a reason, and no end of the others.
            runs.append(error)
    for _ in range(protocol.samples):
        for place, subject in enumerate(subjects):
            run = runs[place]
            if isinstance(run, _Run):
                try:
                    run.step(subject, protocol)
                except Exception as error:
                    runs[place] = error
    return [run if isinstance(run, Exception) else Times(tuple(sorted(run.samples)), run.launches) for run in runs]


def _checked(seconds: float) -> float:
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"a sample took {seconds} seconds, wanted a time above 0")
    return seconds
