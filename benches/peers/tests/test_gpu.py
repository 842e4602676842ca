"""Captures, what failures leave, and cells, on a made-up torch; where there is a GPU, on the real one."""

import contextlib
import ctypes
import importlib
import os
import re
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import warpnorm_peers
from warpnorm_peers import ops
from warpnorm_peers.timing import Protocol, Untrusted

try:
    import torch
except ImportError:
    torch = None

PROTOCOL = Protocol(samples=2, warm_up=1, max_launches=8)
RMS_NORM = ops.titled("rms-norm")


class OutOfMemory(Exception):
    pass


class MadeUp:
    """As much of torch as graphs take. A capture that is broken fails at its end, and leaves torch as the real one is
    left then: on the stream of the capture, and allocating for it."""

    def __init__(self):
        self.default = self.stream = mock.MagicMock()
        self.broken, self.underway, self.released = False, [], []
        self.torch = torch = mock.MagicMock()
        torch.OutOfMemoryError, torch.no_grad = OutOfMemory, contextlib.nullcontext
        torch._C._cuda_endAllocateToPool = lambda _, pool: self.underway.remove(pool)
        torch._C._cuda_releasePool = lambda _, pool: self.released.append(pool)
        cuda = torch.cuda
        cuda.current_stream = lambda: self.stream
        cuda.set_stream = lambda stream: setattr(self, "stream", stream)
        cuda.Stream = lambda: mock.MagicMock()
        cuda.graph_pool_handle = lambda: object()
        cuda.stream, cuda.graph = self.on, self.graph
        cuda.Event.return_value.elapsed_time.return_value = 1.0
        cuda.memory_reserved.return_value = 0
        cuda.get_device_properties.return_value.L2_cache_size = 1000
        torch.zeros.return_value.numel.return_value = 3
        torch.zeros.return_value.sum.return_value.item.return_value = 6

    @contextlib.contextmanager
    def on(self, stream):
        before, self.stream = self.stream, stream
        yield
        self.stream = before

    @contextlib.contextmanager
    def graph(self, graph, pool, stream):
        before, self.stream = self.stream, stream
        self.underway.append(pool)
        try:
            yield
        finally:
            if self.broken:
                self.broken = False
                raise RuntimeError("operation failed due to a previous error during capture")
            self.underway.remove(pool)
            self.stream = before


class GpuCase(unittest.TestCase):
    def setUp(self):
        """`gpu` on a torch of its own, and the real one after."""
        self.made_up = MadeUp()
        modules = ("gpu", "buffers")
        kept = {name: vars(warpnorm_peers).get(name) for name in modules}
        stand_in = mock.patch.dict(sys.modules, {"torch": self.made_up.torch})
        stand_in.start()
        for name in modules:
            sys.modules.pop(f"warpnorm_peers.{name}", None)
        self.gpu = importlib.import_module("warpnorm_peers.gpu")

        def restore():
            stand_in.stop()
            for name, module in kept.items():
                if module is None:
                    delattr(warpnorm_peers, name)
                else:
                    setattr(warpnorm_peers, name, module)

        self.addCleanup(restore)
        # No runtime is loaded; the tests of it say where it is.
        self.cleared = mock.MagicMock()
        clear = mock.patch.object(self.gpu, "clear_last_error", self.cleared)
        self.clear_last_error = self.gpu.clear_last_error
        clear.start()
        self.addCleanup(clear.stop)

    def breaks(self, *_):
        """A launch that a capture cannot take, if one is underway."""
        if self.made_up.underway:
            self.made_up.broken = True
            raise RuntimeError("operation not permitted when stream is capturing")
        return {}


