"""Expectations of functions of one Gaussian variable, or of a pair of correlated ones, by quadrature.

Panels of Gauss–Legendre nodes end where the integrand isn't smooth, and shrink where it varies fast: a function that
varies over |u| ~ 1 is narrow in z = u/√q when q is large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Function = Callable[[np.ndarray], np.ndarray]
PairFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]

ORDER = 13
"""Nodes a panel."""

GRID = np.array([1.5, 3, 4.5, 6.5, 9.0])
"""Ends of panels in units of standard deviations; what lies beyond, a part of 1e-18, is left out."""

HALVINGS = 80
"""The innermost panel is halved at most so many times."""

SMOOTH, SHARP = 2, 4
"""Halvings of panels of angles at unit variance, without and with kinks away from zero."""

BATCH = 2
"""Pairs integrated at once: what they need fits in a processor's cache, at moderate variances."""


class Expectation(NamedTuple):
    """An expectation and a bound of its error.

    `error` is the difference from a rule of degree 11 on the same nodes, added up over panels without its sign. The
    value is of degree 25, so where the function is smooth its own error is far smaller. Rounding, about 1e-15 of the
    mean of |function|, isn't in it.
    """

    value: np.ndarray
    error: np.ndarray


def _rule() -> tuple[np.ndarray, np.ndarray]:
    """Nodes on [−1, 1]; weights, and weights of the difference from the rule on all nodes but the middle one."""
    nodes, weights = np.polynomial.legendre.leggauss(ORDER)
    difference = (-1.0) ** np.arange(ORDER) * np.sqrt((1 - nodes**2) * weights)
    middle = ORDER // 2
    return nodes, np.stack([weights, difference * weights[middle] / difference[middle]], axis=-1)


NODES, WEIGHTS = _rule()


