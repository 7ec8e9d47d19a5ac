"""Which law a curve follows along its depth, judged by independent rows: plain numpy (THEORY 6).

A row is the curve of log χ of one realization. Its growth rate is taken as d log χ/dl ∝ l^{−p}: exponential growth has
the local exponent p = 0, a power law p = 1, and with p > 1 growth is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from moments_xr.analysis.realizations import INTERVAL, LEVEL, mean_interval

Array = NDArray[Any]
Depths = tuple[int, int, int]
"""Positions of three depths a < m < b among the layers, near a geometric progression."""

ANSWERS = ("undecided", "exponential", "power", "bounded")
UNDECIDED, EXPONENTIAL, POWER, BOUNDED = range(4)

RANGES = ("all", "shallower", "deeper")

JUDGED = {
    **{name: f"code of the answer, {name}" for name in (*RANGES, "together")},
    "count": "independent rows that were judged",
    "gamma": "rate of exponential growth, the slope of log χ on depth",
    "gamma_low": "lower bound of the rate of exponential growth",
    "gamma_high": "upper bound of the rate of exponential growth",
    "tau": "exponent of the power law, the slope of log χ on the log of depth",
    "tau_low": "lower bound of the exponent of the power law",
    "tau_high": "upper bound of the exponent of the power law",
    "exponent": "local exponent p: log χ grows at a rate ∝ depth^−p",
    "exponent_low": "lower bound of the local exponent",
    "exponent_high": "upper bound of the local exponent",
    "delta_aic": "AIC of the power law less that of exponential growth",
    "support": "share of resamplings of the realizations in which exponential growth fits better",
}

SAID = ("together", *RANGES, "count", "exponent_low", "exponent_high")
"""What `status` needs of `JUDGED`."""

FEWEST_ROWS, FEWEST_LAYERS, SHALLOWEST = 8, 8, 16
"""Realizations, layers measured and deepest layer below which nothing is decided."""

BELOW_POWER, ABOVE_POWER = 0.5, 1.5
"""Local exponents that part exponential growth from power laws, and those from bounded growth."""

NEGLIGIBLE = 0.04
"""Growth slower than l^0.04, 2.8 % when depth doubles, is none."""

RESAMPLINGS = 500
AGREE = 0.975
"""Share of resamplings in which the law that is decided for must fit better."""

STEEPEST = 40.0
"""Largest |1 − p| that is told apart from infinity."""


def enough(layers: Array) -> bool:
    """Whether the layers measured can tell how anything grows."""
    return bool(len(layers) >= FEWEST_LAYERS and layers[-1] >= SHALLOWEST)


def spread_depths(layers: Array) -> list[Depths]:
    """Depths of the whole range, of its shallower and of its deeper half (in the logarithm); fewer if they coincide."""
    wanted = np.geomspace(layers[0], layers[-1], 5)
    at = [int(np.abs(np.log(layers / depth)).argmin()) for depth in wanted]
    triples = [(at[i], at[j], at[k]) for i, j, k in ((0, 2, 4), (0, 1, 2), (2, 3, 4))]
    return [(a, m, b) if a < m < b else (a, a, b) for a, m, b in triples]


def growth_ratio(a: float, m: float, b: float, p: float) -> float:
    """∫_m^b l^{−p} dl / ∫_a^m l^{−p} dl: growth from m to b over that from a to m, under the local exponent p."""
    first, second = np.log(m / a), np.log(b / m)
    q = 1.0 - p
    return float(second / first if abs(q) < 1e-9 else np.expm1(q * second) / -np.expm1(-q * first))


def exponent(ratio: float, a: float, m: float, b: float) -> float:
    """The local exponent p with this growth ratio; NaN if there is none."""

    def excess(q: float) -> float:
        return growth_ratio(a, m, b, 1.0 - q) - ratio

    if not (np.isfinite(ratio) and excess(-STEEPEST) < 0 < excess(STEEPEST)):
        return np.nan
    return 1.0 - float(optimize.brentq(excess, -STEEPEST, STEEPEST))


def fieller(upper: Array, lower: Array) -> tuple[float, float, float]:
    """Ratio of the means of two columns of rows, and Fieller's interval; NaN unless the lower mean is surely positive."""
    count = len(lower)
    if count < FEWEST_ROWS:
        return (float(upper.mean() / lower.mean()) if count and lower.mean() > 0 else np.nan), np.nan, np.nan
    (uu, ul), (_, ll) = np.cov(upper, lower) / count * stats.t.ppf(0.5 + LEVEL / 2, count - 1) ** 2
    u, v = upper.mean(), lower.mean()
    square, cross, constant = v**2 - ll, u * v - ul, u**2 - uu
    if v <= 0 or square <= 0:
        return (float(u / v) if v > 0 else np.nan), np.nan, np.nan
    root = np.sqrt(max(cross**2 - square * constant, 0.0))
    return float(u / v), float((cross - root) / square), float((cross + root) / square)


