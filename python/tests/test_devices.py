"""Devices, streams, threads, and arrays of other libraries."""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import warpnorm
from warpnorm import _dlpack

X = np.arange(1, 65, dtype=np.float32).reshape(2, 32)


class Foreign:
    """An array of a library that nobody knows, which speaks DLPack alone."""

    def __init__(self, array: np.ndarray, old: bool = False) -> None:
        self.array, self.old = array, old

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __dlpack__(self, **keywords: Any) -> Any:
        if self.old and keywords:
            raise TypeError("no keywords are known")
        return self.array.__dlpack__(**keywords)


@pytest.mark.parametrize("old", [False, True])
def test_dlpack(old: bool) -> None:
    wanted = warpnorm.rms_norm(X)
    out = np.zeros((2, 40), np.float32)
    given = np.zeros((2, 40), np.float32)
    given[:, :32] = X
    warpnorm.rms_norm(Foreign(given[:, :32], old), Foreign(np.ones(32, np.float32), old), out=Foreign(out[:, :32], old))
    assert (out[:, :32] == wanted).all() and (out[:, 32:] == 0).all()
    with pytest.raises(TypeError, match="give the outputs"):
        warpnorm.rms_norm(Foreign(X, old))
    halves = Foreign(X.astype(np.float16), old)
    out = np.zeros((2, 32), np.float16)
    warpnorm.rms_norm(halves, out=Foreign(out, old))
    assert np.allclose(out, wanted, rtol=1e-3)
    with pytest.raises(warpnorm.InvalidArgument, match="x is int64|x is DLPack"):
        warpnorm.rms_norm(Foreign(np.ones((2, 2), np.int64), old), out=halves)
    with pytest.raises(warpnorm.InvalidArgument, match="x is DLPack type 2 of 64 bits"):
        warpnorm.rms_norm(Foreign(np.ones((2, 2)), old), out=halves)


@pytest.mark.parametrize(("stream", "wanted"), [(None, 1), (0x1234, 0x1234)])
def test_dlpack_is_told_the_stream(stream: int | None, wanted: int) -> None:
    """Of a GPU's tensor: its library makes that stream wait for what it has queued. 1 is the default one's number."""
    told: list[Any] = []

    class OfCuda(Foreign):
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 0

        def __dlpack__(self, **keywords: Any) -> Any:
            told.append(keywords.pop("stream"))
            return self.array.__dlpack__(**keywords)

    _dlpack.read(OfCuda(X), stream)
    assert told == [wanted]


def test_dlpack_keeps_nothing() -> None:
    """A tensor's description is given back: its array goes with its last reference."""

    class Tracked(np.ndarray):
        pass

    array = np.ones((2, 32), np.float32).view(Tracked)
    gone = weakref.ref(array)
    warpnorm.rms_norm(Foreign(array), out=Foreign(np.zeros((2, 32), np.float32)))
    assert gone() is not None
    del array
    gc.collect()
    assert gone() is None


def test_read_only_dlpack() -> None:
    class ReadOnly(Foreign):
        def __dlpack__(self, **keywords: Any) -> Any:
            self.array.flags.writeable = False
            return self.array.__dlpack__(**keywords)

    try:
        ReadOnly(X.copy()).__dlpack__(max_version=(1, 0))
    except (BufferError, TypeError):
        pytest.skip("this NumPy has no read-only DLPack tensors")
    with pytest.raises(warpnorm.InvalidArgument, match="out is read-only"):
        warpnorm.rms_norm(X, out=ReadOnly(X.copy()))


def test_devices_end() -> None:
    with warpnorm.Device.cpu() as device:
        assert "cpu" in device.name and (warpnorm.rms_norm(X, device=device) == warpnorm.rms_norm(X)).all()
    device.close()
    with pytest.raises(warpnorm.ClosedDevice, match="destroyed"):
        warpnorm.rms_norm(X, device=device)
    with pytest.raises(warpnorm.ClosedDevice):
        device.warm_up(warpnorm.Norm("rms_norm"), "float32")
    # The one that functions share is made anew where someone has closed it.
    warpnorm._devices.shared(("cpu", 0)).close()
    assert warpnorm.rms_norm(X).shape == X.shape


def test_devices_are_named_and_counted() -> None:
    assert "T4" in warpnorm.Device.emulated("t4").name
    with pytest.raises(warpnorm.InvalidArgument, match="no GPU \"voodoo2\""):
        warpnorm.Device.emulated("voodoo2")
    with pytest.raises(warpnorm.DeviceError, match="no NVIDIA driver|no CUDA device"):
        warpnorm.Device.cuda(1000)
    with pytest.raises(warpnorm.InvalidArgument, match="ordinal is -1"):
        warpnorm.Device.cuda(-1)
    device = warpnorm.Device.emulated()
    device.warm_up(warpnorm.Norm("rms_norm"), "bfloat16")
    with pytest.raises(warpnorm.InvalidArgument, match="dtype is 'int8'"):
        device.warm_up(warpnorm.Norm("rms_norm"), "int8")


