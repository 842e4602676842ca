"""Tensors of NumPy, PyTorch and whatever speaks DLPack: where they are, and what fits where."""

from __future__ import annotations

import math
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from . import _dlpack
from ._errors import InvalidArgument, WrongDevice

#: A tensor: of NumPy or PyTorch, or an object with ``__dlpack__``.
Array = Any

#: ``warpnorm_dtype``.
DTYPES = {"float32": 0, "float16": 1, "bfloat16": 2}
_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "int32": 4, "int64": 8}


@dataclass
class View:
    """A tensor as the library sees it. Strides are in elements."""

    role: str
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    #: ``cpu`` or ``cuda``, and which.
    device: tuple[str, int]
    writable: bool
    #: What must live for as long as the address is used.
    owner: Any
    #: Whether the call writes it.
    is_written: bool = False

    def of_type(self, *wanted: str) -> View:
        """The view, if its elements are of one of these types."""
        if self.dtype not in wanted:
            raise InvalidArgument(f"{self.role} is {self.dtype}, wanted {' or '.join(wanted)}")
        return self

    def of_shape(self, *wanted: tuple[int, ...]) -> View:
        """The view, if it has one of these shapes."""
        if self.shape not in wanted:
            shapes = " or ".join(str(shape) for shape in wanted)
            raise InvalidArgument(f"{self.role} has shape {self.shape}, wanted {shapes}")
        return self

    def written(self) -> View:
        """The view, if it may be written, as it is to be."""
        if not self.writable:
            raise InvalidArgument(f"{self.role} is read-only, and is to be written")
        self.is_written = True
        return self

    def contiguous(self) -> View:
        """The view, if its elements lie side by side."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides)):
            if 0 in self.shape:
                break
            if size > 1 and stride != step:
                raise InvalidArgument(f"{self.role} has strides {self.strides} for {self.shape}, wanted none: make it contiguous")
            step *= size
        return self

    def rows(self, parts: int = 0) -> tuple[int, int, int]:
        """As rows of ``parts`` trailing dimensions and a last one without gaps: their number, the stride from one to the
        next, and from part to part."""
        if 0 in self.shape:
            # Strides of what has no elements say nothing.
            last = self.shape[-1]
            return math.prod(self.shape[: len(self.shape) - 1 - parts]), last * (self.shape[-2] if parts else 1), last
        if self.shape[-1] > 1 and self.strides[-1] != 1:
            raise InvalidArgument(
                f"{self.role} has a stride of {self.strides[-1]} in its last dimension, wanted 1: make it contiguous"
            )
        leading = len(self.shape) - 1 - parts
        sizes, strides = self.shape[:leading], self.strides[:leading]
        last = row = self.shape[-1]
        part_stride = row
        if parts:
            count = self.shape[-2]
            part_stride = self.strides[-2] if count > 1 else row
            if part_stride < row:
                raise InvalidArgument(f"{self.role} has a stride of {part_stride} from part to part of {row} elements")
            row = (count - 1) * part_stride + row
        total = math.prod(sizes)
        step = None
        for size, stride in zip(reversed(sizes), reversed(strides)):
            if size == 1:
                continue
            if step is None:
                first, step = stride, stride * size
            elif stride == step:
                step = stride * size
            else:
                raise InvalidArgument(
                    f"{self.role} has shape {self.shape} and strides {self.strides}, which are not rows of one stride: "
                    "make it contiguous"
                )
        # Of one row there is no stride; anything that a row fits in will do.
        row_stride = row if step is None else first
        if row_stride < row:
            if last <= row_stride < part_stride:
                raise InvalidArgument(
                    f"heads of {self.role} lie further apart than rows, wanted the heads of a row in front of the next "
                    f"row: strides are {self.strides} for {self.shape}: make it contiguous"
                )
            raise InvalidArgument(f"rows of {self.role} overlap: strides are {self.strides} for {self.shape}")
        return total, row_stride, part_stride


def is_numpy(tensor: Array) -> bool:
    """Whether it is NumPy's, without importing that."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(tensor, numpy.ndarray)