def local_exponent(rows: Array, layers: Array, depths: Depths) -> tuple[float, float, float]:
    """Local exponent p and its interval; a bound is NaN where the interval is unbounded."""
    a, m, b = depths
    if not a < m < b:
        return np.nan, np.nan, np.nan
    ratio, low, high = fieller(rows[:, b] - rows[:, m], rows[:, m] - rows[:, a])
    p, p_low, p_high = (exponent(value, layers[a], layers[m], layers[b]) for value in (ratio, high, low))
    return p, p_low, p_high


def slopes(rows: Array, x: Array) -> Array:
    """Least-squares slope of each row on x."""
    centred = x - x.mean()
    square = centred @ centred
    return rows @ centred / square if square > 0 else np.full(len(rows), np.nan)


@lru_cache(maxsize=4)
def _resamplings(count: int) -> Array:
    """How often each row is drawn, in resamplings with replacement: the same at every call."""
    return np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLINGS).astype("f8")


def support(rows: Array, layers: Array) -> tuple[float, float]:
    """Least-squares fits of a + γ l and a + τ log l, in the metric of a random walk: AIC(power) − AIC(exponential), and
    the share of resamplings of the rows in which the exponential fits better.

    Increments between layers are the independent errors of a random walk, with their own variances over rows. In this
    metric the fall of χ² by a law whose increments are x is (Σ x d/σ²)² / (Σ x²/σ²), d the mean increments: the square
    of the mean of one number a row.
    """
    steps = np.diff(rows, axis=1)
    variance = steps.var(axis=0, ddof=1)
    scale = variance.mean() + (steps.mean(axis=0) ** 2).mean()
    if scale == 0:
        return 0.0, 0.5
    variance = np.maximum(variance, 1e-12 * scale)
    laws = np.stack([np.diff(layers), np.diff(np.log(layers))])
    fits = steps @ (laws / variance / np.sqrt((laws**2 / variance).sum(1, keepdims=True))).T
    exponential, power = fits.mean(axis=0) ** 2 * len(rows)
    again = (_resamplings(len(rows)) @ fits) ** 2
    return float(exponential - power), float(np.mean(again[:, 0] > again[:, 1]))


def answer(rows: Array, layers: Array, depths: Depths) -> int:
    """The law of growth over the range of `depths`, as far as t intervals over rows and the fits agree on one.

    With the growths G1 from a to m and G2 from m to b, D_p = G2 − (growth ratio of p) G1 is positive where the local
    exponent is below p, and negative where it is above.
    """
    a, m, b = depths
    if len(rows) < FEWEST_ROWS or not a < m < b:
        return UNDECIDED
    within = slice(a, b + 1)
    first, second = rows[:, m] - rows[:, a], rows[:, b] - rows[:, m]
    contrasts = [second - growth_ratio(layers[a], layers[m], layers[b], p) * first for p in (BELOW_POWER, ABOVE_POWER)]
    columns = np.stack([*contrasts, slopes(rows[:, within], layers[within]), first + second, first, second], axis=1)
    below, above, rate, grown, early, late = np.stack(mean_interval(columns), axis=1)
    exponential = below[1] > 0 and rate[1] > 0
    power = below[2] < 0 < above[1] and grown[1] > 0
    if exponential or power:
        _, share = support(rows[:, within], layers[within])
        if share >= AGREE if exponential else share <= 1 - AGREE:
            return EXPONENTIAL if exponential else POWER
    none = late[1] <= 0 and late[2] < NEGLIGIBLE * np.log(layers[b] / layers[m])
    return BOUNDED if none or (above[2] < 0 < early[1]) else UNDECIDED


