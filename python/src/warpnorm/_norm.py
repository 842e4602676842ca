"""Op descriptions: what is to be computed, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Union, get_args

from . import _native
from ._errors import InvalidArgument

Family = Literal["layer_norm", "rms_norm", "l2_norm", "identity"]
WeightRounding = Literal["single", "before_weight"]
ResidualRounding = Literal["stored", "wide", "split"]
PostRounding = Literal["single", "each"]
Scope = Literal["row", "head", "group"]
RopePairs = Literal["half_split", "interleaved"]
RopeRounding = Literal["single", "each"]
CodeType = Literal["e4m3", "e5m2", "int8", "e2m1"]
Scaling = Literal["per_tensor", "per_tensor_wide", "per_token", "per_group", "mxfp8", "nvfp4"]
ScaleLayout = Literal["row_major", "column_major", "tiled"]
BlockRounding = Literal["up", "floor"]
ProgrammaticLaunch = Literal["off", "wait_first", "parameters_first"]
ActivationName = Literal["identity", "relu", "leaky_relu", "sigmoid", "swish", "gelu_tanh", "gelu", "silu"]

#: The numbers of the header, in its order.
_ACTIVATIONS: tuple[str, ...] = ("", *get_args(ActivationName))
_SCALINGS: tuple[str, ...] = ("", *get_args(Scaling))


def _number(field_name: str, given: str, names: tuple[str, ...]) -> int:
    if given and given in names:
        return names.index(given)
    wanted = ", ".join(repr(name) for name in names if name)
    raise InvalidArgument(f"{field_name} is {given!r}, wanted one of {wanted}")


def _count(field_name: str, given: int, wanted: str = "at least 1") -> int:
    # What does not fit would be cut to 64 bits on its way into the library, and taken for another number.
    if 0 <= given < 2**64:
        return given
    raise InvalidArgument(f"{field_name} is {given}, wanted {wanted} and less than 2^64")


@dataclass(frozen=True)
class Activation:
    """A function of a gate or of a feed-forward layer. ``parameter`` is the slope of leaky ReLU or β of Swish."""

    name: ActivationName
    parameter: float = 0.0

    def _native(self) -> _native.Activation:
        return _native.Activation(_number("activation", self.name, _ACTIVATIONS), self.parameter)


#: An activation, or the name of one that takes no parameter.
AnyActivation = Union[Activation, ActivationName]


def _activation(given: AnyActivation) -> Activation:
    if isinstance(given, Activation):
        return given
    if given in ("leaky_relu", "swish"):
        raise InvalidArgument(f"{given!r} takes a parameter: Activation({given!r}, …)")
    return Activation(given)


@dataclass(frozen=True)
class ResidualAdd:
    """h = scale·residual + x before the norm."""

    scale: float = 1.0
    rounding: ResidualRounding = "stored"


@dataclass(frozen=True)
class Gated:
    """h = x·act(gate) before the norm."""

    activation: AnyActivation = "silu"


@dataclass(frozen=True)
class PostNorm:
    """h = R((residual + norm(x)·inner_weight)·scale) before the norm: Gemma 2's sandwich."""

    scale: float = 1.0
    rounding: PostRounding = "single"


@dataclass(frozen=True)
class Interpolation:
    """h = A + \\|rate·rate_scale\\|·(B − A), A = norm(residual), B = norm(x): nGPT's step."""

    rate_scale: float = 1.0


@dataclass(frozen=True)
class PostAdd:
    """y = R((residual + norm·weight)·scale)."""

    scale: float = 1.0
    rounding: PostRounding = "single"


@dataclass(frozen=True)
class Rope:
    """The rotation of the first ``dim`` elements of each head by its position."""

    dim: int
    pairs: RopePairs = "half_split"
    rounding: RopeRounding = "single"


@dataclass(frozen=True)
class Quantisation:
    """What y is quantised to. Fields that the scaling does not name are not looked at."""

    scaling: Scaling
    code: CodeType = "e4m3"
    #: ``per_token`` and fp8: the largest magnitude of a row counts as no more.
    upper_bound: float | None = None
    #: ``per_group``: the largest magnitude of a group counts as no less.
    floor: float = 1e-10
    #: ``per_group``: 64 or 128.
    group_size: int = 128
    #: ``per_group``, ``mxfp8``, ``nvfp4``.
    layout: ScaleLayout = "row_major"
    #: ``column_major``: rows of a group are rounded up to a multiple of this.
    layout_alignment: int = 1
    #: ``per_group``: scales are rounded up to powers of two.
    power_of_two: bool = False
    #: ``mxfp8``.
    block_rounding: BlockRounding = "up"

    @staticmethod
    def nvfp4(layout: ScaleLayout = "row_major") -> Quantisation:
        """e2m1 codes in blocks of 16."""
        return Quantisation("nvfp4", "e2m1", layout=layout)

    def _native(self) -> _native.Quantisation:
        return _native.Quantisation(
            _number("scaling", self.scaling, _SCALINGS),
            _number("code", self.code, get_args(CodeType)),
            0.0 if self.upper_bound is None else self.upper_bound,
            self.floor,
            _count("group_size", self.group_size),
            _count("layout_alignment", self.layout_alignment),
            _number("layout", self.layout, get_args(ScaleLayout)),
            int(self.power_of_two),
            _number("block_rounding", self.block_rounding, get_args(BlockRounding)),
        )


