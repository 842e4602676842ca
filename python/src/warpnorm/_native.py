"""The C library: its structures, as ``warpnorm.h`` has them, and its functions."""

from __future__ import annotations

import ctypes
import os
import pathlib
from ctypes import POINTER, Structure, byref, c_char_p, c_float, c_size_t, c_uint32, c_uint64, c_void_p, sizeof

from ._errors import BY_STATUS, InternalError


class Handle(Structure):
    _fields_ = [("id", c_uint64)]


class Activation(Structure):
    _fields_ = [("kind", c_uint32), ("parameter", c_float)]


class Input(Structure):
    _fields_ = [("kind", c_uint32), ("scale", c_float), ("rounding", c_uint32), ("activation", Activation)]


class PostAdd(Structure):
    _fields_ = [("present", c_uint32), ("scale", c_float), ("rounding", c_uint32)]


class Rope(Structure):
    _fields_ = [("dim", c_size_t), ("pairs", c_uint32), ("rounding", c_uint32)]


class Quantisation(Structure):
    _fields_ = [
        ("scaling", c_uint32),
        ("code", c_uint32),
        ("upper_bound", c_float),
        ("floor", c_float),
        ("group_size", c_size_t),
        ("layout_alignment", c_size_t),
        ("layout", c_uint32),
        ("power_of_two", c_uint32),
        ("block_rounding", c_uint32),
    ]


class Norm(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("family", c_uint32),
        ("eps", c_float),
        ("weight_offset", c_float),
        ("weight_rounding", c_uint32),
        ("scope", c_uint32),
        ("input", Input),
        ("gate", Activation),
        ("post_add", PostAdd),
        ("rope", Rope),
        ("quantisation", Quantisation),
    ]


class Rows(Structure):
    """Of ``warpnorm_rows``, ``warpnorm_rows_mut`` and ``warpnorm_codes``."""

    _fields_ = [("data", c_void_p), ("stride", c_size_t)]


class Vector(Structure):
    _fields_ = [("data", c_void_p), ("dtype", c_uint32)]


class Parts(Structure):
    _fields_ = [("count", c_size_t), ("x_stride", c_size_t), ("gate_stride", c_size_t), ("y_stride", c_size_t)]


class Heads(Structure):
    _fields_ = [
        ("x", Rows),
        ("y", Rows),
        ("count", c_size_t),
        ("x_stride", c_size_t),
        ("y_stride", c_size_t),
        ("weight", Vector),
        ("bias", Vector),
    ]


class RopeTables(Structure):
    _fields_ = [
        ("cos", Rows),
        ("sin", Rows),
        ("entries", c_size_t),
        ("positions", c_void_p),
        ("dtype", c_uint32),
        ("position_type", c_uint32),
    ]


class Call(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("dtype", c_uint32),
        ("rows", c_size_t),
        ("hidden", c_size_t),
        ("x", Rows),
        ("residual", Rows),
        ("gate", Rows),
        ("linear_bias", Vector),
        ("weight", Vector),
        ("bias", Vector),
        ("y", Rows),
        ("residual_out", Rows),
        ("mean", c_void_p),
        ("rstd", c_void_p),
        ("codes", Rows),
        ("scales", c_void_p),
        ("tensor_scale", c_void_p),
        ("inner_weight", Vector),
        ("rate", Vector),
        ("parts", Parts),
        ("second", Heads),
        ("rope", RopeTables),
        ("programmatic_launch", c_uint32),
    ]


class BatchStatistics(Structure):
    _fields_ = [
        ("size", c_uint32),
        ("dtype", c_uint32),
        ("eps", c_float),
        ("rows", c_size_t),
        ("hidden", c_size_t),
        ("x", Rows),
        ("weight", Vector),
        ("bias", Vector),
        ("mean", c_void_p),
        ("rstd", c_void_p),
        ("scale", c_void_p),
        ("shift", c_void_p),
        ("programmatic_launch", c_uint32),
    ]


