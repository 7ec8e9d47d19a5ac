"""What theory says of a recipe's network before it is run (THEORY 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moments_xr.activations import activation
from moments_xr.errors import DataError
from moments_xr.inputs import input_batch, load_dataset
from moments_xr.prediction import first_variance, predict, why_no_prediction
from moments_xr.quantities import ARCHITECTURES, PATHOLOGIES, SLOPE_SPREAD, SMALLEST_LOG
from moments_xr.recipe import Recipe
from moments_xr.theory import (
    collapse_at_width,
    expectation,
    explosion_rate,
    fixed_point,
    kernels,
    log_moment_variance,
    propagate_collapse,
    propagate_variance,
    residual_growth,
    trainable_depth,
)
from moments_xr.theory.fluctuations import LogVariance
from moments_xr.theory.phase import FixedPoint

LOG_Q_RANGE = (-30.0, 30.0)
"""Variances beyond are taken for these: gains depend on q no more."""

SAMPLES = 64
"""Samples of the batch that sensitivity is predicted from: more would say the same, and cost their square."""

FEW = 32
"""Samples of the batch in nets that are drawn."""

NETS = 4
"""Nets of finite width that are drawn for limits."""

NARROW = 1 / 16
"""Batch over width above which growth under batch norm differs visibly from that at infinite width (`explosion_at_width`)."""

FLAT = {"architecture": "vanilla", "depth": 1, "width": 2, "kernel": 1}
"""A network that takes its inputs flattened."""

STAND_IN = 256
"""Features of Gaussian inputs that stand in for data that are not there."""


@dataclass(frozen=True)
class Fact:
    """One thing that theory predicts: `value` may be a number or a word."""

    name: str
    symbol: str
    value: float | str
    meaning: str


@dataclass(frozen=True)
class Limit:
    """The statistic of a pathology that is a limit with depth, as `predict` has it: the logarithm of its distance from `origin`."""

    variable: str
    symbol: str
    meaning: str
    threshold: float
    above: bool = False
    origin: float = 0.0

    def beyond(self, logs: Any) -> Any:
        """Whether logarithms of `predict` are beyond the threshold."""
        threshold = np.log(self.threshold - self.origin)
        return logs > threshold if self.above else logs < threshold


def _limit(name: str, variable: str, meaning: str, symbol: str | None = None, threshold: float | None = None) -> Limit:
    row = PATHOLOGIES[name]
    return Limit(
        variable, symbol or row.symbol, meaning, threshold or row.threshold, row.side == "above", row.origin or 0.0
    )


LIMITS: dict[str, Limit] = {
    "zero_dimensional_signal": _limit(
        "zero_dimensional_signal", "variance_share", "share of the signal's mean square that varies over the data"
    ),
    "one_dimensional_signal": _limit("one_dimensional_signal", "rank_excess", "directions that the signal keeps"),
    "pseudo_linearity": _limit(
        "pseudo_linearity", "one_sidedness", "0.16 where no channel keeps to one side of the kink"
    ),
    "fat_tails": _limit("fat_tails", "kurtosis", "of the pre-activations", "E_c μ₄/E_c μ₂²"),
}
"""Pathologies that are limits with depth, in nets without batch norm."""

SLOPES = _limit(
    "pseudo_linearity",
    "slope_spread",
    "share of the variance of slopes within channels",
    "E_c Var_c φ'/Var φ'",
    SLOPE_SPREAD,
)
"""Pseudo-linearity where the activation is not made of two straight lines."""


def limits(recipe: Recipe) -> dict[str, Limit]:
    """What verdicts on limits with depth rest on in this net, by pathology."""
    found = dict(LIMITS)
    if activation(recipe.network.activation).lines != 2:
        found["pseudo_linearity"] = SLOPES
    if ARCHITECTURES[recipe.network.architecture].normed:
        found["fat_tails"] = replace(found["fat_tails"], symbol=PATHOLOGIES["fat_tails"].symbol)
    return found


def facts(recipe: Recipe) -> Iterator[Fact]:
    """All that theory predicts of a network."""
    n, kind = recipe.network, ARCHITECTURES[recipe.network.architecture]
    if kind.normed:
        wide = _of_what_width(recipe)
        if kind.name == "bn_ff":
            rate = 0.5 * np.log(rate_of_noise(recipe))
            yield Fact("rate", "γ", rate, f"exponential growth of the sensitivity, per layer ({wide})")
        else:
            yield Fact("exponent", "τ", _exponent(recipe), f"power of depth with which the sensitivity grows ({wide})")
    elif kind.name == "vanilla":
        yield from _phase(recipe)
    signal, gradient = growth(recipe)
    if signal is not None:
        symbol = "Δ log q" if kind.name == "vanilla" else "Δ log ν₂(x)"
        yield Fact("signal", symbol, signal, "of the signal, over the depth")
    yield Fact("gradient", "Δ log μ₂(dx)", gradient, "of noise, and of squared gradients, over the depth")
    yield from _at_the_last_layer(recipe)
    if kind.name == "vanilla" and n.weights.law == "gaussian":
        walk = variance_between_nets(recipe)
        yield Fact("var_nu2", "Var log ν₂(x)", float(walk.nu2_signal[-1]), "between nets, at the last layer, one input")
        yield Fact("var_mu2", "Var log μ₂(dx)", float(walk.mu2_noise[-1]), "between nets, at the last layer, one input")


def values(found: Iterable[Fact]) -> dict[str, Any]:
    """Values of facts by their names."""
    return {fact.name: fact.value for fact in found}


def _phase(recipe: Recipe) -> Iterator[Fact]:
    """Where variance and correlations of a vanilla net go with depth."""
    point = fixed_from_inputs(recipe)
    meaning = "ordered: noise shrinks, χ₁ < 1; chaotic: it grows; unbounded: with the signal, samples looking alike"
    phase = str(point.phase)
    if phase != "critical" and abs(np.log(point.chi_1)) * recipe.network.depth < _told_apart(recipe):
        phase = "critical"
        meaning = f"as far as {recipe.network.depth} layers of width {recipe.network.width} can tell: χ₁ is nearly 1"
    yield Fact("phase", "phase", phase, meaning)
    yield Fact(
        "q", "q*", float(point.q), f"variance of pre-activations, from these inputs': {point.variance} with depth"
    )
    yield Fact("c", "c*", float(point.c), "correlation of any two samples that it converges to")
    yield Fact("chi_1", "χ₁", float(point.chi_1), "growth of squared gradients and noise, per layer")
    yield Fact("xi_q", "ξ_q", float(point.xi_q), "layers over which variances converge")
    yield Fact("xi_c", "ξ_c", float(point.xi_c), "layers over which correlations converge")
    yield Fact("depth", "6 ξ_c", float(trainable_depth(point.xi_c)), "trainable depth, in layers (empirical)")


def _told_apart(recipe: Recipe) -> float:
    """Change of log μ₂(dx) over the depth below which one net cannot be told from one that has none: their spread."""
    n = recipe.network
    if n.weights.law == "gaussian":
        return float(np.sqrt(variance_between_nets(recipe).mu2_noise[-1]))
    return float(np.sqrt(n.depth / n.width))


def fixed_from_inputs(recipe: Recipe) -> FixedPoint:
    """The fixed point that the variance of the recipe's inputs leads to."""
    n = recipe.network
    return fixed_point(n.activation, n.weights.variance, n.bias_variance, 1 - n.dropout, first_variance(recipe))


