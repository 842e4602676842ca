"""The test grids of the peers: their shapes and types, and their formulas, restated in ``reference``.

On the CPU, of as many of the rows as are computed in a moment; on a GPU, of all.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference
from conftest import TYPES, Place

import warpnorm

FLASH_INFER_ROWS = (1, 19, 99, 989)
FLASH_INFER_HIDDEN = (111, 500, 1024, 3072, 3584, 4096, 8192, 16384)
VLLM_ROWS = (7, 83, 4096)
VLLM_HIDDEN = (8, 768, 769, 5120, 5125, 8192)
QUACK_ROWS = (1, 199, 8192)
QUACK_HIDDEN = (192, 256, 512, 760, 1024, 1128, 2048, 4096, 8192, 16384, 32768, 65536)


def values(random: np.random.Generator, shape: tuple[int, ...], dtype: str, scale: float = 1.0) -> np.ndarray:
    return (random.standard_normal(shape) * scale).astype(TYPES[dtype])


@pytest.mark.parametrize("hidden", FLASH_INFER_HIDDEN)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_flash_infer(place: Place, random: np.random.Generator, dtype: str, hidden: int) -> None:
    """``tests/utils/test_norm.py``: rmsnorm, gemma_rmsnorm and fused_add_rmsnorm, in place and strided."""
    for rows in FLASH_INFER_ROWS[-1:] if place.budget < 1 << 30 else FLASH_INFER_ROWS:
        rows = place.rows(rows, hidden)
        x, residual = values(random, (rows, hidden), dtype), values(random, (rows, hidden), dtype)
        weight = values(random, (hidden,), dtype)
        given = place.put(x)
        y = warpnorm.rms_norm(given, place.put(weight), eps=1e-6, device=place.device)
        reference.agree(place.get(y), reference.flash_infer_rms_norm(x, weight, 1e-6))
        y = warpnorm.rms_norm(given, place.put(weight), eps=1e-6, weight_offset=1.0, out=given, device=place.device)
        assert y is given
        reference.agree(place.get(y), reference.flash_infer_rms_norm(x, weight, 1e-6, 1.0))

        # As they do, of a slice of a wider tensor.
        wide = place.put(np.concatenate([x, x], axis=1))
        r = place.put(residual)
        wanted_y, wanted_residual = reference.flash_infer_add(x, residual, weight, 1e-6)
        y, h = warpnorm.add_rms_norm(
            wide[:, :hidden],
            r,
            place.put(weight),
            eps=1e-6,
            residual_rounding="wide",
            out=wide[:, :hidden],
            residual_out=r,
            device=place.device,
        )
        reference.agree(np.ascontiguousarray(place.get(wide[:, :hidden])), wanted_y)
        assert (place.get(r) == wanted_residual).all() and (place.get(wide[:, hidden:]) == x).all()


@pytest.mark.parametrize("hidden", VLLM_HIDDEN)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("scaled", [False, True], ids=["unit", "as-theirs"])
def test_vllm(place: Place, random: np.random.Generator, dtype: str, hidden: int, scaled: bool) -> None:
    """``tests/kernels/core/test_layernorm.py``: with and without the residual, strided. Theirs scales the inputs by
    1/(2·hidden), which hides the statistic behind eps; so both."""
    scale = 0.5 / hidden if scaled else 1.0
    for rows in VLLM_ROWS[-1:] if place.budget < 1 << 30 else VLLM_ROWS:
        rows = place.rows(rows, hidden)
        packed = values(random, (rows, hidden + 64), dtype, scale)
        x, residual = packed[:, :hidden], values(random, (rows, hidden), dtype, scale)
        weight = values(random, (hidden,), dtype, 0.1) + TYPES[dtype](1.0)
        given, w = place.put(packed)[:, :hidden], place.put(weight)
        y = warpnorm.rms_norm(given, w, eps=1e-6, device=place.device)
        reference.agree(place.get(y), reference.flash_infer_rms_norm(x, weight, 1e-6))
        y, h = warpnorm.add_rms_norm(given, place.put(residual), w, eps=1e-6, device=place.device)
        wanted_y, wanted_residual = reference.vllm_add(x, residual, weight, 1e-6)
        reference.agree(place.get(y), wanted_y)
        reference.agree(place.get(h), wanted_residual)


@pytest.mark.parametrize("hidden", QUACK_HIDDEN)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_quack(place: Place, random: np.random.Generator, dtype: str, hidden: int) -> None:
    """``tests/test_rmsnorm.py`` and ``test_layernorm.py``: float32 weights, rstd and mean beside y."""
    for rows in QUACK_ROWS[-1:] if place.budget < 1 << 30 else QUACK_ROWS:
        rows = place.rows(rows, hidden)
        x, weight = values(random, (rows, hidden), dtype), values(random, (hidden,), "float32")
        norm = warpnorm.Norm("rms_norm", 1e-6)
        result = warpnorm.apply(norm, place.put(x), place.put(weight), rstd=True, device=place.device)
        reference.agree(place.get(result.y), reference.flash_infer_rms_norm(x, weight, 1e-6))
        s = reference.reciprocal_rms(reference.wide(x), 1e-6)[..., 0]
        assert np.allclose(place.get(result.rstd), s, rtol=1e-6, atol=0)

        bias = np.zeros(hidden, np.float32)
        norm = warpnorm.Norm("layer_norm", 1e-6)
        result = warpnorm.apply(norm, place.put(x), place.put(weight), mean=True, rstd=True, device=place.device)
        # Near a row's mean float32 results are as exact as their terms.
        terms = np.abs(reference.wide(weight)) * 8
        reference.agree(place.get(result.y), reference.layer_norm(x, weight, bias, 1e-6), terms)
        assert np.allclose(place.get(result.mean), reference.wide(x).mean(-1), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(2, 128, 512), (5, 123, 123), (4, 16, 8192)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_liger(place: Place, random: np.random.Generator, dtype: str, shape: tuple[int, int, int]) -> None:
    """``test/transformers/test_rms_norm.py``, ``test_layer_norm.py`` and ``test_swiglu.py``: (batch, sequence, hidden)."""
    batch, sequence, hidden = shape
    sequence = max(1, place.rows(batch * sequence, hidden) // batch)
    x = values(random, (batch, sequence, hidden), dtype)
    weight, bias = values(random, (hidden,), dtype), values(random, (hidden,), dtype)
    given, w, b = place.put(x), place.put(weight), place.put(bias)
    y = warpnorm.rms_norm(given, w, eps=1e-6, weight_rounding="before_weight", device=place.device)
    reference.agree(place.get(y), reference.llama_rms_norm(x, weight, 1e-6))
    y = warpnorm.layer_norm(given, w, b, eps=1e-6, device=place.device)
    terms = np.abs(reference.wide(weight)) * 8 + np.abs(reference.wide(bias))
    reference.agree(place.get(y), reference.layer_norm(x, weight, bias, 1e-6), terms)

    gate = values(random, x.shape, dtype)
    y = warpnorm.activation(given, place.put(gate), activation="silu", device=place.device)
    reference.agree(place.get(y), reference.rounded(reference.silu(reference.wide(gate)) * reference.wide(x), x))


def spacing(wide: np.ndarray, like: np.ndarray) -> np.ndarray:
    """From values of the type of ``like`` to the next, or a little more."""
    if like.dtype == np.float16:
        return np.spacing(np.abs(reference.rounded(wide, like))).astype(np.float64)
    return np.abs(wide) * 2.0**-7


@pytest.mark.parametrize("heads", [(4, 1), (3, 3), (32, 8)])
@pytest.mark.parametrize("dim", [64, 128, 256, 512])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_flash_infer_qk(
    place: Place, random: np.random.Generator, dtype: str, dim: int, heads: tuple[int, int]
) -> None:
    """``test_qkrmsnorm``: heads of 64 to 512 of packed projections, in place; with the rotation of Qwen3 after it."""
    q_heads, k_heads = heads
    row = (q_heads + 2 * k_heads) * dim
    tokens = place.rows(99, row)
    packed = values(random, (tokens, row), dtype)
    q_weight, k_weight = values(random, (dim,), dtype), values(random, (dim,), dtype)
    angles = np.arange(16)[:, None] * 10000.0 ** (-np.arange(dim // 2) / (dim // 2))
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    positions = random.integers(0, 16, tokens)

    qkv = place.put(packed)
    parts = qkv.reshape(tokens, -1, dim)
    q, k = parts[:, :q_heads], parts[:, q_heads : q_heads + k_heads]
    warpnorm.qk_norm(
        q,
        k,
        place.put(q_weight),
        place.put(k_weight),
        cos=place.put(cos),
        sin=place.put(sin),
        positions=place.put(positions),
        q_out=q,
        k_out=k,
        device=place.device,
    )
    x = packed.reshape(tokens, -1, dim)
    got = place.get(qkv).reshape(tokens, -1, dim)
    for first, last, weight in [(0, q_heads, q_weight), (q_heads, q_heads + k_heads, k_weight)]:
        h = reference.wide(reference.flash_infer_rms_norm(x[:, first:last], weight, 1e-6))
        low, high = h[..., : dim // 2], h[..., dim // 2 :]
        c, s = (reference.wide(table)[positions][:, None] for table in (cos, sin))
        wanted = reference.rounded(np.concatenate([low * c - high * s, high * c + low * s], axis=-1), x)
        # The kernel's products are float32 ones, so that its result may be the neighbour where both terms cancel; and
        # so may an element be before the rotation, where it is next to a tie.
        slack = np.abs(reference.wide(got[:, first:last]) - reference.wide(wanted))
        of_result = spacing(reference.wide(wanted), x) + 1e-6
        of_low, of_high = spacing(low, x), spacing(high, x)
        before = np.concatenate([of_low * abs(c) + of_high * abs(s), of_high * abs(c) + of_low * abs(s)], axis=-1)
        assert (slack <= of_result + before).all()
        assert (slack <= of_result).mean() >= 0.999
        assert (slack > 0).mean() < 5e-3
    assert (got[:, q_heads + k_heads :] == x[:, q_heads + k_heads :]).all()


@pytest.mark.parametrize("hidden", [64, 1024, 5120])
def test_vllm_dynamic_per_token(place: Place, random: np.random.Generator, hidden: int) -> None:
    """``rms_norm_dynamic_per_token_quant``: fp8 and int8, with the residual."""
    rows = place.rows(83, hidden)
    x, residual = values(random, (rows, hidden), "bfloat16"), values(random, (rows, hidden), "bfloat16")
    weight = values(random, (hidden,), "bfloat16", 0.1) + TYPES["bfloat16"](1.0)
    y, h = reference.vllm_dynamic_add(x, residual, weight, 1e-6)
    for code, largest, least in [("int8", 127.0, 127 * 2.0**-23), ("e4m3", 448.0, 1 / 512)]:
        out = place.put(np.zeros_like(x))
        got = warpnorm.add_rms_norm_quant(
            place.put(x),
            place.put(residual),
            place.put(weight),
            quantisation=warpnorm.Quantisation("per_token", code),  # type: ignore[arg-type]
            eps=1e-6,
            weight_rounding="before_weight",
            residual_rounding="wide",
            out=out,
            device=place.device,
        )
        stored = place.get(out).astype(np.float32)
        assert (place.get(got.residual) == h).all()
        reference.agree(place.get(out), y)
        amax = np.maximum(np.abs(stored).max(-1, keepdims=True), np.float32(least))
        scale = amax / np.float32(largest)
        assert (place.get(got.scales) == scale).all()
        if code == "int8":
            wanted = np.rint(stored * (np.float32(1.0) / scale)).clip(-128, 127).astype(np.int8)
        else:
            import ml_dtypes

            wanted = (stored / scale).astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
        assert (place.get(got.codes) == wanted).all()
