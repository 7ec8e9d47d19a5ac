"""Before running: what theory predicts for a recipe's network, and which change would mend what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from scipy import optimize

from moments_xr.activations import activation
from moments_xr.errors import MissingError, RecipeError, RequestError
from moments_xr.prediction import first_variance, predict, why_no_prediction
from moments_xr.quantities import ARCHITECTURES
from moments_xr.recipe import Recipe
from moments_xr.theory import (
    critical_line,
    expectation,
    explosion_rate,
    fixed_point,
    kernels,
    log_moment_variance,
    propagate_variance,
    residual_growth,
    trainable_depth,
)
from moments_xr.theory.fluctuations import LogVariance
from moments_xr.theory.phase import FixedPoint

EXPLODING = np.log(100.0)
"""log χ at the last layer above which noise drowns the signal: what was one part in 100 of it has become as large as it is."""

RANGE = np.log(1e4)
"""Change of the log-variance of signal or gradients over the depth, either way, above which single precision and steps of
one size serve some layers and not others."""

SCATTER = 1.0
"""Variance over nets of a log-moment above which one net tells little of the next: a factor e either way."""

ALIKE = 0.01
"""1 − c* below which any two samples are said to look alike at the end."""

ENDLESS = 1e4
"""Trainable depth above which a network is said to be at the edge of chaos."""

LOG_Q_RANGE = (-30.0, 30.0)
"""Variances beyond are taken for these: gains depend on q no more."""

NARROW = 1 / 16
"""Batch over width above which growth under batch norm differs visibly from that at infinite width (`explosion_at_width`)."""

SAMPLES = 64
"""Samples of the batch that sensitivity is predicted from: more would say the same, and cost their square."""


@dataclass(frozen=True)
class Fact:
    """One thing that theory predicts: `value` may be a number or a word."""

    name: str
    symbol: str
    value: float | str
    meaning: str


@dataclass(frozen=True)
class Change:
    """Keys of the recipe with values that mend something, and what theory predicts then."""

    keys: dict[str, Any]
    effect: str


@dataclass(frozen=True)
class Advice:
    """What theory predicts for a recipe's network, what is wrong with that, and what would mend it."""

    name: str
    facts: tuple[Fact, ...]
    problems: tuple[str, ...]
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        lines = [self.name, *(f"  {fact.symbol} = {said(fact.value)}  {fact.meaning}" for fact in self.facts)]
        lines += [f"wrong: {problem}" for problem in self.problems] or ["nothing wrong that theory knows of"]
        lines += [f"would mend it: {keys_said(change.keys)}: {change.effect}" for change in self.changes]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def said(value: float | str) -> str:
    """A fact's value in words or four digits."""
    if isinstance(value, str):
        return value
    return "undefined" if np.isnan(value) else "∞" if value == np.inf else f"{value if abs(value) > 1e-9 else 0:.4g}"


def keys_said(keys: dict[str, Any]) -> str:
    """Changed keys as the shell's `--set` takes them."""
    return " ".join(
        f"--set {key}={format(value, '.4g') if isinstance(value, float) else value}" for key, value in keys.items()
    )


def advise(recipe: Recipe) -> Advice:
    """What theory at infinite width predicts for a network, and which changes would mend what is wrong (THEORY 8).

    Phase, fixed points and depth scales of nets without batch norm, whether fully connected or convolutional; the growth of
    noise with batch norm; χ at the last layer from the q- and c-maps over the recipe's inputs (Gaussian ones of the same
    batch where its data are not there); the variance over nets of log-moments at this width. Each change is judged by the
    same theory.

    Raises
    ------
    RecipeError
        The recipe is a sweep: theory is of one network.
    MissingError
        There is no theory of such a network.

    Examples
    --------
    >>> import moments_xr as mx
    >>> recipe = mx.recipe("quickstart", {"network.architecture": "vanilla", "network.activation": "tanh"})
    >>> advice = mx.advise(recipe.replace({"network.weights": {"law": "gaussian", "variance": 4.0}}))
    >>> advice.facts[0].value
    'chaotic'
    """
    if recipe.sweep is not None:
        raise RecipeError("sweep: advice is about one network: leave the sweep out (sweep=null), and set its keys")
    why_not = why_no_prediction(recipe, convolutions=True)
    if why_not:
        raise MissingError(f"no mean-field theory: {why_not}")
    facts = list(_facts(recipe))
    problems = _problems(_values(facts), recipe)
    changes = tuple(_changes(recipe, set(problems))) if problems else ()
    return Advice(f"{recipe.name}: {_described(recipe)}", tuple(facts), tuple(problems.values()), changes)


