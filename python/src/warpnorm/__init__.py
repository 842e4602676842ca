"""Fused row-normalisation kernels for NVIDIA GPUs: LayerNorm, RMSNorm and what surrounds them, in one pass.

Functions take arrays of NumPy, tensors of PyTorch and whatever has ``__dlpack__``, and work where those are: on the CPU
by the f64 reference, on a GPU by the kernels, on the current stream. ``warpnorm.torch`` has the ops that
``torch.compile`` takes.

>>> import numpy, warpnorm
>>> warpnorm.rms_norm(numpy.array([[3.0, 4.0, 0.0, 0.0]], numpy.float32), eps=0.0)
array([[1.2, 1.6, 0. , 0. ]], dtype=float32)
"""

from ._devices import Device, warm_up, warm_up_all
from ._errors import (
    ClosedDevice,
    DeviceError,
    InternalError,
    InvalidArgument,
    NotLoaded,
    Unsupported,
    WarpnormError,
    WrongDevice,
)
from ._functions import (
    ColumnStatistics,
    Quantised,
    activation,
    add_layer_norm,
    add_rms_norm,
    add_rms_norm_quant,
    batch_norm,
    batch_statistics,
    gated_rms_norm,
    l2_norm,
    layer_norm,
    qk_norm,
    rms_norm,
    rms_norm_add,
    rms_norm_quant,
)
from ._native import cuda_device_count
from ._native import version as _version
from ._norm import (
    Activation,
    Gated,
    Interpolation,
    Norm,
    PostAdd,
    PostNorm,
    Quantisation,
    ResidualAdd,
    Rope,
    preset,
)
from ._run import Result, apply

__version__ = _version()

__all__ = [
    "Activation",
    "ClosedDevice",
    "ColumnStatistics",
    "Device",
    "DeviceError",
    "Gated",
    "InternalError",
    "Interpolation",
    "InvalidArgument",
    "Norm",
    "NotLoaded",
    "PostAdd",
    "PostNorm",
    "Quantisation",
    "Quantised",
    "ResidualAdd",
    "Result",
    "Rope",
    "Unsupported",
    "WarpnormError",
    "WrongDevice",
    "activation",
    "add_layer_norm",
    "add_rms_norm",
    "add_rms_norm_quant",
    "apply",
    "batch_norm",
    "batch_statistics",
    "cuda_device_count",
    "gated_rms_norm",
    "l2_norm",
    "layer_norm",
    "preset",
    "qk_norm",
    "rms_norm",
    "rms_norm_add",
    "rms_norm_quant",
    "warm_up",
    "warm_up_all",
]