def growth(recipe: Recipe) -> tuple[float | None, float]:
    """Growth over the depth of the signal, None where batch norm holds it, and of the noise's log μ₂.

    The signal's is of log q from the first pre-activations on, or in a residual net of log ν₂ from the input on.
    """
    n = recipe.network
    weight, bias, keep, start = n.weights.variance, n.bias_variance, 1 - n.dropout, recipe.input.scale**2
    if n.architecture == "bn_ff":
        return None, 2 * log_chi_normed(recipe, weight)[-1] + np.log(_variance_of_phi(recipe) / start)
    if n.architecture == "bn_res":
        total = start + n.depth * weight * _variance_of_phi(recipe)
        return None, 2 * log_chi_normed(recipe, weight)[-1] + float(np.log(total / start))
    if n.architecture == "res":
        grown = residual_growth(n.activation, n.depth, weight / keep, weight / keep, bias, bias, start)
        return float(grown.log_p[-1] - grown.log_p[0]), float(grown.log_gain[-1])
    log_q = propagate_variance(n.activation, n.depth - 1, weight, bias, keep, first_variance(recipe))
    slope = kernels(n.activation).slope_square(np.exp(np.clip(log_q, *LOG_Q_RANGE)))
    return float(log_q[-1] - log_q[0]), float(n.depth * np.log(weight / keep) + np.log(slope).sum())


def variance_between_nets(recipe: Recipe) -> LogVariance:
    """Variances of log-moments over vanilla nets of this width."""
    n, start = recipe.network, first_variance(recipe)
    laws = (n.weights.variance, n.bias_variance, start, 1 - n.dropout)
    return log_moment_variance(n.activation, n.depth, n.width, *laws)


def rate_of_noise(recipe: Recipe) -> float:
    """δχ² of a layer with batch norm, statistics frozen, at infinite width: of the batch when fully connected, of many positions
    with convolutions."""
    batch = recipe.input.batch if recipe.network.kernel == 1 else np.inf
    return explosion_rate(recipe.network.activation, batch)


def _of_what_width(recipe: Recipe) -> str:
    """What nets `rate_of_noise` is of, and whether these are such."""
    if recipe.network.kernel > 1:
        return "frozen statistics, of wide nets: narrow convolutional ones leave it with depth"
    share = recipe.input.batch / recipe.network.width
    return "frozen statistics, infinite width" + (f"; nets of B/N = {share:.2g} differ" if share > NARROW else "")


