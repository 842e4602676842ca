"""PyTorch's own ops: their schemas and fakes, ``torch.compile``, and CUDA graphs where there is a GPU."""

from __future__ import annotations

import contextlib
import ctypes
import types
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch._subclasses.fake_tensor import FakeTensorMode

import warpnorm
import warpnorm.torch as ops
from warpnorm import Quantisation, _native, _tensors

pytestmark = pytest.mark.torch

PLACES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
OPS = torch.ops.warpnorm


@pytest.fixture(params=PLACES)
def device(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def random(device: str, *shape: int, dtype: Any = torch.float32) -> Any:
    generator = torch.Generator().manual_seed(len(shape) + sum(shape))
    return torch.randn(*shape, generator=generator).to(dtype).to(device)


def given(one: Quantisation) -> tuple[Any, ...]:
    return tuple(ops._flat(one))


def test_schemas_and_fakes(device: str) -> None:
    x, residual, weight = random(device, 3, 64), random(device, 3, 64) * 2, random(device, 64)
    heads, half = random(device, 3, 4, 16), random(device, 3, 64, dtype=torch.bfloat16)
    table = random(device, 8, 8)
    positions = torch.tensor([5, 0, 7], device=device)
    scale = torch.ones(1, device=device)
    norm, add = (1e-6, 0.0, "single"), (1.0, "stored")
    calls: list[tuple[Any, tuple[Any, ...]]] = [
        (OPS.rms_norm, (x, weight)),
        (OPS.layer_norm, (x, weight, weight, 1e-5)),
        (OPS.add_rms_norm, (x, residual, weight)),
        (OPS.add_rms_norm_, (x, residual, weight)),
        (OPS.add_layer_norm, (x, residual, weight, weight)),
        (OPS.gated_rms_norm, (x, residual, weight, "silu", True, 2)),
        (OPS.activation, (x, residual)),
        (OPS.qk_norm_, (heads, heads.clone(), None, None, table, table, positions)),
    ]
    for quantisation in [
        Quantisation("per_token"),
        Quantisation("per_tensor", "int8"),
        Quantisation("per_group", group_size=64, layout="column_major", layout_alignment=4),
        Quantisation("mxfp8", layout="tiled"),
        Quantisation.nvfp4(),
    ]:
        takes = scale if quantisation.scaling in ("per_tensor", "nvfp4") else None
        calls.append((OPS.rms_norm_quant, (half, None, takes, *given(quantisation), *norm)))
        calls.append((OPS.add_rms_norm_quant, (half, half.clone(), None, takes, *given(quantisation), *norm, *add)))
    for op, arguments in calls:
        torch.library.opcheck(op.default, arguments)


def test_ops_compute_what_the_functions_do(device: str) -> None:
    x, residual, weight = random(device, 3, 64), random(device, 5, 3, 64)[0], random(device, 64)
    assert torch.equal(ops.rms_norm(x, weight, weight_offset=1.0), warpnorm.rms_norm(x, weight, weight_offset=1.0))
    assert torch.equal(ops.layer_norm(x, weight, weight), warpnorm.layer_norm(x, weight, weight))
    y, h = warpnorm.add_rms_norm(x, residual, weight, residual_scale=2.0, residual_rounding="wide")
    got = ops.add_rms_norm(x, residual, weight, residual_scale=2.0, residual_rounding="wide")
    assert torch.equal(got[0], y) and torch.equal(got[1], h)
    over_x, over_residual = x.clone(), residual.clone()
    ops.add_rms_norm_(over_x, over_residual, weight, residual_scale=2.0, residual_rounding="wide")
    assert torch.equal(over_x, y) and torch.equal(over_residual, h)
    y, h = warpnorm.add_layer_norm(x, residual, weight, weight)
    got = ops.add_layer_norm(x, residual, weight, weight)
    assert torch.equal(got[0], y) and torch.equal(got[1], h)
    kwargs: dict[str, Any] = {"groups": 4, "norm_before_gate": False}
    assert torch.equal(ops.gated_rms_norm(x, residual, **kwargs), warpnorm.gated_rms_norm(x, residual, **kwargs))
    swish = warpnorm.Activation("swish", 2.0)
    assert torch.equal(ops.activation(x, None, "swish", 2.0), warpnorm.activation(x, activation=swish))
    half = x.to(torch.float16)
    codes, scales = ops.rms_norm_quant(half, quantisation=Quantisation("per_token"))
    wanted = warpnorm.rms_norm_quant(half, quantisation=Quantisation("per_token"))
    assert codes.dtype == torch.float8_e4m3fn and torch.equal(codes.view(torch.uint8), wanted.codes.view(torch.uint8))
    assert torch.equal(scales, wanted.scales)


def test_compiled(device: str) -> None:
    """A block whose mutation and order the compiler must keep, without a break in its graph; with sizes that change."""
    weight = random(device, 64)

    def block(x: Any, residual: Any) -> Any:
        y, h = ops.add_rms_norm(x.relu(), residual, weight)
        ops.add_rms_norm_(y, h, weight)
        codes, scales = ops.rms_norm_quant(h.to(torch.bfloat16), quantisation=Quantisation("per_token", "int8"))
        return y + 1, h, codes, scales

    compiled = torch.compile(block, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows in (3, 5):
        x, residual = random(device, rows, 64), random(device, rows, 64) * 3
        for got, wanted in zip(compiled(x, residual), block(x, residual), strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    ("words", "quantisation"),
    [
        ("alignment", Quantisation("per_group", layout="column_major", layout_alignment=0)),
        ("group.* 0", Quantisation("per_group", group_size=0)),
        ("layout is 'rows'", Quantisation("per_group", layout="rows")),
        ("code is 'e3m2'", Quantisation("per_token", "e3m2")),
        ("hidden size", Quantisation("mxfp8")),
    ],
)
def test_what_is_refused_is_refused_by_the_fakes(words: str, quantisation: Quantisation) -> None:
    """In the same words, when it is compiled."""
    half = random("cpu", 3, 48, dtype=torch.float16)
    with pytest.raises(warpnorm.InvalidArgument, match=words) as eager:
        ops.rms_norm_quant(half, quantisation=quantisation)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(half)
        for compute in (ops.rms_norm_quant, lambda x, **how: ops.add_rms_norm_quant(x, x, **how)):
            with pytest.raises(warpnorm.InvalidArgument) as faked:
                compute(fake, quantisation=quantisation)
            assert str(faked.value) == str(eager.value)
    compiled = torch.compile(
        lambda x: ops.rms_norm_quant(x, quantisation=quantisation), fullgraph=True, dynamic=True, backend="eager"
    )
    with pytest.raises(Exception, match=words):
        compiled(random("cpu", 3, 48, dtype=torch.float16))


def test_fakes_of_no_rows() -> None:
    half, scale = torch.zeros(0, 256, dtype=torch.float16), torch.ones(1)
    for one in [Quantisation("per_group"), Quantisation("mxfp8"), Quantisation.nvfp4()]:
        takes = scale if one.scaling == "nvfp4" else None
        wanted = ops.rms_norm_quant(half, quantisation=one, tensor_scale=takes)
        with FakeTensorMode() as mode:
            how = {"quantisation": one, "tensor_scale": None if takes is None else mode.from_tensor(takes)}
            faked = ops.rms_norm_quant(mode.from_tensor(half), **how)
        assert [tuple(tensor.shape) for tensor in faked] == [tuple(tensor.shape) for tensor in wanted]


def test_gradients_are_refused(device: str) -> None:
    weight = random(device, 64).requires_grad_()
    with pytest.raises(ValueError, match="weight requires a gradient"):
        warpnorm.rms_norm(random(device, 3, 64), weight)
    with torch.no_grad():
        warpnorm.rms_norm(random(device, 3, 64), weight)


def test_ops_that_write_refuse_gradients(device: str) -> None:
    """They have no output at which a backward pass would find out."""
    leaf, plain = random(device, 3, 64).requires_grad_(), random(device, 3, 64)
    x, weight = leaf * 2, random(device, 64).requires_grad_()
    q, k, before = (leaf * 2).view(3, 4, 16), random(device, 3, 1, 16), x.detach().clone()
    for role, compute in [
        ("x", lambda: ops.add_rms_norm_(x, plain)),
        ("residual", lambda: OPS.add_rms_norm_(plain, x)),
        ("x", lambda: OPS.add_rms_norm_(leaf, plain)),
        ("weight", lambda: OPS.add_rms_norm_(plain.clone(), plain, weight=weight)),
        ("q", lambda: ops.qk_norm_(q, k)),
        ("k", lambda: ops.qk_norm_(k, q)),
    ]:
        with pytest.raises(warpnorm.InvalidArgument, match=f"^{role} requires a gradient"):
            compute()
    compiled = torch.compile(lambda x, residual: ops.add_rms_norm_(x * 2, residual), backend="aot_eager")
    with pytest.raises(Exception, match="x requires a gradient"):
        compiled(leaf, plain)
    assert torch.equal(x, before)
    with torch.no_grad():
        ops.add_rms_norm_(x, plain.clone(), weight)
        assert torch.equal(x, warpnorm.add_rms_norm(before, plain, weight)[0])
        ops.qk_norm_(q, k)
    ops.add_rms_norm_(x.detach(), plain)


def test_what_is_written_has_a_new_version(device: str) -> None:
    """So that a backward pass that has kept an input refuses to go on with what was written over it."""
    x, residual = random(device, 4, 64), random(device, 4, 64)
    y = residual * torch.ones(64, device=device, requires_grad=True)
    with torch.no_grad():
        warpnorm.add_rms_norm(x, residual, out=x, residual_out=residual)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()

    def versions(compute: Any, *tensors: Any) -> list[bool]:
        before = [one._version for one in tensors]
        compute()
        return [one._version > then for one, then in zip(tensors, before, strict=True)]

    out, mean, rstd = torch.empty_like(x), random(device, 4), random(device, 4)
    norm = warpnorm.Norm("layer_norm")
    assert all(versions(lambda: warpnorm.apply(norm, x, out=out, mean=mean, rstd=rstd), out, mean, rstd))
    half, per_token = x.to(torch.float16), Quantisation("per_token", "int8")
    codes, scales = torch.empty_like(half, dtype=torch.int8), random(device, 4, 1)
    how = {"quantisation": per_token, "codes": codes, "scales": scales}
    assert all(versions(lambda: warpnorm.rms_norm_quant(half, **how), codes, scales))
    q, k = random(device, 4, 2, 16), random(device, 4, 1, 16)
    assert all(versions(lambda: warpnorm.qk_norm(q, k, q_out=q, k_out=k), q, k))
    # What is only read has not changed; what is refused, neither.
    assert versions(lambda: warpnorm.rms_norm(x, out=out), x, out) == [False, True]
    before = out._version
    with pytest.raises(ValueError, match="eps is"):
        warpnorm.rms_norm(x, eps=-1.0, out=out)
    assert out._version == before
    with torch.inference_mode():
        out = torch.empty_like(x)
    warpnorm.rms_norm(x, out=out)
    assert torch.equal(out, warpnorm.rms_norm(x))


def test_tensors_elsewhere_are_refused(device: str) -> None:
    x = random(device, 3, 64)
    with pytest.raises(warpnorm.WrongDevice, match="meta"):
        warpnorm.rms_norm(x.to("meta"))
    with pytest.raises(ValueError, match="sparse"):
        warpnorm.rms_norm(x.to_sparse())
    if device == "cuda":
        with pytest.raises(warpnorm.WrongDevice, match="weight is on cpu:0, and x on cuda:0"):
            warpnorm.rms_norm(x, random("cpu", 64))
        with pytest.raises(warpnorm.WrongDevice, match="by the cpu device"):
            warpnorm.rms_norm(x, device=warpnorm.Device.cpu())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_streams_and_graphs() -> None:
    x, weight = random("cuda", 512, 4096, dtype=torch.bfloat16), random("cuda", 4096)
    wanted = warpnorm.rms_norm(x, weight)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # What is queued on the side stream first is seen.
        y = warpnorm.rms_norm(x * 1.0, weight)
    torch.cuda.current_stream().wait_stream(side)
    assert torch.equal(y, wanted)

    captured = torch.zeros_like(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = ops.rms_norm(captured, weight)
    captured.copy_(x)
    graph.replay()
    assert torch.equal(y, wanted)
    # The library itself refuses what slipped by: here, a host pointer under a device's.
    norm, call = warpnorm.Norm("rms_norm"), _native.new_call(0, 4, 64)
    host = torch.zeros(4, 64)
    call.x, call.y = _native.Rows(host.data_ptr(), 64), _native.Rows(x.data_ptr(), 64)
    # A handle does not keep its device open.
    with warpnorm.Device.cuda(0) as own, pytest.raises(warpnorm.WrongDevice, match="host memory"):
        _native.call("warpnorm_run", own._handle, None, ctypes.byref(norm._made), ctypes.byref(call))


def test_tensors_are_made_on_the_stream_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """What PyTorch is asked for, with or without a GPU."""
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: types.SimpleNamespace(cuda_stream=5))
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: ("default", device))
    monkeypatch.setattr(torch.cuda, "ExternalStream", lambda stream, device: (stream, device))
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    gpu = torch.device("cuda", 1)
    for on, stream, wanted in [
        (gpu, 7, (7, gpu)),
        (gpu, 0, ("default", gpu)),
        (gpu, 5, None),
        (gpu, None, None),
        (torch.device("cpu"), 7, None),
    ]:
        with _tensors._on_torch_stream(on, stream) as entered:
            assert entered == wanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_stream_that_is_not_the_current_one() -> None:
    """It is behind, and has not read yet what the current stream would hand out again."""
    x = random("cuda", 4096, 1024, dtype=torch.float16)
    tiled = Quantisation("mxfp8", layout="tiled")
    wanted, scales = warpnorm.batch_norm(x), warpnorm.rms_norm_quant(x[:100], quantisation=tiled).scales
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        torch.cuda._sleep(100_000_000)
    y = warpnorm.batch_norm(x, stream=side.cuda_stream)
    quantised = warpnorm.rms_norm_quant(x[:100], quantisation=tiled, stream=side.cuda_stream)
    # Of the sizes of the temporaries, which are free by now.
    junk = [torch.full((1024,), float("nan"), device="cuda") for _ in range(16)]
    torch.cuda.synchronize()
    assert torch.equal(y, wanted) and torch.equal(quantised.scales, scales) and len(junk) == 16


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_capture_of_what_has_not_run() -> None:
    x = random("cuda", 4, 64, dtype=torch.float16)
    warpnorm.warm_up(warpnorm.Norm("layer_norm"), "float16")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = ops.layer_norm(x)
    graph.replay()
    assert torch.equal(y, warpnorm.layer_norm(x))
