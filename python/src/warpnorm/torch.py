"""The ops as PyTorch's own, ``torch.ops.warpnorm``: for ``torch.compile``, ``torch.export`` and CUDA graphs.

They compute what the functions of the same names in :mod:`warpnorm` do, on CUDA and CPU tensors. Names that end in an
underscore write over their inputs. There are no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import warpnorm as _warpnorm

from . import _native
from ._errors import InvalidArgument
from ._norm import Activation, Quantisation
from ._tensors import NO_GRADIENTS

_NORM = 'float eps=1e-6, float weight_offset=0.0, str weight_rounding="single"'
_ADD = 'float residual_scale=1.0, str residual_rounding="stored"'
# The quantising ops have no defaults: their functions below give every argument.
_QUANTISATION = (
    "str scaling, str code, float? upper_bound, float floor, int group_size, str layout, int layout_alignment, "
    "bool power_of_two, str block_rounding"
)
_NORM_GIVEN = "float eps, float weight_offset, str weight_rounding"
_ADD_GIVEN = "float residual_scale, str residual_rounding"


def _op(name: str, schema: str, mutates: tuple[str, ...] = ()) -> Any:
    return torch.library.custom_op(f"warpnorm::{name}", mutates_args=mutates, schema=schema)


@_op("rms_norm", f"(Tensor x, Tensor? weight=None, Tensor? bias=None, {_NORM}) -> Tensor")
def rms_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: Any = "single",
) -> Tensor:
    """See :func:`warpnorm.rms_norm`."""
    return _warpnorm.rms_norm(
        x, weight, bias, eps=eps, weight_offset=weight_offset, weight_rounding=weight_rounding
    )


@rms_norm.register_fake
def _(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.new_empty(x.shape)


@_op("layer_norm", "(Tensor x, Tensor? weight=None, Tensor? bias=None, float eps=1e-5) -> Tensor")
def layer_norm(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """See :func:`warpnorm.layer_norm`."""
    return _warpnorm.layer_norm(x, weight, bias, eps=eps)


@layer_norm.register_fake
def _(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.new_empty(x.shape)


@_op("add_rms_norm", f"(Tensor x, Tensor residual, Tensor? weight=None, {_NORM}, {_ADD}) -> (Tensor, Tensor)")
def add_rms_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: Any = "single",
    residual_scale: float = 1.0,
    residual_rounding: Any = "stored",
) -> tuple[Tensor, Tensor]:
    """See :func:`warpnorm.add_rms_norm`: y and the new residual."""
    return _warpnorm.add_rms_norm(
        x,
        residual,
        weight,
        eps=eps,
        weight_offset=weight_offset,
        weight_rounding=weight_rounding,
        residual_scale=residual_scale,
        residual_rounding=residual_rounding,
    )


@add_rms_norm.register_fake
def _(x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


@_op(
    "add_rms_norm_",
    f"(Tensor(a!) x, Tensor(b!) residual, Tensor? weight=None, {_NORM}, {_ADD}) -> ()",
    ("x", "residual"),
)
def add_rms_norm_(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: Any = "single",
    residual_scale: float = 1.0,
    residual_rounding: Any = "stored",
) -> None:
    """The same in place: y over x, the new residual over the old one, as vLLM's ``fused_add_rms_norm``."""
    _warpnorm.add_rms_norm(
        x,
        residual,
        weight,
        out=x,
        residual_out=residual,
        eps=eps,
        weight_offset=weight_offset,
        weight_rounding=weight_rounding,
        residual_scale=residual_scale,
        residual_rounding=residual_rounding,
    )


@add_rms_norm_.register_fake
def _(*_: Any, **__: Any) -> None:
    return None


@_op(
    "add_layer_norm",
    f"(Tensor x, Tensor residual, Tensor? weight=None, Tensor? bias=None, float eps=1e-5, {_ADD}) -> (Tensor, Tensor)",
)
def add_layer_norm(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    residual_scale: float = 1.0,
    residual_rounding: Any = "stored",
) -> tuple[Tensor, Tensor]:
    """See :func:`warpnorm.add_layer_norm`: y and the new residual."""
    add: dict[str, Any] = {"residual_scale": residual_scale, "residual_rounding": residual_rounding}
    return _warpnorm.add_layer_norm(x, residual, weight, bias, eps=eps, **add)


