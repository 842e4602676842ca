"""Samples of known times."""

import gc
import math
import statistics
import unittest
import weakref

from warpnorm_peers.timing import LEAST, Protocol, Times, measure

PROTOCOL = Protocol(samples=4, warm_up=1, sample_seconds=1e-3, max_launches=100, subject_seconds=1.0)


class Fake:
    """A clock whose launches take what it is told, each sample `alone` more; the last one stays."""

    def __init__(self, name, script, log, sets=1, alone=0.0):
        self.name, self.script, self.log, self.sets, self.alone = name, script, log, sets, alone
        self.launches, self.taken, self.prepared = 0, 0, []

    def prepare(self, launches):
        self.launches = launches
        self.prepared.append(launches)

    def sample(self):
        self.log.append(self.name)
        seconds = self.script[min(self.taken, len(self.script) - 1)]
        self.taken += 1
        if isinstance(seconds, Exception):
            raise seconds
        return seconds * self.launches + self.alone


class TimingTest(unittest.TestCase):
    def test_times_are_of_one_launch_and_warm_up_is_not_counted(self):
        # Cold and calibration, of one and of many; warm-up, and the four that count.
        fake = Fake("a", [us * 1e-6 for us in (900, 51, 800, 52, 70, 40, 20, 10, 30)], [])
        (times,) = measure([fake], PROTOCOL)
        self.assertEqual(times.launches, 20)
        for p, wanted in ((0.0, 10), (0.25, 17.5), (0.5, 25), (0.75, 32.5), (1.0, 40)):
            self.assertAlmostEqual(times.quantile(p) * 1e6, wanted)

    def test_quantiles_are_those_of_the_standard_library(self):
        seconds = tuple(sorted((7.0, 15.0, 36.0, 39.0, 40.0, 41.0, 3.5)))
        wanted = statistics.quantiles(seconds, n=4, method="inclusive")
        self.assertEqual([Times(seconds, 1).quantile(p) for p in (0.25, 0.5, 0.75)], wanted)

    def test_subjects_take_turns(self):
        log = []
        measure([Fake("a", [1e-3], log), Fake("b", [1e-4], log)], PROTOCOL)
        self.assertEqual("".join(log), "aaaaabbbbb" + "ab" * 4)

    def test_launches_are_as_many_as_fill_a_sample(self):
        self.assertEqual([PROTOCOL.launches(s) for s in (1.0, 1e-3, 3e-4, 1e-9)], [1, 1, 4, 100])

    def test_a_sample_is_of_whole_rounds_of_the_sets(self):
        for seconds, sets, wanted in (
            (1.0, 1, 1), (1.0, 7, 7), (1e-4, 7, 14), (1e-4, 5, 10), (1e-9, 7, 98), (1e-5, 60, 60), (1e-9, 100, 100),
            # There are no fewer launches than sets.
            (1.0, 300, 300),
        ):
            self.assertEqual(PROTOCOL.launches(seconds, sets), wanted, (seconds, sets))
        slow = Fake("s", [0.5], [], sets=6)
        self.assertEqual((measure([slow], PROTOCOL)[0].launches, slow.prepared), (6, [1, 6]))

    def test_what_a_launch_takes_alone_does_not_tell_how_many_make_a_sample(self):
        fake = Fake("a", [1e-5], [], alone=1.9e-4)
        (times,) = measure([fake], PROTOCOL)
        # 200 us alone and 48 among five: the second is nearer to the 10 that it takes.
        self.assertEqual((fake.prepared, times.launches), ([1, 5, 21], 21))

    def test_a_slow_subject_has_fewer_samples_and_a_broken_one_its_reason(self):
        protocol = Protocol(samples=30, warm_up=1, sample_seconds=1e-3, max_launches=100, subject_seconds=1.0)
        broken = Fake("b", [1e-3] * 5 + [ValueError("broke")], [])
        slow, never = Fake("s", [0.5], []), Fake("n", [math.nan], [])
        times = measure([slow, broken, never], protocol)
        self.assertEqual(len(times[0].seconds), LEAST)
        self.assertEqual(str(times[1]), "broke")
        self.assertIsInstance(times[2], ValueError)

    def test_what_failed_holds_nothing_and_the_next_runs_after_that_is_said(self):
        class Tensor:
            pass

        kept, log = [], []

        class Holding(Fake):
            def sample(self):
                tensor = Tensor()
                kept.append(weakref.ref(tensor))
                try:
                    raise KeyError("first")
                except KeyError:
                    super().sample()
                    if len(log) > self.limit:
                        raise ValueError("broke")
                    return 1e-3

        for limit in (0, 6):
            kept.clear(), log.clear()
            holding = Holding("h", [1e-3], log)
            holding.limit = limit
            told = []
            gc.disable()
            try:
                times = measure(
                    [holding, Fake("n", [1e-3], log)], PROTOCOL,
                    lambda place, error: told.append((place, str(error), [one() for one in kept], "".join(log))),
                )
                alive = [one() for one in kept]
            finally:
                gc.enable()
            self.assertEqual(str(times[0]), "broke")
            self.assertEqual(alive, [None] * len(kept))
            ((place, error, alive, ran),) = told
            # While it was told, nothing of the failure was alive, and the next had not run after it.
            self.assertEqual((place, error, alive), (0, "broke", [None] * len(kept)))
            self.assertTrue(ran.endswith("h"), ran)


if __name__ == "__main__":
    unittest.main()
