"""The peers: their names and ops, and the compositions of PyTorch on the CPU, where it is installed."""

import functools
import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Union
from unittest import mock

from warpnorm_peers import formulas, ops, registry, report

from .test_abi import library_on_cpu

try:
    import torch
except ImportError:
    torch = None

MODULES = (
    "torch", "torch.nn", "torch.nn.functional", "liger_kernel", "liger_kernel.transformers", "fla", "fla.modules",
    "fla.modules.activations", "fla.modules.fused_norm_gate", "fla.modules.layernorm", "flashinfer", "quack",
    "quack.rmsnorm",
)


FLASHINFER = {
    "rmsnorm", "fused_add_rmsnorm", "rmsnorm_quant", "fused_add_rmsnorm_quant", "layernorm", "silu_and_mul"
}


def flashinfer(calls, scale, capability=(9, 0)):
    """A FlashInfer whose functions write down how they are called, with scales of this type, and a torch with a GPU."""

    def rmsnorm(input, weight, eps, out=None, enable_pdl=None):
        calls.append(("rmsnorm", locals()))

    def fused_add_rmsnorm(input, residual, weight, eps, enable_pdl=None):
        calls.append(("fused_add_rmsnorm", locals()))

    def rmsnorm_quant(out, input, weight, scale: scale, eps, enable_pdl=None):
        calls.append(("rmsnorm_quant", locals()))

    def fused_add_rmsnorm_quant(out, input, residual, weight, scale: scale, eps, enable_pdl=None):
        calls.append(("fused_add_rmsnorm_quant", locals()))

    def layernorm(input, gemma, beta, eps):
        calls.append(("layernorm", locals()))

    def silu_and_mul(input, out=None, enable_pdl=None):
        calls.append(("silu_and_mul", locals()))

    norms = (rmsnorm, fused_add_rmsnorm, rmsnorm_quant, fused_add_rmsnorm_quant, layernorm)
    library, torch = mock.MagicMock(), mock.MagicMock()
    library.norm = SimpleNamespace(**{function.__name__: function for function in norms})
    library.activation = SimpleNamespace(silu_and_mul=silu_and_mul)
    torch.cuda.get_device_capability.return_value = capability
    return {"flashinfer": library, "torch": torch}


class RegistryTest(unittest.TestCase):
    def test_peers_are_those_of_the_requirements(self):
        text = (Path(__file__).resolve().parents[1] / "requirements.txt").read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        packages = {line.split("==")[0] for line in lines}
        of = {"torch-eager": "torch", "torch-compile": "torch", "liger": "liger-kernel", "fla": "fla-core",
              "flashinfer": "flashinfer-python", "flashinfer-pdl": "flashinfer-python", "quack": "quack-kernels"}
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
        modules = {name: mock.MagicMock() for name in MODULES} | flashinfer([], float)
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
        both = {"flashinfer", "flashinfer-pdl"}
        self.assertEqual(having("rms-norm (e4m3 per-tensor-wide)"), both)
        self.assertEqual(having("head-rms-norm"), {"liger", "fla", "quack"} | both)
        self.assertEqual(having("head-rms-norm (q and k packed)"), both)
        self.assertEqual(having("activation (silu)"), {"liger", "fla"} | both)
        self.assertEqual(having("layer-norm"), {"liger", "fla", "flashinfer", "quack"})


