"""The peers, and how each is called.

A loader imports its library and returns a function for each op that the library has, by the op's title. A function
takes `Tensors` and returns the outputs of the op by their names. Where a library works in place, it is given copies of
its own.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .ops import OPS, TENSOR_SCALE

# FlashInfer compiles its CUDA norm, where it has two.
os.environ.setdefault("FLASHINFER_USE_CUDA_NORM", "1")

# fla and Triton keep on disk what they have tuned, by keys that leave out the number of rows.
os.environ["FLA_CACHE_RESULTS"] = os.environ["TRITON_CACHE_AUTOTUNING"] = "0"


@dataclass
class Tensors:
    """One set of tensors, of torch; None is what the op has not. `Op.shape` has their shapes."""

    eps: float
    x: Any
    residual: Any = None
    gate: Any = None
    weight: Any = None
    bias: Any = None
    inner_weight: Any = None
    second_x: Any = None
    second_weight: Any = None
    tensor_scale: Any = None
    # Where warpnorm writes; others allocate, in the memory of the graph, or are given the same.
    y: Any = None
    residual_out: Any = None
    second_y: Any = None
    codes: Any = None
    scales: Any = None
    # The parameters in f32, for those that take no others.
    weight_f32: Any = None
    bias_f32: Any = None
    # For those that work in place.
    own_x: Any = None
    own_residual: Any = None
    # Rows of the gate with those of x behind them, for those that take them so: [rows, 2·hidden].
    gate_and_x: Any = None


Function = Callable[[Tensors], dict]

# Ends the names of those that are launched programmatically, each beside the one of its name without: before the kernel
# in front of them has completed, for which they wait before they touch a tensor.
PROGRAMMATIC = "-pdl"


@dataclass(frozen=True)
class Peer:
    """A library."""

    name: str
    load: Callable[[], dict[str, Function]]


def _eager() -> dict[str, Function]:
    from .compositions import functions

    return functions(OPS)


def _compiled() -> dict[str, Function]:
    import torch

    from .compositions import functions

    return functions(OPS, torch.compile(dynamic=False, fullgraph=True))


def _liger() -> dict[str, Function]:
    from liger_kernel.transformers import functional as liger

    def rms(t):
        return {"y": liger.liger_rms_norm(t.x, t.weight, t.eps, 0.0, "llama", False)}

    def add(t):
        y, h = liger.liger_fused_add_rms_norm(t.x, t.residual, t.weight, t.eps, 0.0, "llama", False)
        return {"y": y, "residual_out": h}

    functions: dict[str, Function] = {
        "rms-norm": rms,
        "layer-norm": lambda t: {"y": liger.liger_layer_norm(t.x, t.weight, t.bias, t.eps)},
        "head-rms-norm": rms,
        "activation (silu)": lambda t: {"y": liger.liger_swiglu(t.gate, t.x)},
    }
    if hasattr(liger, "liger_fused_add_rms_norm"):
        functions["add-rms-norm (stored)"] = add
    return functions


def _fla() -> dict[str, Function]:
    from fla.modules.activations import swiglu
    from fla.modules.fused_norm_gate import rms_norm_gated
    from fla.modules.layernorm import layer_norm, rms_norm

    def rms(t):
        return {"y": rms_norm(t.x, t.weight, None, eps=t.eps)}

    def add(norm):
        def function(t):
            y, h = norm(t.x, t.weight, t.bias, t.residual, t.eps, prenorm=True)
            return {"y": y, "residual_out": h}

        return function

    return {
        "rms-norm": rms,
        "layer-norm": lambda t: {"y": layer_norm(t.x, t.weight, t.bias, eps=t.eps)},
        "add-rms-norm (stored)": add(rms_norm),
        "add-layer-norm (stored)": add(layer_norm),
        "gated-rms-norm (silu)": lambda t: {"y": rms_norm_gated(t.x, t.gate, t.weight, None, "swish", eps=t.eps)},
        "head-rms-norm": rms,
        "activation (silu)": lambda t: {"y": swiglu(t.gate, t.x)},
    }


def _parameters(function) -> dict[str, inspect.Parameter]:
    """What a function takes; nothing where it does not say."""
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def _flashinfer(programmatic: bool = False) -> dict[str, Function]:
    import torch
    from flashinfer import activation
    from flashinfer import norm as flashinfer

    if programmatic and torch.cuda.is_available() and torch.cuda.get_device_capability() < (9, 0):
        raise RuntimeError("there is no programmatic launch before compute capability 9.0")

    def launched(function):
        # Left to itself, it launches programmatically where the GPU can.
        if "enable_pdl" in _parameters(function):
            return functools.partial(function, enable_pdl=programmatic)
        if programmatic:
            raise RuntimeError(f"{function.__name__} takes no enable_pdl")
        return function

    rmsnorm, fused_add_rmsnorm = launched(flashinfer.rmsnorm), launched(flashinfer.fused_add_rmsnorm)
    rmsnorm_quant = launched(flashinfer.rmsnorm_quant)
    fused_add_rmsnorm_quant = launched(flashinfer.fused_add_rmsnorm_quant)
    silu_and_mul = launched(activation.silu_and_mul)

    # Its kernel for heads is that for tensors of three dimensions.
    def rms(t):
        return {"y": rmsnorm(t.x, t.weight, t.eps, out=t.y)}

    def packed(t):
        return rms(t) | {"second_y": rmsnorm(t.second_x, t.second_weight, t.eps, out=t.second_y)}

    def add(t):
        fused_add_rmsnorm(t.own_x, t.own_residual, t.weight, t.eps)
        return {"y": t.own_x, "residual_out": t.own_residual}

    # It divides by the scale, a number of the host; of later versions a tensor, to which they would copy a number with
    # every call, and no capture takes that.
    scale = _parameters(flashinfer.rmsnorm_quant).get("scale")
    by_tensor = scale is not None and "Tensor" in str(scale.annotation)

    def rms_codes(t):
        rmsnorm_quant(t.codes, t.x, t.weight, t.tensor_scale if by_tensor else TENSOR_SCALE, t.eps)
        return {"codes": t.codes}

    def add_codes(t):
        scale = t.tensor_scale if by_tensor else TENSOR_SCALE
        fused_add_rmsnorm_quant(t.codes, t.x, t.own_residual, t.weight, scale, t.eps)
        return {"codes": t.codes, "residual_out": t.own_residual}

    functions: dict[str, Function] = {
        "rms-norm": rms,
        "add-rms-norm (stored)": add,
        "rms-norm (e4m3 per-tensor-wide)": rms_codes,
        "add-rms-norm (stored, e4m3 per-tensor-wide)": add_codes,
        "head-rms-norm": rms,
        "head-rms-norm (q and k packed)": packed,
        "activation (silu)": lambda t: {"y": silu_and_mul(t.gate_and_x, out=t.y)},
    }
    # Its LayerNorm takes bf16 alone, and f32 parameters. There is no programmatic launch of it.
    if not programmatic:
        functions["layer-norm"] = lambda t: {"y": flashinfer.layernorm(t.x, t.weight_f32, t.bias_f32, t.eps)}
    return functions


def _quack() -> dict[str, Function]:
    from quack.rmsnorm import layernorm_fwd, rmsnorm_fwd

    def add(t):
        y, residual, _ = rmsnorm_fwd(t.x, t.weight, residual=t.residual, eps=t.eps)
        return {"y": y, "residual_out": residual}

    # It takes matrices alone.
    def heads(t):
        return {"y": rmsnorm_fwd(t.x.view(-1, t.x.shape[-1]), t.weight, eps=t.eps)[0]}

    return {
        "rms-norm": lambda t: {"y": rmsnorm_fwd(t.x, t.weight, eps=t.eps)[0]},
        "add-rms-norm (stored)": add,
        # Its LayerNorm takes f32 parameters.
        "layer-norm": lambda t: {"y": layernorm_fwd(t.x, t.weight_f32, t.bias_f32, t.eps)},
        "head-rms-norm": heads,
    }


PEERS = (
    Peer("torch-eager", _eager),
    Peer("torch-compile", _compiled),
    Peer("liger", _liger),
    Peer("fla", _fla),
    Peer("flashinfer", _flashinfer),
    Peer("flashinfer" + PROGRAMMATIC, lambda: _flashinfer(programmatic=True)),
    Peer("quack", _quack),
)


def load(peers=PEERS, *, exclude=()) -> tuple[dict[str, dict[str, Function]], dict[str, Exception]]:
    """The functions of the peers that can be imported, and why the others cannot. Those that are excluded are not."""
    loaded, failed = {}, {}
    for peer in peers:
        if peer.name in exclude:
            continue
        try:
            loaded[peer.name] = peer.load()
        except Exception as error:  # A library may fail at import in any way.
            failed[peer.name] = error
    return loaded, failed
