"""Where the tests run: NumPy on the CPU and in the executor; PyTorch's tensors on the CPU and on a GPU, where it is
installed and there is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import warpnorm

try:
    import torch
except ImportError:
    torch = None

TYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@dataclass
class Place:
    """A library's arrays on a device."""

    name: str
    #: Elements that one test may take there.
    budget: int

    @property
    def device(self) -> warpnorm.Device | None:
        return emulated() if self.name == "numpy-emulated" else None

    def put(self, array: np.ndarray) -> Any:
        """The array there, of its type."""
        if self.name.startswith("numpy"):
            return array.copy()
        if array.dtype == ml_dtypes.bfloat16:
            tensor = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
        else:
            tensor = torch.from_numpy(array.copy())
        return tensor.to("cuda" if self.name == "torch-cuda" else "cpu")

    def get(self, tensor: Any) -> np.ndarray:
        """Back again."""
        if isinstance(tensor, np.ndarray):
            return tensor
        tensor = tensor.cpu()
        if tensor.dtype == torch.bfloat16:
            return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        if tensor.dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
            return tensor.view(torch.uint8).numpy()
        return tensor.numpy()

    def rows(self, rows: int, hidden: int) -> int:
        """As many of the rows as are computed here in a moment; all of them on a GPU."""
        return max(1, min(rows, self.budget // hidden))


_emulated: list[warpnorm.Device] = []


def emulated() -> warpnorm.Device:
    if not _emulated:
        _emulated.append(warpnorm.Device.emulated("h200"))
    return _emulated[0]


PLACES = [Place("numpy-cpu", 1 << 16), Place("numpy-emulated", 1 << 14)]
if torch is not None:
    PLACES.append(Place("torch-cpu", 1 << 16))
    if torch.cuda.is_available():
        PLACES.append(Place("torch-cuda", 1 << 40))


@pytest.fixture(params=PLACES, ids=lambda place: place.name)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(7)
