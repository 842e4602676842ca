"""The peers: their names and ops, and the compositions of PyTorch on the CPU, where it is installed."""

import sys
import unittest
from pathlib import Path
from unittest import mock

from warpnorm_peers import formulas, ops, registry, report

try:
    import torch
except ImportError:
    torch = None

MODULES = (
    "torch", "torch.nn", "torch.nn.functional", "liger_kernel", "liger_kernel.transformers", "fla", "fla.modules",
    "fla.modules.activations", "fla.modules.fused_norm_gate", "fla.modules.layernorm", "flashinfer", "quack",
    "quack.rmsnorm",
)


class RegistryTest(unittest.TestCase):
    def test_peers_are_those_of_the_requirements(self):
        text = (Path(__file__).resolve().parents[1] / "requirements.txt").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        packages = {line.split("==")[0] for line in lines}
        of = {"torch-eager": "torch", "torch-compile": "torch", "liger": "liger-kernel", "fla": "fla-core",
              "flashinfer": "flashinfer-python", "quack": "quack-kernels"}
        self.assertEqual({peer.name for peer in registry.PEERS}, set(of))
        self.assertLessEqual(set(of.values()), packages)

    def test_one_that_fails_does_not_end_the_others(self):
        def broken():
            raise RuntimeError("no driver")

        peers = (registry.Peer("broken", broken), registry.Peer("whole", lambda: {"rms-norm": None}))
        loaded, failed = registry.load(peers)
        self.assertEqual(list(loaded), ["whole"])
        self.assertEqual(report.reason(failed["broken"]), "RuntimeError: no driver")

    def test_ops_are_known_and_every_one_has_a_peer(self):
        # Libraries that have whatever is looked for in them.
        modules = {name: mock.MagicMock() for name in MODULES}
        with mock.patch.dict(sys.modules, modules):
            sys.modules.pop("warpnorm_peers.compositions", None)
            loaded, failed = registry.load()
        self.assertEqual(failed, {})
        titles = {op.title for op in ops.OPS}
        for name, functions in loaded.items():
            self.assertLessEqual(set(functions), titles, name)
        for name in ("torch-eager", "torch-compile"):
            self.assertEqual(set(loaded[name]), titles)
        having = lambda title: {name for name, functions in loaded.items() if title in functions} - {
            "torch-eager", "torch-compile"
        }
        self.assertEqual(having("rms-norm (e4m3 per-tensor-wide)"), {"flashinfer"})
        self.assertEqual(having("head-rms-norm"), {"liger", "fla", "flashinfer", "quack"})
        self.assertEqual(having("head-rms-norm (q and k packed)"), {"flashinfer"})
        self.assertEqual(having("activation (silu)"), {"liger", "fla", "flashinfer"})


@unittest.skipIf(torch is None, "torch is not installed")
class TorchTest(unittest.TestCase):
    def each(self, rows=6, hidden=40):
        """Every op in every type that it has, with tensors on the CPU."""
        from warpnorm_peers import buffers

        for op in ops.OPS:
            for dtype in ops.DTYPES:
                if op.scaling is None or dtype != "f32":
                    source = buffers.Source(op, dtype, rows, hidden, 1, "cpu")
                    yield op, dtype, source, source.draw()

    def test_the_compositions_compute_the_formulas(self):
        from warpnorm_peers.buffers import head

        functions = registry._eager()
        for op, dtype, _, tensors in self.each():
            result = functions[op.title](tensors)
            # All of it, and the first rows.
            for elements in (1 << 20, 2 * 40 * op.heads):
                formulas.verified(op, dtype, *head(op, tensors, result, elements))

    def test_what_is_not_written_is_seen(self):
        from warpnorm_peers.buffers import head, spoil

        for op, dtype, _, tensors in self.each():
            spoil(op, tensors)
            result = {name: getattr(tensors, name) for name in op.outputs}
            with self.assertRaises(formulas.WrongResult, msg=op.title):
                formulas.verified(op, dtype, *head(op, tensors, result, 1 << 20))

    def test_tensors_are_as_large_as_the_floor_says(self):
        for op, dtype, source, tensors in self.each():
            total = 0
            for name in ("x", *op.inputs, *op.outputs):
                tensor = getattr(tensors, name)
                self.assertEqual(tuple(tensor.shape), op.shape(name, 6, 40), f"{op.title}: {name}")
                self.assertEqual(tensor.numel() * tensor.element_size(), op.bytes_of(name, 6, 40, dtype))
                shared = any(tensor is one for one in source.parameters.values())
                total += 0 if shared else tensor.numel() * tensor.element_size()
            self.assertEqual(total, source.moved_bytes())
            self.assertLessEqual(total, source.held_bytes())

    def test_the_library_computes_the_formulas_on_the_same_tensors(self):
        from warpnorm_peers import abi
        from warpnorm_peers.buffers import head, places, spoil

        try:
            library = abi.Library(abi.find_library(None))
        except abi.LibraryError as error:
            self.skipTest(str(error))
        library.open_cpu()
        self.addCleanup(library.close)
        for op, dtype, _, tensors in self.each():
            spoil(op, tensors)
            library.run(library.norm(op), library.call(op, dtype, 6, 40, places(op, tensors)))
            result = {name: getattr(tensors, name) for name in op.outputs}
            formulas.verified(op, dtype, *head(op, tensors, result, 1 << 20))


if __name__ == "__main__":
    unittest.main()