class CaptureTest(GpuCase):
    def test_a_capture_that_breaks_leaves_nothing_behind(self):
        with self.assertRaises(self.gpu.CaptureFailed) as caught:
            self.gpu.captured(self.breaks)
        # The cause, and not what follows from it.
        self.assertEqual(str(caught.exception), "RuntimeError: operation not permitted when stream is capturing")
        self.assertEqual((self.made_up.stream, self.made_up.underway), (self.made_up.default, []))
        self.assertEqual(len(self.made_up.released), 1)

    def test_one_that_is_found_broken_at_its_end_does_not_either(self):
        def fill():
            self.made_up.broken = True

        with self.assertRaisesRegex(self.gpu.CaptureFailed, "previous error during capture"):
            self.gpu.captured(fill)
        self.assertEqual((self.made_up.stream, self.made_up.underway), (self.made_up.default, []))

    def test_one_that_ends_in_order_is_not_ended_twice(self):
        def fill():
            raise ValueError("not in a graph")

        with self.assertRaisesRegex(self.gpu.CaptureFailed, "ValueError: not in a graph"):
            self.gpu.captured(fill)
        self.assertEqual((self.made_up.stream, self.made_up.underway), (self.made_up.default, []))
        self.assertEqual(self.made_up.released, [])

    def test_memory_that_a_cell_lacks_is_no_fault_of_the_capture(self):
        def fill():
            raise OutOfMemory("no room")

        with self.assertRaises(OutOfMemory):
            self.gpu.captured(fill)
        # But where that breaks it.
        with self.assertRaisesRegex(self.gpu.CaptureFailed, "OutOfMemory: no room"):
            self.gpu.captured(lambda: (setattr(self.made_up, "broken", True), fill()))

    def test_a_version_of_torch_that_cannot_end_it_is_left_to_the_probe(self):
        del self.made_up.torch._C._cuda_endAllocateToPool
        with self.assertRaises(self.gpu.CaptureFailed):
            self.gpu.captured(self.breaks)
        self.assertEqual(self.made_up.stream, self.made_up.default)


class SettleTest(GpuCase):
    def test_what_a_refused_call_leaves_is_cleared(self):
        self.gpu.settle("peer", ValueError("refused"))
        self.cleared.assert_called_once()
        # Nothing was captured, and nothing is tried.
        self.made_up.torch.zeros.assert_not_called()

    def test_every_runtime_is_asked_for_its_last_error(self):
        lines = ["7f00-7f01 r-xp 00000000 08:01 42   /site/nvidia/cu13/lib/libcudart.so.13"] * 2
        lines += ["7f02-7f03 r-xp 00000000 08:01 43   /site/torch/lib/libcudart-d0da41ae.so.12"]
        lines += ["7f04-7f05 rw-p 0 [heap]", "7f06-7f07 r-xp 00000000 08:01 44   /site/torch/lib/libtorch_cuda.so"]
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(self.gpu.ctypes, "CDLL") as load:
            maps = Path(folder) / "maps"
            maps.write_text("\n".join(lines), encoding="utf-8")
            self.clear_last_error(maps)
        loaded = [call.args[0] for call in load.call_args_list]
        wanted = ["/site/nvidia/cu13/lib/libcudart.so.13", "/site/torch/lib/libcudart-d0da41ae.so.12"]
        self.assertEqual(loaded, wanted)
        self.assertEqual(load.return_value.cudaGetLastError.call_count, 2)

    def test_after_a_capture_that_failed_everything_is_tried(self):
        error = self.gpu.CaptureFailed("RuntimeError: no")
        self.gpu.settle("peer", error)
        self.assertEqual(self.made_up.torch.zeros.call_count, 1)
        torch = self.made_up.torch
        for changes in (
            {"cuda.memory_reserved.side_effect": [0, 1 << 26]},
            {"zeros.return_value.sum.return_value.item.return_value": 3},
            {"cuda.synchronize.side_effect": RuntimeError("an illegal memory access was encountered")},
        ):
            torch.configure_mock(**changes)
            with self.subTest(changes), self.assertRaises(Untrusted) as caught:
                self.gpu.settle("peer", error)
            self.assertEqual(caught.exception.name, "peer")
            self.assertIn("RuntimeError: no; then", str(caught.exception))
            torch.configure_mock(**{"cuda.memory_reserved.side_effect": None, "cuda.synchronize.side_effect": None})
            torch.zeros.return_value.sum.return_value.item.return_value = 6
        self.assertIn("illegal memory access", str(caught.exception))


