"""Tensors of torch: what an op reads, where warpnorm writes, and what peers want beside."""

from __future__ import annotations

import math

import torch

from .abi import Place
from .ops import DTYPES, TENSOR_SCALE, Op
from .registry import Tensors

TORCH_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}

_OUTPUT_TYPES = {"codes": torch.float8_e4m3fn, "scales": torch.float32}


def _shared(name: str) -> bool:
    """Whether an input is a parameter, of no rows."""
    return name == "tensor_scale" or name.endswith(("weight", "bias"))


class Source:
    """Sets of tensors of one op and shape, from one stream of random numbers. Sets share the parameters."""

    def __init__(self, op: Op, dtype: str, rows: int, hidden: int, seed: int, device: str) -> None:
        self.op, self.dtype, self.rows, self.hidden, self.device = op, dtype, rows, hidden, device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.parameters = {name: self._parameter(name) for name in op.inputs if _shared(name)}
        in_f32 = [name for name in ("weight", "bias") if name in op.inputs]
        self.parameters |= {f"{name}_f32": self.parameters[name].float() for name in in_f32}

    def _random(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def _parameter(self, name: str) -> torch.Tensor:
        if name == "tensor_scale":
            return torch.full((1,), TENSOR_SCALE, device=self.device)
        values = self._random(self.hidden)
        return (0.1 * values if name == "bias" else 1 + 0.2 * values).to(TORCH_TYPES[self.dtype])

    def _matrix(self, name: str) -> torch.Tensor:
        shape = self.op.shape(name, self.rows, self.hidden)
        return self._random(*shape).to(TORCH_TYPES[self.dtype])

    def draw(self) -> Tensors:
        """A set with values of its own."""
        op, of = self.op, TORCH_TYPES[self.dtype]
        tensors = Tensors(op.eps, None, **self.parameters)
        if op.second_heads:
            # Rows of the heads of Q, of K and, as many, of V.
            heads = op.heads + 2 * op.second_heads
            packed = self._random(self.rows, heads, self.hidden).to(of)
            tensors.x, tensors.second_x, _ = packed.split([op.heads, op.second_heads, op.second_heads], dim=1)
        else:
            tensors.x = self._matrix("x")
        for name in ("residual", "gate"):
            if name in op.inputs:
                setattr(tensors, name, self._matrix(name))
        for name in op.outputs:
            shape = op.shape(name, self.rows, self.hidden)
            setattr(tensors, name, torch.empty(shape, dtype=_OUTPUT_TYPES.get(name, of), device=self.device))
        if op.input == "residual-add":
            tensors.own_x, tensors.own_residual = tensors.x.clone(), tensors.residual.clone()
        if op.family == "activation":
            tensors.gate_and_x = torch.cat((tensors.gate, tensors.x), dim=-1)
        return tensors

    def moved_bytes(self) -> int:
        """Bytes of a set that a launch reads or writes, parameters left out."""
        op = self.op
        return sum(
            op.bytes_of(name, self.rows, self.hidden, self.dtype)
            for name in ("x", *op.inputs, *op.outputs)
            if not _shared(name)
        )

    def held_bytes(self) -> int:
        """Bytes that a set takes, with the copies, V, and outputs of the peers' own."""
        op, size = self.op, lambda name: self.op.bytes_of(name, self.rows, self.hidden, self.dtype)
        copies = 2 * size("x") * (op.input == "residual-add" or op.family == "activation")
        values = self.rows * op.second_heads * self.hidden * DTYPES[self.dtype]
        return self.moved_bytes() + sum(map(size, op.outputs)) + copies + values


def spoil(op: Op, tensors: Tensors) -> None:
    """Makes the outputs NaN, so that what a launch leaves out is seen: bytes of ones are one in every type."""
    for name in op.outputs:
        getattr(tensors, name).view(torch.uint8).fill_(0xFF)


def places(op: Op, tensors: Tensors) -> dict[str, Place]:
    """Where the tensors of a call are."""
    there = {name: getattr(tensors, name) for name in ("x", *op.inputs, *op.outputs)}
    return {name: Place(tensor.data_ptr(), tensor.stride(0)) for name, tensor in there.items()}


def head(op: Op, tensors: Tensors, result: dict, elements: int) -> tuple[Tensors, dict]:
    """The first rows of inputs and outputs, of about so many elements."""
    rows, *_, hidden = tensors.x.shape
    first = max(1, elements // math.prod(tensors.x.shape[1:]))
    inputs = {name: getattr(tensors, name) for name in ("x", *op.inputs)}
    inputs = {name: tensor if _shared(name) else tensor[:first] for name, tensor in inputs.items()}
    # Some return heads as rows of their own.
    outputs = {name: tensor.reshape(op.shape(name, rows, hidden))[:first] for name, tensor in result.items()}
    return Tensors(op.eps, **inputs), outputs
