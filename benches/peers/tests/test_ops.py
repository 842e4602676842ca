"""Names, tensors, shapes and byte floors."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from warpnorm_peers import ops

from .test_abi import built


class OpsTest(unittest.TestCase):
    def test_titles_are_those_of_the_tool(self):
        # As `warpnorm bench` has them; the one of q and k it has only with a rotation.
        self.assertEqual(
            [op.title for op in ops.OPS],
            [
                "layer-norm",
                "rms-norm",
                "add-layer-norm (stored)",
                "add-rms-norm (stored)",
                "gated-rms-norm (silu)",
                "rms-norm (e4m3 per-tensor-wide)",
                "add-rms-norm (stored, e4m3 per-tensor-wide)",
                "rms-norm (e4m3 per-token)",
                "add-rms-norm (stored, e4m3 per-token)",
                "layer-norm (e4m3 per-token)",
                "head-rms-norm",
                "head-rms-norm (q and k packed)",
                "activation (silu)",
                "layer-norm-add (single)",
                "rms-norm-add (single)",
                "rms-norm-add-rms-norm (single)",
            ],
        )

    def test_floors_are_the_table_of_bytes_per_element(self):
        # Bytes for each element of x in 16 bits: 4 of a norm, 8 with the residual read and stored, 6 with a gate or a
        # residual that is read alone; 3 and 7 with codes. Then vectors, and bytes of scales, for each row and in all.
        rows, hidden = 1000, 4096
        for title, per_element, vectors, per_row, more in (
            ("rms-norm", 4, 1, 0, 0),
            ("layer-norm", 4, 2, 0, 0),
            ("add-rms-norm (stored)", 8, 1, 0, 0),
            ("add-layer-norm (stored)", 8, 2, 0, 0),
            ("gated-rms-norm (silu)", 6, 1, 0, 0),
            ("rms-norm (e4m3 per-tensor-wide)", 3, 1, 0, 4),
            ("add-rms-norm (stored, e4m3 per-tensor-wide)", 7, 1, 0, 4),
            ("rms-norm (e4m3 per-token)", 3, 1, 4, 0),
            ("add-rms-norm (stored, e4m3 per-token)", 7, 1, 4, 0),
            ("layer-norm (e4m3 per-token)", 3, 2, 4, 0),
            # 32 heads; with 8 more, which have a weight of their own.
            ("head-rms-norm", 4 * 32, 1, 0, 0),
            ("head-rms-norm (q and k packed)", 4 * 40, 2, 0, 0),
            ("activation (silu)", 6, 0, 0, 0),
            ("layer-norm-add (single)", 6, 1, 0, 0),
            ("rms-norm-add (single)", 6, 1, 0, 0),
            ("rms-norm-add-rms-norm (single)", 8, 2, 0, 0),
        ):
            wanted = (per_element * rows + vectors * 2) * hidden + per_row * rows + more
            self.assertEqual(ops.titled(title).floor_bytes(rows, hidden, "bf16"), wanted, title)
        self.assertEqual(ops.titled("rms-norm").floor_bytes(1, 64, "f32"), 64 * 4 * 3)

    def test_tensors_are_in_the_order_of_the_tool(self):
        for title, tensors in (
            ("add-layer-norm (stored)", ["residual", "weight", "bias"]),
            ("gated-rms-norm (silu)", ["gate", "weight"]),
            ("rms-norm (e4m3 per-tensor-wide)", ["weight"]),
            ("head-rms-norm (q and k packed)", ["weight", "second_x"]),
            ("activation (silu)", ["gate"]),
            ("rms-norm-add-rms-norm (single)", ["residual", "weight", "inner_weight"]),
        ):
            self.assertEqual(ops.titled(title).tensors, tensors, title)

    def test_shapes_are_within_memory(self):
        shapes = list(ops.titled("rms-norm").shapes(dtype="f32"))
        self.assertIn((65536, 16384), shapes)
        self.assertNotIn((65536, 65536), shapes)
        self.assertEqual(len(set(shapes)), len(shapes))
        heads = ops.titled("head-rms-norm")
        self.assertEqual({hidden for _, hidden in heads.shapes()}, {64, 128, 256})
        # 32 times 4096 elements of 2 bytes are 2¹⁸ bytes a row.
        self.assertEqual([rows for rows, _ in heads.shapes((1 << 14, 1 << 15), (4096,))], [1 << 14])

    def test_choices(self):
        titles = lambda *choice: [op.title for op in ops.chosen(*choice)]
        self.assertEqual(len(titles()), len(ops.OPS))
        self.assertEqual(titles(["rms-norm"], ["none"]), ["rms-norm"])
        self.assertEqual(titles(["rms-norm", "activation"], ["per-token", "none"]),
                         ["rms-norm", "rms-norm (e4m3 per-token)", "activation (silu)"])
        with self.assertRaises(ValueError):
            ops.titled("rms-norm (wide)")


class ToolTest(unittest.TestCase):
    """Against the tool itself, where it is built: cells of both reports can be laid side by side."""

    def test_cells_are_those_of_the_tool(self):
        tool = built(self, "warpnorm")
        theirs = []
        for scaling in (None, ops.PER_TENSOR):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "report.json"
                names = sorted({op.name for op in ops.OPS if scaling in (None, op.scaling)})
                quantise = ["--quantise", scaling] if scaling else []
                shape = ["--device", "emulated", "--dtype", "bf16", "--rows", "1", "--hidden", "128"]
                command = [tool, "bench", *shape, "--op", ",".join(names), *quantise, "--json", path]
                subprocess.run(command, check=True, capture_output=True)
                theirs += json.loads(path.read_text(encoding="utf-8"))["cells"]
        fields = ("op", "options", "parts", "tensors", "floor_bytes")
        theirs = [tuple(cell[field] for field in fields) for cell in theirs]
        for op in ops.OPS:
            if op.second_heads:
                continue
            ours = (op.name, op.options, op.heads, op.tensors, op.floor_bytes(1, 128, "bf16"))
            self.assertIn(ours, theirs)


if __name__ == "__main__":
    unittest.main()
