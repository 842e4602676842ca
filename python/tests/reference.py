"""What the peers compute, restated in float64 with every rounding written out.

R rounds to the activation type. The peers compute in float32 between their roundings; float64 is what that approximates.
"""

from __future__ import annotations

import numpy as np


def wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64)


def rounded(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    """R, of float64 values: through float32 rounded to odd, since the cast of 16-bit types goes by float32."""
    if like.dtype == np.float32:
        return values.astype(np.float32)
    nearest = values.astype(np.float32)
    bits = nearest.view(np.uint32)
    inexact = nearest.astype(np.float64) != values
    away = np.abs(nearest.astype(np.float64)) > np.abs(values)
    odd = np.where(inexact, (bits - (inexact & away)) | 1, bits).astype(np.uint32)
    return odd.view(np.float32).astype(like.dtype)


def reciprocal_rms(h: np.ndarray, eps: float) -> np.ndarray:
    return 1.0 / np.sqrt((h * h).mean(axis=-1, keepdims=True) + np.float32(eps))


def llama_rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Hugging Face, and Liger's ``llama`` casting mode: w·R(x·s)."""
    h = wide(x)
    return rounded(wide(rounded(h * reciprocal_rms(h, eps), x)) * wide(weight), x)


def flash_infer_rms_norm(x: np.ndarray, weight: np.ndarray, eps: float, offset: float = 0.0) -> np.ndarray:
    """FlashInfer's ``rmsnorm``, and ``gemma_rmsnorm`` with an offset of 1: R(x·s·(offset + w))."""
    h = wide(x)
    return rounded(h * reciprocal_rms(h, eps) * (offset + wide(weight)), x)


def flash_infer_add(x: np.ndarray, residual: np.ndarray, weight: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """``fused_add_rmsnorm``: the sum is stored rounded, and normalised in float32."""
    h = wide((x.astype(np.float32) + residual.astype(np.float32)))
    return rounded(h * reciprocal_rms(h, eps) * wide(weight), x), rounded(h, x)


def vllm_add(x: np.ndarray, residual: np.ndarray, weight: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """``fused_add_rms_norm``: the sum is normalised as it is stored, and rounded once."""
    stored = rounded(wide(x) + wide(residual), x)
    h = wide(stored)
    return rounded(h * reciprocal_rms(h, eps) * wide(weight), x), stored


def vllm_dynamic_add(
    x: np.ndarray, residual: np.ndarray, weight: np.ndarray, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """``rms_norm_dynamic_per_token_quant`` before it quantises: w·R(h·s) of the sum in float32."""
    h = wide(x.astype(np.float32) + residual.astype(np.float32))
    return rounded(wide(rounded(h * reciprocal_rms(h, eps), x)) * wide(weight), x), rounded(h, x)


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """PyTorch's, Liger's, Apex's: R((x − mean)·rstd·w + b)."""
    h = wide(x)
    h = h - h.mean(axis=-1, keepdims=True)
    return rounded(h * reciprocal_rms(h, eps) * wide(weight) + wide(bias), x)


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1.0 + np.exp(-x))


def agree(got: np.ndarray, wanted: np.ndarray, scale: np.ndarray | None = None) -> None:
    """16 bits: the same, but for one in a thousand, which is the neighbour. float32: within 4e-7 of the terms."""
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    if got.dtype == np.float32:
        terms = np.abs(wide(wanted)) if scale is None else scale
        assert (np.abs(wide(got) - wide(wanted)) <= 4e-7 * terms + 1e-30).all()
        return
    steps = [np.where(bits < 0, -(bits & 0x7FFF), bits) for bits in (a.view(np.int16).astype(int) for a in (got, wanted))]
    distance = np.abs(steps[0] - steps[1])
    assert distance.max(initial=0) <= 1
    assert (distance > 0).mean() <= 1e-3 if distance.size else True
