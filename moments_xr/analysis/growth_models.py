"""Which law a curve follows along its depth, judged by independent rows: plain numpy (THEORY 6).

A row is the curve of log χ of one realization. Its growth rate is taken as d log χ/dl ∝ l^{−p}: exponential growth has
the local exponent p = 0, a power law p = 1, and with p > 1 growth is slower than every power.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from moments_xr.analysis.growth_laws import ANSWERS as ANSWERS
from moments_xr.analysis.growth_laws import BETWEEN, EXPONENTIAL, POWER, UNDECIDED, look, verdict
from moments_xr.analysis.local_exponent import FEWEST_ROWS, local_exponent
from moments_xr.analysis.realizations import INTERVAL, mean_interval

Array = NDArray[Any]

RANGES = ("all", "shallower", "deeper")

JUDGED = {
    **{name: f"code of the answer, {name}" for name in (*RANGES, "together")},
    "count": "independent rows that were judged",
    "gamma": "rate of exponential growth, the slope of log χ on depth over the deeper half",
    "gamma_low": "lower bound of the rate of exponential growth",
    "gamma_high": "upper bound of the rate of exponential growth",
    "tau": "exponent of the power law, the slope of log χ on the log of depth over the deeper half",
    "tau_low": "lower bound of the exponent of the power law",
    "tau_high": "upper bound of the exponent of the power law",
    "exponent": "local exponent p over the deeper half: log χ grows at a rate ∝ depth^−p",
    "exponent_low": "lower bound of the local exponent",
    "exponent_high": "upper bound of the local exponent",
    "delta_aic": "AIC of the power law less that of exponential growth",
    "support": "share of resamplings of the realizations in which exponential growth fits better",
}

SAID = ("together", *RANGES, "count", "exponent", "exponent_low", "exponent_high")
"""What `status` needs of `JUDGED`."""

FEWEST_LAYERS, SHALLOWEST = 8, 16
"""Layers measured and deepest layer below which nothing is decided."""

RESAMPLINGS = 500


def enough(layers: Array) -> bool:
    """Whether the layers measured can tell how anything grows."""
    return bool(len(layers) >= FEWEST_LAYERS and layers[-1] >= SHALLOWEST)


def halves(layers: Array) -> list[slice]:
    """Layers of the whole range, of its shallower and of its deeper half (in the logarithm of depth), which share one."""
    middle = int(np.abs(np.log(layers / np.sqrt(layers[0] * layers[-1]))).argmin())
    return [slice(None), slice(middle + 1), slice(middle, None)]


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


def judge(rows: Array, layers: Array) -> list[Any]:
    """All that rows (realization, layer) tell of their growth; rows with NaN are left out.

    Returns the answers of the whole range, its halves and all together, the number of rows; of the deeper half γ and τ with
    their intervals (NaN unless theirs is the law) and the local exponent with its own; the difference of AIC, and the support.
    """
    rows, layers = rows[np.isfinite(rows).all(axis=1)], np.asarray(layers, dtype="f8")
    parts = [(rows[:, within], layers[within]) for within in halves(layers)]
    deep, depths = parts[-1]
    answers, together = [UNDECIDED] * len(RANGES), UNDECIDED
    if enough(layers) and len(rows) >= FEWEST_ROWS:
        whole, shallower, deeper = (look(*part) for part in parts)
        answers, exponent = [found.answer() for found in (whole, shallower, deeper)], deeper.exponent
        together = verdict(whole, shallower, deeper, local_exponent(rows, layers, 1), np.sqrt(layers[-1] / layers[0]))
    else:
        exponent = local_exponent(deep, depths)
    fits = [
        mean_interval(slopes(deep, x)) if together == law else [np.nan] * 3
        for law, x in ((EXPONENTIAL, depths), (POWER, np.log(depths)))
    ]
    compared = support(rows, layers) if len(rows) >= INTERVAL and len(layers) > 2 else (np.nan, np.nan)
    return [*answers, together, len(rows), *fits[0], *fits[1], *exponent, *compared]


def status(layers: Array, together: float, *numbers: float) -> str:
    """Why the answers about these layers are what they are, in words, from what `SAID` lists."""
    *answers, count, p, p_low, p_high = numbers
    if not enough(layers):
        measured = f"{len(layers)} measured from {layers[0]} to {layers[-1]}"
        return f"too few layers ({measured}; at least {FEWEST_LAYERS}, down to layer {SHALLOWEST})"
    if count < FEWEST_ROWS:
        return f"too few realizations (χ is defined down to layer {layers[-1]} in {count:.0f}, at least {FEWEST_ROWS})"
    ends = [(layers[within][0], layers[within][-1]) for within in halves(layers)]
    said = ", ".join(
        f"{ANSWERS[int(code)]} over layers {first} to {last}" for code, (first, last) in zip(answers, ends, strict=True)
    )
    known = f"local exponent {p_low:.2f} to {p_high:.2f} over layers {ends[-1][0]} to {ends[-1][1]}"
    if int(together) == BETWEEN:
        return f"{between(p)}, neither exponentially nor as a power: {known}"
    if together:
        return said
    return f"realizations differ too much, or no law fits: {said}" + (
        f"; {known}" if np.isfinite(p_low + p_high) else ""
    )


def between(p: float) -> str:
    """Growth that is neither exponential nor a power of depth, in words."""
    return f"grows like exp(c l^{1 - p:.2f})" if p < 1 else "grows more slowly than every power of depth"


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
