"""The formulas against numbers by hand, and what passes for a result."""

import math
import unittest

from warpnorm_peers import formulas, ops

from .by_hand import Rows, as_rows, data, from_e4m3, row_by_hand, second_by_hand

ROWS, HIDDEN = 3, 8

VALUES = sorted(from_e4m3(code) for code in range(0x7F))


def nearest_code(value):
    """The e4m3 value that is nearest."""
    return math.copysign(min(VALUES, key=lambda one: abs(one - abs(value))), value)


def outputs(op, tensors):
    """The outputs by hand."""
    rows = [row_by_hand(op, tensors, row) for row in range(len(tensors.x))]
    y, found = [y for y, _ in rows], {}
    if "residual_out" in op.outputs:
        found["residual_out"] = [stored for _, stored in rows]
    if op.second_heads:
        found["second_y"] = [second_by_hand(op, tensors, row) for row in range(len(tensors.second_x))]
    if op.scaling is None:
        return found | {"y": y}
    amax = [max(map(abs, row)) for row in y]
    scales = [3.5 / 448 if op.scaling == ops.PER_TENSOR else one / 448 for one in amax]
    found["codes"] = [[nearest_code(value / scale) for value in row] for row, scale in zip(y, scales)]
    if op.scaling == ops.PER_TOKEN:
        found["scales"] = [[scale] for scale in scales]
    return found


class FormulasTest(unittest.TestCase):
    def test_formulas(self):
        for op in ops.OPS:
            tensors = data(op, ROWS, HIDDEN)
            found = formulas.expected(op, as_rows(tensors))
            wanted = outputs(op, tensors) | {"y": [row_by_hand(op, tensors, row)[0] for row in range(len(tensors.x))]}
            wanted.pop("codes", None)
            self.assertEqual(set(found), set(wanted), op.title)
            for name, rows in wanted.items():
                self.assertEqual(found[name].shape, (len(rows), len(rows[0])))
                for got, row in zip(found[name].rows, rows):
                    for a, b in zip(got, row):
                        self.assertAlmostEqual(a, b, places=12, msg=f"{op.title}: {name}")

    def test_half_steps_are_those_between_neighbours(self):
        for below, above in zip(VALUES, VALUES[1:]):
            between = Rows([[(below + above) / 2]])
            self.assertEqual(formulas.half_step(between).item(), (above - below) / 2)
            self.assertEqual(formulas.half_step(-between).item(), (above - below) / 2)
        self.assertEqual(formulas.half_step(Rows([[448.0]])).item(), 16.0)


class VerifiedTest(unittest.TestCase):
    def verified(self, op, change=lambda result: None):
        tensors = data(op, ROWS, HIDDEN)
        result = outputs(op, tensors)
        change(result)
        rows = {name: value and Rows(value) for name, value in result.items()}
        return formulas.verified(op, "bf16", as_rows(tensors), rows)

    def test_what_is_right_passes_with_its_error(self):
        for op in ops.OPS:
            error = self.verified(op)
            # Codes are off by a few percent, half of 1/8 to 1/16 at most; all else here is exact.
            self.assertTrue((1e-3 < error < 6.25e-2) if op.scaling else error < 1e-15, f"{op.title}: {error}")

    def test_every_output_is_looked_at(self):
        def first(name, value):
            def change(result):
                result[name][0][0] = value

            return change

        for op in ops.OPS:
            for name in op.outputs:
                with self.assertRaisesRegex(formulas.WrongResult, name):
                    self.verified(op, lambda result: result.update({name: None}))
                for value in (math.nan, 1e3):
                    with self.assertRaises(formulas.WrongResult, msg=f"{op.title}: {name} {value}"):
                        self.verified(op, first(name, value))

    def test_a_code_beside_the_nearest_one_is_wrong(self):
        for op in (op for op in ops.OPS if op.scaling):
            def neighbours(result):
                for row in result["codes"]:
                    for place, value in enumerate(row):
                        index = VALUES.index(abs(value))
                        row[place] = math.copysign(VALUES[index - 1 if index else 1], value)

            with self.assertRaisesRegex(formulas.WrongResult, "codes", msg=op.title):
                self.verified(op, neighbours)

    def test_codes_that_are_scaled_the_other_way_are_wrong(self):
        op = ops.titled("rms-norm (e4m3 per-tensor-wide)")

        def multiplied(result):
            scale = 3.5 / 448
            result["codes"] = [[nearest_code(value * scale * scale) for value in row] for row in result["codes"]]

        with self.assertRaises(formulas.WrongResult):
            self.verified(op, multiplied)


if __name__ == "__main__":
    unittest.main()
