"""The C library by ctypes. Structures and values are read from its header, so that they are those of the library."""

from __future__ import annotations

import ctypes
import os
import re
from pathlib import Path

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

_FAMILIES = {True: "LAYER_NORM", False: "RMS_NORM"}


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

    def check(self, status: int) -> None:
        """Raises what went wrong."""
        if status != self.values["WARPNORM_STATUS_OK"]:
            raise LibraryError(self.lib.warpnorm_last_error().decode())

    def open_cuda(self) -> None:
        """The first GPU; addresses are torch's and not looked up."""
        flags = ctypes.c_uint32(self.values["WARPNORM_TRUST_POINTERS"])
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
        family = self.values[f"WARPNORM_FAMILY_{_FAMILIES[op.layer_norm]}"]
        size = ctypes.c_size_t(ctypes.sizeof(norm))
        init = self.lib.warpnorm_norm_init
        self.check(init(ctypes.byref(norm), size, ctypes.c_uint32(family), ctypes.c_float(op.eps)))
        if op.residual:
            norm.input.kind = self.values["WARPNORM_INPUT_KIND_RESIDUAL_ADD"]
            norm.input.scale = 1.0
            norm.input.rounding = self.values["WARPNORM_RESIDUAL_ROUNDING_STORED"]
        if op.gate:
            norm.gate.kind = self.values["WARPNORM_ACTIVATION_KIND_SILU"]
        return norm

    def call(self, op, dtype: str, rows: int, hidden: int, addresses: dict[str, int]) -> ctypes.Structure:
        """A call on contiguous tensors by address: x, weight, y, and what else the op has."""
        call = self.structures["warpnorm_call"]()
        of = ctypes.c_uint32(self.values[f"WARPNORM_DTYPE_{dtype.upper()}"])
        size = ctypes.c_size_t(ctypes.sizeof(call))
        init = self.lib.warpnorm_call_init
        self.check(init(ctypes.byref(call), size, of, ctypes.c_size_t(rows), ctypes.c_size_t(hidden)))
        for name in ("x", "residual", "gate", "y", "residual_out"):
            if name in addresses:
                tensor = getattr(call, name)
                tensor.data, tensor.stride = addresses[name], hidden
        for name in ("weight", "bias"):
            if name in addresses:
                vector = getattr(call, name)
                vector.data, vector.dtype = addresses[name], of.value
        return call

    def warm_up(self, norm, dtype: str) -> None:
        """Loads the module, which a capture cannot."""
        of = ctypes.c_uint32(self.values[f"WARPNORM_DTYPE_{dtype.upper()}"])
        self.check(self.lib.warpnorm_warm_up(self.device, ctypes.byref(norm), of))

    def run(self, norm, call, stream: int | None = None) -> None:
        """Queues a launch."""
        run = self.lib.warpnorm_run
        self.check(run(self.device, ctypes.c_void_p(stream), ctypes.byref(norm), ctypes.byref(call)))