def _described(recipe: Recipe) -> str:
    n = recipe.network
    return (
        f"{ARCHITECTURES[n.architecture].long_name}, {n.activation}, σ_w² = {n.weights.variance:g}, "
        f"σ_b² = {n.bias_variance:g}, depth {n.depth}, width {n.width}"
    )


def _point(recipe: Recipe) -> FixedPoint:
    n = recipe.network
    return fixed_point(n.activation, n.weights.variance, n.bias_variance, 1 - n.dropout, first_variance(recipe))


def _facts(recipe: Recipe) -> Iterator[Fact]:
    n, kind = recipe.network, ARCHITECTURES[recipe.network.architecture]
    if kind.normed:
        rate = _rate(recipe)
        wide = _of_what_width(recipe)
        if kind.name == "bn_ff":
            yield Fact("rate", "γ", 0.5 * np.log(rate), f"exponential growth of the sensitivity, per layer ({wide})")
        else:
            yield Fact("exponent", "τ", _exponent(recipe), f"power of depth with which the sensitivity grows ({wide})")
    elif kind.name == "vanilla":
        point = _point(recipe)
        yield Fact("phase", "phase", str(point.phase), "ordered: noise shrinks, χ₁ < 1; chaotic: it grows")
        yield Fact("q", "q*", float(point.q), f"variance of pre-activations: {point.variance} with depth")
        yield Fact("c", "c*", float(point.c), "correlation of any two samples that it converges to")
        yield Fact("chi_1", "χ₁", float(point.chi_1), "growth of squared gradients and noise, per layer")
        yield Fact("xi_q", "ξ_q", float(point.xi_q), "layers over which variances converge")
        yield Fact("xi_c", "ξ_c", float(point.xi_c), "layers over which correlations converge")
        yield Fact("depth", "6 ξ_c", float(trainable_depth(point.xi_c)), "trainable depth, in layers (empirical)")
    if not kind.normed:
        signal, gradient = _growth(recipe)
        yield Fact(
            "signal", "Δ log q" if kind.name == "vanilla" else "Δ log ν₂(x)", signal, "of the signal, over the depth"
        )
        yield Fact("gradient", "Δ log μ₂(dx)", gradient, "of noise, and of squared gradients, over the depth")
    log_chi = _log_chi(recipe)
    if log_chi is not None:
        yield Fact("log_chi", f"log χ({n.depth})", log_chi, "sensitivity to noise at the last layer")
    if kind.name == "vanilla" and n.weights.law == "gaussian":
        walk = _walk(recipe)
        yield Fact("var_nu2", "Var log ν₂(x)", float(walk.nu2_signal[-1]), "between nets, at the last layer, one input")
        yield Fact("var_mu2", "Var log μ₂(dx)", float(walk.mu2_noise[-1]), "between nets, at the last layer, one input")


def _growth(recipe: Recipe) -> tuple[float, float]:
    """Growth over the depth of log q, from the first pre-activations on (of log p of the input, if residual), and of the noise's log."""
    n = recipe.network
    weight, bias, keep = n.weights.variance, n.bias_variance, 1 - n.dropout
    if n.architecture == "res":
        grown = residual_growth(n.activation, n.depth, weight / keep, weight / keep, bias, bias, recipe.input.scale**2)
        return float(grown.log_p[-1] - grown.log_p[0]), float(grown.log_gain[-1])
    log_q = propagate_variance(n.activation, n.depth - 1, weight, bias, keep, first_variance(recipe))
    slope = kernels(n.activation).slope_square(np.exp(np.clip(log_q, *LOG_Q_RANGE)))
    return float(log_q[-1] - log_q[0]), float(n.depth * np.log(weight / keep) + np.log(slope).sum())


def _walk(recipe: Recipe) -> LogVariance:
    n, start = recipe.network, first_variance(recipe)
    return log_moment_variance(
        n.activation, n.depth, n.width, n.weights.variance, n.bias_variance, start, 1 - n.dropout
    )


def _values(facts: Iterable[Fact]) -> dict[str, Any]:
    return {fact.name: fact.value for fact in facts}