def _load() -> ctypes.CDLL:
    # For work on the library itself; else the one that the package was installed with.
    path = os.environ.get("WARPNORM_LIBRARY") or pathlib.Path(__file__).with_name("libwarpnorm.so")
    try:
        library = ctypes.CDLL(os.fspath(path))
    except OSError as error:
        raise ImportError(f"{path} cannot be loaded ({error}): install the package with `pip install ./python`") from error
    size, number, status = c_size_t, c_uint32, c_uint32
    handle, stream = Handle, c_void_p
    for name, result, arguments in [
        ("warpnorm_version_string", c_char_p, []),
        ("warpnorm_last_error", c_char_p, []),
        ("warpnorm_device_cuda", status, [number, number, POINTER(handle)]),
        ("warpnorm_device_cpu", status, [POINTER(handle)]),
        ("warpnorm_device_emulated", status, [c_char_p, POINTER(handle)]),
        ("warpnorm_device_destroy", status, [handle]),
        ("warpnorm_device_name", status, [handle, c_char_p, size]),
        ("warpnorm_cuda_device_count", status, [POINTER(number)]),
        ("warpnorm_norm_init", status, [POINTER(Norm), size, number, c_float]),
        ("warpnorm_norm_preset", status, [POINTER(Norm), size, c_char_p]),
        ("warpnorm_call_init", status, [POINTER(Call), size, number, size, size]),
        ("warpnorm_batch_statistics_init", status, [POINTER(BatchStatistics), size, number, size, size, c_float]),
        (
            "warpnorm_quantised_sizes",
            status,
            [POINTER(Norm), size, size, POINTER(size), POINTER(size), POINTER(size)],
        ),
        ("warpnorm_check", status, [POINTER(Norm), POINTER(Call)]),
        ("warpnorm_run", status, [handle, stream, POINTER(Norm), POINTER(Call)]),
        ("warpnorm_run_batch_statistics", status, [handle, stream, POINTER(BatchStatistics)]),
        ("warpnorm_warm_up", status, [handle, POINTER(Norm), number]),
        ("warpnorm_warm_up_batch_statistics", status, [handle, number]),
        ("warpnorm_warm_up_all", status, [handle]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_LIBRARY = _load()


def call(name: str, *arguments: object) -> None:
    """Calls a function that returns a status, which becomes an exception where it is one."""
    # ctypes lets other threads run meanwhile; the last error is this thread's.
    status: int = getattr(_LIBRARY, name)(*arguments)
    if status:
        words: bytes = _LIBRARY.warpnorm_last_error()
        raise BY_STATUS.get(status, InternalError)(words.decode("utf-8", "replace"))


def version() -> str:
    """The version of the library."""
    text: bytes = _LIBRARY.warpnorm_version_string()
    return text.decode()


def new_norm(family: int, eps: float) -> Norm:
    norm = Norm()
    call("warpnorm_norm_init", byref(norm), sizeof(norm), family, eps)
    return norm


def preset(name: str) -> Norm:
    norm = Norm()
    call("warpnorm_norm_preset", byref(norm), sizeof(norm), name.encode())
    return norm


def new_call(dtype: int, rows: int, hidden: int) -> Call:
    one = Call()
    call("warpnorm_call_init", byref(one), sizeof(one), dtype, rows, hidden)
    return one


def new_batch_statistics(dtype: int, rows: int, hidden: int, eps: float) -> BatchStatistics:
    one = BatchStatistics()
    call("warpnorm_batch_statistics_init", byref(one), sizeof(one), dtype, rows, hidden, eps)
    return one


def quantised_sizes(norm: Norm, rows: int, hidden: int) -> tuple[int, int]:
    """Bytes of a row of codes, and how many scales there are."""
    row_bytes, count = c_size_t(), c_size_t()
    call("warpnorm_quantised_sizes", byref(norm), rows, hidden, byref(row_bytes), byref(count), None)
    return row_bytes.value, count.value


def cuda_device_count() -> int:
    """How many GPUs the driver shows."""
    count = c_uint32()
    call("warpnorm_cuda_device_count", byref(count))
    return count.value
