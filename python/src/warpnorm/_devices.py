"""Devices: one of the CPU and one of each GPU are made when they are first needed."""

from __future__ import annotations

import ctypes
import threading
from types import TracebackType

from . import _native
from ._errors import InvalidArgument, WrongDevice
from ._norm import Norm
from ._tensors import DTYPES

_TRUST_POINTERS = 1


class Device:
    """What computes. Functions choose one by where their tensors are; others are made by the class methods.

    A device is closed by :meth:`close`, at the end of a ``with`` block, or with its last reference.
    """

    def __init__(self, kind: str, ordinal: int, handle: _native.Handle) -> None:
        #: ``cuda``, ``cpu`` or ``emulated``.
        self.kind = kind
        #: Of ``cuda``.
        self.ordinal = ordinal
        self._handle = handle
        self._closed = False

    @classmethod
    def cuda(cls, ordinal: int = 0, *, trust_pointers: bool = False) -> Device:
        """The GPU of this ordinal, in its primary context, which is PyTorch's too.

        ``trust_pointers`` leaves out that the driver is asked, with every launch, where each tensor is.
        """
        if not 0 <= ordinal < 2**32:
            raise InvalidArgument(f"ordinal is {ordinal}, wanted at least 0")
        handle = _native.Handle()
        flags = _TRUST_POINTERS if trust_pointers else 0
        _native.call("warpnorm_device_cuda", ordinal, flags, ctypes.byref(handle))
        return cls("cuda", ordinal, handle)

    @classmethod
    def cpu(cls) -> Device:
        """The reference, in f64."""
        handle = _native.Handle()
        _native.call("warpnorm_device_cpu", ctypes.byref(handle))
        return cls("cpu", 0, handle)

    @classmethod
    def emulated(cls, gpu: str = "h200") -> Device:
        """The kernels themselves, run by an executor, as on this GPU: ``t4``, ``a100``, ``l4``, ``h100``, ``h200`` or
        ``b200``."""
        handle = _native.Handle()
        _native.call("warpnorm_device_emulated", gpu.encode(), ctypes.byref(handle))
        return cls("emulated", 0, handle)

    @property
    def name(self) -> str:
        """Its kind and model."""
        text = ctypes.create_string_buffer(256)
        _native.call("warpnorm_device_name", self._handle, text, len(text))
        return text.value.decode()

    def warm_up(self, norm: Norm, dtype: str) -> None:
        """Loads the module of a norm of ``float32``, ``float16`` or ``bfloat16``: before a graph is captured.

        Of this device alone: what is computed without ``device=``, and all of ``torch.ops.warpnorm``, has another one,
        which :func:`warpnorm.warm_up` is for.
        """
        if dtype not in DTYPES:
            raise InvalidArgument(f"dtype is {dtype!r}, wanted one of {', '.join(DTYPES)}")
        _native.call("warpnorm_warm_up", self._handle, ctypes.byref(norm._made), DTYPES[dtype])

    def warm_up_all(self) -> None:
        """Loads every module, which takes seconds where the driver has not compiled them before."""
        _native.call("warpnorm_warm_up_all", self._handle)

    def close(self) -> None:
        """Ends the device; what runs on it is waited for. Does nothing the second time."""
        if not self._closed:
            self._closed = True
            _native.call("warpnorm_device_destroy", self._handle)

    def takes(self, device: tuple[str, int]) -> None:
        """Refuses tensors of this device where this one cannot work on them."""
        kind, index = device
        if kind == "cuda" and (self.kind, self.ordinal) == (kind, index) or kind == "cpu" and self.kind != "cuda":
            return
        mine = f"CUDA device {self.ordinal}" if self.kind == "cuda" else f"the {self.kind} device"
        raise WrongDevice(f"tensors are on {kind}:{index}, and are to be computed by {mine}")

    def __enter__(self) -> Device:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:
            # Nobody is there to be told; at the end of the interpreter the library may be gone too.
            pass

    def __repr__(self) -> str:
        return f"<warpnorm.Device {self.kind}{f':{self.ordinal}' if self.kind == 'cuda' else ''}>"


_shared: dict[tuple[str, int], Device] = {}
_lock = threading.Lock()


def shared(device: tuple[str, int]) -> Device:
    """The device for tensors that are here."""
    found = _shared.get(device)
    if found is not None and not found._closed:
        return found
    with _lock:
        found = _shared.get(device)
        if found is None or found._closed:
            kind, index = device
            found = _shared[device] = Device.cuda(index) if kind == "cuda" else Device.cpu()
        return found


def warm_up(norm: Norm, dtype: str, *, device: int = 0) -> None:
    """Loads the module of a norm where functions and ``torch.ops.warpnorm`` compute: before they are captured.

    ``dtype`` is that of the activations, ``float32``, ``float16`` or ``bfloat16``, and ``device`` the GPU's index.
    """
    shared(("cuda", device)).warm_up(norm, dtype)


def warm_up_all(*, device: int = 0) -> None:
    """The same for every module, which takes seconds where the driver has not compiled them before."""
    shared(("cuda", device)).warm_up_all()