class CellCase(GpuCase):
    def setUp(self):
        super().setUp()
        self.log = []
        source = mock.MagicMock()
        source.return_value.moved_bytes.return_value = 1000
        source.return_value.held_bytes.return_value = 1
        source.return_value.draw.return_value.x.shape = (8, 64)
        self.made_up.torch.cuda.mem_get_info.return_value = (1 << 30, 1 << 30)
        changes = {"Source": source, "spoil": mock.MagicMock(), "head": lambda *_: (None, None)}
        changes["places"] = lambda *_: {}
        changes |= {"verified": lambda *_: 0.0, "copy_timer": lambda *_: self.gpu.GraphTimer(lambda _: None, 1)}
        patch = mock.patch.multiple(self.gpu, **changes)
        patch.start()
        self.addCleanup(patch.stop)

    def cell(self, peers, dropped, library=None):
        peers = {name: {RMS_NORM.title: function} for name, function in peers.items()}
        found = self.gpu.cell(
            RMS_NORM, "bf16", (8, 64), library=library, peers=peers, dropped=dropped, protocol=PROTOCOL, seed=1,
            peak=None,
        )
        return found, {one["name"]: one for one in found["baselines"]}


class CellTest(CellCase):
    def test_a_peer_that_cannot_be_captured_is_dropped_and_the_others_are_timed(self):
        def logged(tensors):
            self.log.append(self.made_up.stream)
            return self.breaks()

        replays = self.made_up.torch.cuda.CUDAGraph.return_value.replay
        self.cleared.side_effect = lambda: self.log.append(replays.call_count)
        dropped, peers = {}, {"whole": lambda _: {}, "broken": logged}
        _, found = self.cell(peers, dropped)
        self.assertIn("CaptureFailed: RuntimeError: operation not permitted", found["broken"]["missing"])
        self.assertIsNotNone(found["whole"]["time"])
        self.assertIn("not run after rms-norm bf16 8x64: RuntimeError: operation not permitted", dropped["broken"])
        # Before a sample of any is taken.
        self.cleared.assert_called_once()
        self.assertEqual(self.log[-1], 0)
        ran = len(self.log)
        _, found = self.cell(peers, dropped)
        self.assertIn("not run after rms-norm bf16 8x64", found["broken"]["missing"])
        self.assertIsNotNone(found["whole"]["time"])
        self.assertEqual(len(self.log), ran)

    def test_one_that_breaks_only_where_there_are_many_launches_is_dropped_too(self):
        def breaks_later(_):
            self.log.append(1)
            return self.breaks() if len(self.log) > 4 else {}

        dropped = {}
        _, found = self.cell({"late": breaks_later, "whole": lambda _: {}}, dropped)
        self.assertIn("late", dropped)
        self.assertIn("CaptureFailed", found["late"]["missing"])
        self.assertIsNotNone(found["whole"]["time"])

    def test_one_that_refuses_a_shape_is_tried_at_the_next(self):
        def refuses(_):
            raise ValueError("hidden is too large")

        dropped = {}
        _, found = self.cell({"refuses": refuses}, dropped)
        self.assertEqual((dropped, found["refuses"]["missing"]), ({}, "ValueError: hidden is too large"))
        self.cleared.assert_called_once()

    def test_what_nothing_can_be_timed_after_ends_the_cell(self):
        self.made_up.torch.cuda.memory_reserved.side_effect = [0, 1]
        with self.assertRaises(Untrusted) as caught:
            self.cell({"broken": self.breaks}, {})
        self.assertEqual(caught.exception.name, "broken")

    def test_warpnorm_is_launched_as_the_peers_beside_it(self):
        library = mock.MagicMock()
        library.call.side_effect = lambda *arguments: arguments[-1]
        _, found = self.cell({"a": lambda _: {}}, {}, library)
        self.assertEqual(set(found), {"a", "copy"})
        self.assertEqual({call.args[1] for call in library.run.call_args_list}, {False})
        _, found = self.cell({"a": lambda _: {}, "a-pdl": lambda _: {}}, {}, library)
        self.assertEqual(set(found), {"a", "a-pdl", "warpnorm-pdl", "copy"})
        self.assertIsNotNone(found["warpnorm-pdl"]["speed_up"])
        self.assertEqual({call.args[1] for call in library.run.call_args_list}, {False, True})
        # It has no failures of its own that are not the cell's.
        library.run.side_effect = lambda _, programmatic, __: self.breaks() if programmatic else None
        with self.assertRaises(self.gpu.CaptureFailed):
            self.cell({"a-pdl": lambda _: {}}, {}, library)

    def test_buffers_are_those_that_samples_reach(self):
        # Four sets of as many bytes as the L2 cache has.
        cell, _ = self.cell({"whole": lambda _: {}}, {})
        self.assertEqual(cell["buffers"], {"sets": 4, "bytes": 4000, "larger_than_l2": True})
        self.assertEqual(cell["baselines"][0]["time"]["launches"] % 4, 0)
        rotation = self.gpu.Rotation(RMS_NORM, "bf16", 8, 64, 1, 1000)
        self.assertEqual(rotation.buffers(1000, 1), {"sets": 1, "bytes": 1000, "larger_than_l2": False})
        cell, _ = self.cell({}, {})
        self.assertIsNone(cell["buffers"])