def verdict(whole: int, shallower: int, deeper: int) -> int:
    """What the ranges say together. The deeper half must say the same as the whole, and for a power law the shallower
    half too: bounded growth comes by every local exponent on its way from 0 to infinity, a power law keeps one."""
    agreed = whole == deeper and (whole != POWER or shallower == POWER)
    return whole if agreed else UNDECIDED


def judge(rows: Array, layers: Array) -> list[Any]:
    """All that rows (realization, layer) tell of their growth; rows with NaN are left out.

    Returns the answers of the whole range, its halves and all together, the number of rows, γ, τ and the exponent with
    their intervals, the difference of AIC, and the support.
    """
    rows, layers = rows[np.isfinite(rows).all(axis=1)], np.asarray(layers, dtype="f8")
    depths = spread_depths(layers)
    answers = [answer(rows, layers, triple) if enough(layers) else UNDECIDED for triple in depths]
    fits = np.stack(mean_interval(np.stack([slopes(rows, x) for x in (layers, np.log(layers))], axis=1)), axis=1)
    compared = support(rows, layers) if len(rows) >= INTERVAL and len(layers) > 2 else (np.nan, np.nan)
    return [
        *answers, verdict(*answers), len(rows), *fits.ravel(), *local_exponent(rows, layers, depths[0]), *compared
    ]  # fmt: skip


def status(layers: Array, together: float, *numbers: float) -> str:
    """Why the answers about these layers are what they are, in words, from what `SAID` lists."""
    *answers, count, p_low, p_high = numbers
    if not enough(layers):
        measured = f"{len(layers)} measured from {layers[0]} to {layers[-1]}"
        return f"too few layers ({measured}; at least {FEWEST_LAYERS}, down to layer {SHALLOWEST})"
    if count < FEWEST_ROWS:
        return f"too few realizations (χ is defined down to layer {layers[-1]} in {count:.0f}, at least {FEWEST_ROWS})"
    said = ", ".join(
        f"{ANSWERS[int(code)]} over layers {layers[a]} to {layers[b]}"
        for code, (a, _, b) in zip(answers, spread_depths(layers), strict=True)
    )
    if together:
        return said
    known = f"; local exponent {p_low:.2f} to {p_high:.2f}" if np.isfinite(p_low + p_high) else ""
    return f"realizations differ too much, or ranges disagree: {said}{known}"


def power_law(log_input: Array, log_unit: Array, log_output: Array, layers: Array, unit_depth: int) -> Sequence[float]:
    """Predicted τ = ½(δχ_avg^{2H} − 1) and κ = ⟨χ l^τ⟩/⟨l^{2τ}⟩ from the logs of the mean χ of each layer (THEORY 5.4)."""
    known = np.isfinite(log_input + log_unit + log_output)
    if not known.any():
        return np.nan, np.nan
    tau = 0.5 * (np.exp(log_unit - log_input)[known].mean() ** (2 * unit_depth) - 1)
    power = tau * np.log(layers[known])
    with np.errstate(over="ignore"):
        kappa = np.exp(special.logsumexp(log_output[known] + power) - special.logsumexp(2 * power))
    return tau, kappa


def predicted_exponent(rows: Array, unit_depth: int) -> tuple[Array, Array, Array]:
    """Predicted τ and its interval, from rows (realization, layer, [input, conv]) of log χ.

    δχ_avg, a mean over layers of ratios of means, is made linear in the rows around those means; its t interval goes
    through the monotone τ = ½(δχ_avg^{2H} − 1).
    """
    rows = rows[np.isfinite(rows).all(axis=(1, 2))]
    if not len(rows):
        return np.array(np.nan), np.array(np.nan), np.array(np.nan)
    log_mean = special.logsumexp(rows, axis=0) - np.log(len(rows))
    ratio = np.exp(log_mean[:, 1] - log_mean[:, 0])
    relative = np.exp(rows - log_mean)
    delta = mean_interval((ratio * (1 + relative[..., 1] - relative[..., 0])).mean(axis=1))
    tau, low, high = (0.5 * (np.maximum(value, 0.0) ** (2 * unit_depth) - 1) for value in delta)
    return tau, low, high
