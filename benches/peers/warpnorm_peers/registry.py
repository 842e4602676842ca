"""The peers, and how each is called.

A loader imports its library and returns a function for each op that the library has. A function takes `Tensors` and
returns y and the new residual, or None for what it has not. Where a library works in place, it is given copies of x and
residual of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# FlashInfer compiles its CUDA norm, where it has two.
os.environ.setdefault("FLASHINFER_USE_CUDA_NORM", "1")


@dataclass
class Tensors:
    """One set of tensors, of torch."""

    eps: float
    x: Any
    weight: Any
    bias: Any = None
    residual: Any = None
    gate: Any = None
    # The parameters in f32, for those that take no others.
    weight_f32: Any = None
    bias_f32: Any = None
    # Where warpnorm writes; others allocate, in the memory of the graph.
    y: Any = None
    residual_out: Any = None
    # For those that work in place.
    own_x: Any = None
    own_residual: Any = None


Function = Callable[[Tensors], tuple]


@dataclass(frozen=True)
class Peer:
    """A library."""

    name: str
    load: Callable[[], dict[str, Function]]


def _eager() -> dict[str, Function]:
    import torch.nn.functional as F

    def layer(t, x):
        return F.layer_norm(x, x.shape[-1:], t.weight, t.bias, t.eps)

    def rms(t, x):
        return F.rms_norm(x, x.shape[-1:], t.weight, t.eps)

    def add(norm):
        def function(t):
            h = t.residual + t.x
            return norm(t, h), h

        return function

    def gated(t):
        return (rms(t, t.x).float() * F.silu(t.gate.float())).to(t.x.dtype), None

    return {
        "layer-norm": lambda t: (layer(t, t.x), None),
        "rms-norm": lambda t: (rms(t, t.x), None),
        "add-layer-norm": add(layer),
        "add-rms-norm": add(rms),
        "gated-rms-norm": gated,
    }


def _compiled() -> dict[str, Function]:
    import torch
    import torch.nn.functional as F

    def norm(x, weight, bias, eps, layer):
        if layer:
            return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
        return F.rms_norm(x, x.shape[-1:], weight, eps)

    @torch.compile(dynamic=False)
    def plain(x, weight, bias, eps, layer):
        return norm(x, weight, bias, eps, layer)

    @torch.compile(dynamic=False)
    def add(x, residual, weight, bias, eps, layer):
        h = residual + x
        return norm(h, weight, bias, eps, layer), h

    @torch.compile(dynamic=False)
    def gated(x, gate, weight, eps):
        return (norm(x, weight, None, eps, False).float() * F.silu(gate.float())).to(x.dtype)

    return {
        "layer-norm": lambda t: (plain(t.x, t.weight, t.bias, t.eps, True), None),
        "rms-norm": lambda t: (plain(t.x, t.weight, None, t.eps, False), None),
        "add-layer-norm": lambda t: add(t.x, t.residual, t.weight, t.bias, t.eps, True),
        "add-rms-norm": lambda t: add(t.x, t.residual, t.weight, None, t.eps, False),
        "gated-rms-norm": lambda t: (gated(t.x, t.gate, t.weight, t.eps), None),
    }


def _liger() -> dict[str, Function]:
    from liger_kernel.transformers import functional as liger

    functions: dict[str, Function] = {
        "rms-norm": lambda t: (liger.liger_rms_norm(t.x, t.weight, t.eps, 0.0, "llama", False), None),
        "layer-norm": lambda t: (liger.liger_layer_norm(t.x, t.weight, t.bias, t.eps), None),
    }
    if hasattr(liger, "liger_fused_add_rms_norm"):
        functions["add-rms-norm"] = lambda t: liger.liger_fused_add_rms_norm(
            t.x, t.residual, t.weight, t.eps, 0.0, "llama", False
        )
    return functions


def _fla() -> dict[str, Function]:
    from fla.modules.fused_norm_gate import rms_norm_gated
    from fla.modules.layernorm import layer_norm, rms_norm

    return {
        "rms-norm": lambda t: (rms_norm(t.x, t.weight, None, eps=t.eps), None),
        "layer-norm": lambda t: (layer_norm(t.x, t.weight, t.bias, eps=t.eps), None),
        "add-rms-norm": lambda t: rms_norm(t.x, t.weight, None, t.residual, t.eps, prenorm=True),
        "add-layer-norm": lambda t: layer_norm(t.x, t.weight, t.bias, t.residual, t.eps, prenorm=True),
        "gated-rms-norm": lambda t: (rms_norm_gated(t.x, t.gate, t.weight, None, "swish", eps=t.eps), None),
    }


def _flashinfer() -> dict[str, Function]:
    from flashinfer import norm as flashinfer

    def add(t):
        flashinfer.fused_add_rmsnorm(t.own_x, t.own_residual, t.weight, t.eps)
        return t.own_x, t.own_residual

    return {
        "rms-norm": lambda t: (flashinfer.rmsnorm(t.x, t.weight, t.eps, out=t.y), None),
        "add-rms-norm": add,
        # It takes bf16 alone, and f32 parameters.
        "layer-norm": lambda t: (flashinfer.layernorm(t.x, t.weight_f32, t.bias_f32, t.eps), None),
    }


def _quack() -> dict[str, Function]:
    from quack.rmsnorm import layernorm_fwd, rmsnorm_fwd

    def add(t):
        y, residual, _ = rmsnorm_fwd(t.x, t.weight, residual=t.residual, eps=t.eps)
        return y, residual

    return {
        "rms-norm": lambda t: (rmsnorm_fwd(t.x, t.weight, eps=t.eps)[0], None),
        "add-rms-norm": add,
        # Its LayerNorm takes f32 parameters.
        "layer-norm": lambda t: (layernorm_fwd(t.x, t.weight_f32, t.bias_f32, t.eps), None),
    }


PEERS = (
    Peer("torch-eager", _eager),
    Peer("torch-compile", _compiled),
    Peer("liger", _liger),
    Peer("fla", _fla),
    Peer("flashinfer", _flashinfer),
    Peer("quack", _quack),
)


def load(peers=PEERS) -> tuple[dict[str, dict[str, Function]], dict[str, Exception]]:
    """The functions of the peers that can be imported, and why the others cannot."""
    loaded, failed = {}, {}
    for peer in peers:
        try:
            loaded[peer.name] = peer.load()
        except Exception as error:  # A library may fail at import in any way.
            failed[peer.name] = error
    return loaded, failed
