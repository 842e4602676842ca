"""The ops: tensors, byte floors, and the table. `formulas` has what they compute."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

DTYPES = {"f32": 4, "f16": 2, "bf16": 2}

ROWS = (1, 8, 64, 512, 8192, 65536)
HIDDEN = (64, 128, 512, 768, 1536, 4096, 4097, 5120, 7168, 8192, 16384, 65536, 262144)
# Of heads.
HEAD_HIDDEN = (64, 128, 256)

# Bytes of a matrix at most.
MAX_MATRIX = 4 << 30

# The largest e4m3.
LARGEST_CODE = 448.0

# The scale that is given, for values about as large as normalised ones are; some of them saturate.
TENSOR_SCALE = 3.5 / LARGEST_CODE

# What codes are scaled by: one scale that is given, or one for each row.
PER_TENSOR = "per-tensor-wide"
PER_TOKEN = "per-token"

# Bytes of an element where they are not those of the activation type: of codes, and of f32.
_SIZES = {"codes": 1, "scales": 4, "tensor_scale": 4}

# Tensors that the tool does not list, since they follow from others.
_UNLISTED = ("second_weight", "tensor_scale")


@dataclass(frozen=True)
class Op:
    """An op, named as `warpnorm bench` names it: one sentence of the library's algebra.

        h = x                                  `input` plain
        h = R(residual + x)                    `input` residual-add
        h = R(residual + norm(x)·inner_weight) `input` post-norm
        y = norm(h)·weight (+ bias) (·silu(gate)), or x·silu(gate) of the family `activation`
        y = residual + y                       `post_add`
        codes of y in place of y               `scaling`

    With heads, x is [rows, heads, hidden] and each head is normalised; `second_heads` are more of them, with a weight
    of their own: those of K beside Q, both views of rows in which V follows them.
    """

    name: str
    # The options that set it apart, but for codes.
    words: str = ""
    eps: float = 1e-6
    family: str = "rms-norm"
    input: str = "plain"
    bias: bool = False
    gate: bool = False
    post_add: bool = False
    heads: int = 1
    second_heads: int = 0
    scaling: str | None = None

    @property
    def options(self) -> str:
        """What sets it apart from the plain one of its name."""
        codes = self.scaling and f"e4m3 {self.scaling}"
        return ", ".join(filter(None, (self.words, codes)))

    @property
    def title(self) -> str:
        """Name and options, as the tables of `warpnorm report` have them."""
        return f"{self.name} ({self.options})" if self.options else self.name

    @property
    def inputs(self) -> list[str]:
        """Tensors that are read beside x, those of the tool in its order."""
        there = (
            ("residual", self.post_add or self.input != "plain"),
            ("gate", self.gate),
            ("weight", self.family != "activation"),
            ("bias", self.bias),
            ("inner_weight", self.input == "post-norm"),
            ("second_x", self.second_heads),
            ("second_weight", self.second_heads),
            ("tensor_scale", self.scaling == PER_TENSOR),
        )
        return [name for name, present in there if present]

    @property
    def outputs(self) -> list[str]:
        """Tensors that are written."""
        there = (
            ("y", self.scaling is None),
            ("residual_out", self.input != "plain"),
            ("second_y", self.second_heads),
            ("codes", self.scaling),
            ("scales", self.scaling == PER_TOKEN),
        )
        return [name for name, present in there if present]

    @property
    def tensors(self) -> list[str]:
        """Tensors beside x, as the tool lists them."""
        return [name for name in self.inputs if name not in _UNLISTED]

    def shape(self, name: str, rows: int, hidden: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        if name in ("weight", "bias", "inner_weight", "second_weight"):
            return (hidden,)
        if name == "tensor_scale":
            return (1,)
        if name == "scales":
            return (rows, 1)
        if name in ("second_x", "second_y"):
            return (rows, self.second_heads, hidden)
        return (rows, hidden) if self.heads == 1 else (rows, self.heads, hidden)

    def bytes_of(self, name: str, rows: int, hidden: int, dtype: str) -> int:
        """The bytes of a tensor."""
        return math.prod(self.shape(name, rows, hidden)) * _SIZES.get(name, DTYPES[dtype])

    def floor_bytes(self, rows: int, hidden: int, dtype: str) -> int:
        """Everything is read or written once."""
        return sum(self.bytes_of(name, rows, hidden, dtype) for name in ("x", *self.inputs, *self.outputs))

    def shapes(self, rows=None, hidden=None, dtype: str = "bf16") -> Iterator[tuple[int, int]]:
        """Every number of rows with every hidden size, within memory."""
        for width in hidden or (HIDDEN if self.heads == 1 else HEAD_HIDDEN):
            for height in rows or ROWS:
                if self.bytes_of("x", height, width, dtype) <= MAX_MATRIX:
                    yield height, width


_LAYER_NORM = Op("layer-norm", eps=1e-5, family="layer-norm", bias=True)
_RMS_NORM = Op("rms-norm")
_ADD_RMS_NORM = Op("add-rms-norm", "stored", input="residual-add")
# As many heads as the tool has, and as grouped-query attention has of Q and of K.
_HEADS = Op("head-rms-norm", heads=32)

OPS = (
    _LAYER_NORM,
    _RMS_NORM,
    replace(_LAYER_NORM, name="add-layer-norm", words="stored", input="residual-add"),
    _ADD_RMS_NORM,
    Op("gated-rms-norm", "silu", gate=True),
    replace(_RMS_NORM, scaling=PER_TENSOR),
    replace(_ADD_RMS_NORM, scaling=PER_TENSOR),
    replace(_RMS_NORM, scaling=PER_TOKEN),
    replace(_ADD_RMS_NORM, scaling=PER_TOKEN),
    replace(_LAYER_NORM, scaling=PER_TOKEN),
    _HEADS,
    # Which the tool has only with a rotation.
    replace(_HEADS, words="q and k packed", second_heads=8),
    Op("activation", "silu", family="activation", gate=True),
    Op("layer-norm-add", "single", eps=1e-5, family="layer-norm", post_add=True),
    Op("rms-norm-add", "single", post_add=True),
    Op("rms-norm-add-rms-norm", "single", input="post-norm"),
)


def titled(title: str) -> Op:
    """The op of this title."""
    for op in OPS:
        if op.title == title:
            return op
    raise ValueError(f"{title}: wanted one of {', '.join(op.title for op in OPS)}")


def chosen(names=None, scalings=None) -> list[Op]:
    """The ops of these names and scalings, `none` for no codes; all where there are none."""
    return [
        op
        for op in OPS
        if (not names or op.name in names) and (not scalings or (op.scaling or "none") in scalings)
    ]
