"""The ops: tensors, byte floors, and the formulas in f64 that results are held against."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = {"f32": 4, "f16": 2, "bf16": 2}

# Relative L2 error that a result may have: f32 sums, and two roundings of the type; frameworks round in more than one
# place.
TOLERANCE = {"f32": 1e-5, "f16": 2e-3, "bf16": 1.6e-2}

ROWS = (1, 8, 64, 512, 8192, 65536)
HIDDEN = (64, 128, 512, 768, 1536, 4096, 4097, 5120, 7168, 8192, 16384, 65536, 262144)

# Bytes of a matrix at most.
MAX_MATRIX = 4 << 30


@dataclass(frozen=True)
class Op:
    """An op: named as `warpnorm bench` names it."""

    name: str
    options: str
    eps: float
    layer_norm: bool = False
    residual: bool = False
    gate: bool = False

    @property
    def tensors(self) -> list[str]:
        """Tensors beside x, in the order of the Rust side."""
        there = (("residual", self.residual), ("gate", self.gate), ("weight", True), ("bias", self.layer_norm))
        return [name for name, present in there if present]

    def floor_bytes(self, rows: int, hidden: int, dtype: str) -> int:
        """Every matrix is read or written once; weight and bias are read once."""
        # x and y, residual in and out, gate.
        matrices = 2 + 2 * self.residual + self.gate
        vectors = 1 + self.layer_norm
        return (matrices * rows + vectors) * hidden * DTYPES[dtype]


OPS = (
    Op("layer-norm", "", 1e-5, layer_norm=True),
    Op("rms-norm", "", 1e-6),
    Op("add-layer-norm", "stored", 1e-5, layer_norm=True, residual=True),
    Op("add-rms-norm", "stored", 1e-6, residual=True),
    Op("gated-rms-norm", "silu", 1e-6, gate=True),
)


def named(name: str) -> Op:
    """The op of this name."""
    for op in OPS:
        if op.name == name:
            return op
    raise ValueError(f"{name}: wanted one of {', '.join(op.name for op in OPS)}")


def expected(op: Op, tensors):
    """y and the new residual in f64, of torch tensors: R(h) is what is normalised and stored."""
    x = tensors.x.double()
    h = None
    if op.residual:
        h = (tensors.residual.double() + x).to(tensors.x.dtype).double()
        x = h
    if op.layer_norm:
        x = x - x.mean(dim=-1, keepdim=True)
    y = x / (x.square().mean(dim=-1, keepdim=True) + op.eps).sqrt() * tensors.weight.double()
    if op.layer_norm:
        y = y + tensors.bias.double()
    if op.gate:
        z = tensors.gate.double()
        y = y * (z / (1 + (-z).exp()))
    return y, h


def shapes(rows=ROWS, hidden=HIDDEN, dtype: str = "bf16"):
    """Every number of rows with every hidden size, within memory."""
    for width in hidden:
        for height in rows:
            if height * width * DTYPES[dtype] <= MAX_MATRIX:
                yield height, width
