"""Memory of a GPU that no library owns, by way of DLPack: where there is a driver. `scripts/emulated_driver.sh` stands in
for one."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p, py_object
from typing import Any

import numpy as np
import pytest
from conftest import emulated

import warpnorm
from warpnorm import _dlpack

try:
    DRIVER = ctypes.CDLL("libcuda.so.1")
except OSError:
    DRIVER = None

pytestmark = pytest.mark.skipif(DRIVER is None, reason="needs a GPU")

PER_TOKEN = warpnorm.Quantisation("per_token", code="e4m3")

_NAME = b"dltensor"
_capsule = ctypes.pythonapi.PyCapsule_New
_capsule.restype, _capsule.argtypes = py_object, [c_void_p, c_char_p, c_void_p]


def ask(function: str, *arguments: Any) -> None:
    status = getattr(DRIVER, function)(*arguments)
    assert status == 0, f"{function}: {status}"


@pytest.fixture(autouse=True)
def context() -> None:
    device, primary = c_int(), c_void_p()
    ask("cuInit", 0)
    ask("cuDeviceGet", byref(device), 0)
    ask("cuDevicePrimaryCtxRetain", byref(primary), device)
    ask("cuCtxSetCurrent", primary)


class OnGpu:
    """An array in memory of the GPU, which says what it is told."""

    def __init__(self, array: np.ndarray) -> None:
        self.like = np.ascontiguousarray(array)
        self.streams: list[int] = []
        address = c_uint64()
        ask("cuMemAlloc_v2", byref(address), c_size_t(self.like.nbytes))
        ask("cuMemcpyHtoD_v2", address, c_void_p(self.like.ctypes.data), c_size_t(self.like.nbytes))
        self.address = address.value
        self.shape = (c_int64 * self.like.ndim)(*self.like.shape)
        self.description = _dlpack._Managed()
        tensor = self.description.tensor
        tensor.data, tensor.device_type, tensor.ndim, tensor.lanes = self.address, _dlpack.CUDA, self.like.ndim, 1
        tensor.code, tensor.bits = {"f": 2, "u": 1}[self.like.dtype.kind], 8 * self.like.itemsize
        tensor.shape = self.shape

    def __dlpack_device__(self) -> tuple[int, int]:
        return _dlpack.CUDA, 0

    def __dlpack__(self, stream: int) -> Any:
        self.streams.append(stream)
        return _capsule(ctypes.addressof(self.description), _NAME, None)

    def get(self) -> np.ndarray:
        ask("cuCtxSynchronize")
        array = np.empty_like(self.like)
        ask("cuMemcpyDtoH_v2", c_void_p(array.ctypes.data), c_uint64(self.address), c_size_t(array.nbytes))
        return array


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("on_a_stream", [False, True])
def test_results_are_those_of_the_executor(dtype: Any, on_a_stream: bool) -> None:
    random = np.random.default_rng(5)
    x, residual = (random.standard_normal((3, 200)).astype(dtype) for _ in range(2))
    weight = random.standard_normal(200).astype(dtype)
    stream = c_void_p()
    if on_a_stream:
        ask("cuStreamCreate", byref(stream), 1)
    tensors = [OnGpu(array) for array in (x, residual, weight)]
    y, h = OnGpu(np.zeros_like(x)), OnGpu(np.zeros_like(x))
    warpnorm.add_rms_norm(*tensors, out=y, residual_out=h, stream=stream.value)
    # The default stream's number is 1.
    assert all(tensor.streams == [stream.value or 1] for tensor in (*tensors, y, h))
    wanted = warpnorm.add_rms_norm(x, residual, weight, device=emulated())
    assert all((got.get() == array).all() for got, array in zip((y, h), wanted, strict=True))


def test_codes_and_scales() -> None:
    x = np.random.default_rng(6).standard_normal((2, 256)).astype(np.float16)
    codes, scales = OnGpu(np.zeros((2, 256), np.uint8)), OnGpu(np.zeros((2, 1), np.float32))
    warpnorm.rms_norm_quant(OnGpu(x), quantisation=PER_TOKEN, codes=codes, scales=scales)
    wanted = warpnorm.rms_norm_quant(x, quantisation=PER_TOKEN, device=emulated())
    assert (codes.get() == wanted.codes.view(np.uint8)).all() and (scales.get() == wanted.scales).all()


def test_tensors_of_other_devices() -> None:
    x, weight = OnGpu(np.ones((2, 64), np.float32)), np.ones(64, np.float32)
    with pytest.raises(warpnorm.WrongDevice, match="weight"):
        warpnorm.rms_norm(x, weight, out=OnGpu(np.zeros((2, 64), np.float32)))
    with pytest.raises(TypeError, match="give the outputs"):
        warpnorm.rms_norm(x)
