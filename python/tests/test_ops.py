"""Every function against its formula, and what is returned and written."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
import reference
from conftest import Place

import warpnorm
from warpnorm import _native

ROWS, HIDDEN = 6, 48


def floats(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape).astype(np.float32)


def fields(structure: ctypes.Structure) -> dict[str, object]:
    """What a structure says; its padding says nothing."""
    values = {name: getattr(structure, name) for name, _ in structure._fields_}
    return {name: fields(value) if isinstance(value, ctypes.Structure) else value for name, value in values.items()}


def close(got: np.ndarray, wanted: np.ndarray, tolerance: float = 2e-6) -> None:
    assert got.dtype == np.float32 and got.shape == wanted.shape
    assert np.allclose(got, wanted, rtol=tolerance, atol=tolerance)


def test_layer_norm_of_a_residual(place: Place, random: np.random.Generator) -> None:
    x, residual, weight, bias, linear = (floats(random, *s) for s in [(ROWS, HIDDEN)] * 2 + [(HIDDEN,)] * 3)
    y, h = warpnorm.add_layer_norm(
        place.put(x),
        place.put(residual),
        place.put(weight),
        place.put(bias),
        eps=1e-5,
        residual_scale=2.0,
        linear_bias=place.put(linear),
        device=place.device,
    )
    total = 2.0 * reference.wide(residual) + x + linear
    close(place.get(h), total)
    close(place.get(y), reference.layer_norm(place.get(h), weight, bias, 1e-5), 4e-6)


def test_l2_norm(place: Place, random: np.random.Generator) -> None:
    x = floats(random, ROWS, HIDDEN)
    x[2] = 0.0
    y = place.get(warpnorm.l2_norm(place.put(x), device=place.device))
    length = np.sqrt((reference.wide(x) ** 2).sum(-1, keepdims=True))
    close(y, np.divide(x, length, out=np.zeros_like(x, np.float64), where=length > 0))


def test_residual_after_the_norm(place: Place, random: np.random.Generator) -> None:
    x, residual, weight = floats(random, ROWS, HIDDEN), floats(random, ROWS, HIDDEN), floats(random, HIDDEN)
    y = warpnorm.rms_norm_add(
        place.put(x), place.put(residual), place.put(weight), weight_offset=1.0, rounding="single", device=place.device
    )
    s = reference.reciprocal_rms(reference.wide(x), 1e-6)
    close(place.get(y), residual + x * s * (1.0 + weight))


@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize("norm_before_gate", [True, False])
def test_gates(place: Place, random: np.random.Generator, groups: int | None, norm_before_gate: bool) -> None:
    x, gate, weight = floats(random, ROWS, HIDDEN), floats(random, ROWS, HIDDEN), floats(random, HIDDEN)
    y = warpnorm.gated_rms_norm(
        place.put(x),
        place.put(gate),
        place.put(weight),
        norm_before_gate=norm_before_gate,
        groups=groups,
        device=place.device,
    )
    act = reference.silu(reference.wide(gate))
    h = (reference.wide(x) if norm_before_gate else x * act).reshape(ROWS, groups or 1, -1)
    wanted = (h * reference.reciprocal_rms(h, 1e-5)).reshape(ROWS, HIDDEN) * weight
    close(place.get(y), wanted * act if norm_before_gate else wanted)


def test_activations(place: Place, random: np.random.Generator) -> None:
    x = floats(random, ROWS, HIDDEN) * 3
    wide = reference.wide(x)
    cube = np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)
    for given, wanted in [
        ("relu", np.maximum(wide, 0)),
        ("sigmoid", 1 / (1 + np.exp(-wide))),
        ("gelu_tanh", 0.5 * wide * (1 + np.tanh(cube))),
        (warpnorm.Activation("leaky_relu", 0.25), np.where(wide > 0, wide, 0.25 * wide)),
        (warpnorm.Activation("swish", 2.0), wide / (1 + np.exp(-2 * wide))),
    ]:
        close(place.get(warpnorm.activation(place.put(x), activation=given, device=place.device)), wanted)  # type: ignore[arg-type]


def test_two_norms_and_an_interpolation(place: Place, random: np.random.Generator) -> None:
    x, residual = floats(random, ROWS, HIDDEN), floats(random, ROWS, HIDDEN)
    inner, weight, rate = floats(random, HIDDEN), floats(random, HIDDEN), floats(random, HIDDEN)
    norm = warpnorm.Norm("rms_norm", 1e-6, input=warpnorm.PostNorm(0.5))
    result = warpnorm.apply(
        norm,
        place.put(x),
        place.put(weight),
        residual=place.put(residual),
        inner_weight=place.put(inner),
        residual_out=True,
        device=place.device,
    )
    h = (residual + x * reference.reciprocal_rms(reference.wide(x), 1e-6) * inner) * 0.5
    close(place.get(result.residual), h)
    close(place.get(result.y), h * reference.reciprocal_rms(h, 1e-6) * weight, 4e-6)

    norm = warpnorm.preset("n-gpt-step").replace(input=warpnorm.Interpolation(0.5))
    result = warpnorm.apply(norm, place.put(x), residual=place.put(residual), rate=place.put(rate), device=place.device)
    a, b = (v / np.sqrt((reference.wide(v) ** 2).sum(-1, keepdims=True)) for v in (residual, x))
    h = a + np.abs(0.5 * rate) * (b - a)
    close(place.get(result.y), h / np.sqrt((h * h).sum(-1, keepdims=True)))


def test_batch_norm(place: Place, random: np.random.Generator) -> None:
    x, weight, bias = floats(random, 37, HIDDEN) + 1, floats(random, HIDDEN), floats(random, HIDDEN)
    mean, variance = reference.wide(x).mean(0), reference.wide(x).var(0)
    found = warpnorm.batch_statistics(place.put(x), place.put(weight), place.put(bias), device=place.device)
    rstd = 1 / np.sqrt(variance + np.float32(1e-5))
    for got, wanted in [
        (found.mean, mean),
        (found.rstd, rstd),
        (found.scale, weight * rstd),
        (found.shift, bias - mean * weight * rstd),
    ]:
        close(place.get(got), wanted)
    y = warpnorm.batch_norm(place.put(x), place.put(weight), place.put(bias), device=place.device)
    close(place.get(y), (x - mean) * rstd * weight + bias, 4e-6)


def test_quantisations_have_their_shapes(place: Place, random: np.random.Generator) -> None:
    x = floats(random, 2, 3, 256).astype(np.float16)
    q = warpnorm.Quantisation
    one = place.put(np.ones(1, np.float32))
    for quantisation, scale, codes, scales in [
        (q("per_tensor"), one, (2, 3, 256), None),
        (q("per_tensor_wide"), one, (2, 3, 256), None),
        (q("per_token", "e5m2", upper_bound=3.0), None, (2, 3, 256), (2, 3, 1)),
        (q("per_group", group_size=64), None, (2, 3, 256), (2, 3, 4)),
        (q("per_group", layout="column_major", layout_alignment=4), None, (2, 3, 256), (16,)),
        (q("mxfp8"), None, (2, 3, 256), (2, 3, 8)),
        (q("mxfp8", layout="tiled"), None, (2, 3, 256), (1024,)),
        (q.nvfp4(), one, (2, 3, 128), (2, 3, 16)),
    ]:
        got = warpnorm.rms_norm_quant(place.put(x), quantisation=quantisation, tensor_scale=scale, device=place.device)
        assert tuple(got.codes.shape) == codes and got.y is None
        assert (None if got.scales is None else tuple(got.scales.shape)) == scales
        if scale is not None and "cuda" not in place.name:
            number = warpnorm.rms_norm_quant(place.put(x), quantisation=quantisation, tensor_scale=1.0, device=place.device)
            assert (place.get(number.codes) == place.get(got.codes)).all()
    # Of no rows, too, the shapes are those of rows.
    for quantisation, scale, groups in [(q("per_group"), None, 2), (q("mxfp8"), None, 8), (q.nvfp4(), one, 16)]:
        none = place.put(x[:0])
        got = warpnorm.rms_norm_quant(none, quantisation=quantisation, tensor_scale=scale, device=place.device)
        assert tuple(got.scales.shape) == (0, 3, groups)
        again = {"codes": got.codes, "scales": got.scales, "tensor_scale": scale}
        warpnorm.rms_norm_quant(none, quantisation=quantisation, device=place.device, **again)
    # Scales that belong to no row are zero where they are made here, and left as they are where they are given.
    tiled = q("mxfp8", layout="tiled")
    got = warpnorm.rms_norm_quant(place.put(x), quantisation=tiled, device=place.device)
    given = place.put(np.full(1024, 0xAA, np.uint8))
    warpnorm.rms_norm_quant(place.put(x), quantisation=tiled, scales=given, device=place.device)
    made, kept = place.get(got.scales), place.get(given)
    assert (made != 0).sum() == 6 * 8 and (kept[made == 0] == 0xAA).all() and (kept[made != 0] == made[made != 0]).all()
    # A row of ones under a scale of 1/448: every code is the largest.
    ones = place.put(np.ones((1, 256), np.float16))
    got = warpnorm.rms_norm_quant(ones, eps=0.0, quantisation=q("per_token"), device=place.device)
    assert (place.get(got.codes).view(np.uint8) == 0x7E).all()
    assert place.get(got.scales).item() == np.float32(1.0) / np.float32(448.0)


def test_presets(place: Place, random: np.random.Generator) -> None:
    norm = warpnorm.preset("deep-norm:24")
    assert norm.family == "layer_norm" and isinstance(norm.input, warpnorm.ResidualAdd)
    assert norm.input.scale == pytest.approx(48**0.25)
    x, residual = floats(random, ROWS, HIDDEN), floats(random, ROWS, HIDDEN)
    result = warpnorm.apply(norm, place.put(x), residual=place.put(residual), device=place.device)
    h = 48**0.25 * reference.wide(residual) + x
    h -= h.mean(-1, keepdims=True)
    close(place.get(result.y), h * reference.reciprocal_rms(h, 1e-5))
    for name in ["llama", "gemma", "olmo2-add", "gemma2-sandwich", "mamba2", "qwen3-next-gated", "bert", "n-gpt"]:
        # What was read back is what the library would make of it again.
        norm = warpnorm.preset(name)
        assert fields(norm._made) == fields(_native.preset(name))
    # The gate before the norm is what the module of that name has by default.
    mamba2, other = warpnorm.preset("mamba2"), warpnorm.preset("mamba2-norm-before-gate")
    assert isinstance(mamba2.input, warpnorm.Gated) and mamba2.gate is None
    assert not isinstance(other.input, warpnorm.Gated) and other.gate is not None
    # Heads of the gated delta net as rows, all of one weight.
    heads, gate, weight = floats(random, ROWS, 4, 16), floats(random, ROWS, 4, 16), floats(random, 16)
    gated = warpnorm.preset("qwen3-next-gated")
    y = warpnorm.apply(gated, place.put(heads), place.put(weight), gate=place.put(gate), device=place.device).y
    h, act = reference.wide(heads), reference.silu(reference.wide(gate))
    close(place.get(y), h * reference.reciprocal_rms(h, 1e-6) * weight * act)


def test_leading_dimensions_and_no_rows(place: Place, random: np.random.Generator) -> None:
    x = floats(random, 2, 3, 4, 16)
    wanted = reference.flash_infer_rms_norm(x, np.ones(16, np.float32), 1e-6)
    close(place.get(warpnorm.rms_norm(place.put(x), device=place.device)), wanted)
    # Row-strided, and transposed where only one dimension has more than one row.
    packed = place.put(x)[:, :, 1:3]
    with pytest.raises(warpnorm.InvalidArgument, match="not rows of one stride"):
        warpnorm.rms_norm(packed, device=place.device)
    first = place.put(x)[:, 1, 2]
    close(place.get(warpnorm.rms_norm(first, device=place.device)), wanted[:, 1, 2])
    alone = place.put(x)[0, 0, 0]
    close(place.get(warpnorm.rms_norm(alone, device=place.device)), wanted[0, 0, 0])
    for shape in [(0, 16), (2, 0, 16)]:
        assert tuple(warpnorm.rms_norm(place.put(np.zeros(shape, np.float32)), device=place.device).shape) == shape


def test_launches_that_begin_early(
    place: Place, random: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The executor holds them to touching nothing too early; what they were asked for is seen in the call.
    x, residual = place.put(floats(random, 5, 40)), place.put(floats(random, 5, 40))
    weight = place.put(floats(random, 40))
    norm = warpnorm.Norm("rms_norm", input=warpnorm.ResidualAdd())
    asked: list[int] = []
    native = _native.call

    def call(name: str, *arguments: Any) -> None:
        if name == "warpnorm_run":
            asked.append(arguments[-1]._obj.programmatic_launch)
        native(name, *arguments)

    def run(**how: Any) -> tuple[np.ndarray, np.ndarray]:
        how["device"] = place.device
        result = warpnorm.apply(norm, x, weight, residual=residual, residual_out=True, **how)
        return place.get(result.y), place.get(result.residual)

    wanted = run()
    monkeypatch.setattr(_native, "call", call)
    for how in ("off", "wait_first", "parameters_first"):
        for one, other in zip(run(programmatic_launch=how), wanted):
            np.testing.assert_array_equal(one, other)
    # WARPNORM_PROGRAMMATIC_LAUNCH_OFF, _WAIT_FIRST, _PARAMETERS_FIRST.
    assert asked == [0, 1, 2]
