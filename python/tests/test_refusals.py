"""What does not fit is an error with words, of the right type, and nothing is written."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Place

import warpnorm
from warpnorm import InvalidArgument, Norm, Quantisation

X = np.ones((4, 32), np.float32)


def refused(words: str, error: type[Exception] = InvalidArgument) -> pytest.RaisesExc[Exception]:
    return pytest.raises(error, match=words)


def test_shapes(place: Place) -> None:
    x, w = place.put(X), place.put(X[0])
    on = {"device": place.device}
    short, half = place.put(X[0, :31].copy()), place.put(X[:2])
    with refused(r"weight has shape \(31,\), wanted \(32,\)"):
        warpnorm.rms_norm(x, short, **on)
    with refused(r"bias has shape \(4, 32\)"):
        warpnorm.rms_norm(x, w, x, **on)
    with refused(r"out has shape \(2, 32\), wanted \(4, 32\)"):
        warpnorm.rms_norm(x, w, out=half, **on)
    with refused(r"residual has shape \(2, 32\)"):
        warpnorm.add_rms_norm(x, half, w, **on)
    with refused(r"residual_out has shape \(2, 32\)"):
        warpnorm.add_rms_norm(x, x, w, residual_out=half, **on)
    with refused(r"gate has shape \(2, 32\)"):
        warpnorm.activation(x, half, **on)
    with refused("mean has shape"):
        warpnorm.apply(Norm("layer_norm"), x, mean=short, **on)
    with refused("groups is 3, wanted a divisor of the last dimension, 32"):
        warpnorm.gated_rms_norm(x, x, groups=3, **on)
    with refused("wanted at least"):
        warpnorm.apply(Norm("rms_norm", scope="head"), w, **on)
    with refused("x has shape"):
        warpnorm.rms_norm(place.put(np.float32([1.0])).reshape(()), **on)
    with refused("hidden size is 0"):
        warpnorm.rms_norm(place.put(np.ones((4, 0), np.float32)), **on)
    with refused("programmatic_launch is 'early', wanted one of 'off', 'wait_first', 'parameters_first'"):
        warpnorm.apply(Norm("rms_norm"), x, w, programmatic_launch="early", **on)
    with refused("second_weight is given without second"):
        warpnorm.apply(Norm("rms_norm", scope="head"), place.put(X[None]), second_weight=w, **on)


def test_strides(place: Place) -> None:
    x = place.put(X)
    on = {"device": place.device}
    with refused("stride of 2 in its last dimension"):
        warpnorm.rms_norm(x[:, ::2], **on)
    with refused("stride of 32 in its last dimension"):
        warpnorm.rms_norm(x.T, **on)
    with refused("weight has strides"):
        warpnorm.rms_norm(x, place.put(np.ones(64, np.float32))[::2], **on)
    heads = place.put(np.ones((2, 3, 4, 8), np.float32))
    with refused("not rows of one stride"):
        warpnorm.rms_norm(heads[:, :, :2], **on)
    if place.name.startswith("numpy"):
        repeated = np.broadcast_to(np.ones((1, 32), np.float32), (4, 32))
        with refused("another byte order"):
            warpnorm.rms_norm(X.astype(X.dtype.newbyteorder()), **on)
        with refused("stride of -1|strides .* wanted none below 0"):
            warpnorm.rms_norm(x[:, ::-1], **on)
        with refused("wanted none below 0"):
            warpnorm.rms_norm(x[::-1], **on)
        with refused("strides of .* bytes"):
            warpnorm.rms_norm(np.ones(4, np.dtype([("a", "f4"), ("b", "i1")]))["a"][None], **on)
    else:
        repeated = place.put(X[:1]).expand(4, 32)
    with refused("rows of x overlap"):
        warpnorm.rms_norm(repeated, **on)
    # Heads in front of rows, as attention has them.
    q = place.put(np.ones((3, 5, 8), np.float32)).swapaxes(0, 1)
    with refused(r"heads of x lie further apart than rows.*\(8, 40, 1\) for \(5, 3, 8\): make it contiguous"):
        warpnorm.qk_norm(q, q, **on)


def test_types(place: Place) -> None:
    x = place.put(X)
    on = {"device": place.device}
    with refused("x is float64, wanted float32 or float16 or bfloat16"):
        warpnorm.rms_norm(place.put(X.astype(np.float64)), **on)
    with refused("weight is int32"):
        warpnorm.rms_norm(x, place.put(X[0].astype(np.int32)), **on)
    with refused("weight is f16 beside f32"):
        warpnorm.rms_norm(x, place.put(X[0].astype(np.float16)), **on)
    with refused("out is float16, wanted float32"):
        warpnorm.rms_norm(x, out=place.put(X.astype(np.float16)), **on)
    with refused("rstd is float16, wanted float32"):
        warpnorm.apply(Norm("rms_norm"), x, rstd=place.put(X[:, 0].astype(np.float16)), **on)
    with refused("f32 activations are asked to be quantised"):
        warpnorm.rms_norm_quant(x, quantisation=Quantisation("per_token"), **on)
    with refused("codes is float32, wanted int8"):
        half = place.put(X.astype(np.float16))
        warpnorm.rms_norm_quant(half, quantisation=Quantisation("per_token", "int8"), codes=x, **on)
    with pytest.raises(TypeError, match="x is a list"):
        warpnorm.rms_norm([1.0, 2.0])
    if place.name.startswith("numpy"):
        masked = np.ma.masked_greater(X, 3.0)
        with refused("x is a masked array"):
            warpnorm.rms_norm(masked, **on)
        with refused("out is a masked array"):
            warpnorm.rms_norm(x, out=masked, **on)


def test_what_is_given_and_what_is_taken(place: Place) -> None:
    x, half = place.put(X), place.put(X.astype(np.float16))
    on = {"device": place.device}
    with refused("takes a residual, but none is given"):
        warpnorm.apply(warpnorm.preset("llama"), x, **on)
    with refused("a residual is given, but the norm takes none"):
        warpnorm.apply(Norm("rms_norm"), x, residual=x, **on)
    with refused("codes or scales are given"):
        warpnorm.apply(Norm("rms_norm"), x, codes=x, **on)
    with refused("groups is given"):
        warpnorm.apply(Norm("rms_norm"), x, groups=2, **on)
    with refused("second is given"):
        warpnorm.apply(Norm("rms_norm"), x, second=x, **on)
    with refused("the norm does not rotate"):
        warpnorm.apply(Norm("rms_norm"), x, cos=x, sin=x, **on)
    with refused("there is no tensor_scale"):
        warpnorm.rms_norm_quant(half, quantisation=Quantisation("per_tensor"), **on)
    with refused("scales are given, and per_tensor makes none"):
        one = place.put(X[0, :1].copy())
        warpnorm.rms_norm_quant(half, quantisation=Quantisation("per_tensor"), tensor_scale=one, scales=one, **on)
    with refused("y overlaps x"):
        both = place.put(np.ones((5, 32), np.float32))
        warpnorm.rms_norm(both[:4], out=both[1:], **on)
    with refused("mean is asked for"):
        warpnorm.apply(Norm("rms_norm"), x, mean=True, **on)
    q = place.put(X.reshape(4, 2, 16))
    table = place.put(np.ones((4, 8), np.float32))
    with refused("cos and sin go together"):
        warpnorm.qk_norm(q, q.copy() if place.name.startswith("numpy") else q.clone(), cos=table, **on)
    k = place.put(X.reshape(4, 2, 16))
    with refused(r"positions has shape \(3,\)"):
        warpnorm.qk_norm(q, k, cos=table, sin=table, positions=place.put(np.zeros(3, np.int64)), **on)
    with refused("positions is float32, wanted int32 or int64"):
        warpnorm.qk_norm(q, k, cos=table, sin=table, positions=place.put(np.zeros(4, np.float32)), **on)
    with refused(r"sin has shape \(4, 4\)"):
        warpnorm.qk_norm(q, k, cos=table, sin=table[:, :4], **on)
    with refused("cos and sin have 3 positions, wanted at least 4"):
        warpnorm.qk_norm(q, k, cos=table[:3], sin=table[:3], **on)
    with refused(r"second has shape \(4, 32\)"):
        warpnorm.qk_norm(q, place.put(X), **on)


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("family is 'rms', wanted one of 'layer_norm', 'rms_norm'", lambda: Norm("rms")),  # type: ignore[arg-type]
        ("weight_rounding is ''", lambda: Norm("rms_norm", weight_rounding="")),  # type: ignore[arg-type]
        ("scope is 'heads'", lambda: Norm("rms_norm", scope="heads")),  # type: ignore[arg-type]
        ("activation is 'tanh'", lambda: Norm("rms_norm", gate="tanh")),  # type: ignore[arg-type]
        ("'swish' takes a parameter", lambda: Norm("rms_norm", gate="swish")),
        ("input is 3", lambda: Norm("rms_norm", input=3)),  # type: ignore[arg-type]
        ("rope.dim is 0", lambda: Norm("rms_norm", rope=warpnorm.Rope(0))),
        ("scaling is 'per_row'", lambda: Norm("rms_norm", quantisation=Quantisation("per_row"))),  # type: ignore[arg-type]
        ("wanted at least 1", lambda: Norm("rms_norm", quantisation=Quantisation("per_group", group_size=-1))),
        (
            "group_size is 184467",
            lambda: Norm("rms_norm", quantisation=Quantisation("per_group", group_size=2**64 + 128)),
        ),
        (
            "layout_alignment is 184467.*less than 2",
            lambda: Norm("rms_norm", quantisation=Quantisation("per_group", layout_alignment=2**64 + 4)),
        ),
        ("rope.dim is 184467", lambda: Norm("rms_norm", scope="head", rope=warpnorm.Rope(2**64 + 8))),
        ("rope.dim is -8", lambda: Norm("rms_norm", scope="head", rope=warpnorm.Rope(-8))),
        ("stream is 184467", lambda: warpnorm.rms_norm(X, stream=2**64)),
        ("wanted one of llama", lambda: warpnorm.preset("bloom")),
        ("deep-norm:24", lambda: warpnorm.preset("deep-norm")),
    ],
)
def test_descriptions(words: str, make: object) -> None:
    with refused(words):
        make()  # type: ignore[operator]


def test_values_that_no_tensor_makes_valid(place: Place) -> None:
    x = place.put(X)
    for words, norm in [
        ("eps is -1", Norm("rms_norm", -1.0)),
        ("eps is NaN", Norm("rms_norm", float("nan"))),
        ("elements of a head are to be rotated", Norm("rms_norm", scope="head", rope=warpnorm.Rope(7))),
    ]:
        with refused(words):
            warpnorm.apply(norm, x, device=place.device)
    with refused("a norm of heads", warpnorm.Unsupported):
        warpnorm.apply(Norm("rms_norm", scope="head", gate="silu"), x, device=place.device)
    assert issubclass(warpnorm.Unsupported, NotImplementedError) and issubclass(InvalidArgument, ValueError)


def test_read_only_arrays_are_not_written() -> None:
    x = X.copy()
    x.flags.writeable = False
    with refused("out is read-only"):
        warpnorm.rms_norm(X, out=x)
    assert (warpnorm.rms_norm(x, eps=0.0) == 1.0).all() and (x == 1.0).all()
