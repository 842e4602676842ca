"""The ops by name."""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

from . import _native
from ._devices import Device
from ._errors import InvalidArgument
from ._norm import (
    AnyActivation,
    Family,
    Gated,
    Norm,
    PostAdd,
    PostRounding,
    Quantisation,
    ResidualAdd,
    ResidualRounding,
    Rope,
    RopePairs,
    RopeRounding,
    Scope,
    WeightRounding,
)
from ._run import Operands, Result, apply
from ._tensors import DTYPES, Array


#: The descriptions of the calls so far, which take as long to make as a call.
_norm = functools.lru_cache(maxsize=256)(Norm)


def rms_norm(
    x: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: WeightRounding = "single",
    out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Array:
    """y = R(x·rstd·(weight + weight_offset) + bias), over the last dimension."""
    norm = _norm("rms_norm", eps, weight_offset, weight_rounding)
    return apply(norm, x, weight, bias, out=out, device=device, stream=stream).y


def layer_norm(
    x: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    eps: float = 1e-5,
    out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Array:
    """y = R((x − mean)·rstd·weight + bias), over the last dimension."""
    return apply(_norm("layer_norm", eps), x, weight, bias, out=out, device=device, stream=stream).y


def l2_norm(
    x: Array,
    weight: Array = None,
    *,
    eps: float = 0.0,
    out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Array:
    """y = R(x/√(Σx² + eps)·weight), over the last dimension; a zero row stays zero."""
    return apply(_norm("l2_norm", eps), x, weight, out=out, device=device, stream=stream).y


def _add_norm(norm: Norm, x: Array, residual: Array, vectors: tuple[Array, Array, Array], **others: Any) -> Any:
    weight, bias, linear_bias = vectors
    wanted = others.pop("residual_out")
    result = apply(
        norm,
        x,
        weight,
        bias,
        residual=residual,
        linear_bias=linear_bias,
        residual_out=True if wanted is None else wanted,
        **others,
    )
    return result.y, result.residual


def add_rms_norm(
    x: Array,
    residual: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: WeightRounding = "single",
    residual_scale: float = 1.0,
    residual_rounding: ResidualRounding = "stored",
    linear_bias: Array = None,
    out: Array = None,
    residual_out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> tuple[Array, Array]:
    """h = residual_scale·residual + x + linear_bias; returns y = rms_norm(h) and the new residual R(h).

    In place: ``out=x`` and ``residual_out=residual``.
    """
    add = ResidualAdd(residual_scale, residual_rounding)
    norm = _norm("rms_norm", eps, weight_offset, weight_rounding, add)
    vectors = (weight, bias, linear_bias)
    y, h = _add_norm(norm, x, residual, vectors, out=out, residual_out=residual_out, device=device, stream=stream)
    return y, h


def add_layer_norm(
    x: Array,
    residual: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    eps: float = 1e-5,
    residual_scale: float = 1.0,
    residual_rounding: ResidualRounding = "stored",
    linear_bias: Array = None,
    out: Array = None,
    residual_out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> tuple[Array, Array]:
    """h = residual_scale·residual + x + linear_bias; returns y = layer_norm(h) and the new residual R(h)."""
    norm = _norm("layer_norm", eps, input=ResidualAdd(residual_scale, residual_rounding))
    vectors = (weight, bias, linear_bias)
    y, h = _add_norm(norm, x, residual, vectors, out=out, residual_out=residual_out, device=device, stream=stream)
    return y, h


def rms_norm_add(
    x: Array,
    residual: Array,
    weight: Array = None,
    *,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: WeightRounding = "single",
    scale: float = 1.0,
    rounding: PostRounding = "each",
    out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Array:
    """y = (residual + rms_norm(x))·scale, the residual after the norm: Gemma 2, OLMo 2."""
    norm = _norm("rms_norm", eps, weight_offset, weight_rounding, post_add=PostAdd(scale, rounding))
    return apply(norm, x, weight, residual=residual, out=out, device=device, stream=stream).y


def gated_rms_norm(
    x: Array,
    gate: Array,
    weight: Array = None,
    *,
    activation: AnyActivation = "silu",
    norm_before_gate: bool = True,
    groups: int | None = None,
    eps: float = 1e-5,
    weight_rounding: WeightRounding = "single",
    out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Array:
    """y = rms_norm(x)·act(gate), or rms_norm(x·act(gate)) where the norm is not before the gate.

    Mamba-2 has the gate before the norm by default: ``norm_before_gate=False``. Of whole rows, or of each of so many
    groups of a row.
    """
    after, before = (activation, None) if norm_before_gate else (None, Gated(activation))
    scope: Scope = "row" if groups is None else "group"
    norm = _norm("rms_norm", eps, weight_rounding=weight_rounding, input=before, gate=after, scope=scope)
    return apply(norm, x, weight, gate=gate, groups=groups, out=out, device=device, stream=stream).y


def activation(
    x: Array,
    gate: Array = None,
    *,
    activation: AnyActivation = "silu",
    out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Array:
    """y = R(act(gate)·x), or R(act(x)) without a gate. On packed ``[gate | up]`` rows, x is the second half."""
    norm = _norm("identity", gate=activation)
    return apply(norm, x, gate=gate, out=out, device=device, stream=stream).y


@dataclass
class Quantised:
    """Codes, the scales that are made, and what else was asked for.

    Codes of e4m3 and e5m2 are of PyTorch's types, or of uint8 elsewhere; two codes of e2m1 are a byte.
    """

    codes: Array
    scales: Array = None
    residual: Array = None
    y: Array = None


def _quantised(result: Result) -> Quantised:
    return Quantised(result.codes, result.scales, result.residual, result.y)


def rms_norm_quant(
    x: Array,
    weight: Array = None,
    *,
    quantisation: Quantisation,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: WeightRounding = "single",
    tensor_scale: Array | float | None = None,
    codes: Array = None,
    scales: Array = None,
    out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Quantised:
    """Codes and scales of rms_norm(x), in one pass; y too, where ``out`` is given. f16 and bf16."""
    norm = _norm("rms_norm", eps, weight_offset, weight_rounding, quantisation=quantisation)
    return _quantised(
        apply(
            norm, x, weight, tensor_scale=tensor_scale, codes=codes, scales=scales, out=out, device=device, stream=stream
        )
    )


def add_rms_norm_quant(
    x: Array,
    residual: Array,
    weight: Array = None,
    *,
    quantisation: Quantisation,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: WeightRounding = "single",
    residual_scale: float = 1.0,
    residual_rounding: ResidualRounding = "stored",
    tensor_scale: Array | float | None = None,
    codes: Array = None,
    scales: Array = None,
    out: Array = None,
    residual_out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Quantised:
    """Codes and scales of rms_norm(h), and the new residual R(h), h = residual_scale·residual + x."""
    add = ResidualAdd(residual_scale, residual_rounding)
    norm = _norm("rms_norm", eps, weight_offset, weight_rounding, add, quantisation=quantisation)
    return _quantised(
        apply(
            norm,
            x,
            weight,
            residual=residual,
            residual_out=True if residual_out is None else residual_out,
            tensor_scale=tensor_scale,
            codes=codes,
            scales=scales,
            out=out,
            device=device,
            stream=stream,
        )
    )


def qk_norm(
    q: Array,
    k: Array,
    q_weight: Array = None,
    k_weight: Array = None,
    *,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: WeightRounding = "single",
    family: Family = "rms_norm",
    cos: Array = None,
    sin: Array = None,
    positions: Array = None,
    rope_pairs: RopePairs = "half_split",
    rope_rounding: RopeRounding = "single",
    q_out: Array = None,
    k_out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> tuple[Array, Array]:
    """The norms of the heads of q and k, ``(…, heads, hidden)``, and where ``cos`` and ``sin`` are given their rotation.

    Both may be views into packed projections, and in place: ``q_out=q, k_out=k``. ``cos`` and ``sin`` are
    ``(entries, dim/2)``; ``positions``, int32 or int64, says which entry belongs to each row.
    """
    rope = None
    if cos is not None:
        shape = tuple(cos.shape)
        if len(shape) != 2:
            raise InvalidArgument(f"cos has shape {shape}, wanted (entries, dim/2)")
        rope = Rope(2 * shape[1], rope_pairs, rope_rounding)
    norm = _norm(family, eps, weight_offset, weight_rounding, scope="head", rope=rope)
    result = apply(
        norm,
        q,
        q_weight,
        second=k,
        second_weight=k_weight,
        cos=cos,
        sin=sin,
        positions=positions,
        out=q_out,
        second_out=k_out,
        device=device,
        stream=stream,
    )
    return result.y, result.second_y


@dataclass
class ColumnStatistics:
    """Statistics of columns, float32."""

    mean: Array
    rstd: Array
    #: weight·rstd.
    scale: Array
    #: bias − mean·scale.
    shift: Array


def batch_statistics(
    x: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    eps: float = 1e-5,
    device: Device | None = None,
    stream: int | None = None,
) -> ColumnStatistics:
    """The statistics of the columns of x over its rows, as batch normalisation takes them."""
    operands = Operands(x, device, stream)
    main = operands.x.of_type(*DTYPES)
    if not main.shape:
        raise InvalidArgument("x has no dimension, wanted at least (hidden,)")
    hidden = main.shape[-1]
    rows, stride, _ = main.rows()
    call = _native.new_batch_statistics(DTYPES[main.dtype], rows, hidden, eps)
    call.x = _native.Rows(main.address, stride)
    call.weight = operands.vector("weight", weight, (hidden,))
    call.bias = operands.vector("bias", bias, (hidden,))
    mean, call.mean = operands.output("mean", True, (hidden,), "float32")
    rstd, call.rstd = operands.output("rstd", True, (hidden,), "float32")
    scale, call.scale = operands.output("scale", True, (hidden,), "float32")
    shift, call.shift = operands.output("shift", True, (hidden,), "float32")
    operands.run("warpnorm_run_batch_statistics", ctypes.byref(call))
    return ColumnStatistics(mean, rstd, scale, shift)


def batch_norm(
    x: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    eps: float = 1e-5,
    out: Array = None,
    device: Device | None = None,
    stream: int | None = None,
) -> Array:
    """Batch normalisation by the batch's own statistics: every column over all rows. Two launches."""
    statistics = batch_statistics(x, weight, bias, eps=eps, device=device, stream=stream)
    norm = _norm("identity")  # x·scale + shift
    return apply(norm, x, statistics.scale, statistics.shift, out=out, device=device, stream=stream).y

