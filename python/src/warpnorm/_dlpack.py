"""Tensors of any library that speaks DLPack, read without that library."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_uint64, c_void_p, py_object
from typing import Any

from ._errors import InvalidArgument

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
_READ_ONLY = 1

#: By type code and bits, of one lane.
_DTYPES = {
    (0, 8): "int8",
    (0, 32): "int32",
    (0, 64): "int64",
    (1, 8): "uint8",
    (2, 16): "float16",
    (2, 32): "float32",
    (4, 16): "bfloat16",
    (10, 8): "float8_e4m3fn",
    (12, 8): "float8_e5m2",
}


class _Tensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


class _Managed(Structure):
    _fields_ = [("tensor", _Tensor), ("context", c_void_p), ("deleter", c_void_p)]


class _ManagedVersioned(Structure):
    _fields_ = [
        ("major", c_uint32),
        ("minor", c_uint32),
        ("context", c_void_p),
        ("deleter", c_void_p),
        ("flags", c_uint64),
        ("tensor", _Tensor),
    ]


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [py_object, c_char_p]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = c_void_p, [py_object, c_char_p]


def read(tensor: Any, stream: int | None) -> tuple[int, tuple[int, ...], tuple[int, ...], str, int, int, bool, Any]:
    """Address, shape, strides in elements, dtype, device type, device id, whether it may be written, and what keeps
    it alive: the capsule, which frees the tensor's description when it goes, since nobody takes it over."""
    device_type, _ = tensor.__dlpack_device__()
    keywords: dict[str, Any] = {}
    if device_type in (CUDA, CUDA_MANAGED):
        # What others have queued for the tensor comes before what this stream does; 1 is the default stream's number.
        keywords["stream"] = stream or 1
    try:
        capsule = tensor.__dlpack__(max_version=(1, 0), **keywords)
    except TypeError:
        capsule = tensor.__dlpack__(**keywords)
    if _is_valid(capsule, b"dltensor_versioned"):
        versioned = _ManagedVersioned.from_address(_pointer(capsule, b"dltensor_versioned") or 0)
        if versioned.major != 1:
            raise InvalidArgument(f"a tensor of DLPack {versioned.major} is given, wanted 1")
        writable = not versioned.flags & _READ_ONLY
        view = versioned.tensor
    elif _is_valid(capsule, b"dltensor"):
        view = _Managed.from_address(_pointer(capsule, b"dltensor") or 0).tensor
        writable = True
    else:
        raise InvalidArgument(f"{type(tensor).__name__}.__dlpack__ returned no DLPack tensor")
    shape = tuple(view.shape[i] for i in range(view.ndim))
    if view.strides:
        strides = tuple(view.strides[i] for i in range(view.ndim))
    else:
        step, reversed_strides = 1, []
        for size in reversed(shape):
            reversed_strides.append(step)
            step *= size
        strides = tuple(reversed(reversed_strides))
    dtype = _DTYPES.get((view.code, view.bits)) if view.lanes == 1 else None
    name = dtype or f"DLPack type {view.code} of {view.bits} bits and {view.lanes} lanes"
    address = (view.data or 0) + view.byte_offset
    return address, shape, strides, name, view.device_type, view.device_id, writable, capsule
