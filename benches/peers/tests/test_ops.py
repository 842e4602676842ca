"""Formulas and floors, by hand; and the C library, where it is built, against them."""

import array
import math
import random
import unittest
from types import SimpleNamespace

from warpnorm_peers import abi, ops


class Rows:
    """As much of a torch tensor as the formulas use, in plain numbers; a vector is added to and multiplied with every
    row, and a column with every element of its row."""

    dtype = "f64"

    def __init__(self, rows):
        self.rows = rows

    def double(self):
        return self

    def to(self, _):
        return self

    def each(self, function):
        return Rows([[function(value) for value in row] for row in self.rows])

    def with_other(self, other, function):
        if not isinstance(other, Rows):
            return self.each(lambda value: function(value, other))
        pairs = []
        for place, row in enumerate(self.rows):
            there = other.rows[place] if len(other.rows) == len(self.rows) else other.rows[0]
            pairs.append([function(value, there[i if len(there) > 1 else 0]) for i, value in enumerate(row)])
        return Rows(pairs)

    def mean(self, dim, keepdim):
        assert dim == -1 and keepdim
        return Rows([[sum(row) / len(row)] for row in self.rows])

    square = lambda self: self.each(lambda value: value * value)
    sqrt = lambda self: self.each(math.sqrt)
    exp = lambda self: self.each(math.exp)
    __neg__ = lambda self: self.each(lambda value: -value)
    __add__ = lambda self, other: self.with_other(other, lambda a, b: a + b)
    __radd__ = __add__
    __sub__ = lambda self, other: self.with_other(other, lambda a, b: a - b)
    __mul__ = lambda self, other: self.with_other(other, lambda a, b: a * b)
    __truediv__ = lambda self, other: self.with_other(other, lambda a, b: a / b)


def data(op, rows, hidden):
    """Tensors of unit variance, the same every time."""
    source = random.Random(7)
    # Values that f32 holds.
    draw = lambda count: [list(array.array("f", (source.gauss(0, 1) for _ in range(hidden)))) for _ in range(count)]
    return SimpleNamespace(
        x=draw(rows),
        weight=draw(1),
        bias=draw(1) if op.layer_norm else None,
        residual=draw(rows) if op.residual else None,
        gate=draw(rows) if op.gate else None,
    )


def by_hand(op, tensors, row, column):
    """One element of y, written out."""
    h = list(tensors.x[row])
    if op.residual:
        h = [a + b for a, b in zip(tensors.residual[row], h)]
    mean = sum(h) / len(h) if op.layer_norm else 0.0
    variance = sum((value - mean) ** 2 for value in h) / len(h)
    y = (h[column] - mean) / math.sqrt(variance + op.eps) * tensors.weight[0][column]
    if op.layer_norm:
        y += tensors.bias[0][column]
    if op.gate:
        z = tensors.gate[row][column]
        y *= z / (1 + math.exp(-z))
    return y


class OpsTest(unittest.TestCase):
    def test_formulas(self):
        for op in ops.OPS:
            tensors = data(op, 3, 8)
            as_rows = SimpleNamespace(**{k: v and Rows(v) for k, v in vars(tensors).items()})
            y, residual = ops.expected(op, as_rows)
            for row in range(3):
                for column in range(8):
                    self.assertAlmostEqual(y.rows[row][column], by_hand(op, tensors, row, column), places=12)
                    if op.residual:
                        wanted = tensors.x[row][column] + tensors.residual[row][column]
                        self.assertEqual(residual.rows[row][column], wanted)
            self.assertEqual(residual is None, not op.residual)

    def test_floors_are_the_table_of_bytes_per_element(self):
        # 4 bytes an element of a 16-bit norm, 8 with the residual read and stored, 6 with a gate; a weight, a bias.
        rows, hidden = 1000, 4096
        for name, per_element, vectors in (
            ("rms-norm", 4, 1), ("layer-norm", 4, 2), ("add-rms-norm", 8, 1), ("add-layer-norm", 8, 2),
            ("gated-rms-norm", 6, 1),
        ):
            wanted = per_element * rows * hidden + vectors * 2 * hidden
            self.assertEqual(ops.named(name).floor_bytes(rows, hidden, "bf16"), wanted, name)
        self.assertEqual(ops.named("rms-norm").floor_bytes(1, 64, "f32"), 64 * 4 * 3)

    def test_shapes_are_within_memory(self):
        shapes = list(ops.shapes(dtype="f32"))
        self.assertIn((65536, 16384), shapes)
        self.assertNotIn((65536, 65536), shapes)
        self.assertEqual(len(set(shapes)), len(shapes))


HEADER = """
// A comment; with WARPNORM_NOT = 9, in it.
#define WARPNORM_FLAG 1
enum warpnorm_kind { WARPNORM_KIND_A = 0, // one
    WARPNORM_KIND_B = 7,
};
typedef struct warpnorm_inner {
    // What; it is.
    uint32_t kind;
    const void *data;
} warpnorm_inner;
typedef struct warpnorm_outer {
    float eps;
    struct warpnorm_inner inner;
    float *mean;
    size_t rows;
} warpnorm_outer;
"""


class AbiTest(unittest.TestCase):
    def test_structures_are_those_of_the_header(self):
        structures, values = abi.parse_header(HEADER)
        self.assertEqual(values, {"WARPNORM_FLAG": 1, "WARPNORM_KIND_A": 0, "WARPNORM_KIND_B": 7})
        outer = structures["warpnorm_outer"]
        self.assertEqual([name for name, _ in outer._fields_], ["eps", "inner", "mean", "rows"])
        self.assertEqual((outer.inner.offset, outer.mean.offset, outer.rows.offset), (8, 24, 32))
        with self.assertRaises(abi.LibraryError):
            abi.parse_header("typedef struct warpnorm_x {\n unknown y;\n} warpnorm_x;")

    def test_a_library_that_is_not_there_says_so(self):
        with self.assertRaises(abi.LibraryError):
            abi.Library(abi.find_library("/missing/libwarpnorm.so"))

    def test_the_library_computes_the_formulas(self):
        try:
            library = abi.Library(abi.find_library(None))
        except abi.LibraryError as error:
            self.skipTest(str(error))
        library.open_cpu()
        self.addCleanup(library.close)
        rows, hidden = 3, 40
        for op in ops.OPS:
            tensors = data(op, rows, hidden)
            flat = {name: array.array("f", sum(value, [])) for name, value in vars(tensors).items() if value}
            flat["y"] = array.array("f", bytes(4 * rows * hidden))
            if op.residual:
                flat["residual_out"] = array.array("f", bytes(4 * rows * hidden))
            addresses = {name: values.buffer_info()[0] for name, values in flat.items()}
            library.run(library.norm(op), library.call(op, "f32", rows, hidden, addresses))
            for row in range(rows):
                for column in range(hidden):
                    wanted = by_hand(op, tensors, row, column)
                    self.assertAlmostEqual(flat["y"][row * hidden + column], wanted, delta=3e-6 * (1 + abs(wanted)))


if __name__ == "__main__":
    unittest.main()