class TuningTest(CellCase):
    def test_kernels_are_tuned_in_every_cell(self):
        class Autotuner:
            def __init__(self):
                self.cache = {}

        class OfFla(Autotuner):
            pass

        autotuner = OfFla()

        def tuned(tensors):
            # As fla's: by the hidden size alone.
            if 64 not in autotuner.cache:
                autotuner.cache[64] = len(self.log)
                self.log.append("tuned")
            return {}

        module = SimpleNamespace(Autotuner=Autotuner)
        with mock.patch.dict(sys.modules, {"triton.runtime.autotuner": module}):
            for _ in range(2):
                self.cell({"fla": tuned}, {})
        self.assertEqual(self.log, ["tuned"] * 2)

    def test_nothing_that_was_tuned_is_on_disk(self):
        self.assertEqual([os.environ[name] for name in ("FLA_CACHE_RESULTS", "TRITON_CACHE_AUTOTUNING")], ["0"] * 2)


class MakeUpTest(GpuCase):
    def test_the_made_up_torch_is_as_bad_as_the_real_one(self):
        with self.assertRaises(RuntimeError), self.made_up.graph(None, pool="pool", stream="capture"):
            self.made_up.broken = True
        self.assertEqual((self.made_up.stream, self.made_up.underway), ("capture", ["pool"]))


@unittest.skipIf(torch is None or not torch.cuda.is_available(), "needs torch and a GPU")
class RealTest(unittest.TestCase):
    def setUp(self):
        from warpnorm_peers import gpu

        self.gpu = gpu

    def test_torch_is_in_order_after_a_capture_that_failed(self):
        kept = []

        def fill():
            kept.append(torch.empty(1 << 26, dtype=torch.uint8, device="cuda"))
            torch.cuda.synchronize()

        for _ in range(2):
            with self.assertRaises(self.gpu.CaptureFailed) as caught:
                self.gpu.captured(fill)
            kept.clear()
            self.gpu.settle("peer", caught.exception)
        self.assertEqual(torch.cuda.current_stream(), torch.cuda.default_stream())

    def test_a_refused_call_leaves_no_error(self):
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
        runtime = ctypes.CDLL(re.search(r"/\S*/libcudart[^/\s]*", maps).group())
        self.assertNotEqual(runtime.cudaSetDevice(9999), 0)
        self.assertNotEqual(runtime.cudaPeekAtLastError(), 0)
        self.gpu.settle("peer", ValueError("refused"))
        self.assertEqual(runtime.cudaPeekAtLastError(), 0)


if __name__ == "__main__":
    unittest.main()
