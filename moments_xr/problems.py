"""What is wrong with a network by what theory says of it, by the thresholds of `classify`; and what is worth a remark."""

from __future__ import annotations

from typing import Any

import numpy as np

from moments_xr.forecast import LIMITS, LOG_Q_RANGE, limits
from moments_xr.quantities import GRADIENT_DECADES, HIGH_SENSITIVITY, LINEAR_INCREMENT, PATHOLOGIES
from moments_xr.recipe import Recipe
from moments_xr.theory import kernels

EXPLODING = float(np.log(HIGH_SENSITIVITY))
"""log χ at the last layer above which noise drowns the signal."""

RANGE = float(GRADIENT_DECADES * np.log(10))
"""Change of the log-variance of signal or gradients over the depth, either way, that is too much."""

SCATTER = 1.0
"""Variance over nets of a log-moment above which one net tells little of the next: a factor e either way."""

ALIKE = 0.01
"""1 − c* below which any two samples are said to look alike at the end."""


def problems(known: dict[str, Any], recipe: Recipe) -> dict[str, str]:
    """What is wrong, by the thresholds of `classify`: name of the pathology, or `depth`, and a sentence."""
    n = recipe.network
    found: dict[str, str] = {}
    for name, what in (("signal", "the variance of the signal"), ("gradient", "the square of gradients")):
        if abs(known.get(name, 0)) > RANGE:
            way = ("grows", "exploding_gradient") if known[name] > 0 else ("shrinks", "vanishing_gradient")
            said = f"{what} {way[0]} by a factor of 10^{abs(known[name]) / np.log(10):.0f} over the depth"
            found[way[1]] = f"{found[way[1]]}, {said}" if way[1] in found else said
    if n.depth > known.get("depth", np.inf):
        what = "look alike" if known["c"] > 1 - ALIKE else "are told apart no better than any two"
        found["depth"] = (
            f"depth {n.depth} is beyond the trainable depth of {known['depth']:.3g} layers: samples {what} at the end"
        )
    if known.get("log_chi", 0) > EXPLODING:
        law = "exponentially " if _exponential(recipe, known) else ""
        name = "exploding_sensitivity" if law else "high_sensitivity"
        reached = np.exp(min(known["log_chi"], 700))
        found[name] = f"χ grows {law}and reaches {reached:.2g} at layer {n.depth}: noise drowns the signal"
    for name, limit in limits(recipe).items():
        if name not in known or (name == "pseudo_linearity" and known.get("increment", 1.0) > LINEAR_INCREMENT):
            continue
        if known[name] > limit.threshold if limit.above else known[name] < limit.threshold:
            found[name] = f"{PATHOLOGIES[name].long_name}: {limit.symbol} = {known[name]:.3g} at layer {n.depth}"
    return found


def _exponential(recipe: Recipe, known: dict[str, Any]) -> bool:
    """Whether χ grows exponentially: with batch norm without skips, in chaos, and with skips where φ grows without bound."""
    n = recipe.network
    if n.architecture == "res":
        return float(kernels(n.activation).slope_square(np.exp(np.array(LOG_Q_RANGE[1])))) > 1e-3
    return n.architecture == "bn_ff" or known.get("phase") == "chaotic"


def remarks(known: dict[str, Any], recipe: Recipe) -> list[str]:
    """What is worth knowing and nothing is wrong with."""
    n, said = recipe.network, []
    largest = max(known.get("var_nu2", 0), known.get("var_mu2", 0))
    if largest > SCATTER:
        wide = int(np.ceil(n.width * largest / SCATTER / 2) * 2)
        said.append(
            f"nets of width {n.width} differ from each other by {largest:.3g} in the variance of log-moments, so that one net tells "
            f"little of the next: at width {wide} it would be {SCATTER:g}"
        )
    lacking = [name.replace("_", " ") for name in LIMITS if name not in known]
    if lacking:
        said.append(f"not predicted of such nets: {', '.join(lacking)}; `classify` measures them")
    return said