#: Runs where a driver of the test's own, whose path is given, stands in for NVIDIA's.
CAPTURES = """
import ctypes, sys
import warpnorm
from warpnorm import _devices, _native

driver, GPU = ctypes.CDLL(sys.argv[1]), 1
for name in ("fake_memory", "fake_primary_context", "fake_stream"):
    getattr(driver, name).restype = ctypes.c_void_p
stream = ctypes.c_void_p(driver.fake_stream(ctypes.c_void_p(driver.fake_primary_context(GPU))))
x = driver.fake_memory(0, GPU, ctypes.c_size_t(4 * 64 * 2))

def captured(norm, device):
    call = _native.new_call(1, 4, 64)
    call.x = call.y = _native.Rows(x, 64)
    driver.fake_capture(stream, ctypes.c_bool(True))
    try:
        _native.call("warpnorm_run", device._handle, stream, ctypes.byref(norm._made), ctypes.byref(call))
        return True
    except warpnorm.NotLoaded:
        return False
    finally:
        driver.fake_capture(stream, ctypes.c_bool(False))

layer_norm, rms_norm = warpnorm.Norm("layer_norm"), warpnorm.Norm("rms_norm")
shared, own = _devices.shared(("cuda", GPU)), warpnorm.Device.cuda(GPU)
own.warm_up(layer_norm, "float16")
assert captured(layer_norm, own) and not captured(layer_norm, shared)
warpnorm.warm_up(layer_norm, "float16", device=GPU)
assert captured(layer_norm, shared) and not captured(rms_norm, shared)
warpnorm.warm_up_all(device=GPU)
assert captured(rms_norm, shared) and not captured(rms_norm, own)
"""


def test_what_functions_share_is_warmed_up(tmp_path: pathlib.Path) -> None:
    source = pathlib.Path(__file__).resolve().parents[2] / "crates/warpnorm-capi/tests/c/fake_driver.c"
    driver = tmp_path / "libcuda.so"
    compiler = ["cc", "-std=c11", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", str(driver), str(source)]
    subprocess.run(compiler, check=True)
    environment = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", CAPTURES, str(driver)], check=True, env=environment)


def test_warming_up_says_what_is_wrong() -> None:
    norm = warpnorm.Norm("rms_norm")
    with pytest.raises(warpnorm.DeviceError, match="no NVIDIA driver|no CUDA device"):
        warpnorm.warm_up(norm, "float16", device=1000)
    with pytest.raises(warpnorm.DeviceError, match="no NVIDIA driver|no CUDA device"):
        warpnorm.warm_up_all(device=1000)
    with pytest.raises(warpnorm.InvalidArgument, match="ordinal is -1"):
        warpnorm.warm_up(norm, "float16", device=-1)


def test_streams_of_the_host() -> None:
    with pytest.raises(warpnorm.InvalidArgument, match="wanted a null pointer"):
        warpnorm.rms_norm(X, stream=12345)


def test_outputs_are_made_on_the_stream_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stand-in for CuPy, whose arrays are the CPU's: that the CPU has no such stream is found out afterwards."""
    current: list[int] = [0]
    made: list[tuple[str, int]] = []

    class Array(np.ndarray):
        __module__ = "cupy"
        device = contextlib.nullcontext()

    @contextlib.contextmanager
    def on(stream: int) -> Iterator[None]:
        current.append(stream)
        yield
        current.pop()

    class OfOtherDevice(Array):
        __module__ = "cupy"

        @property
        def device(self) -> Any:
            return on(9)

    def make(how: str) -> Any:
        def one(*arguments: Any) -> Any:
            made.append((how, current[-1]))
            return getattr(np, how)(*arguments).view(Array)

        return one

    cuda = types.SimpleNamespace(
        ExternalStream=on, get_current_stream=lambda: types.SimpleNamespace(ptr=current[-1])
    )
    cupy = types.SimpleNamespace(cuda=cuda, empty=make("empty"), zeros=make("zeros"))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    x = np.ones((4, 64), np.float16).view(Array)
    tiled = warpnorm.Quantisation("mxfp8", layout="tiled")
    for compute, wanted in [
        (lambda **how: warpnorm.rms_norm(x, **how), ["empty"]),
        (lambda **how: warpnorm.rms_norm_quant(x, quantisation=tiled, **how), ["empty", "zeros"]),
        (lambda **how: warpnorm.batch_statistics(x, **how), ["empty"] * 4),
    ]:
        made.clear()
        with pytest.raises(warpnorm.InvalidArgument, match="wanted a null pointer"):
            compute(stream=7)
        assert made == [(how, 7) for how in wanted] and current == [0]
        made.clear()
        compute()
        assert made == [(how, 0) for how in wanted]
    # The stream that is current on the tensors' device, whichever device is the current one.
    with pytest.raises(warpnorm.InvalidArgument, match="wanted a null pointer"):
        warpnorm.rms_norm(x.view(OfOtherDevice))
    assert current == [0]


def test_threads() -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            x = np.full((3, 32 + number), 2.0, np.float32)
            for _ in range(50):
                assert (warpnorm.rms_norm(x, eps=0.0) == 1.0).all()
                with pytest.raises(warpnorm.InvalidArgument, match=f"eps is -{number + 1}"):
                    warpnorm.rms_norm(x, eps=-float(number + 1))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_version() -> None:
    assert warpnorm.__version__.count(".") == 2
