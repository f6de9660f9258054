"""Compute the polynomial coefficients of vmath.inc.h and print them as they stand there.

Run ``python csrc/coefficients.py``; only the standard library is needed. The Remez exchange runs in decimals of 60
digits: among all polynomials of the degree asked for it finds the one whose largest weighted error is least, then the
coefficients are rounded to the target type one by one.

- ``exp``: E of e^r = 1 + r E(r) for abs(r) <= ln2 / 2, least error relative to e^r.
- ``tanh``: G of tanh(w) = w (1 + w^2 G(w^2)) for abs(w) <= ln2 / 4, least error relative to tanh(w).

The intervals are wider by 1/2000, since n is found from a rounded product.
"""

import struct
from collections.abc import Callable
from decimal import Decimal, getcontext

getcontext().prec = 60
LN2 = Decimal(2).ln()
SLACK = Decimal("1.0005")
GRID = 1000
Function = Callable[[Decimal], Decimal]


def evaluate(coefficients: list[Decimal], x: Decimal) -> Decimal:
    """Return the polynomial, lowest power first, at x."""
    value = Decimal(0)
    for c in reversed(coefficients):
        value = value * x + c
    return value


def solve(matrix: list[list[Decimal]]) -> list[Decimal]:
    """Solve the linear system whose augmented matrix (n, n + 1) is given (Gauss, with pivots)."""
    n = len(matrix)
    for i in range(n):
        pivot = max(range(i, n), key=lambda k: abs(matrix[k][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        for k in range(i + 1, n):
            factor = matrix[k][i] / matrix[i][i]
            matrix[k] = [a - factor * b for a, b in zip(matrix[k], matrix[i], strict=True)]
    x = [Decimal(0)] * n
    for i in reversed(range(n)):
        x[i] = (matrix[i][n] - sum(matrix[i][k] * x[k] for k in range(i + 1, n))) / matrix[i][i]
    return x


def remez(f: Function, weight: Function, degree: int, low: Decimal, high: Decimal) -> tuple[list[Decimal], Decimal]:
    """Return the polynomial p that minimises the largest weight * abs(p - f) on [low, high], and that largest value."""
    # Points thicken towards both ends like Chebyshev's; none falls on 0, where a weight vanishes.
    steps = [Decimal(2 * i + 1) / (2 * GRID) for i in range(GRID)]
    grid = [low, *(low + (high - low) * t * t * (3 - 2 * t) for t in steps), high]
    grid = [x for x in grid if x != 0]
    wanted = [(f(x), weight(x)) for x in grid]
    count = degree + 2
    nodes = [round((len(grid) - 1) * i / (count - 1)) for i in range(count)]
    while True:
        rows = []
        for i, k in enumerate(nodes):
            value, w = wanted[k]
            rows.append([*(grid[k] ** power for power in range(degree + 1)), (-1) ** i / w, value])
        *coefficients, level = solve(rows)
        errors = [w * (evaluate(coefficients, x) - value) for x, (value, w) in zip(grid, wanted, strict=True)]
        peaks: list[int] = []  # of each stretch of one sign, the largest error
        for k, error in enumerate(errors):
            if peaks and (errors[peaks[-1]] > 0) == (error > 0):
                if abs(error) > abs(errors[peaks[-1]]):
                    peaks[-1] = k
            else:
                peaks.append(k)
        while len(peaks) > count:
            peaks.pop(0 if abs(errors[peaks[0]]) < abs(errors[peaks[-1]]) else -1)
        if peaks == nodes:
            return coefficients, abs(level)
        nodes = peaks


def exp_quotient(r: Decimal) -> Decimal:
    """Return (e^r - 1) / r."""
    return (r.exp() - 1) / r


def exp_weight(r: Decimal) -> Decimal:
    """Return what an error of the quotient weighs in e^r."""
    return abs(r) / r.exp()


def tanh_ratio(u: Decimal) -> Decimal:
    """Return tanh(w) / w for w = sqrt(u)."""
    w = u.sqrt()
    e = (2 * w).exp()
    return (e - 1) / (e + 1) / w


def tanh_quotient(u: Decimal) -> Decimal:
    """Return (tanh(w) / w - 1) / u for w = sqrt(u)."""
    return (tanh_ratio(u) - 1) / u


def tanh_weight(u: Decimal) -> Decimal:
    """Return what an error of the quotient weighs in tanh(w)."""
    return u / tanh_ratio(u)


def literal(x: Decimal, double: bool) -> str:
    """Return x rounded to the type as a C constant."""
    if double:
        return float(x).hex()
    digits, exponent = struct.unpack("f", struct.pack("f", x))[0].hex().split("p")
    return f"{digits.removesuffix('0000000')}p{exponent}f"  # 24 bits of mantissa take 6 of the 13 digits


def table(name: str, double: bool) -> str:
    """Return the C definition of the coefficients of exp or tanh, highest power first."""
    if name == "exp":
        end = LN2 / 2 * SLACK
        coefficients, _ = remez(exp_quotient, exp_weight, 10 if double else 4, -end, end)
    else:
        end = (LN2 / 4 * SLACK) ** 2
        coefficients, _ = remez(tanh_quotient, tanh_weight, 5 if double else 1, Decimal("1e-9"), end)
    lines = "".join(f"    {literal(c, double)},\n" for c in reversed(coefficients))
    return f"static const real {name}_coefficients[] = {{\n{lines}}};\n"


if __name__ == "__main__":
    for double in (True, False):
        print(f"/* {'f64' if double else 'f32'} */")
        for name in ("exp", "tanh"):
            print(table(name, double), end="")
