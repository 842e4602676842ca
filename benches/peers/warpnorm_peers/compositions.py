"""The ops as PyTorch's own functions, as a model's code has them: run as they stand, and compiled."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .formulas import LEAST_AMAX
from .ops import LARGEST_CODE, PER_TOKEN, Op


def composition(op: Op):
    """A function of x and, by name, of the other inputs of the op, which returns the outputs by name."""

    def norm(x, weight, bias=None):
        if op.family == "layer-norm":
            return F.layer_norm(x, x.shape[-1:], weight, bias, op.eps)
        return F.rms_norm(x, x.shape[-1:], weight, op.eps)

    def quantised(y, scale):
        y, outputs = y.float(), {}
        if op.scaling == PER_TOKEN:
            scale = y.abs().amax(dim=-1, keepdim=True).clamp(min=LEAST_AMAX) / LARGEST_CODE
            outputs["scales"] = scale
        # The conversion itself does not saturate.
        codes = (y / scale).clamp(-LARGEST_CODE, LARGEST_CODE).to(torch.float8_e4m3fn)
        return outputs | {"codes": codes}

    def run(
        x, *, residual=None, gate=None, weight=None, bias=None, inner_weight=None, second_x=None, second_weight=None,
        tensor_scale=None,
    ):
        outputs = {}
        if op.input == "residual-add":
            x = outputs["residual_out"] = residual + x
        elif op.input == "post-norm":
            x = outputs["residual_out"] = residual + norm(x, inner_weight)
        if op.family == "activation":
            y = F.silu(gate) * x
        else:
            y = norm(x, weight, bias)
            if op.gate:
                y = (y.float() * F.silu(gate.float())).to(x.dtype)
        if op.post_add:
            y = residual + y
        if op.second_heads:
            outputs["second_y"] = norm(second_x, second_weight)
        return outputs | (quantised(y, tensor_scale) if op.scaling else {"y": y})

    return run


def functions(ops, wrap=lambda run: run) -> dict:
    """A function of `Tensors` for each op, by its title."""

    def of_tensors(op: Op):
        run = wrap(composition(op))
        return lambda tensors: run(tensors.x, **{name: getattr(tensors, name) for name in op.inputs})

    return {op.title: of_tensors(op) for op in ops}
