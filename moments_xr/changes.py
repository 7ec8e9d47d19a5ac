"""Changes of a recipe that would mend what theory finds wrong with its network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize

from moments_xr.errors import RequestError
from moments_xr.forecast import (
    facts,
    fixed_from_inputs,
    growth,
    limits,
    limits_at,
    log_chi_normed,
    rate_of_noise,
    values,
)
from moments_xr.problems import EXPLODING, RANGE, problems
from moments_xr.quantities import ARCHITECTURES
from moments_xr.recipe import Recipe
from moments_xr.theory import critical_line, kernels, trainable_depth

ENDLESS = 1e4
"""Trainable depth above which a network is said to be at the edge of chaos."""


@dataclass(frozen=True)
class Change:
    """Keys of the recipe with values that mend something, and what theory predicts then."""

    keys: dict[str, Any]
    effect: str


def changes(recipe: Recipe, found: set[str]) -> list[Change]:
    """What mends one of the problems `found` without making another, each judged like the recipe itself; what mends most first."""
    mending = []
    for keys in (keys for candidates in CANDIDATES for keys in candidates(recipe, found)):
        try:
            changed = recipe.replace(keys)
            known = values(facts(changed))
        except RequestError:  # the batch is too small for batch norm, say
            continue
        left = problems(known, changed)
        if len(left) < len(found) and set(left) <= found:
            remains = f"; remains: {', '.join(left.values())}" if left else ""
            mending.append((len(left), Change(keys, f"{_effect(known, changed)}{remains}")))
    return [change for _, change in sorted(mending, key=lambda one: one[0])]


def _effect(known: dict[str, Any], recipe: Recipe) -> str:
    parts = []
    if "phase" in known and (
        ENDLESS < known["depth"] < np.inf or (known["phase"] == "critical" and known["depth"] > ENDLESS)
    ):
        parts.append("the edge of chaos")
    elif np.isfinite(known.get("depth", np.nan)):
        parts.append(f"trainable to {known['depth']:.3g} layers")
    if "log_chi" in known:
        parts.append(f"log χ({recipe.network.depth}) = {known['log_chi']:.3g}")
    return ", ".join(parts)


Candidates = Callable[[Recipe, set[str]], Iterator[dict[str, Any]]]


def _weight_variance(recipe: Recipe, found: set[str]) -> Iterator[dict[str, Any]]:
    """To the edge of chaos at these biases."""
    n = recipe.network
    edge = (
        float(critical_line(n.activation, n.bias_variance).weight_variance) if n.architecture == "vanilla" else np.nan
    )
    if np.isfinite(edge):
        yield {"network.weights.variance": _rounded(edge)}


def _residual_variance(recipe: Recipe, found: set[str]) -> Iterator[dict[str, Any]]:
    """The largest variance with which a residual net's signal and gradients stay well within their range."""
    network = recipe.network
    if "sum" not in ARCHITECTURES[network.architecture].sites:
        return

    def excess(log_variance: float) -> float:
        variance = float(np.exp(log_variance))
        if network.architecture == "bn_res":
            return log_chi_normed(recipe, variance)[-1] - 0.9 * EXPLODING
        return (
            max(g for g in growth(recipe.replace({"network.weights.variance": variance})) if g is not None)
            - 0.5 * RANGE
        )

    most = float(np.log(network.weights.variance))
    if excess(-20) < 0 < excess(most):
        yield {"network.weights.variance": _rounded(float(np.exp(optimize.brentq(excess, -20, most, xtol=1e-4))))}


def _bias_variance(recipe: Recipe, found: set[str]) -> Iterator[dict[str, Any]]:
    """To the edge of chaos at these weights; both, to the point without biases."""
    n = recipe.network
    if n.architecture != "vanilla":
        return
    kernel = kernels(n.activation)

    def excess(log_q: float) -> float:
        return float(n.weights.variance * kernel.slope_square(np.exp(np.array(log_q))) - 1)

    if excess(-20) * excess(10) < 0:
        q = np.exp(np.array(optimize.brentq(excess, -20, 10)))
        bias = float(q - n.weights.variance * kernel.square(q))
        if bias > 0:
            yield {"network.bias_variance": _rounded(bias)}
    edge = float(critical_line(n.activation, 0.0).weight_variance)
    if n.bias_variance > 0 and np.isfinite(edge):
        yield {"network.weights.variance": _rounded(edge), "network.bias_variance": 0.0}


def _depth(recipe: Recipe, found: set[str]) -> Iterator[dict[str, Any]]:
    """As deep as the problems allow."""
    n = recipe.network
    depths = []
    if "depth" in found:
        depths.append(float(trainable_depth(fixed_from_inputs(recipe).xi_c)))
    if "exploding_sensitivity" in found and n.architecture == "bn_ff":
        depths.append(EXPLODING / (0.5 * np.log(rate_of_noise(recipe))))
    if found & limits(recipe).keys():
        depths.append(_onset(recipe, found))
    whole = int(min(depths, default=0))
    if 0 < whole < n.depth:
        yield {"network.depth": whole} | ({"measure.every": 1} if recipe.measure.every > whole else {})


def _onset(recipe: Recipe, found: set[str]) -> float:
    """Layers before the first at which the statistic of a limit is beyond its threshold."""
    layers = limits_at(recipe, range(1, recipe.network.depth + 1))
    beyond = [limit.beyond(layers[limit.variable]) for name, limit in limits(recipe).items() if name in found]
    return float(min(np.argmax(one) for one in beyond))


def _skip(recipe: Recipe, found: set[str]) -> Iterator[dict[str, Any]]:
    """A residual net of as many units, with the same variance or with one that suits the depth."""
    if recipe.network.architecture == "bn_ff":
        yield {"network.architecture": "bn_res"}
    if recipe.network.architecture == "vanilla":
        skip = {"network.architecture": "res"}
        yield skip
        for keys in _residual_variance(recipe.replace(skip), found):
            yield skip | keys


def _norm(recipe: Recipe, found: set[str]) -> Iterator[dict[str, Any]]:
    """Batch norm, which holds the variance; alone it explodes, so with skips too."""
    for architecture in ("bn_ff", "bn_res"):
        if recipe.network.architecture in ("vanilla", "res") and not recipe.network.dropout:
            yield {"network.architecture": architecture}


def _dropout(recipe: Recipe, found: set[str]) -> Iterator[dict[str, Any]]:
    """Without dropout, which keeps correlations below 1 at every variance."""
    if recipe.network.dropout:
        yield {"network.dropout": 0.0}
        edge = float(critical_line(recipe.network.activation, recipe.network.bias_variance).weight_variance)
        if np.isfinite(edge):
            yield {"network.dropout": 0.0, "network.weights.variance": _rounded(edge)}


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


CANDIDATES: tuple[Candidates, ...] = (
    _weight_variance,
    _residual_variance,
    _bias_variance,
    _dropout,
    _depth,
    _skip,
    _norm,
)
