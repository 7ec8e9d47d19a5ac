"""Verdicts from independent curves along the depth, and their words: plain numpy (THEORY 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moments_xr.analysis import growth_models
from moments_xr.analysis.realizations import mean_interval
from moments_xr.quantities import PATHOLOGIES

SHALLOWEST = 16
"""Depth below which nothing is said of what happens with depth."""

FEWEST = 8
"""Realizations below which nothing is said."""

SOON, LATER = 2, 8
"""A pathology is absent if the statistic, going on at its rate since half the depth, would not meet the threshold: within
its interval at twice the depth, and on average at eight times."""

EXPONENTIAL = 0.5
"""Growth whose rate falls with depth faster than l^−½ is nearer to a power law than to an exponential."""

VERDICTS = ("undecided", "present", "absent")
UNDECIDED, PRESENT, ABSENT = range(3)

REASONS = (
    "",
    "the interval holds the threshold: more realizations would tell",
    "it moves towards the threshold: a deeper net would tell",
    f"fewer than {FEWEST} living realizations have it at every layer",
    f"no layer as deep as {SHALLOWEST} is measured: too shallow to tell what happens with depth",
    "fewer than 3 layers are measured",
)
DECIDED, STRADDLES, APPROACHES, FEW, SHALLOW, UNMEASURED_DEPTHS = range(6)


class Verdict(NamedTuple):
    """A verdict on one pathology, its evidence in words, and in numbers."""

    verdict: str
    sentence: str
    statistic: float = np.nan
    statistic_low: float = np.nan
    statistic_high: float = np.nan
    onset: float = np.nan


@dataclass(frozen=True)
class Condition:
    """A statistic with its threshold; several make a verdict."""

    symbol: str
    threshold: float
    above: bool
    origin: float = 0.0
    """Curves are logarithms of the statistic's distance from here."""

    @property
    def log_threshold(self) -> float:
        return float(np.log(self.threshold - self.origin))


def on_limit(
    *rows: NDArray[Any], name: str, conditions: Sequence[Condition], layers: NDArray[Any], lacking: str = ""
) -> Verdict:
    """The verdict on a limit with depth, from curves (realization, layer) of each of its conditions.

    `lacking` says which other condition was not measured; without it nothing is present.
    """
    found = [
        judge(values, layers, condition.log_threshold, condition.above, condition.origin)
        for values, condition in zip(rows, conditions, strict=True)
    ]
    codes = [part[3] for part in found]
    all_present = not lacking and set(codes) == {PRESENT}
    code = ABSENT if ABSENT in codes else PRESENT if all_present else UNDECIDED
    said = [_said(condition, part, int(layers[-1])) for condition, part in zip(conditions, found, strict=True)]
    undefined = code == UNDECIDED and not np.isfinite([part[0] for part in found]).all()
    long_name = PATHOLOGIES[name].long_name
    sentence = f"{long_name}: " if code == PRESENT else "undecided (not measured): " if undefined else ""
    sentence += "; ".join(said) + (f"; not measured: {lacking}" if lacking and code == UNDECIDED else "")
    statistic, low, high, _, _, onset = found[0]
    return Verdict(VERDICTS[code], sentence, statistic, low, high, onset)


def on_growth(rows: NDArray[Any], layers: NDArray[Any]) -> Verdict:
    """The verdict on exploding sensitivity, from curves (realization, layer) of log χ over the depths that are judged."""
    found = dict(zip(growth_models.JUDGED, growth_models.judge(rows, layers), strict=True))
    growth = growth_models.ANSWERS[int(found["together"])]
    by_range = [growth_models.ANSWERS[int(found[name])] for name in growth_models.RANGES]
    gamma, low, high = (float(found[name]) for name in ("gamma", "gamma_low", "gamma_high"))
    where = f"over layers {layers[0]} to {layers[-1]}"
    rate = f"γ = {gamma:.4g} [{low:.4g}, {high:.4g}] per layer" if np.isfinite(low) else "γ is not certain"
    if growth == "exponential":
        sentence = f"{PATHOLOGIES['exploding_sensitivity'].long_name}: χ grows as exp(γ l), {rate}, {where}"
        return Verdict("present", sentence, gamma, low, high, float(layers[0]))
    if growth in ("power", "bounded"):
        power = f"grows as a power of depth, l^{found['tau']:.3g}, not exponentially"
        return Verdict("absent", f"χ {power if growth == 'power' else 'stays bounded'}, {where}", gamma, low, high)
    least, most = found["exponent_low"], found["exponent_high"]
    if growth_models.enough(layers) and least > EXPONENTIAL and "exponential" not in by_range:
        p = f"from {least:.2f} to {most:.2f}" if np.isfinite(most) else f"at least {least:.2f}"
        sentence = f"χ does not grow exponentially: its rate of growth falls with depth as l^−p, p {p}, {where}"
        return Verdict("absent", sentence, gamma, low, high)
    why = growth_models.status(layers, *(found[name] for name in growth_models.SAID))
    return Verdict("undecided", f"how χ grows is not certain ({why}); {rate}, {where}", gamma, low, high)


