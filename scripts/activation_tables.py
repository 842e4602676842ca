#!/usr/bin/env python3
"""Computes, in 50 digits, the numbers that the activations rest on. From the root of the repository:

    python3 -m venv target/mpmath
    target/mpmath/bin/pip install --no-deps mpmath==1.3.0
    target/mpmath/bin/python scripts/activation_tables.py coefficients
    target/mpmath/bin/python scripts/activation_tables.py values >fixtures/activations.txt

`coefficients` prints the polynomials of kernels/common/functions.cuh, with the error of each. They are
close to the best ones in the relative error (Remez, 1934) that have f32 coefficients.

`values` prints the activations at chosen f32 arguments, which tests/activation.rs holds the f64 reference
against. The formulas here are the textbook ones, at a precision at which nothing cancels.
"""

import struct
import sys
from collections.abc import Callable

from mpmath import cos, erfc, exp, expm1, log, lu_solve, matrix, mp, mpf, nstr, pi, polyval, sqrt, tanh

mp.dps = 50
Function = Callable[[mpf], mpf]


def as_f32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def remez(wanted: Function, weight: Function, low: mpf, high: mpf, count: int) -> tuple[list[mpf], mpf]:
    """The polynomial of `count` coefficients whose largest weighted error on [low, high] is the least."""

    def chebyshev(points: int) -> list[mpf]:
        return [(low + high) / 2 - (high - low) / 2 * cos(pi * k / mpf(points)) for k in range(points + 1)]

    grid = chebyshev(40 * count)
    points = chebyshev(count)
    for _ in range(30):
        # At the points the error has one size and alternating signs.
        rows, right = matrix(count + 1, count + 1), matrix(count + 1, 1)
        for i, x in enumerate(points):
            for k in range(count):
                rows[i, k] = weight(x) * x**k
            rows[i, count] = (-1) ** i
            right[i] = weight(x) * wanted(x)
        solution = lu_solve(rows, right)
        coefficients = [solution[k] for k in range(count)]
        errors = [weight(x) * (wanted(x) - polyval(coefficients[::-1], x)) for x in grid]
        # The largest error of each stretch of one sign.
        extrema: list[tuple[mpf, mpf]] = []
        for x, error in zip(grid, errors):
            if error == 0:
                continue
            if not extrema or extrema[-1][1] * error < 0:
                extrema.append((x, error))
            elif abs(error) > abs(extrema[-1][1]):
                extrema[-1] = (x, error)
        while len(extrema) > count + 1:
            extrema.pop(0 if abs(extrema[0][1]) < abs(extrema[-1][1]) else -1)
        sizes = [abs(error) for _, error in extrema]
        if len(extrema) <= count or max(sizes) < mpf("1.001") * min(sizes):
            break
        points = [x for x, _ in extrema]
    return coefficients, max(sizes)


def rounded(wanted: Function, weight: Function, low: mpf, high: mpf, count: int) -> tuple[list[mpf], mpf]:
    """Such a polynomial with f32 coefficients, close to the best one.

    They are rounded one after another, and each time the rest is fitted anew, by least squares.
    """
    points = [(low + high) / 2 - (high - low) / 2 * cos(pi * (k + mpf(0.5)) / 400) for k in range(400)]
    fixed = [mpf(as_f32(float(remez(wanted, weight, low, high, count)[0][0])))]
    while len(fixed) < count:
        rows, right = matrix(len(points), count - len(fixed)), matrix(len(points), 1)
        for i, x in enumerate(points):
            for k in range(len(fixed), count):
                rows[i, k - len(fixed)] = weight(x) * x**k
            right[i] = weight(x) * (wanted(x) - polyval(fixed[::-1], x))
        fixed.append(mpf(as_f32(float(lu_solve(rows, right)[0]))))
    return fixed, max(abs(weight(x) * (wanted(x) - polyval(fixed[::-1], x))) for x in points)


def show(name: str, coefficients: list[mpf], error: mpf) -> None:
    print(f"{name}: relative error 2^{nstr(log(error, 2), 4)}")
    for k, coefficient in enumerate(coefficients):
        print(f"    {nstr(coefficient, 18)},  // {k}")


def scaled_tail(a: mpf) -> mpf:
    """exp(a²/2)·Φ(−a)."""
    return exp(a * a / 2) * erfc(a / sqrt(mpf(2))) / 2


def tail_argument(q: mpf) -> mpf:
    """a, where q = (a − 4)/(a + 4)."""
    return 4 * (1 + q) / (1 - q)


def tail_end(largest: str) -> mpf:
    return (mpf(largest) - 4) / (mpf(largest) + 4)


def coefficients() -> None:
    half_ln2 = log(mpf(2)) / 2
    show(
        "e^r = 1 + r + r²·polynomial(r), f32, relative to e^r − 1",
        *rounded(
            lambda r: (expm1(r) - r) / r**2 if abs(r) > mpf(10) ** -12 else mpf(1) / 2 + r / 6,
            lambda r: r**2 / abs(expm1(r)) if r != 0 else mpf(0),
            -half_ln2,
            half_ln2,
            5,
        ),
    )
    show(
        "the scaled tail, f32",
        *rounded(
            lambda q: scaled_tail(tail_argument(q)),
            lambda q: 1 / scaled_tail(tail_argument(q)),
            mpf(-1),
            tail_end("18.5"),
            11,
        ),
    )


def logistic(t: mpf) -> mpf:
    return 1 / (1 + exp(-t))


def swish(beta: float) -> Function:
    return lambda x: x * logistic(mpf(as_f32(beta)) * x)


ACTIVATIONS: list[tuple[str, Function]] = [
    ("sigmoid", logistic),
    ("swish 1", swish(1)),
    ("swish 1.702", swish(1.702)),
    ("swish -0.5", swish(-0.5)),
    ("gelu_tanh", lambda x: x * (1 + tanh(sqrt(2 / pi) * (x + mpf("0.044715") * x**3))) / 2),
    ("gelu_exact", lambda x: x * erfc(-x / sqrt(mpf(2))) / 2),
]

# Dense where the functions bend; then the tails, to where even f64 has nothing left, and far beyond.
MAGNITUDES = [
    *[2.0**-126, 2.0**-60, 2.0**-45, 2.0**-30, 2.0**-20, 1e-4, 1e-3, 0.01, 0.03, 0.1],
    *[0.15 * k for k in range(2, 40)],
    *[6.5, 7, 7.3, 8, 8.3, 9, 10, 11, 12.5, 13, 14, 14.5, 16, 18, 18.9],
    *[20, 25, 30, 36.5, 37, 40, 55, 70, 88, 88.75, 95, 103, 104, 120, 150, 189, 1000, 65504, 1e20, 3e38],
]


def values() -> None:
    print("# activation, parameter, f32 argument as bits, value; by scripts/activation_tables.py")
    # tanh comes within 2^-900 of −1 before a value is too small to list.
    mp.dps = 400
    for name, function in ACTIVATIONS:
        for magnitude in MAGNITUDES:
            for x in (as_f32(magnitude), -as_f32(magnitude)):
                value = function(mpf(x))
                # e^-190 and what is smaller counts as 0: see the reference.
                text = nstr(value, 25) if abs(value) > mpf(10) ** -80 else "0"
                print(f"{name} {struct.unpack('I', struct.pack('f', x))[0]:08x} {text}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["coefficients"]:
            coefficients()
        case ["values"]:
            values()
        case _:
            sys.exit("usage: activation_tables.py coefficients | values")
