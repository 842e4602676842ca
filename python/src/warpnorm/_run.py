"""The road from tensors to a call of the library: everything is checked that the library, which sees addresses alone,
cannot know."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, get_args

from . import _native
from ._devices import Device, shared
from ._errors import InvalidArgument, WrongDevice
from ._norm import Norm, ProgrammaticLaunch, Quantisation, _count, _number
from ._tensors import DTYPES, Array, View, current_stream, empty, has_changed, view

_CODES = {
    "e4m3": ("float8_e4m3fn", "uint8"),
    "e5m2": ("float8_e5m2", "uint8"),
    "int8": ("int8",),
    "e2m1": ("uint8", "float4_e2m1fn_x2"),
}
_SCALES = {"mxfp8": ("uint8", "float8_e8m0fnu"), "nvfp4": ("float8_e4m3fn", "uint8")}


@dataclass
class Result:
    """What an op has computed; None where it was not asked for."""

    y: Array = None
    #: The other heads.
    second_y: Array = None
    #: The residual stream that goes out.
    residual: Array = None
    mean: Array = None
    rstd: Array = None
    codes: Array = None
    scales: Array = None


class Operands:
    """The tensors of a call, all of one device."""

    def __init__(self, x: Array, device: Device | None, stream: int | None) -> None:
        self.like = x
        #: The stream that was asked for, which new tensors are made on, too.
        self.given_stream = stream
        self.stream = current_stream(x) if stream is None else _count("stream", stream, "at least 0")
        self.x = view("x", x, self.stream)
        self.kept: list[Any] = [self.x]
        self.place = self.x.device
        self.device = shared(self.place) if device is None else device
        self.device.takes(self.place)

    def empty(self, shape: tuple[int, ...], dtype: str | None = None, zero: bool = False) -> Array:
        """A new tensor beside x."""
        return empty(self.like, shape, dtype, zero, self.given_stream)

    def view(self, role: str, tensor: Array) -> View:
        one = view(role, tensor, self.stream)
        if one.device != self.place:
            kind, index = one.device
            raise WrongDevice(f"{role} is on {kind}:{index}, and x on {self.place[0]}:{self.place[1]}")
        self.kept.append(one)
        return one

    def vector(self, role: str, tensor: Array, *shapes: tuple[int, ...]) -> _native.Vector:
        """A parameter of one of these shapes; absent where there is none."""
        if tensor is None:
            return _native.Vector(None, 0)
        one = self.view(role, tensor).of_type(*DTYPES).of_shape(*shapes).contiguous()
        return _native.Vector(one.address, DTYPES[one.dtype])

    def output(self, role: str, wanted: Array | bool, shape: tuple[int, ...], dtype: str) -> tuple[Array, int | None]:
        """An output vector that is given, or is to be made, and its address; None and None where it is not wanted."""
        if wanted is None or wanted is False:
            return None, None
        tensor = self.empty(shape, dtype) if wanted is True else wanted
        one = self.view(role, tensor).of_type(dtype).of_shape(shape).contiguous().written()
        return tensor, one.address

    def run(self, name: str, *arguments: Any) -> None:
        """Calls the library on the device and the stream. The tensors live until it returns; what is queued on a GPU
        then is in the order of its stream, as what the memory of those that were made here is used for next."""
        _native.call(name, self.device._handle, self.stream, *arguments)
        for one in self.kept:
            if isinstance(one, View) and one.is_written:
                has_changed(one.owner)


def _of_rows(one: View, parts: int) -> tuple[_native.Rows, int]:
    _, stride, part_stride = one.rows(parts)
    return _native.Rows(one.address, stride), part_stride


def apply(
    norm: Norm,
    x: Array,
    weight: Array = None,
    bias: Array = None,
    *,
    residual: Array = None,
    gate: Array = None,
    linear_bias: Array = None,
    inner_weight: Array = None,
    rate: Array = None,
    groups: int | None = None,
    second: Array = None,
    second_weight: Array = None,
    second_bias: Array = None,
    cos: Array = None,
    sin: Array = None,
    positions: Array = None,
    tensor_scale: Array | float | None = None,
    out: Array = None,
    second_out: Array = None,
    residual_out: Array | bool = None,
    mean: Array | bool = None,
    rstd: Array | bool = None,
    codes: Array = None,
    scales: Array = None,
    store_y: bool = False,
    device: Device | None = None,
    stream: int | None = None,
    programmatic_launch: ProgrammaticLaunch = "off",
) -> Result:
    """Computes any norm: the others are this one with names.

    ``x`` is ``(…, hidden)``; of heads ``(…, heads, hidden)``; of groups ``(…, groups·hidden)``. Leading dimensions are
    rows, and may have any one stride between them. ``residual``, ``gate``, ``out`` and ``residual_out`` have its shape,
    and ``out`` may be ``x`` itself. What is to be written is given, or made where it is needed or ``True``. Of a norm
    that quantises, y is stored where ``store_y`` or ``out`` asks for it.

    ``cos`` and ``sin`` are ``(entries, dim/2)``, and ``positions``, int32 or int64, has the shape of the rows.

    On GPUs from compute capability 9.0 on, a ``programmatic_launch`` begins before the kernel in front of it in the
    stream has completed: ``wait_first`` waits for that before it touches any tensor. ``parameters_first`` may read
    ``weight``, ``bias``, ``linear_bias``, ``inner_weight``, ``rate``, ``second_weight`` and ``second_bias`` before, and
    it is for the caller to see that no kernel that may still be running then writes them: where the kernel in front of
    it was launched programmatically itself, also the one in front of that, and so on.

    Kernels of others in front of it that are launched programmatically, and let it begin early, have to wait, too, as
    those of this library do: all of their threads execute ``cudaGridDependencySynchronize``. A call waits for
    the kernel in front of it alone; where that completes without having waited, the call may read what those before
    have yet to write.
    """
    operands = Operands(x, device, stream)
    # Heads are a dimension of their own; groups, parts of the last one.
    head = norm.scope == "head"
    parts = 1 if head else 0
    main = operands.x.of_type(*DTYPES)
    if len(main.shape) < 1 + parts:
        raise InvalidArgument(f"x has shape {main.shape}, wanted at least {'(heads, hidden)' if head else '(hidden,)'}")
    leading, hidden = main.shape[: -1 - parts], main.shape[-1]
    count = main.shape[-2] if head else 1
    if norm.scope == "group":
        if not isinstance(groups, int) or groups < 1 or hidden % groups:
            raise InvalidArgument(f"groups is {groups}, wanted a divisor of the last dimension, {hidden}")
        count, hidden = groups, hidden // groups
    elif groups is not None:
        raise InvalidArgument("groups is given, and the norm is of none")
    rows, _, _ = main.rows(parts)
    call = _native.new_call(DTYPES[main.dtype], rows, hidden)
    call.parts.count = count
    call.programmatic_launch = _number("programmatic_launch", programmatic_launch, get_args(ProgrammaticLaunch))

    def matrix(role: str, tensor: Array, shape: tuple[int, ...], written: bool = False) -> tuple[_native.Rows, int]:
        one = operands.view(role, tensor).of_type(main.dtype).of_shape(shape)
        return _of_rows(one.written() if written else one, parts)

    call.x, stride = _of_rows(main, parts)
    call.parts.x_stride = stride if head else hidden
    if residual is not None:
        call.residual, _ = matrix("residual", residual, main.shape)
    if gate is not None:
        call.gate, stride = matrix("gate", gate, main.shape)
        call.parts.gate_stride = stride if head else hidden

    result = Result()
    quantises = norm.quantisation is not None
    if out is not None or store_y or not quantises:
        result.y = operands.empty(main.shape) if out is None else out
        call.y, stride = matrix("out", result.y, main.shape, written=True)
        call.parts.y_stride = stride if head else hidden
    if residual_out is not None and residual_out is not False:
        result.residual = operands.empty(main.shape) if residual_out is True else residual_out
        call.residual_out, _ = matrix("residual_out", result.residual, main.shape, written=True)

    of_all = ((hidden,),) if count == 1 or head else ((count * hidden,), (count, hidden))
    call.weight = operands.vector("weight", weight, *of_all)
    call.bias = operands.vector("bias", bias, *of_all)
    call.linear_bias = operands.vector("linear_bias", linear_bias, (hidden,))
    call.inner_weight = operands.vector("inner_weight", inner_weight, (hidden,))
    call.rate = operands.vector("rate", rate, (hidden,))
    statistics = leading + ((count,) if norm.scope != "row" else ())
    result.mean, call.mean = operands.output("mean", mean, statistics, "float32")
    result.rstd, call.rstd = operands.output("rstd", rstd, statistics, "float32")

    if second is not None:
        if not head:
            raise InvalidArgument("second is given, and the norm is of no heads")
        other = operands.view("second", second).of_type(main.dtype)
        if len(other.shape) != len(main.shape) or other.shape[:-2] != leading or other.shape[-1] != hidden:
            wanted = (*leading, "heads", hidden)
            raise InvalidArgument(f"second has shape {other.shape}, wanted {wanted} beside x")
        call.second.count = other.shape[-2]
        call.second.x, call.second.x_stride = _of_rows(other, parts)
        result.second_y = operands.empty(other.shape) if second_out is None else second_out
        call.second.y, call.second.y_stride = matrix("second_out", result.second_y, other.shape, written=True)
        call.second.weight = operands.vector("second_weight", second_weight, (hidden,))
        call.second.bias = operands.vector("second_bias", second_bias, (hidden,))
    else:
        for role, tensor in (("weight", second_weight), ("bias", second_bias), ("out", second_out)):
            if tensor is not None:
                raise InvalidArgument(f"second_{role} is given without second")

    if cos is not None or sin is not None or positions is not None:
        _rope(operands, norm, call, (cos, sin, positions), leading, rows)
    if norm.quantisation is not None:
        _codes(operands, norm, call, result, (codes, scales), leading)
    elif codes is not None or scales is not None:
        raise InvalidArgument("codes or scales are given, and the norm does not quantise")
    if tensor_scale is not None:
        call.tensor_scale = _tensor_scale(operands, tensor_scale)
    operands.run("warpnorm_run", ctypes.byref(norm._made), ctypes.byref(call))
    return result


def _rope(
    operands: Operands,
    norm: Norm,
    call: _native.Call,
    tables: tuple[Array, Array, Array],
    leading: tuple[int, ...],
    rows: int,
) -> None:
    cos, sin, positions = tables
    if norm.rope is None:
        raise InvalidArgument("cos, sin or positions are given, and the norm does not rotate")
    if cos is None or sin is None:
        raise InvalidArgument("cos and sin go together, and one is missing")
    half = norm.rope.dim // 2
    of_cos = operands.view("cos", cos).of_type(*DTYPES)
    if len(of_cos.shape) != 2 or of_cos.shape[1] != half:
        raise InvalidArgument(f"cos has shape {of_cos.shape}, wanted (entries, {half})")
    of_sin = operands.view("sin", sin).of_type(of_cos.dtype).of_shape(of_cos.shape)
    call.rope.cos, _ = _of_rows(of_cos, 0)
    call.rope.sin, _ = _of_rows(of_sin, 0)
    call.rope.entries = of_cos.shape[0]
    call.rope.dtype = DTYPES[of_cos.dtype]
    if positions is not None:
        one = operands.view("positions", positions).of_type("int32", "int64").of_shape(leading, (rows,)).contiguous()
        call.rope.positions = one.address
        call.rope.position_type = 0 if one.dtype == "int32" else 1


def _codes(
    operands: Operands,
    norm: Norm,
    call: _native.Call,
    result: Result,
    given: tuple[Array, Array],
    leading: tuple[int, ...],
) -> None:
    quantisation: Quantisation | None = norm.quantisation
    assert quantisation is not None
    row_bytes, count = _native.quantised_sizes(norm._made, call.rows, call.hidden)
    types = _CODES[quantisation.code]
    codes, scales = given
    shape = (*leading, row_bytes)
    result.codes = operands.empty(shape, types[0]) if codes is None else codes
    one = operands.view("codes", result.codes).of_type(*types).of_shape(shape).written()
    call.codes, _ = _of_rows(one, 0)
    if quantisation.scaling in ("per_tensor", "per_tensor_wide"):
        if scales is not None:
            raise InvalidArgument(f"scales are given, and {quantisation.scaling} makes none")
        return
    if quantisation.scaling == "per_token":
        shapes: tuple[tuple[int, ...], ...] = ((*leading, 1), leading)
    elif quantisation.layout == "row_major":
        # Of no rows there are no scales to share out: one row says how many it would have.
        groups = count // call.rows if call.rows else _native.quantised_sizes(norm._made, 1, call.hidden)[1]
        shapes = ((*leading, groups), (count,))
    else:
        shapes = ((count,),)
    scale_types = _SCALES.get(quantisation.scaling, ("float32",))
    # Scales between those of rows and groups are not written; what is made here is 0 there.
    gaps = quantisation.layout != "row_major"
    result.scales = operands.empty(shapes[0], scale_types[0], zero=gaps) if scales is None else scales
    one = operands.view("scales", result.scales).of_type(*scale_types).of_shape(*shapes).contiguous().written()
    call.scales = one.address or None


def _tensor_scale(operands: Operands, scale: Array | float) -> int:
    if isinstance(scale, (int, float)):
        if operands.place[0] != "cpu":
            raise InvalidArgument("tensor_scale is a number, wanted a float32 tensor of one element on x's device")
        number = ctypes.c_float(scale)
        operands.kept.append(number)
        return ctypes.addressof(number)
    return operands.view("tensor_scale", scale).of_type("float32").of_shape((), (1,), (1, 1)).address

