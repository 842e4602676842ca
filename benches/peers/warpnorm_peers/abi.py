"""The C library by ctypes. Structures and values are read from its header, so that they are those of the library."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[3]
HEADER = Path("crates/warpnorm-capi/include/warpnorm.h")
LIBRARY_VARIABLE = "WARPNORM_LIBRARY"

_SCALARS = {
    "uint8_t": ctypes.c_uint8,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "size_t": ctypes.c_size_t,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}

_FAMILIES = {"layer-norm": "LAYER_NORM", "rms-norm": "RMS_NORM", "activation": "IDENTITY"}

# A kind of input and its rounding, where it is not plain.
_INPUTS = {
    "residual-add": ("RESIDUAL_ADD", "RESIDUAL_ROUNDING_STORED"),
    "post-norm": ("POST_NORM", "POST_ROUNDING_SINGLE"),
}
_SCALINGS = {"per-tensor-wide": "PER_TENSOR_WIDE", "per-token": "PER_TOKEN"}


class Place(NamedTuple):
    """Where a tensor is, and from one of its rows to the next in elements; of what has no rows, no matter."""

    address: int
    stride: int


class LibraryError(Exception):
    """The library is not there, or refused a call."""


def parse_header(text: str) -> tuple[dict[str, type[ctypes.Structure]], dict[str, int]]:
    """Structures by name, and values of enumerations and flags."""
    text = re.sub(r"//[^\n]*", "", text)
    values = {name: int(value) for name, value in re.findall(r"\b(WARPNORM_\w+)\s*=\s*(\d+)\s*,", text)}
    values |= {name: int(value) for name, value in re.findall(r"#define\s+(WARPNORM_\w+)\s+(\d+)", text)}
    structures: dict[str, type[ctypes.Structure]] = {}
    for name, body in re.findall(r"typedef struct (warpnorm_\w+) \{(.*?)\} \1;", text, re.DOTALL):
        fields = []
        for declaration in filter(None, (part.strip() for part in body.split(";"))):
            match = re.fullmatch(r"(?:const\s+)?(?:struct\s+)?(\w+)\s*(\*?)\s*(\w+)", declaration)
            if not match:
                raise LibraryError(f"{name}: cannot read the field `{declaration}`")
            of, pointer, field = match.groups()
            kind = ctypes.c_void_p if pointer else _SCALARS.get(of) or structures.get(of)
            if kind is None:
                raise LibraryError(f"{name}.{field}: no such type: {of}")
            fields.append((field, kind))
        structures[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return structures, values


def find_library(given: str | None) -> Path:
    """The library: as given, by the variable, or where cargo builds it."""
    if given := given or os.environ.get(LIBRARY_VARIABLE):
        return Path(given)
    for profile in ("release", "debug"):
        path = ROOT / "target" / profile / "libwarpnorm.so"
        if path.exists():
            return path
    raise LibraryError("no libwarpnorm.so in target: run `cargo build --release -p warpnorm-capi`, or give --library")


class Library:
    """The library, loaded."""

    def __init__(self, path: Path, header: Path | None = None) -> None:
        header = header or ROOT / HEADER
        try:
            self.lib = ctypes.CDLL(str(path))
            self.structures, self.values = parse_header(header.read_text(encoding="utf-8"))
        except OSError as error:
            raise LibraryError(str(error)) from error
        self.lib.warpnorm_last_error.restype = ctypes.c_char_p
        self.lib.warpnorm_version_string.restype = ctypes.c_char_p
        self.device = self.structures["warpnorm_device"]()

    def version(self) -> str:
        """Such as 0.1.0."""
        return self.lib.warpnorm_version_string().decode()

    def _value(self, name: str) -> int:
        return self.values[f"WARPNORM_{name}"]

    def check(self, status: int) -> None:
        """Raises what went wrong."""
        if status != self._value("STATUS_OK"):
            raise LibraryError(self.lib.warpnorm_last_error().decode())

    def open_cuda(self) -> None:
        """The first GPU; addresses are torch's and not looked up."""
        flags = ctypes.c_uint32(self._value("TRUST_POINTERS"))
        self.check(self.lib.warpnorm_device_cuda(ctypes.c_uint32(0), flags, ctypes.byref(self.device)))

    def open_cpu(self) -> None:
        """The reference, on host memory."""
        self.check(self.lib.warpnorm_device_cpu(ctypes.byref(self.device)))

    def close(self) -> None:
        """Destroys the device."""
        self.check(self.lib.warpnorm_device_destroy(self.device))

    def norm(self, op) -> ctypes.Structure:
        """The description of an op of `ops`."""
        norm = self.structures["warpnorm_norm"]()
        size, family = ctypes.c_size_t(ctypes.sizeof(norm)), self._value(f"FAMILY_{_FAMILIES[op.family]}")
        init = self.lib.warpnorm_norm_init
        self.check(init(ctypes.byref(norm), size, ctypes.c_uint32(family), ctypes.c_float(op.eps)))
        if op.input in _INPUTS:
            kind, rounding = _INPUTS[op.input]
            norm.input.kind, norm.input.scale = self._value(f"INPUT_KIND_{kind}"), 1.0
            norm.input.rounding = self._value(rounding)
        if op.gate:
            norm.gate.kind = self._value("ACTIVATION_KIND_SILU")
        if op.post_add:
            norm.post_add.present, norm.post_add.scale = 1, 1.0
            norm.post_add.rounding = self._value("POST_ROUNDING_SINGLE")
        if op.heads > 1:
            norm.scope = self._value("SCOPE_HEAD")
        if op.scaling:
            norm.quantisation.scaling = self._value(f"SCALING_KIND_{_SCALINGS[op.scaling]}")
            norm.quantisation.code = self._value("CODE_TYPE_E4M3")
        return norm

    def call(
        self, op, dtype: str, rows: int, hidden: int, places: dict[str, Place], programmatic: bool = False
    ) -> ctypes.Structure:
        """A call on tensors: x, and those that the op reads and writes. The heads of a row lie side by side. One
        that is launched programmatically waits before it touches a tensor."""
        call = self.structures["warpnorm_call"]()
        of = ctypes.c_uint32(self._value(f"DTYPE_{dtype.upper()}"))
        size = ctypes.c_size_t(ctypes.sizeof(call))
        init = self.lib.warpnorm_call_init
        self.check(init(ctypes.byref(call), size, of, ctypes.c_size_t(rows), ctypes.c_size_t(hidden)))
        if programmatic:
            call.programmatic_launch = self._value("PROGRAMMATIC_LAUNCH_WAIT_FIRST")
        if op.heads > 1:
            call.parts.count = op.heads
            call.parts.x_stride = call.parts.y_stride = hidden
        if op.second_heads:
            call.second.count = op.second_heads
            call.second.x_stride = call.second.y_stride = hidden
        for name in ("x", *op.inputs, *op.outputs):
            # second_x is x of second, and so on.
            part, field = (call.second, name.removeprefix("second_")) if name.startswith("second_") else (call, name)
            address, stride = places[name]
            if field in ("scales", "tensor_scale"):
                setattr(part, field, address)
            elif field.endswith(("weight", "bias")):
                vector = getattr(part, field)
                vector.data, vector.dtype = address, of.value
            else:
                matrix = getattr(part, field)
                matrix.data, matrix.stride = address, stride
        return call

    def warm_up(self, norm, dtype: str) -> None:
        """Loads the module, which a capture cannot."""
        of = ctypes.c_uint32(self._value(f"DTYPE_{dtype.upper()}"))
        self.check(self.lib.warpnorm_warm_up(self.device, ctypes.byref(norm), of))

    def run(self, norm, call, stream: int | None = None) -> None:
        """Queues a launch."""
        run = self.lib.warpnorm_run
        self.check(run(self.device, ctypes.c_void_p(stream), ctypes.byref(norm), ctypes.byref(call)))