def _panels(ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes (panel, node), half-widths (panel) and row (panel) of the panels between the ends in each row."""
    ends = np.sort(ends, axis=-1)
    half = np.diff(ends, axis=-1) / 2
    row, column = np.nonzero(half > 0)
    half = half[row, column]
    return ends[row, column, None] + half[:, None] * (1 + NODES), half, row


def _sum(values: np.ndarray, half: np.ndarray, row: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Integral, and bound of its error, in each row."""
    integral, difference = (values @ WEIGHTS).T * half
    return np.bincount(row, integral, rows), np.bincount(row, abs(difference), rows)


def _line(scale: np.ndarray, kinks: np.ndarray) -> np.ndarray:
    """Ends of panels (row, end) over z for functions of `scale` z that aren't smooth at z = `kinks` (row, kink)."""
    levels = np.clip(np.ceil(np.log2(np.fmax(scale, 1))), 0, HALVINGS)
    halvings = np.arange(1, levels.max(initial=0) + 1)
    inner = np.where(halvings <= levels[:, None], GRID[0] * 2.0**-halvings, 0)
    outer = np.broadcast_to(GRID, (scale.size, GRID.size))
    zero = np.zeros((scale.size, 1))
    return np.concatenate([-outer, -inner, zero, inner, outer, np.clip(kinks, -GRID[-1], GRID[-1])], axis=-1)


def _kinks(kinks: Sequence[float], scale: np.ndarray) -> np.ndarray:
    """Where `scale` z equals each kink: (row, kink); at infinity where the scale is zero."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.nan_to_num(np.asarray(kinks, dtype="f8") / scale[:, None], posinf=np.inf, neginf=-np.inf)


def _density(z: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)


def nodes(q: np.ndarray, kinks: Sequence[float] = ()) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Panels of nodes for functions of √q z: z and weights, the density's included, (panel, node), and row of q (panel,)."""
    scale = np.sqrt(q)
    z, half, row = _panels(_line(scale, _kinks(kinks, scale)))
    return z, _density(z) * WEIGHTS[:, 0] * half[:, None], row


def expectation(function: Function, q: ArrayLike, kinks: Sequence[float] = ()) -> Expectation:
    """E[function(√q z)] for standard Gaussian z.

    Parameters
    ----------
    function
        Takes an array of any shape and returns one of the same shape, elementwise.
    q
        Variances ≥ 0, of any shape.
    kinks
        Points where the function or its derivatives jump.

    Returns
    -------
    Expectation
        Value and bound of the error, of the shape of `q`; good to about 1e-13 relative for every activation here.

    Examples
    --------
    >>> from moments_xr.theory.gaussian import expectation
    >>> expectation(lambda u: u**4, [0, 1, 2]).value.round(12).tolist()
    [0.0, 3.0, 12.0]
    """
    shape, q = np.shape(q), np.ravel(np.asarray(q, dtype="f8"))
    value, error = np.empty(q.size), np.empty(q.size)
    for part in _batches(q.size, 32 * BATCH):
        scale = np.sqrt(q[part])
        z, half, row = _panels(_line(scale, _kinks(kinks, scale)))
        with np.errstate(over="ignore"):
            integrand = function(scale[row, None] * z) * _density(z)
        value[part], error[part] = _sum(integrand, half, row, scale.size)
    return Expectation(value.reshape(shape), error.reshape(shape))


def pair_expectation(
    function_a: Function,
    function_b: Function,
    q_a: ArrayLike,
    q_b: ArrayLike,
    c: ArrayLike,
    kinks: Sequence[float] = (),
) -> Expectation:
    """E[function_a(u_a) function_b(u_b)] for Gaussian u_a, u_b of variances q_a, q_b and correlation c.

    u_a = √q_a z₁ and u_b = √q_b (c z₁ + √(1−c²) z₂), as in THEORY 8.

    Parameters
    ----------
    function_a, function_b
        Take an array of any shape and return one of the same shape, elementwise.
    q_a, q_b, c
        Variances ≥ 0 and correlations in [−1, 1]; broadcast.
    kinks
        Points where either function or its derivatives jump.

    Returns
    -------
    Expectation
        Value and bound of the error, of the broadcast shape; values good to about 1e-13 of the root of
        E function_a² E function_b² for every activation here and q up to 100. NaN for c beyond ±1.

    Examples
    --------
    >>> import numpy as np
    >>> from moments_xr.theory.gaussian import pair_expectation
    >>> pair_expectation(np.sin, np.sin, 1, 1, [0, 1]).value.round(12).tolist()  # exp(−1) sinh(c)
    [0.0, 0.432332358382]
    """
    return joint_expectation(lambda a, b: function_a(a) * function_b(b), q_a, q_b, np.arccos(c), kinks)


def joint_expectation(
    function: PairFunction, q_a: ArrayLike, q_b: ArrayLike, angle: ArrayLike, kinks: Sequence[float] = ()
) -> Expectation:
    """E[function(u_a, u_b)] for Gaussian u_a, u_b of variances q_a, q_b and correlation cos(angle).

    With polar coordinates, u_a = √q_a r sin t and u_b = √q_b r sin(t − angle), over half-turns t and both signs of r.
    Signs change at t = 0 and t = angle only, and kinks are points of each line, so panels end at all of them.

    Parameters
    ----------
    function
        Takes two arrays of one shape and returns one of that shape, elementwise; not smooth only where one of its
        arguments is at a kink.
    q_a, q_b, angle
        Variances ≥ 0 and angles in [0, π]; broadcast. An angle tells correlations near 1 apart that round to 1.
    kinks
        Points where the function or its derivatives jump, as either argument passes them.

    Returns
    -------
    Expectation
        Value and bound of the error, of the broadcast shape.

    Examples
    --------
    >>> from moments_xr.theory.gaussian import joint_expectation
    >>> f"{joint_expectation(lambda a, b: (a - b) ** 2, 1, 1, 1e-9).value:.6g}"  # 2 (1 − cos(angle)) ≈ angle²
    '1e-18'
    """
    q_a, q_b, angle = np.broadcast_arrays(*(np.asarray(x, dtype="f8") for x in (q_a, q_b, angle)))
    shape = angle.shape
    scales = np.sqrt(np.stack([q_a.ravel(), q_b.ravel()], axis=-1))
    angle = angle.ravel()
    value, error = np.empty(angle.size), np.empty(angle.size)
    for part in _batches(angle.size, BATCH):
        value[part], error[part] = _polar(function, scales[part], angle[part], kinks)
    value[np.isnan(angle)] = np.nan
    return Expectation(value.reshape(shape), error.reshape(shape))


def _batches(size: int, batch: int) -> Iterator[slice]:
    return (slice(start, start + batch) for start in range(0, size, batch))


def _polar(
    function: PairFunction, scales: np.ndarray, angle: np.ndarray, kinks: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Integral over t of the integral over r; the error is both rules' together."""
    t, half, point = _panels(_turn(scales, angle, kinks))
    sines = np.stack([np.sin(t), np.sin(t - angle[point, None])], axis=-1)
    scale = (scales[point, None, :] * sines).reshape(-1, 2)
    r, half_r, row = _panels(_line(abs(scale).max(-1), np.concatenate([_kinks(kinks, x) for x in scale.T], axis=-1)))
    density = abs(r) * np.exp(-0.5 * r * r) / (2 * np.pi)
    with np.errstate(over="ignore"):
        integrand = function(scale[row, :1] * r, scale[row, 1:] * r) * density
    inner, inner_error = (x.reshape(t.shape) for x in _sum(integrand, half_r, row, t.size))
    value, error = _sum(inner, half, point, angle.size)
    return value, error + _sum(inner_error, half, point, angle.size)[0]


def _turn(scales: np.ndarray, angle: np.ndarray, kinks: Sequence[float]) -> np.ndarray:
    """Ends of panels (point, end) over t: lines where a factor changes sign, or where kinks of both factors meet.

    Panels shrink towards the lines on which a factor vanishes, as it varies there over |sin t| ~ 1/scale; a kink at
    distance k leaves the line's integral smooth but not analytic there, like exp(−k²/(2 scale² sin² t)).
    """
    zero, turn = np.zeros_like(angle), np.full_like(angle, np.pi)
    levels = np.ceil(np.log2(np.fmax(scales.max(-1), 1))) + (SHARP if any(kinks) else SMOOTH)
    halvings = np.arange(1, min(levels.max(initial=0), HALVINGS) + 1)
    steps = np.where(halvings <= levels[:, None], 2.0**-halvings, 0)
    ends = [np.stack([zero, angle, turn], axis=-1)]
    for start, length in ((zero, angle), (angle, turn - angle)):
        ends += [start[:, None] + length[:, None] * x for x in (steps, 1 - steps)]
    for a in kinks:
        for b in kinks:
            met = np.arctan2(a * scales[:, 1] * np.sin(angle), a * scales[:, 1] * np.cos(angle) - b * scales[:, 0])
            ends.append((met % np.pi)[:, None])
    return np.concatenate(ends, axis=-1)