@add_layer_norm.register_fake
def _(x: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


@_op(
    "gated_rms_norm",
    "(Tensor x, Tensor gate, Tensor? weight=None, str activation='silu', bool norm_before_gate=True, "
    "int? groups=None, float eps=1e-5, str weight_rounding='single') -> Tensor",
)
def gated_rms_norm(
    x: Tensor,
    gate: Tensor,
    weight: Tensor | None = None,
    activation: Any = "silu",
    norm_before_gate: bool = True,
    groups: int | None = None,
    eps: float = 1e-5,
    weight_rounding: Any = "single",
) -> Tensor:
    """See :func:`warpnorm.gated_rms_norm`."""
    return _warpnorm.gated_rms_norm(
        x,
        gate,
        weight,
        activation=activation,
        norm_before_gate=norm_before_gate,
        groups=groups,
        eps=eps,
        weight_rounding=weight_rounding,
    )


@gated_rms_norm.register_fake
def _(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.new_empty(x.shape)


@_op("activation", "(Tensor x, Tensor? gate=None, str activation='silu', float parameter=0.0) -> Tensor")
def activation(
    x: Tensor, gate: Tensor | None = None, activation: Any = "silu", parameter: float = 0.0
) -> Tensor:
    """See :func:`warpnorm.activation`; the parameter is the slope of leaky ReLU or β of Swish."""
    return _warpnorm.activation(x, gate, activation=Activation(activation, parameter))


@activation.register_fake
def _(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.new_empty(x.shape)


@_op(
    "qk_norm_",
    "(Tensor(a!) q, Tensor(b!) k, Tensor? q_weight=None, Tensor? k_weight=None, Tensor? cos=None, Tensor? sin=None, "
    f"Tensor? positions=None, {_NORM}, str rope_pairs='half_split', str rope_rounding='single') -> ()",
    ("q", "k"),
)
def qk_norm_(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor | None = None,
    k_weight: Tensor | None = None,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
    positions: Tensor | None = None,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: Any = "single",
    rope_pairs: Any = "half_split",
    rope_rounding: Any = "single",
) -> None:
    """See :func:`warpnorm.qk_norm`; in place, also on views into packed projections."""
    _warpnorm.qk_norm(
        q,
        k,
        q_weight,
        k_weight,
        eps=eps,
        weight_offset=weight_offset,
        weight_rounding=weight_rounding,
        cos=cos,
        sin=sin,
        positions=positions,
        rope_pairs=rope_pairs,
        rope_rounding=rope_rounding,
        q_out=q,
        k_out=k,
    )


@qk_norm_.register_fake
def _(*_: Any, **__: Any) -> None:
    return None


#: Keeps what is registered.
_library = torch.library.Library("warpnorm", "IMPL")


def _refuse_gradients(name: str) -> None:
    """Of an op that writes over its inputs, where they would want gradients. It has no output that a backward pass
    would fail at, and is run without gradients, so that what refuses them in the functions does not see it."""
    op = getattr(torch.ops.warpnorm, name).default
    roles = [argument.name for argument in op._schema.arguments]

    def autograd(keys: Any, *given: Any, **named: Any) -> None:
        if torch.is_grad_enabled():
            for role, one in [*zip(roles, given), *named.items()]:
                if isinstance(one, Tensor) and one.requires_grad:
                    raise InvalidArgument(NO_GRADIENTS.format(role))
        op.redispatch(keys & torch._C._after_autograd_keyset, *given, **named)

    # Before the one of all devices, which the op has been made with.
    for device in ("CPU", "CUDA", "Meta"):
        _library.impl(name, autograd, f"Autograd{device}", with_keyset=True)


for _name in ("add_rms_norm_", "qk_norm_"):
    _refuse_gradients(_name)


_NORM_NAMES = ("eps", "weight_offset", "weight_rounding")
_ADD_NAMES = ("residual_scale", "residual_rounding")
_CODES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2, "int8": torch.int8, "e2m1": torch.uint8}


def _up(count: Any, multiple: int) -> Any:
    return (count + multiple - 1) // multiple * multiple


def _quantised_like(x: Tensor, quantisation: Quantisation) -> Any:
    """Codes and scales as they are to be, of shapes that may be symbolic."""
    *leading, hidden = x.shape
    # What cannot be is refused here as it is when it runs; of a symbolic row, all but its length, by one that fits.
    norm = _warpnorm.Norm("rms_norm", quantisation=quantisation)
    _native.quantised_sizes(norm._made, 1, hidden if isinstance(hidden, int) else 128)
    scaling, code, layout = quantisation.scaling, quantisation.code, quantisation.layout
    codes = x.new_empty([*leading, (hidden + 1) // 2 if code == "e2m1" else hidden], dtype=_CODES[code])
    if scaling in ("per_tensor", "per_tensor_wide"):
        return codes, x.new_empty([0], dtype=torch.float32)
    if scaling == "per_token":
        return codes, x.new_empty([*leading, 1], dtype=torch.float32)
    dtype, group = {
        "per_group": (torch.float32, quantisation.group_size),
        "mxfp8": (torch.uint8, 32),
        "nvfp4": (torch.float8_e4m3fn, 16),
    }[scaling]
    groups = hidden // group
    if layout == "row_major":
        return codes, x.new_empty([*leading, groups], dtype=dtype)
    rows: Any = 1
    for size in leading:
        rows = rows * size
    count = _up(rows, quantisation.layout_alignment) * groups if layout == "column_major" else _up(rows, 128) * _up(groups, 4)
    return codes, x.new_empty([count], dtype=dtype)


def _scales_or_none(x: Tensor, scales: Tensor | None) -> Tensor:
    # An op returns tensors; where no scales are made, one without elements.
    return x.new_empty([0], dtype=torch.float32) if scales is None else scales


@_op(
    "rms_norm_quant",
    f"(Tensor x, Tensor? weight, Tensor? tensor_scale, {_QUANTISATION}, {_NORM_GIVEN}) -> (Tensor, Tensor)",
)
def _rms_norm_quant(x: Tensor, weight: Tensor | None, scale: Tensor | None, *others: Any) -> tuple[Tensor, Tensor]:
    quantisation, norm = Quantisation(*others[:9]), dict(zip(_NORM_NAMES, others[9:], strict=True))
    result = _warpnorm.rms_norm_quant(x, weight, quantisation=quantisation, tensor_scale=scale, **norm)
    return result.codes, _scales_or_none(x, result.scales)


@_rms_norm_quant.register_fake
def _(x: Tensor, weight: Any, scale: Any, *others: Any) -> Any:
    return _quantised_like(x, Quantisation(*others[:9]))


@_op(
    "add_rms_norm_quant",
    f"(Tensor x, Tensor residual, Tensor? weight, Tensor? tensor_scale, {_QUANTISATION}, {_NORM_GIVEN}, {_ADD_GIVEN}) "
    "-> (Tensor, Tensor, Tensor)",
)
def _add_rms_norm_quant(
    x: Tensor, residual: Tensor, weight: Tensor | None, scale: Tensor | None, *others: Any
) -> tuple[Tensor, Tensor, Tensor]:
    quantisation, norm = Quantisation(*others[:9]), dict(zip((*_NORM_NAMES, *_ADD_NAMES), others[9:], strict=True))
    result = _warpnorm.add_rms_norm_quant(x, residual, weight, quantisation=quantisation, tensor_scale=scale, **norm)
    return result.codes, _scales_or_none(x, result.scales), result.residual


@_add_rms_norm_quant.register_fake
def _(x: Tensor, residual: Any, weight: Any, scale: Any, *others: Any) -> Any:
    codes, scales = _quantised_like(x, Quantisation(*others[:9]))
    return codes, scales, x.new_empty(x.shape)


def _flat(quantisation: Quantisation) -> list[Any]:
    one = quantisation
    return [
        one.scaling,
        one.code,
        one.upper_bound,
        one.floor,
        one.group_size,
        one.layout,
        one.layout_alignment,
        one.power_of_two,
        one.block_rounding,
    ]


def rms_norm_quant(
    x: Tensor,
    weight: Tensor | None = None,
    *,
    quantisation: Quantisation,
    tensor_scale: Tensor | None = None,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: str = "single",
) -> tuple[Tensor, Tensor]:
    """See :func:`warpnorm.rms_norm_quant`: codes and scales, the latter without elements where none are made."""
    codes, scales = torch.ops.warpnorm.rms_norm_quant(
        x, weight, tensor_scale, *_flat(quantisation), eps, weight_offset, weight_rounding
    )
    return codes, scales


def add_rms_norm_quant(
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    *,
    quantisation: Quantisation,
    tensor_scale: Tensor | None = None,
    eps: float = 1e-6,
    weight_offset: float = 0.0,
    weight_rounding: str = "single",
    residual_scale: float = 1.0,
    residual_rounding: str = "stored",
) -> tuple[Tensor, Tensor, Tensor]:
    """See :func:`warpnorm.add_rms_norm_quant`: codes, scales and the new residual."""
    norm = (eps, weight_offset, weight_rounding, residual_scale, residual_rounding)
    codes, scales, h = torch.ops.warpnorm.add_rms_norm_quant(
        x, residual, weight, tensor_scale, *_flat(quantisation), *norm
    )
    return codes, scales, h


__all__ = [
    "activation",
    "add_layer_norm",
    "add_rms_norm",
    "add_rms_norm_",
    "add_rms_norm_quant",
    "gated_rms_norm",
    "layer_norm",
    "qk_norm_",
    "rms_norm",
    "rms_norm_quant",
]
