"""What the ops compute, in f64, and whether a result is that."""

from __future__ import annotations

from .ops import LARGEST_CODE, PER_TENSOR, PER_TOKEN, TENSOR_SCALE, Op

# Relative L2 error that a result may have: f32 sums, and two roundings of the type; frameworks round in more than one
# place. Of codes, that of each element beside half a step.
TOLERANCE = {"f32": 1e-5, "f16": 2e-3, "bf16": 1.6e-2}

# The least amax that a row's scale is made of: vLLM's.
LEAST_AMAX = 1 / 512


class WrongResult(ValueError):
    """A result that is not what the op computes."""


def normalised(op: Op, h):
    """Rows, or the last dimension, by their statistic."""
    if op.family == "activation":
        return h
    if op.family == "layer-norm":
        h = h - h.mean(dim=-1, keepdim=True)
    return h / (h.square().mean(dim=-1, keepdim=True) + op.eps).sqrt()


def expected(op: Op, tensors) -> dict:
    """The outputs in f64, of torch tensors; of codes, `y` that they stand for."""
    h, found = tensors.x.double(), {}
    if op.input == "residual-add":
        h = tensors.residual.double() + h
    elif op.input == "post-norm":
        h = tensors.residual.double() + normalised(op, h) * tensors.inner_weight.double()
    if op.input != "plain":
        h = found["residual_out"] = h.to(tensors.x.dtype).double()
    y = normalised(op, h)
    if "weight" in op.inputs:
        y = y * tensors.weight.double()
    if op.bias:
        y = y + tensors.bias.double()
    if op.gate:
        z = tensors.gate.double()
        y = y * (z / (1 + (-z).exp()))
    if op.post_add:
        y = tensors.residual.double() + y
    found["y"] = y
    if op.second_heads:
        found["second_y"] = normalised(op, tensors.second_x.double()) * tensors.second_weight.double()
    if op.scaling == PER_TOKEN:
        found["scales"] = y.abs().amax(dim=-1, keepdim=True).clamp(min=LEAST_AMAX) / LARGEST_CODE
    return found


def half_step(codes):
    """Half the distance of e4m3 values about these: three bits follow the leading one, down to 2⁻⁶."""
    return (codes.abs().clamp(min=2.0**-6).log2().floor() - 4).exp2()


def relative_l2(got, wanted) -> float:
    """‖got − wanted‖ / ‖wanted‖."""
    return ((got - wanted).norm() / wanted.norm()).item()


def verified(op: Op, dtype: str, tensors, result: dict) -> float:
    """The largest relative L2 error of the outputs, that of codes as the values that they stand for.

    Raises WrongResult where an output is missing, has an error past the tolerance, or, of codes, an element that is
    further than that and half a step from its value.
    """
    wanted, errors, tolerance = expected(op, tensors), [], TOLERANCE[dtype]
    for name in op.outputs:
        if result.get(name) is None:
            raise WrongResult(f"no {name}, wanted {', '.join(op.outputs)}")
    for name in op.outputs:
        if name == "codes":
            errors.append(_verified_codes(op, tolerance, tensors, result, wanted["y"]))
            continue
        error = relative_l2(result[name].double().reshape(wanted[name].shape), wanted[name])
        # Not so for a NaN.
        if not error <= tolerance:
            raise WrongResult(f"{name}: relative L2 error {error:.1e}, wanted at most {tolerance:.1e}")
        errors.append(error)
    return max(errors)


def _verified_codes(op: Op, tolerance: float, tensors, result: dict, y) -> float:
    scale = TENSOR_SCALE if op.scaling == PER_TENSOR else result["scales"].double().reshape((-1, 1))
    got = result["codes"].double() * scale
    ideal = (y / scale).clamp(min=-LARGEST_CODE, max=LARGEST_CODE)
    # Roundings of the type are relative to the terms of y.
    terms = y.abs() + tensors.bias.double().abs() if op.bias else y.abs()
    wanted = ideal * scale
    excess = ((got - wanted).abs() - half_step(ideal) * scale - terms * tolerance).amax().item()
    if not excess <= 0:
        raise WrongResult(f"codes: an element {excess:.1e} further from its value than half a step and {tolerance:.1e}")
    return relative_l2(got, wanted)
