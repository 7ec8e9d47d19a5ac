"""Before running: what theory predicts for a recipe's network, what is wrong with that, and which change would mend it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from moments_xr.changes import Change, changes
from moments_xr.errors import MissingError, RecipeError
from moments_xr.forecast import Fact, facts, values
from moments_xr.prediction import why_no_prediction
from moments_xr.problems import problems, remarks
from moments_xr.quantities import ARCHITECTURES, PATHOLOGIES
from moments_xr.recipe import Recipe


@dataclass(frozen=True)
class Advice:
    """What theory predicts for a recipe's network, what is wrong with that, what would mend it, and what is worth knowing."""

    name: str
    facts: tuple[Fact, ...]
    problems: tuple[str, ...]
    changes: tuple[Change, ...]
    remarks: tuple[str, ...]
    pathologies: tuple[str, ...]
    """What `classify` would find present, of what theory predicts; an explosion is of high sensitivity too."""

    def __str__(self) -> str:
        lines = [self.name, *(f"  {fact.symbol} = {said(fact.value)}  {fact.meaning}" for fact in self.facts)]
        lines += [f"wrong: {problem}" for problem in self.problems] or ["nothing wrong that theory knows of"]
        lines += [f"would mend it: {keys_said(change.keys)}: {change.effect}" for change in self.changes]
        lines += [f"remark: {remark}" for remark in self.remarks]
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
    noise with batch norm; at the last layer χ, the share of variance, the effective rank, pseudo-linearity and kurtosis from the
    q- and c-maps over the recipe's inputs (Gaussian ones of the same batch where its data are not there). What is wrong goes by
    the thresholds of `classify`, and by the trainable depth. Each change is judged by the same theory. That nets of this
    width differ from each other is a remark: such nets were found to train.

    Raises
    ------
    RecipeError
        The recipe is a sweep: theory is of one network.
    MissingError
        There is no theory of such a network.

    Examples
    --------
    >>> import moments_xr as mx
    >>> recipe = mx.recipe("quickstart", {"network.architecture": "vanilla", "network.activation": "tanh", "network.depth": 16})
    >>> advice = mx.advise(recipe.replace({"network.weights": {"law": "gaussian", "variance": 4.0}}))
    >>> advice.facts[0].value
    'chaotic'
    """
    if recipe.sweep is not None:
        raise RecipeError("sweep: advice is about one network: leave the sweep out (sweep=null), and set its keys")
    why_not = why_no_prediction(recipe, convolutions=True)
    if why_not:
        raise MissingError(f"no mean-field theory: {why_not}")
    found = tuple(facts(recipe))
    known = values(found)
    wrong = problems(known, recipe)
    mending = tuple(changes(recipe, set(wrong))) if wrong else ()
    present = wrong.keys() | ({"high_sensitivity"} if "exploding_sensitivity" in wrong else set())
    return Advice(
        name=f"{recipe.name}: {_described(recipe)}",
        facts=found,
        problems=tuple(wrong.values()),
        changes=mending,
        remarks=tuple(remarks(known, recipe)),
        pathologies=tuple(name for name in PATHOLOGIES if name in present),
    )


def _described(recipe: Recipe) -> str:
    n = recipe.network
    return (
        f"{ARCHITECTURES[n.architecture].long_name}, {n.activation}, σ_w² = {n.weights.variance:g}, "
        f"σ_b² = {n.bias_variance:g}, depth {n.depth}, width {n.width}"
    )
