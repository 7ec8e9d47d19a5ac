"""Verdicts from independent curves along the depth, and their words: plain numpy (THEORY 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from moments_xr.analysis import growth_models
from moments_xr.analysis.realizations import mean_interval
from moments_xr.quantities import HIGH_SENSITIVITY, PATHOLOGIES

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

NOT_MEASURED = "undecided (not measured): "
"""How the sentence of a verdict begins that the cube has not the pieces of."""


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
    origin: float | None = 0.0
    """Curves are logarithms of the statistic's distance from here; None: they are the statistic itself."""
    limit: bool = True
    """Whether it is judged as a limit with depth, or as it is at the deepest layer."""

    def on_curves(self) -> float:
        """The threshold on the scale of the curves."""
        return self.threshold if self.origin is None else float(np.log(self.threshold - self.origin))

    def of_curves(self, value: Any) -> Any:
        """The statistic, from values on the scale of the curves."""
        return value if self.origin is None else self.origin + np.exp(value)


class Found(NamedTuple):
    """What curves tell of a condition: the statistic at the deepest layer with its interval, the verdict's code and the
    reason's, and the depth from which on the mean is beyond the threshold."""

    statistic: float
    low: float
    high: float
    code: int
    reason: int
    onset: float


def on_conditions(
    *rows: NDArray[Any],
    name: str,
    conditions: Sequence[Condition],
    layers: NDArray[Any],
    need: Literal["all", "any"] = "all",
    lacking: str = "",
) -> Verdict:
    """The verdict from curves (realization, layer) of conditions of which all, or any, are needed.

    `lacking` says which other condition was not measured; where all are needed nothing is present without it, and where any
    is enough nothing is absent.
    """
    found = [judge(values, layers, condition) for values, condition in zip(rows, conditions, strict=True)]
    codes = [part.code for part in found]
    by_one, by_all = (PRESENT, ABSENT) if need == "any" else (ABSENT, PRESENT)
    code = by_one if by_one in codes else by_all if not lacking and set(codes) == {by_all} else UNDECIDED
    told = found[codes.index(PRESENT)] if need == "any" and code == PRESENT else found[0]
    said = [_said(condition, part, int(layers[-1])) for condition, part in zip(conditions, found, strict=True)]
    undefined = not np.isfinite([part.statistic for part in found]).all() or (lacking and UNDECIDED not in codes)
    begin = {PRESENT: f"{PATHOLOGIES[name].long_name}: ", UNDECIDED: NOT_MEASURED if undefined else ""}
    sentence = (
        begin.get(code, "") + "; ".join(said) + (f"; not measured: {lacking}" if lacking and code == UNDECIDED else "")
    )
    return Verdict(VERDICTS[code], sentence, told.statistic, told.low, told.high, told.onset)


def on_growth(rows: NDArray[Any], layers: NDArray[Any]) -> Verdict:
    """The verdict on exploding sensitivity, from curves (realization, layer) of log χ over the depths that are judged."""
    found = dict(zip(growth_models.JUDGED, growth_models.judge(rows, layers), strict=True))
    growth = growth_models.ANSWERS[int(found["together"])]
    where, why = (
        f"over layers {layers[0]} to {layers[-1]}",
        growth_models.status(layers, *(found[name] for name in growth_models.SAID)),
    )
    if growth == "exponential":
        rate = tuple(float(found[name]) for name in ("gamma", "gamma_low", "gamma_high"))
        return _on_explosion(rows, layers, rate)
    if growth == "power":
        tau, low, high = (found[name] for name in ("tau", "tau_low", "tau_high"))
        return Verdict("absent", f"χ grows as a power of depth, l^{tau:.3g} [{low:.3g}, {high:.3g}], {where}")
    if growth == "bounded":
        return Verdict("absent", f"χ stays bounded, {where}")
    if growth == "between":
        return Verdict("absent", f"χ {why}")
    least, most = found["exponent_low"], found["exponent_high"]
    if growth_models.enough(layers) and least > EXPONENTIAL:
        p = f"from {least:.2f} to {most:.2f}" if np.isfinite(most) else f"at least {least:.2f}"
        return Verdict(
            "absent", f"χ does not grow exponentially: its rate of growth falls with depth as l^−p, p {p}, {where}"
        )
    return Verdict("undecided", f"how χ grows is not certain ({why})")


def _on_explosion(rows: NDArray[Any], layers: NDArray[Any], rate: tuple[float, ...]) -> Verdict:
    """An exponential law, of this γ with its interval, is an explosion where χ has a size that matters, too."""
    limit = float(np.log(HIGH_SENSITIVITY))
    now = judge(rows, layers, Condition("log χ", limit, above=True, origin=None, limit=False))
    gamma, low, high = rate
    sentence = (
        f"χ grows as exp(γ l), γ = {gamma:.4g} [{low:.4g}, {high:.4g}] per layer, over layers {layers[0]} to {layers[-1]}; "
        f"{said_log_chi(now)} at layer {layers[-1]}"
    )
    if now.code == PRESENT:
        said = f"{PATHOLOGIES['exploding_sensitivity'].long_name}: {sentence}"
        return Verdict("present", said, gamma, low, high, now.onset)
    if now.code == ABSENT:
        there = layers[-1] + (limit - now.statistic) / gamma
        sentence += f", and it would reach {HIGH_SENSITIVITY:g} at layer {there:,.0f}"
    else:
        sentence += f", and the interval holds {HIGH_SENSITIVITY:g}: more realizations would tell"
    return Verdict("undecided", sentence, gamma, low, high)


