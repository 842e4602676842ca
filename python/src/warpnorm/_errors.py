"""What the library refuses, as exceptions with its words."""

from __future__ import annotations


class WarpnormError(Exception):
    """Any failure of the library."""


class InvalidArgument(WarpnormError, ValueError):
    """A value, a shape or a pointer is not what it must be."""


class Unsupported(WarpnormError, NotImplementedError):
    """There is no kernel for this combination, or this build or the device cannot run it."""


class DeviceError(WarpnormError, RuntimeError):
    """There is no driver or no such device, or the driver refused something."""


class WrongDevice(WarpnormError, ValueError):
    """A tensor is in memory that the device cannot access, or a stream is of another context."""


class ClosedDevice(WarpnormError, RuntimeError):
    """A device that is none, or has been closed."""


class NotLoaded(WarpnormError, RuntimeError):
    """A stream is capturing, and the op's kernel is not loaded: see :func:`warpnorm.warm_up`."""


class InternalError(WarpnormError, RuntimeError):
    """A fault of the library."""


#: By ``warpnorm_status``.
BY_STATUS: dict[int, type[WarpnormError]] = {
    1: InvalidArgument,
    2: Unsupported,
    3: DeviceError,
    4: DeviceError,
    5: DeviceError,
    6: WrongDevice,
    7: ClosedDevice,
    8: ClosedDevice,
    9: NotLoaded,
    10: InternalError,
    11: InternalError,
}