def _rate(recipe: Recipe) -> float:
    """δχ² of a layer with batch norm, statistics frozen, at infinite width: of the batch when fully connected, of many positions
    with convolutions."""
    batch = recipe.input.batch if recipe.network.kernel == 1 else np.inf
    return explosion_rate(recipe.network.activation, batch)


def _of_what_width(recipe: Recipe) -> str:
    """What nets `_rate` is of, and whether these are such."""
    if recipe.network.kernel > 1:
        return "frozen statistics, of wide nets: narrow convolutional ones leave it with depth"
    share = recipe.input.batch / recipe.network.width
    return "frozen statistics, infinite width" + (f"; nets of B/N = {share:.2g} differ" if share > NARROW else "")


def _exponent(recipe: Recipe) -> float:
    """τ: each layer inside a unit multiplies the noise so, and units add up: χ² ∝ l^{δχ^{2H} − 1}."""
    return float(_rate(recipe) ** (recipe.network.unit_depth or 1) - 1) / 2


def _residual_log_chi(recipe: Recipe, weight_variance: float) -> float:
    """log χ of bn_res after its last unit: δχ^l = (1 + ρ/(l + μ₂(y⁰)/μ₂(y^{l,H})))^½ (THEORY 5.4), where μ₂(y^{l,H}) = σ_w² Var φ(z)."""
    rho = _rate(recipe) ** (recipe.network.unit_depth or 1) - 1
    row = activation(recipe.network.activation)
    mean, square = (float(expectation(f, 1.0, row.kinks).value) for f in (row.phi, lambda z: row.phi(z) ** 2))
    units = np.arange(1, recipe.network.depth + 1) + recipe.input.scale**2 / (weight_variance * (square - mean**2))
    return float(0.5 * np.log1p(rho / units).sum())


def _log_chi(recipe: Recipe) -> float | None:
    """log χ at the last layer; None where there is no theory of it."""
    n = recipe.network
    if n.architecture == "bn_ff":
        return float(n.depth * 0.5 * np.log(_rate(recipe)))
    if n.architecture == "bn_res":
        return _residual_log_chi(recipe, n.weights.variance)
    if why_no_prediction(recipe):
        return None
    few = min(recipe.input.batch, SAMPLES)
    last = recipe.replace({"measure": {"every": n.depth}, "input.batch": few})
    try:
        predicted = predict(last, range(1))
    except MissingError:
        rng = np.random.default_rng(recipe.seed)
        predicted = predict(last, range(1), recipe.input.scale * rng.normal(size=(1, few, 256)))
    return float(predicted["chi"][0, -1])


def _problems(facts: dict[str, Any], recipe: Recipe) -> dict[str, str]:
    n = recipe.network
    found = {}
    for name, what in (("signal", "the variance of the signal"), ("gradient", "the square of gradients")):
        if abs(facts.get(name, 0)) > RANGE:
            way = "grows" if facts[name] > 0 else "shrinks"
            found[name] = f"{what} {way} by a factor of 10^{abs(facts[name]) / np.log(10):.0f} over the depth"
    if n.depth > facts.get("depth", np.inf):
        what = "look alike" if facts["c"] > 1 - ALIKE else "are told apart no better than any two"
        found["depth"] = (
            f"depth {n.depth} is beyond the trainable depth of {facts['depth']:.3g} layers: samples {what} at the end"
        )
    if facts.get("log_chi", 0) > EXPLODING:
        found["sensitivity"] = (
            f"χ reaches {np.exp(min(facts['log_chi'], 700)):.2g} at layer {n.depth}: noise drowns the signal"
        )
    if max(facts.get("var_nu2", 0), facts.get("var_mu2", 0)) > SCATTER:
        largest = max(facts["var_nu2"], facts["var_mu2"])
        found["width"] = (
            f"nets of width {n.width} differ from each other by {largest:.3g} in the variance of log-moments"
        )
    return found


def _changes(recipe: Recipe, problems: set[str]) -> list[Change]:
    """What mends a problem without making another, each judged like the recipe itself; what mends most first."""
    found = []
    for keys in (keys for candidates in CANDIDATES for keys in candidates(recipe, problems)):
        try:
            changed = recipe.replace(keys)
            facts = _values(_facts(changed))
        except RequestError:  # the batch is too small for batch norm, say
            continue
        left = _problems(facts, changed)
        if len(left) < len(problems) and set(left) <= problems:
            remains = f"; remains: {', '.join(left.values())}" if left else ""
            found.append((len(left), Change(keys, f"{_effect(facts, changed)}{remains}")))
    return [change for _, change in sorted(found, key=lambda one: one[0])]