def said_log_chi(found: Found) -> str:
    """χ and its interval from its logarithm, however large."""
    value, low, high = (_power_of_ten(log / np.log(10)) for log in found[:3])
    return f"χ = {value} [{low}, {high}]"


def _power_of_ten(decades: float) -> str:
    return f"{10.0**decades:.3g}" if abs(decades) < 300 else f"10^{decades:.4g}"


def not_measured(why: str) -> Verdict:
    """No verdict, for want of what it needs."""
    return Verdict("undecided", f"{NOT_MEASURED}{why}")


def linked(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """The same verdicts; pseudo-linearity that was found says what it comes of (Theorem 2, THEORY 5)."""
    found = verdicts.get("pseudo_linearity")
    if found is None or found.verdict != "present":
        return dict(verdicts)
    point, line = (verdicts[f"{name}_dimensional_signal"].verdict for name in ("zero", "one"))
    if line == "present":
        why = "it comes of the signal's contraction to a line, along which each channel keeps to one side"
    elif point == "present":
        why = "it comes of the signal's contraction to a point, where each channel has one slope"
    elif line == point == "absent":
        why = "the signal keeps its directions: it comes of the scale at which the activation works"
    else:
        why = "whether it comes of the signal's contraction to a line is not certain"
    return {**verdicts, "pseudo_linearity": found._replace(sentence=f"{found.sentence}; {why}")}


def overall(verdicts: Mapping[str, Verdict]) -> str:
    """What is wrong; or `well-behaved`; or that nothing was found, and how much was judged.

    >>> overall({"fat_tails": Verdict("absent", ""), "high_sensitivity": not_measured("the cube lacks mu2_noise")})
    'No pathology found; 1 of 2 judged (not stored: high_sensitivity)'
    """
    present = [name for name, found in verdicts.items() if found.verdict == "present"]
    if present:
        return ", ".join(present)
    open_ = {
        name: found.sentence.startswith(NOT_MEASURED)
        for name, found in verdicts.items()
        if found.verdict == "undecided"
    }
    if not open_:
        return "well-behaved"
    if len(open_) == len(verdicts):
        return "undecided"
    kinds = (("not stored", True), ("undecided", False))
    why = [
        f"{word}: {', '.join(name for name, missing in open_.items() if missing is kind)}"
        for word, kind in kinds
        if kind in open_.values()
    ]
    return f"No pathology found; {len(verdicts) - len(open_)} of {len(verdicts)} judged ({'; '.join(why)})"


def judge(rows: NDArray[Any], layers: NDArray[Any], condition: Condition) -> Found:
    """Whether the mean of curves (realization, layer) has gone, or as a limit is going, beyond a threshold at the last layer."""
    sign, threshold = (1.0 if condition.above else -1.0), condition.on_curves()
    values = sign * (rows[np.isfinite(rows).all(1)] - threshold)  # positive is beyond the threshold
    count = len(values)
    if count == 0:
        return Found(np.nan, np.nan, np.nan, UNDECIDED, FEW, np.nan)
    now, low, high = mean_interval(values[:, -1])
    beyond = values.mean(0) > 0
    onset = layers[len(beyond) - np.argmin(beyond[::-1])] if beyond[-1] and not beyond.all() else layers[0]
    code, reason = UNDECIDED, STRADDLES
    half = int(np.abs(layers - layers[-1] / 2).argmin())
    if count < FEWEST:
        reason = FEW
    elif condition.limit and layers[-1] < SHALLOWEST:
        reason = SHALLOW
    elif condition.limit and (half == len(layers) - 1 or len(layers) < 3):
        reason = UNMEASURED_DEPTHS
    elif low > 0:
        code, reason = PRESENT, DECIDED
    elif high < 0:
        settled = not condition.limit or _stays(values, layers, half)
        code, reason = (ABSENT, DECIDED) if settled else (UNDECIDED, APPROACHES)
    statistic, *ends = (float(condition.of_curves(sign * value + threshold)) for value in (now, low, high))
    least, most = sorted(ends)
    return Found(statistic, least, most, code, reason, float(onset) if beyond[-1] else np.nan)


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


def _said(condition: Condition, found: Found, depth: int) -> str:
    value, low, high, _, reason, onset = found
    if not np.isfinite(value):
        return f"{condition.symbol} is not defined in any realization down to layer {depth}"
    interval = f" [{low:.4g}, {high:.4g}]" if np.isfinite(low) else ""
    side = "above" if (value > condition.threshold) else "below"
    text = f"{condition.symbol} = {value:.4g}{interval} at layer {depth}, {side} {condition.threshold:g}"
    if np.isfinite(onset):
        text += f" from layer {int(onset)} on"
    return text + (f" ({REASONS[reason]})" if reason else "")