def is_torch(tensor: Array) -> bool:
    """Whether it is PyTorch's, without importing that."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(tensor, torch.Tensor)


def view(role: str, tensor: Array, stream: int | None = None) -> View:
    """A tensor as the library sees it."""
    if is_numpy(tensor):
        return _of_numpy(role, tensor)
    if is_torch(tensor):
        return _of_torch(role, tensor)
    if not (hasattr(tensor, "__dlpack__") and hasattr(tensor, "__dlpack_device__")):
        raise TypeError(f"{role} is a {type(tensor).__name__}, wanted an array of NumPy or PyTorch, or with __dlpack__")
    address, shape, strides, dtype, device_type, device_id, writable, capsule = _dlpack.read(tensor, stream)
    kinds = {_dlpack.CPU: "cpu", _dlpack.CUDA_HOST: "cpu", _dlpack.CUDA: "cuda", _dlpack.CUDA_MANAGED: "cuda"}
    if device_type not in kinds:
        raise WrongDevice(f"{role} is on a device of DLPack's type {device_type}, wanted the CPU or CUDA")
    kind = kinds[device_type]
    device = (kind, device_id if kind == "cuda" else 0)
    return _checked(View(role, address, shape, strides, dtype, device, writable, (tensor, capsule)))


#: What a tensor is told that wants one.
NO_GRADIENTS = "{} requires a gradient, and there are none: use torch.no_grad(), or detach it"

#: Names of NumPy's and PyTorch's types, which take longer to ask for than all else of a tensor.
_names: dict[Any, str] = {}
_CPU = ("cpu", 0)


def _of_numpy(role: str, array: Any) -> View:
    numpy = sys.modules["numpy"]
    if type(array) is not numpy.ndarray and isinstance(array, numpy.ma.MaskedArray):
        raise InvalidArgument(f"{role} is a masked array, and its mask would not be looked at: use filled()")
    dtype = array.dtype
    name = _names.get(dtype)
    if name is None:
        name = _names[dtype] = dtype.name if dtype.isnative else f"{dtype.name} of another byte order"
    size = dtype.itemsize
    strides = []
    for stride in array.strides:
        if stride % size:
            raise InvalidArgument(f"{role} has strides of {array.strides} bytes, wanted multiples of {size}")
        strides.append(stride // size)
    address: int = array.__array_interface__["data"][0]
    return _checked(View(role, address, array.shape, tuple(strides), name, _CPU, array.flags.writeable, array))


def _of_torch(role: str, tensor: Any) -> View:
    import torch

    if tensor.layout is not torch.strided:
        raise InvalidArgument(f"{role} is {tensor.layout}, wanted a strided tensor")
    if tensor.device.type not in ("cpu", "cuda"):
        raise WrongDevice(f"{role} is on {tensor.device}, wanted the CPU or CUDA")
    if tensor.requires_grad and torch.is_grad_enabled():
        raise InvalidArgument(NO_GRADIENTS.format(role))
    if tensor.is_neg():
        raise InvalidArgument(f"{role} is a negated view: use resolve_neg()")
    device = (tensor.device.type, tensor.device.index or 0)
    dtype = _names.get(tensor.dtype)
    if dtype is None:
        dtype = _names[tensor.dtype] = str(tensor.dtype).removeprefix("torch.")
    shape, strides = tuple(tensor.shape), tuple(tensor.stride())
    return _checked(View(role, tensor.data_ptr(), shape, strides, dtype, device, True, tensor))


def _checked(one: View) -> View:
    if 0 in one.shape and not one.address:
        # PyTorch's tensors without elements are nowhere; to the library, what is at no address is not given.
        one.address = 256
    size = _SIZES.get(one.dtype, 1)
    if one.strides and min(one.strides) < 0:
        raise InvalidArgument(f"{one.role} has strides {one.strides}, wanted none below 0: make it contiguous")
    if one.address % size:
        raise InvalidArgument(f"{one.role} is at address {one.address:#x}, wanted a multiple of {size}")
    return one


def empty(
    like: Array, shape: tuple[int, ...], dtype: str | None = None, zero: bool = False, stream: int | None = None
) -> Array:
    """A new tensor of the library and the device of another one; of its type, if none is given.

    Its memory is of the pool of ``stream``, of the library's current one if that is ``None``, and goes back there: what
    fills it with zeros, and who has it next, come in the order of that stream, where the kernel is.
    """
    if is_torch(like):
        import torch

        of_torch = like.dtype if dtype is None else getattr(torch, dtype)
        with _on_torch_stream(like.device, stream):
            return (torch.zeros if zero else torch.empty)(shape, dtype=of_torch, device=like.device)
    cupy = type(like).__module__.split(".")[0] == "cupy"
    if not (cupy or is_numpy(like)):
        raise TypeError(f"a {type(like).__name__} cannot be made here: give the outputs to write to")
    # NumPy has no 8-bit floats of its own: codes are the bytes.
    of_bytes = "uint8" if dtype and dtype.startswith("float8") else dtype
    module = sys.modules["cupy" if cupy else "numpy"]
    with like.device if cupy else nullcontext(), _on_cupy_stream(stream) if cupy else nullcontext():
        return (module.zeros if zero else module.empty)(shape, like.dtype if of_bytes is None else of_bytes)


def _on_torch_stream(device: Any, stream: int | None) -> AbstractContextManager[Any]:
    import torch

    if stream is None or device.type != "cuda" or stream == torch.cuda.current_stream(device).cuda_stream:
        return nullcontext()
    # An ExternalStream of 0 would not be the default stream, but a new one.
    of_torch = torch.cuda.ExternalStream(stream, device) if stream else torch.cuda.default_stream(device)
    one: AbstractContextManager[Any] = torch.cuda.stream(of_torch)
    return one


def _on_cupy_stream(stream: int | None) -> AbstractContextManager[Any]:
    one: AbstractContextManager[Any] = nullcontext()
    if stream is not None:
        one = sys.modules["cupy"].cuda.ExternalStream(stream)
    return one


def has_changed(tensor: Array) -> None:
    """Tells its library that the tensor has been written: PyTorch's backward passes refuse what they had kept of it."""
    if is_torch(tensor):
        import torch

        # Inference tensors have no version.
        if not tensor.is_inference():
            torch.autograd.graph.increment_version(tensor)


def current_stream(tensor: Array) -> int | None:
    """The stream that the tensor's library works on now; None for the default one, and on the CPU."""
    if is_torch(tensor):
        import torch

        if tensor.device.type != "cuda":
            return None
        return int(torch.cuda.current_stream(tensor.device).cuda_stream) or None
    if type(tensor).__module__.split(".")[0] == "cupy":
        # CuPy has a current stream for each device, and answers for the current one.
        with tensor.device:
            return int(sys.modules["cupy"].cuda.get_current_stream().ptr) or None
    return None