def not_measured(why: str) -> Verdict:
    """No verdict, for want of what it needs."""
    return Verdict("undecided", f"undecided (not measured): {why}")


def overall(verdicts: dict[str, Verdict]) -> str:
    """What is wrong, or `well-behaved`, from the verdicts by name of the pathology."""
    present = [name for name, found in verdicts.items() if found.verdict == "present"]
    if present:
        return ", ".join(present)
    return "undecided" if any(found.verdict == "undecided" for found in verdicts.values()) else "well-behaved"


def judge(
    rows: NDArray[Any], layers: NDArray[Any], log_threshold: float, above: bool, origin: float = 0.0
) -> tuple[float, float, float, int, int, float]:
    """Whether the mean of curves (realization, layer) has gone, or is going, beyond a threshold at the last layer.

    Returns the statistic and its interval (out of the logarithm), the verdict's code, the reason's, and the onset.
    """
    sign = 1.0 if above else -1.0
    values = sign * (rows[np.isfinite(rows).all(1)] - log_threshold)  # positive is beyond the threshold
    count = len(values)
    if count == 0:
        return np.nan, np.nan, np.nan, UNDECIDED, FEW, np.nan
    now, low, high = mean_interval(values[:, -1])
    interval = sorted(origin + np.exp(sign * np.array([low, high]) + log_threshold))
    beyond = values.mean(0) > 0
    onset = layers[len(beyond) - np.argmin(beyond[::-1])] if beyond[-1] and not beyond.all() else layers[0]
    code, reason = UNDECIDED, STRADDLES
    half = int(np.abs(layers - layers[-1] / 2).argmin())
    if count < FEWEST:
        reason = FEW
    elif layers[-1] < SHALLOWEST:
        reason = SHALLOW
    elif half == len(layers) - 1 or len(layers) < 3:
        reason = UNMEASURED_DEPTHS
    elif low > 0:
        code, reason = PRESENT, DECIDED
    elif high < 0:
        settled = _stays(values, layers, half)
        code, reason = (ABSENT, DECIDED) if settled else (UNDECIDED, APPROACHES)
    statistic = float(origin + np.exp(sign * now + log_threshold))
    return statistic, interval[0], interval[1], code, reason, float(onset) if beyond[-1] else np.nan


def _stays(values: NDArray[Any], layers: NDArray[Any], half: int) -> bool:
    """Whether curves that are negative will stay so, by how they moved since half, and since a quarter, of the depth."""
    now, moved = values[:, -1], values[:, -1] - values[:, half]
    per_depth = layers[-1] / (layers[-1] - layers[half])
    soon, later = (now + (times - 1) * per_depth * moved for times in (SOON, LATER))
    if max(mean_interval(soon)[2], later.mean()) < 0:
        return True
    quarter = int(np.abs(layers - layers[-1] / 4).argmin())
    before = values[:, half] - values[:, quarter]
    slows = quarter < half and mean_interval(moved - before / 2)[2] < 0
    return bool(slows and mean_interval(now + moved)[2] < 0)  # ½ + ¼ + … of the last movement is still to come


def _said(condition: Condition, found: tuple[float, float, float, int, int, float], depth: int) -> str:
    value, low, high, _, reason, onset = found
    if not np.isfinite(value):
        return f"{condition.symbol} is not defined in any realization down to layer {depth}"
    interval = f" [{low:.4g}, {high:.4g}]" if np.isfinite(low) else ""
    side = "above" if (value > condition.threshold) else "below"
    text = f"{condition.symbol} = {value:.4g}{interval} at layer {depth}, {side} {condition.threshold:g}"
    if np.isfinite(onset):
        text += f" from layer {int(onset)} on"
    return text + (f" ({REASONS[reason]})" if reason else "")