def _exponent(recipe: Recipe) -> float:
    """τ: each layer inside a unit multiplies the noise so, and units add up: χ² ∝ l^{δχ^{2H} − 1}."""
    return float(rate_of_noise(recipe) ** (recipe.network.unit_depth or 1) - 1) / 2


def _variance_of_phi(recipe: Recipe) -> float:
    """Var φ(z) of normalised z."""
    row = activation(recipe.network.activation)
    mean, square = (float(expectation(f, 1.0, row.kinks).value) for f in (row.phi, lambda z: row.phi(z) ** 2))
    return square - mean**2


def log_chi_normed(recipe: Recipe, weight_variance: float) -> NDArray[Any]:
    """log χ after each layer of nets with batch norm (layer,).

    Of bn_res by δχ^l = (1 + ρ/(l + μ₂(y⁰)/μ₂(y^{l,H})))^½ (THEORY 5.4), where μ₂(y^{l,H}) = σ_w² Var φ(z).
    """
    n = recipe.network
    layers = np.arange(1, n.depth + 1)
    if n.architecture == "bn_ff":
        return np.asarray(layers * 0.5 * np.log(rate_of_noise(recipe)))
    rho = rate_of_noise(recipe) ** (n.unit_depth or 1) - 1
    units = layers + recipe.input.scale**2 / (weight_variance * _variance_of_phi(recipe))
    return np.asarray(0.5 * np.log1p(rho / units).cumsum())


@lru_cache(maxsize=8)
def _inputs(text: str) -> NDArray[Any]:
    recipe = Recipe.from_json(text)
    try:
        return np.asarray(input_batch(recipe, 0, load_dataset(recipe)), dtype="f8")
    except (DataError, ImportError):
        rng = np.random.default_rng(recipe.seed)
        return recipe.input.scale * rng.normal(size=(recipe.input.batch, STAND_IN))


def inputs(recipe: Recipe, most: int = SAMPLES) -> NDArray[Any]:
    """A batch (sample, feature) of at most so many of the recipe's inputs; Gaussian ones stand in for data that are not there."""
    given = recipe.input.model_dump(exclude_unset=True) | {"batch": min(recipe.input.batch, most)}
    return _inputs(Recipe(name="inputs", seed=recipe.seed, realizations=1, input=given, network=FLAT).to_json())


def limits_at(recipe: Recipe, layers: Sequence[int]) -> dict[str, NDArray[Any]]:
    """What verdicts on limits rest on in nets of this width, at some layers: logarithms (layer,) by variable of `Limit`.

    Of drawn nets where weights are Gaussian, geometric means; of infinite width elsewhere, and nothing with batch norm then.
    """
    n, kind = recipe.network, ARCHITECTURES[recipe.network.architecture]
    laws = (n.weights.variance, n.bias_variance, 1 - n.dropout)
    if n.weights.law == "gaussian":
        unit = (n.architecture, n.unit_depth or 1, n.epsilon)
        drawn = collapse_at_width(n.activation, inputs(recipe, FEW), n.depth, n.width, *laws, *unit, layers, NETS)
        return {name: np.maximum(logs, SMALLEST_LOG).mean(0) for name, logs in drawn._asdict().items()}
    if kind.normed:
        return {}
    wide = propagate_collapse(n.activation, inputs(recipe), n.depth, *laws, residual="sum" in kind.sites)
    return {name: logs[np.array(layers) - 1] for name, logs in wide._asdict().items()}


def _at_the_last_layer(recipe: Recipe) -> Iterator[Fact]:
    """χ and its growth at the last layer, and the statistics of limits; nothing where there is no theory of them."""
    n, kind = recipe.network, ARCHITECTURES[recipe.network.architecture]
    if kind.normed:
        log_chi = log_chi_normed(recipe, n.weights.variance)
        increment = log_chi[-1] - log_chi[-2] if n.depth > 1 else log_chi[-1]
    elif why_no_prediction(recipe):
        return
    else:
        last = recipe.replace({"measure": {"every": n.depth}})
        predicted = predict(last, range(1), inputs(recipe)[None]).isel(realization=0)
        log_chi, increment = predicted["chi"].values, float(predicted["increment_chi"][-1])
    yield Fact("log_chi", f"log χ({n.depth})", float(log_chi[-1]), "sensitivity to noise at the last layer")
    yield Fact("increment", "δχ", float(np.exp(increment)), "growth of the sensitivity in the last layer")
    if n.kernel == 1:
        found = limits_at(recipe, [n.depth])
        for name, limit in limits(recipe).items():
            if limit.variable in found:
                statistic = limit.origin + float(np.exp(found[limit.variable][-1]))
                yield Fact(name, limit.symbol, statistic, limit.meaning)