class FlashInferTest(unittest.TestCase):
    def calls(self, name, scale, capability=(9, 0)):
        """What every op of the peer calls, and whether that is launched programmatically."""
        calls = []
        with mock.patch.dict(sys.modules, flashinfer(calls, scale, capability)):
            loaded, failed = registry.load([peer for peer in registry.PEERS if peer.name == name])
        for error in failed.values():
            raise error
        for function in loaded[name].values():
            function(registry.Tensors(1e-6, "x", tensor_scale="scale"))
        return calls

    def test_nothing_is_launched_programmatically_but_where_the_name_says_so(self):
        for name, wanted in (("flashinfer", False), ("flashinfer-pdl", True)):
            calls = self.calls(name, float)
            launched = {function: given["enable_pdl"] for function, given in calls if function != "layernorm"}
            self.assertEqual(set(launched), FLASHINFER - {"layernorm"})
            self.assertEqual(set(launched.values()), {wanted})
        with self.assertRaisesRegex(RuntimeError, "before compute capability 9.0"):
            self.calls("flashinfer-pdl", float, (8, 9))
        self.assertTrue(self.calls("flashinfer", float, (8, 9)))

    def test_the_scale_is_a_tensor_where_one_is_taken(self):
        class Tensor:
            pass

        number, tensor = ops.TENSOR_SCALE, "scale"
        for of, wanted in ((float, number), (Union[float, Tensor], tensor), ("float | torch.Tensor", tensor)):
            given = [given["scale"] for function, given in self.calls("flashinfer", of) if function.endswith("_quant")]
            self.assertEqual(given, [wanted] * 2)


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

        functions = registry._eager()
        for op, dtype, _, tensors in self.each():
            result = functions[op.title](tensors)
            formulas.verified(op, dtype, *head(op, tensors, result, 1 << 20))
            for name in op.outputs:
                setattr(tensors, name, result[name].contiguous())
            spoil(op, tensors)
            result = {name: getattr(tensors, name) for name in op.outputs}
            self.assertTrue(all(one.double().isnan().all() for one in result.values()), op.title)
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
        from warpnorm_peers.buffers import head, places, spoil

        library = library_on_cpu(self)
        for op, dtype, _, tensors in self.each():
            spoil(op, tensors)
            library.run(library.norm(op), library.call(op, dtype, 6, 40, places(op, tensors)))
            result = {name: getattr(tensors, name) for name in op.outputs}
            formulas.verified(op, dtype, *head(op, tensors, result, 1 << 20))

    def test_cells_are_timed_of_what_is_right(self):
        """All of a cell but the graphs and the GPU."""
        from warpnorm_peers import gpu
        from warpnorm_peers.timing import Protocol

        class Clock:
            def __init__(self, launch, sets):
                self.launch, self.sets, self.taken = launch, sets, 0

            def prepare(self, launches):
                self.launches = launches

            def sample(self):
                self.launch(self.taken % self.sets)
                self.taken += 1
                return 1e-3 * self.launches

        cuda = mock.MagicMock()
        cuda.get_device_properties.return_value.L2_cache_size = 1 << 16
        cuda.mem_get_info.return_value = (1 << 30, 1 << 30)
        eager = registry._eager()

        def wrong(op, tensors):
            result = eager[op.title](tensors)
            return result | {op.outputs[0]: result[op.outputs[0]].float() * 1.5}

        def in_place(op, tensors):
            for name, result in eager[op.title](tensors).items():
                getattr(tensors, name).copy_(result)
            return idle(op, tensors)

        # It finds what the one before has written.
        def idle(op, tensors):
            return {name: getattr(tensors, name) for name in op.outputs}

        peers = {"eager": eager, "empty": {}}
        for function in (wrong, in_place, idle):
            peers[function.__name__] = {op.title: functools.partial(function, op) for op in ops.OPS}
        changes = {"DEVICE": "cpu", "GraphTimer": Clock, "copy_timer": lambda *_: Clock(lambda _: None, 1)}
        protocol = Protocol(samples=2, warm_up=1)
        with mock.patch.multiple(gpu, **changes), mock.patch.object(gpu.torch, "cuda", cuda):
            for op in ops.OPS:
                cell = gpu.cell(
                    op, "bf16", (6, 40), library=None, peers=peers, dropped={}, protocol=protocol, seed=1, peak=None
                )
                found = {one["name"]: one for one in cell["baselines"]}
                self.assertEqual(set(found), {"eager", "wrong", "in_place", "idle", "copy"})
                for name in ("eager", "in_place"):
                    self.assertIsNotNone(found[name]["time"], found[name]["missing"])
                for name in ("wrong", "idle"):
                    self.assertIn("WrongResult", found[name]["missing"])
                self.assertEqual((cell["op"], cell["options"], cell["parts"]), (op.name, op.options, op.heads))
                # As many as 4·2¹⁶ bytes take of what a launch reads and writes.
                moved = op.floor_bytes(6, 40, "bf16") - op.floor_bytes(0, 40, "bf16")
                self.assertEqual(cell["buffers"]["sets"], -(-(4 << 16) // moved))
                self.assertEqual(cell["buffers"]["bytes"], cell["buffers"]["sets"] * moved)


if __name__ == "__main__":
    unittest.main()