#: What the values of a row are made of; None for x alone.
Input = Union[ResidualAdd, Gated, PostNorm, Interpolation, None]


@dataclass(frozen=True)
class Norm:
    """A normalisation over the last dimension, with all that surrounds it in the same pass.

    ::

        h = x                                          or what ``input`` says
        v = (h − mean)·rstd, or h·rstd                 by ``family``
        y = R(v·(weight + weight_offset) + bias)       R rounds to the activation type
        y = R(v·(weight + weight_offset)·act(gate))    where there is a gate
        y = R((residual + v·(weight + weight_offset))·scale)   where there is a post_add
    """

    family: Family
    eps: float = 0.0
    weight_offset: float = 0.0
    weight_rounding: WeightRounding = "single"
    input: Input = None
    gate: AnyActivation | None = None
    post_add: PostAdd | None = None
    scope: Scope = "row"
    rope: Rope | None = None
    quantisation: Quantisation | None = None
    _made: _native.Norm = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_made", self._native())

    def replace(self, **changes: Any) -> Norm:
        """The same norm with these fields."""
        return replace(self, **changes)

    def _native(self) -> _native.Norm:
        norm = _native.new_norm(_number("family", self.family, get_args(Family)), self.eps)
        norm.weight_offset = self.weight_offset
        norm.weight_rounding = _number("weight_rounding", self.weight_rounding, get_args(WeightRounding))
        norm.scope = _number("scope", self.scope, get_args(Scope))
        norm.input = _input(self.input)
        if self.gate is not None:
            norm.gate = _activation(self.gate)._native()
        if self.post_add is not None:
            rounding = _number("post_add.rounding", self.post_add.rounding, get_args(PostRounding))
            norm.post_add = _native.PostAdd(1, self.post_add.scale, rounding)
        if self.rope is not None:
            pairs = _number("rope.pairs", self.rope.pairs, get_args(RopePairs))
            if self.rope.dim == 0:
                # To the library, no rotation.
                raise InvalidArgument("rope.dim is 0, wanted an even number of at least 2")
            dim = _count("rope.dim", self.rope.dim, "an even number of at least 2")
            rounding = _number("rope.rounding", self.rope.rounding, get_args(RopeRounding))
            norm.rope = _native.Rope(dim, pairs, rounding)
        if self.quantisation is not None:
            norm.quantisation = self.quantisation._native()
        return norm


def _input(given: Input) -> _native.Input:
    none = _native.Activation(0, 0.0)
    if given is None:
        return _native.Input(0, 1.0, 0, none)
    if isinstance(given, ResidualAdd):
        rounding = _number("input.rounding", given.rounding, get_args(ResidualRounding))
        return _native.Input(1, given.scale, rounding, none)
    if isinstance(given, Gated):
        return _native.Input(2, 1.0, 0, _activation(given.activation)._native())
    if isinstance(given, PostNorm):
        return _native.Input(3, given.scale, _number("input.rounding", given.rounding, get_args(PostRounding)), none)
    if isinstance(given, Interpolation):
        return _native.Input(4, given.rate_scale, 0, none)
    raise InvalidArgument(f"input is {given!r}, wanted a ResidualAdd, Gated, PostNorm, Interpolation or None")


def preset(name: str) -> Norm:
    """The norm of a framework: ``"llama"``, ``"gemma"``, ``"flash-infer"``, ``"deep-norm:24"``, ``"qwen3-heads:128"``…

    A name that there is not is an error that lists those that there are.
    """
    made = _native.preset(name)
    inputs: dict[int, Input] = {0: None}
    scale, rounding = made.input.scale, made.input.rounding
    kind = made.input.kind
    if kind == 1:
        inputs[1] = ResidualAdd(scale, get_args(ResidualRounding)[rounding])
    elif kind == 2:
        inputs[2] = Gated(_named(made.input.activation))
    elif kind == 3:
        inputs[3] = PostNorm(scale, get_args(PostRounding)[rounding])
    elif kind == 4:
        inputs[4] = Interpolation(scale)
    return Norm(
        family=get_args(Family)[made.family],
        eps=made.eps,
        weight_offset=made.weight_offset,
        weight_rounding=get_args(WeightRounding)[made.weight_rounding],
        input=inputs[kind],
        gate=_named(made.gate) if made.gate.kind else None,
        post_add=(
            PostAdd(made.post_add.scale, get_args(PostRounding)[made.post_add.rounding])
            if made.post_add.present
            else None
        ),
        scope=get_args(Scope)[made.scope],
        rope=(
            Rope(made.rope.dim, get_args(RopePairs)[made.rope.pairs], get_args(RopeRounding)[made.rope.rounding])
            if made.rope.dim
            else None
        ),
    )


def _named(activation: _native.Activation) -> Activation:
    name: Any = _ACTIVATIONS[activation.kind]
    return Activation(name, activation.parameter)
