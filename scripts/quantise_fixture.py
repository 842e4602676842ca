#!/usr/bin/env python3
"""Write fixtures/quantised-rows.txt: rows quantised by numpy and ml_dtypes.

From the root of the repository (Python 3.11 or later):

    python3 -m venv target/quantise
    target/quantise/bin/pip install -r scripts/quantise_requirements.txt
    target/quantise/bin/python scripts/quantise_fixture.py

With --check nothing is written, and what is there is compared. numpy's f32 arithmetic is
IEEE's, so the same bytes are expected on any machine. Formulas stand in the order that the
frameworks named have them, not in that of the crate.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

try:
    import ml_dtypes
    import numpy as np
except ImportError as missing:
    sys.exit(f"{missing}. Install scripts/quantise_requirements.txt as this file's first lines say.")

FIXTURE = Path(__file__).parent.parent / "fixtures" / "quantised-rows.txt"
HIDDEN = 128
f32 = np.float32


class Format(NamedTuple):
    largest: f32
    binade: int  # of the largest value
    dtype: type


FP8 = {
    "e4m3": Format(f32(448), 8, ml_dtypes.float8_e4m3fn),
    "e5m2": Format(f32(57344), 15, ml_dtypes.float8_e5m2),
}


class Quantised(NamedTuple):
    codes: bytes
    scales: list[str]  # hexadecimal patterns


def rows() -> list[np.ndarray]:
    """Values of bf16, but for one row of any f32."""
    source = np.random.Generator(np.random.PCG64(448))

    def bf16(values: np.ndarray) -> np.ndarray:
        return values.astype(ml_dtypes.bfloat16).astype(f32)

    normal = [bf16(source.standard_normal(HIDDEN)) for _ in range(6)]
    normal[1][17] *= 1024
    normal[2] *= f32(2**-20)
    normal[3][:64] = 0
    normal[3][3] = -0.0
    normal[4] *= f32(2.0**-130)
    normal[5][[5, 70]] = [np.nan, -np.inf]
    wide = source.integers(0, 2**32, HIDDEN, dtype=np.uint32)
    wide = (wide & 0x807FFFFF | source.integers(110, 140, HIDDEN, dtype=np.uint32) << 23).view(f32)
    # Quotients on the middle between two codes, where the scale is a power of two.
    middles = bf16(np.arange(HIDDEN, dtype=f32) * f32(0.125) - f32(8))
    middles[0] = 448
    return [*normal, wide, middles]


def largest_magnitude(values: np.ndarray) -> f32:
    return f32(np.fmax.reduce(np.abs(values), initial=f32(0)))


def fp8(values: np.ndarray, kind: Format) -> bytes:
    """Rounded to nearest and saturated; the frameworks clamp NaN away, `cvt` does not."""
    codes = np.clip(values, -kind.largest, kind.largest).astype(kind.dtype).view(np.uint8)
    codes[np.isnan(values)] = 0x7F
    return codes.tobytes()


def int8(values: np.ndarray) -> bytes:
    rounded = np.clip(np.rint(values), -128, 127)
    return np.where(np.isnan(values), 0, rounded).astype(np.int8).tobytes()


def e2m1(values: np.ndarray) -> bytes:
    finite = np.where(np.isnan(values), f32(6), np.clip(values, f32(-6), f32(6)))
    codes = finite.astype(ml_dtypes.float4_e2m1fn).view(np.uint8)
    return (codes[0::2] | codes[1::2] << 4).tobytes()


def static(code: str, scale: f32) -> Callable[[np.ndarray], Quantised]:
    """vLLM static_scaled_fp8_quant and static_scaled_int8_quant."""

    def quantise(row: np.ndarray) -> Quantised:
        if code == "int8":
            return Quantised(int8(row / scale), [])
        return Quantised(fp8(row * (f32(1) / scale), FP8[code]), [])

    return quantise


def per_token(code: str, bound: f32 | None) -> Callable[[np.ndarray], Quantised]:
    """vLLM rms_norm_dynamic_per_token_quant."""

    def quantise(row: np.ndarray) -> Quantised:
        amax = largest_magnitude(row)
        if bound is not None:
            amax = np.minimum(amax, bound)
        if code == "int8":
            scale = np.maximum(amax / f32(127), np.finfo(f32).eps)
            return Quantised(int8(row * (f32(1) / scale)), [scale.tobytes()[::-1].hex()])
        kind = FP8[code]
        scale = np.maximum(amax / kind.largest, f32(1) / (kind.largest * f32(512)))
        return Quantised(fp8(row / scale, kind), [scale.tobytes()[::-1].hex()])

    return quantise


def per_group(code: str, size: int, power_of_two: bool, floor: f32) -> Callable[[np.ndarray], Quantised]:
    """vLLM per_token_group_fp8_quant; int8 as its rms_norm_per_block_quant."""

    def quantise(row: np.ndarray) -> Quantised:
        codes, scales = b"", []
        for group in row.reshape(-1, size):
            amax = np.fmax(largest_magnitude(group), floor)
            scale = amax / (f32(127) if code == "int8" else FP8[code].largest)
            if power_of_two and np.isfinite(scale):
                # frexp: scale = mantissa · 2^exponent, the mantissa from 1/2 up to 1.
                mantissa, exponent = np.frexp(scale)
                scale = f32(np.ldexp(f32(1), exponent - (1 if mantissa == 0.5 else 0)))
            scales.append(scale.tobytes()[::-1].hex())
            codes += int8(group * (f32(1) / scale)) if code == "int8" else fp8(group / scale, FP8[code])
        return Quantised(codes, scales)

    return quantise


def mxfp8(code: str, up: bool) -> Callable[[np.ndarray], Quantised]:
    """NVIDIA's rule, or that of the OCP specification; exponents by exact fractions."""
    kind = FP8[code]

    def exponent_of(amax: f32) -> int:
        if np.isinf(amax):
            return 127
        wanted = Fraction(float(amax)) / (Fraction(float(kind.largest)) if up else Fraction(2) ** kind.binade)
        exponents = range(-127, 128)
        if up:
            return next(e for e in exponents if Fraction(2) ** e >= wanted)
        return next((e for e in reversed(exponents) if Fraction(2) ** e <= wanted), -127)

    def quantise(row: np.ndarray) -> Quantised:
        codes, scales = b"", []
        for block in row.reshape(-1, 32):
            exponent = exponent_of(largest_magnitude(block))
            scales.append(f"{exponent + 127:02x}")
            scaled = np.ldexp(block.astype(np.float64), -exponent)
            codes += fp8(scaled.astype(f32), kind)
        return Quantised(codes, scales)

    return quantise