def _effect(facts: dict[str, Any], recipe: Recipe) -> str:
    parts = []
    if "phase" in facts and (
        ENDLESS < facts["depth"] < np.inf or (facts["phase"] == "critical" and facts["depth"] > ENDLESS)
    ):
        parts.append("the edge of chaos")
    elif np.isfinite(facts.get("depth", np.nan)):
        parts.append(f"trainable to {facts['depth']:.3g} layers")
    if "log_chi" in facts:
        parts.append(f"log χ({recipe.network.depth}) = {facts['log_chi']:.3g}")
    if "var_nu2" in facts:
        parts.append(f"Var log-moments {max(facts['var_nu2'], facts['var_mu2']):.3g}")
    return ", ".join(parts)


Candidates = Callable[[Recipe, set[str]], Iterator[dict[str, Any]]]


def _weight_variance(recipe: Recipe, problems: set[str]) -> Iterator[dict[str, Any]]:
    """To the edge of chaos at these biases."""
    n = recipe.network
    edge = (
        float(critical_line(n.activation, n.bias_variance).weight_variance) if n.architecture == "vanilla" else np.nan
    )
    if np.isfinite(edge):
        yield {"network.weights.variance": _rounded(edge)}


def _residual_variance(recipe: Recipe, problems: set[str]) -> Iterator[dict[str, Any]]:
    """The largest variance with which a residual net's signal and gradients stay well within their range."""
    network = recipe.network
    if "sum" not in ARCHITECTURES[network.architecture].sites:
        return

    def excess(log_variance: float) -> float:
        variance = float(np.exp(log_variance))
        if network.architecture == "bn_res":
            return _residual_log_chi(recipe, variance) - 0.9 * EXPLODING
        return max(_growth(recipe.replace({"network.weights.variance": variance}))) - 0.5 * RANGE

    most = float(np.log(network.weights.variance))
    if excess(-20) < 0 < excess(most):
        yield {"network.weights.variance": _rounded(float(np.exp(optimize.brentq(excess, -20, most, xtol=1e-4))))}


def _bias_variance(recipe: Recipe, problems: set[str]) -> Iterator[dict[str, Any]]:
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


def _depth(recipe: Recipe, problems: set[str]) -> Iterator[dict[str, Any]]:
    """As deep as the problem allows."""
    n = recipe.network
    depths = []
    if "depth" in problems:
        depths.append(float(trainable_depth(_point(recipe).xi_c)))
    if "sensitivity" in problems and n.architecture == "bn_ff":
        depths.append(EXPLODING / (0.5 * np.log(_rate(recipe))))
    if "width" in problems:
        walk = _walk(recipe)
        depths.append(float(np.argmax(np.maximum(*walk) > SCATTER)))
    whole = int(min(depths, default=0))
    if 0 < whole < n.depth:
        yield {"network.depth": whole} | ({"measure.every": 1} if recipe.measure.every > whole else {})


def _width(recipe: Recipe, problems: set[str]) -> Iterator[dict[str, Any]]:
    """Wide enough that nets are alike: variances are of order 1/N."""
    n = recipe.network
    if "width" in problems:
        walk = _walk(recipe)
        largest = float(max(walk.nu2_signal[-1], walk.mu2_noise[-1]))
        yield {"network.width": int(np.ceil(n.width * largest / SCATTER / 2) * 2)}


def _skip(recipe: Recipe, problems: set[str]) -> Iterator[dict[str, Any]]:
    """A residual net of as many units, with the same variance or with one that suits the depth."""
    if recipe.network.architecture == "bn_ff":
        yield {"network.architecture": "bn_res"}
    if recipe.network.architecture == "vanilla":
        skip = {"network.architecture": "res"}
        yield skip
        for keys in _residual_variance(recipe.replace(skip), problems):
            yield skip | keys


def _norm(recipe: Recipe, problems: set[str]) -> Iterator[dict[str, Any]]:
    """Batch norm, which holds the variance; alone it explodes, so with skips too."""
    for architecture in ("bn_ff", "bn_res"):
        if recipe.network.architecture in ("vanilla", "res") and not recipe.network.dropout:
            yield {"network.architecture": architecture}


def _dropout(recipe: Recipe, problems: set[str]) -> Iterator[dict[str, Any]]:
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
    _width,
    _skip,
    _norm,
)
