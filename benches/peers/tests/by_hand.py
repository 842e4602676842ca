"""Plain numbers: data, one element at a time of what the ops compute, and as much of a tensor as the formulas use."""

import array
import math
import random
import struct
from types import SimpleNamespace


class Rows:
    """As much of a torch tensor as the formulas use; a vector is added to and multiplied with every row, and a column
    with every element of its row. Heads are rows of their own."""

    dtype = "f64"

    def __init__(self, rows):
        self.rows = rows

    @property
    def shape(self):
        return (len(self.rows), len(self.rows[0]))

    def double(self):
        return self

    def to(self, _):
        return self

    def reshape(self, shape):
        assert shape == self.shape or shape == (-1, 1)
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

    def amax(self, dim=None, keepdim=False):
        # The greatest is NaN where any is.
        greatest = lambda values: math.nan if any(map(math.isnan, values)) else max(values)
        rows = [[greatest(row)] for row in self.rows]
        return Rows(rows) if keepdim else Rows([[greatest([row[0] for row in rows])]])

    def norm(self):
        return Rows([[math.sqrt(sum(value * value for row in self.rows for value in row))]])

    def item(self):
        ((value,),) = self.rows
        return value

    def clamp(self, min=-math.inf, max=math.inf):
        return self.each(lambda value: min if value < min else max if value > max else value)

    square = lambda self: self.each(lambda value: value * value)
    sqrt = lambda self: self.each(math.sqrt)
    exp = lambda self: self.each(math.exp)
    abs = lambda self: self.each(abs)
    log2 = lambda self: self.each(math.log2)
    exp2 = lambda self: self.each(lambda value: 2.0**value)
    floor = lambda self: self.each(lambda value: value if math.isnan(value) else math.floor(value))
    __neg__ = lambda self: self.each(lambda value: -value)
    __add__ = lambda self, other: self.with_other(other, lambda a, b: a + b)
    __radd__ = __add__
    __sub__ = lambda self, other: self.with_other(other, lambda a, b: a - b)
    __mul__ = lambda self, other: self.with_other(other, lambda a, b: a * b)
    __truediv__ = lambda self, other: self.with_other(other, lambda a, b: a / b)


def bf16_bits(value):
    """The upper half of an f32, cut off."""
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


def from_bf16(bits):
    """The number of these bits."""
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def from_e4m3(code):
    """The number of a code: four bits of exponent with a bias of 7, three of mantissa; all ones is no number."""
    sign, exponent, mantissa = -1 if code & 0x80 else 1, code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return math.nan
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


def data(op, rows, hidden):
    """Tensors of unit variance that all types hold, the same every time; heads are rows of their own."""
    source = random.Random(7)
    draw = lambda count: [[from_bf16(bf16_bits(source.gauss(0, 1))) for _ in range(hidden)] for _ in range(count)]
    vectors = ("weight", "bias", "inner_weight", "second_weight")
    counts = {"x": rows * op.heads, "second_x": rows * op.second_heads} | dict.fromkeys(vectors, 1)
    there = {name: draw(counts.get(name, rows)) for name in ("x", *op.inputs) if name != "tensor_scale"}
    return SimpleNamespace(**there)


def statistics(family, h, eps):
    """A row, normalised."""
    if family == "activation":
        return h
    mean = sum(h) / len(h) if family == "layer-norm" else 0.0
    variance = sum((value - mean) ** 2 for value in h) / len(h)
    return [(value - mean) / math.sqrt(variance + eps) for value in h]


def row_by_hand(op, tensors, row):
    """y and the new residual of a row, written out; the second is None where there is none."""
    h, stored = tensors.x[row], None
    if op.name.startswith("add-"):
        h = stored = [a + b for a, b in zip(tensors.residual[row], h)]
    if op.name == "rms-norm-add-rms-norm":
        inner = [a * b for a, b in zip(statistics(op.family, h, op.eps), tensors.inner_weight[0])]
        h = stored = [a + b for a, b in zip(tensors.residual[row], inner)]
    y = statistics(op.family, h, op.eps)
    if op.name != "activation":
        y = [a * b for a, b in zip(y, tensors.weight[0])]
    if op.name in ("layer-norm", "add-layer-norm"):
        y = [a + b for a, b in zip(y, tensors.bias[0])]
    if op.options.startswith("silu"):
        y = [a * z / (1 + math.exp(-z)) for a, z in zip(y, tensors.gate[row])]
    if op.name in ("rms-norm-add", "layer-norm-add"):
        y = [a + b for a, b in zip(tensors.residual[row], y)]
    return y, stored


def second_by_hand(op, tensors, row):
    """One of the second heads."""
    return [a * b for a, b in zip(statistics(op.family, tensors.second_x[row], op.eps), tensors.second_weight[0])]


def as_rows(tensors):
    """The same for the formulas."""
    return SimpleNamespace(**{name: Rows(value) for name, value in vars(tensors).items()})


def flat(values, dtype):
    """An array of the type's bits."""
    all_of = [value for row in values for value in row]
    return array.array("H", map(bf16_bits, all_of)) if dtype == "bf16" else array.array("f", all_of)