def nvfp4(scale: f32) -> Callable[[np.ndarray], Quantised]:
    """TensorRT-LLM's recipe with divisions in place of approximate reciprocals."""

    def quantise(row: np.ndarray) -> Quantised:
        codes, scales = b"", []
        for block in row.reshape(-1, 16):
            block_scale = fp8(np.array([scale * (largest_magnitude(block) / f32(6))], f32), FP8["e4m3"])
            scales.append(block_scale.hex())
            value = np.frombuffer(block_scale, ml_dtypes.float8_e4m3fn)[0].astype(f32)
            codes += e2m1(block * (f32(0) if value == 0 else scale / value))
        return Quantised(codes, scales)

    return quantise


def cases() -> Iterator[tuple[str, f32, Callable[[np.ndarray], Quantised]]]:
    """Names, which the test knows, and tensor scales, 0 where there is none."""
    none = f32(0)
    for code in [*FP8, "int8"]:
        scale = f32(0.0173) if code != "e5m2" else f32(7e-5)
        yield f"per-tensor {code}", scale, static(code, scale)
        yield f"per-token {code}", none, per_token(code, None)
        for size in (64, 128):
            yield f"per-group-{size} {code}", none, per_group(code, size, False, f32(1e-10))
        yield f"per-group-64-power-of-two {code}", none, per_group(code, 64, True, f32(1e-10))
    for code in FP8:
        yield f"per-token-at-most-2.5 {code}", none, per_token(code, f32(2.5))
        yield f"mxfp8-up {code}", none, mxfp8(code, True)
        yield f"mxfp8-floor {code}", none, mxfp8(code, False)
    for scale in (f32(1), f32(448 * 6) / f32(3.7)):
        yield "nvfp4 e2m1", scale, nvfp4(scale)


def fixture() -> str:
    np.seterr(all="ignore")
    lines = ["# Written by scripts/quantise_fixture.py. Patterns in hexadecimal: of a row f32, of a case its tensor"]
    lines += ["# scale, its scales, its codes byte by byte."]
    table = rows()
    lines += [f"row {' '.join(f'{bits:08x}' for bits in row.view(np.uint32))}" for row in table]
    for name, scale, quantise in cases():
        for index, row in enumerate(table):
            codes, scales = quantise(row)
            lines.append(f"case {index} {name} {scale.view(np.uint32):08x} {','.join(scales) or '-'} {codes.hex()}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    text = fixture()
    if not parser.parse_args().check:
        FIXTURE.write_text(text, encoding="utf-8", newline="\n")
    elif FIXTURE.read_text(encoding="utf-8") != text:
        sys.exit(f"{FIXTURE.name} is not what this script writes")


if __name__ == "__main__":
    main()
