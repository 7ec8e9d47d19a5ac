"""What theory predicts for a recipe, layer by layer: at infinite width, from its input batches (THEORY 8)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.errors import DataError, MissingError
from moments_xr.inputs import input_batch, load_dataset
from moments_xr.quantities import ARCHITECTURES
from moments_xr.recipe import Recipe
from moments_xr.theory.batch_norm import SMALLEST_BATCH, explosion_rate
from moments_xr.theory.batch_norm_drawn import explosion_at_width, operations
from moments_xr.theory.collapse import Collapse, collapse
from moments_xr.theory.samples import Samples, each_layer, gathered, mean_log, measured

PREDICTED: dict[str, tuple[str, str, str]] = {
    "q": ("log q", "log of the mean square of the pre-activations, ν₂(y)", "conv"),
    "correlation": ("c_ab", "correlation of the pre-activations of two samples, mean over pairs", "conv"),
    "nu2_signal": ("log ν₂(x)", "log of the mean square of the signal", "output"),
    "mu2_signal": ("log μ₂(x)", "log of the variance of the signal", "output"),
    "mu2_noise": ("log μ₂(dx)", "log of the variance of the noise", "output"),
    "chi": ("log χ", "log of the normalised sensitivity", "output"),
    "increment_chi": ("log δχ", "log-increment of the sensitivity over a layer", "output"),
}
"""Quantities that theory predicts: symbol, meaning and site."""

JUDGED: dict[str, tuple[str, str, str]] = {
    "variance_share": ("log μ₂(x)/ν₂(x)", "log of the variance of the signal over its mean square", "output"),
    "rank_excess": ("log (r_eff(x) − 1)", "log of what the effective rank of the signal has beyond 1", "output"),
    "one_sidedness": (
        "log ν₁⁺ν₁⁻/μ₂",
        "log of the product of the means of positive and negative parts over the variance, of the pre-activations",
        "conv",
    ),
    "slope_spread": (
        "log E_c Var_c φ'/Var φ'",
        "log of the share of the variance of φ' that is over the data within channels",
        "conv",
    ),
    "kurtosis": ("log E_c μ₄/E_c μ₂²", "log of the kurtosis of the pre-activations", "conv"),
}
"""Statistics that verdicts are made of, which theory predicts if asked: symbol, meaning and site (`theory.collapse`)."""
MOST_OPERATIONS = 1e12
"""Beyond which nets with batch norm are not drawn to tell what their width does: a minute or so of one core."""


def predict(
    recipe: Recipe,
    realizations: Sequence[int] = range(8),
    inputs: NDArray[Any] | None = None,
    verdicts: bool = False,
) -> xr.Dataset:
    """Moments, correlations and sensitivity of infinitely wide nets, from the q- and c-maps over all pairs of the inputs.

    Parameters
    ----------
    recipe
        Of fully-connected nets. With batch norm only the increment of χ is predicted, with statistics frozen like the noise's:
        of one net of this width a realization, drawn from samples that are alike to each other (`explosion_at_width`); of infinite
        width, with a warning, where drawing would take more than `MOST_OPERATIONS`.
    realizations
        Whose input batches are propagated; nothing but these is drawn.
    inputs
        Batches (realization, sample, feature) as they enter the embedding, instead of the recipe's.
    verdicts
        The statistics that verdicts are made of too; not with batch norm.

    Returns
    -------
    Variables named in `PREDICTED` (realization, layer), logarithms but for `correlation`, which is that of `measure.pairs`
    samples, or of all. Logarithms that noise enters are averaged over it. With `verdicts` also those named in `JUDGED`:
    `variance_share` (zero-dimensional signals), `rank_excess` (one-dimensional), `one_sidedness` and `slope_spread`
    (pseudo-linearity) and `kurtosis` (fat tails), logarithms of the statistics' distance from what they cannot pass below.

    Raises
    ------
    MissingError
        Theory has no prediction for this net, or its data cannot be drawn again.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.prediction import predict
    >>> recipe = mx.recipe("quickstart", {"network.architecture": "vanilla", "network.depth": 4})
    >>> predict(recipe, range(2)).chi.sizes["layer"]
    4
    """
    why_not = why_no_prediction(recipe)
    if why_not:
        raise MissingError(f"no mean-field theory: {why_not}")
    layers, kind = np.array(recipe.layers), ARCHITECTURES[recipe.network.architecture]
    dims = ("realization", "layer")
    coords = {"realization": np.arange(len(inputs)) if inputs is not None else list(realizations), "layer": layers}
    if kind.normed:
        # Inside a unit each layer multiplies the noise so; what the skip makes of it is told by the exponent of growth.
        if kind.name != "bn_ff":
            return xr.Dataset(coords=coords)
        n, nets = recipe.network, len(coords["realization"])
        log_rates, where = _explosion(n.activation, recipe.input.batch, n.width, n.depth, nets)
        increments = np.repeat(0.5 * log_rates[:, None], len(layers), axis=1)
        return _described(xr.Dataset({"increment_chi": (dims, increments)}, coords), where)
    if inputs is None:
        alike = recipe.replace({"name": "predict", "realizations": 1, "network.width": 2})
        rows = _from_recipe(alike.to_json(), tuple(coords["realization"]), verdicts)
    else:
        rows = tuple(_one(recipe, np.asarray(batch, dtype="f8"), verdicts) for batch in inputs)
    return _described(xr.Dataset({name: (dims, np.stack([row[name] for row in rows])) for name in rows[0]}, coords))


@lru_cache(maxsize=32)
def _explosion(of: str, batch: int, width: int, depth: int, nets: int) -> tuple[NDArray[Any], str]:
    """log δχ² of each net, and of what nets it is; kept, since nets of all variances of the weights have the same."""
    drawn = max(nets, 2)
    if drawn * operations(batch, width, depth) <= MOST_OPERATIONS:
        return explosion_at_width(of, batch, width, depth, nets=drawn).log_rates[:nets], "of drawn nets of this width"
    warnings.warn(
        f"δχ of batch norm is predicted at infinite width, from which nets of width {width} differ with batches of {batch}: "
        f"{drawn} of depth {depth} are too much to draw",
        stacklevel=4,
    )
    return np.full(nets, np.log(explosion_rate(of, batch))), "at infinite width"


@lru_cache(maxsize=8)
def _from_recipe(text: str, realizations: tuple[int, ...], verdicts: bool) -> tuple[dict[str, NDArray[Any]], ...]:
    """Of each realization; kept, since nets of all widths have the same."""
    recipe = Recipe.from_json(text)
    try:
        dataset = load_dataset(recipe)
    except (DataError, ImportError) as error:
        raise MissingError(f"the inputs cannot be drawn again ({error}): give them as inputs=") from None
    return tuple(_one(recipe, input_batch(recipe, r, dataset).astype("f8"), verdicts) for r in realizations)


def _one(recipe: Recipe, batch: NDArray[Any], verdicts: bool) -> dict[str, NDArray[Any]]:
    network, wanted = recipe.network, np.array(recipe.layers)
    layers = each_layer(
        network.activation, batch, network.depth, network.weights.variance, network.bias_variance,
        1 - network.dropout, residual="sum" in ARCHITECTURES[network.architecture].sites,
    )  # fmt: skip
    collapsed, judged = collapse(network.activation), set(recipe.layers) if verdicts else set()
    moments, statistics = [], []
    for layer, states in enumerate(layers, 1):
        moments.append(measured(states, batch.shape[1]))
        if layer in judged:
            statistics.append(collapsed(states))
    found = {name: values[wanted - 1] for name, values in _moments(recipe, batch, gathered(moments)).items()}
    if statistics:
        found |= Collapse(*map(np.array, zip(*statistics, strict=True)))._asdict()
    return found


def _moments(recipe: Recipe, batch: NDArray[Any], sites: dict[str, Samples]) -> dict[str, NDArray[Any]]:
    conv, output = sites["conv"], list(sites.values())[-1]
    log_noise = output.mean_log_noise
    log_chi = 0.5 * (log_noise - output.log_mu2 + np.log(batch.var(0).mean()))
    entered = 0.5 * mean_log(np.array(2 / batch.size))  # log χ at the input of layer 1: white noise, as it was drawn
    second, among = np.triu_indices(len(batch), 1)[1], recipe.measure.pairs or len(batch)
    return {
        "q": conv.log_nu2,
        "correlation": 1 - conv.gap[:, second < among].mean(1),
        "nu2_signal": output.log_nu2,
        "mu2_signal": output.log_mu2,
        "mu2_noise": log_noise,
        "chi": log_chi,
        "increment_chi": np.diff(log_chi, prepend=entered),
    }


def first_variance(recipe: Recipe) -> float:
    """Variance q of the pre-activations of layer 1 of a net without batch norm: σ_w² scale²/ρ + σ_b²."""
    n = recipe.network
    return recipe.input.scale**2 * n.weights.variance / (1 - n.dropout) + n.bias_variance


def why_no_prediction(recipe: Recipe, convolutions: bool = False) -> str | None:
    """Why there is no mean-field theory of this net here; None if there is. Of phases there is of `convolutions` too."""
    network = recipe.network
    if network.kernel > 1 and not convolutions:
        return f"it is of fully-connected nets, and network.kernel is {network.kernel}"
    if network.weights.law == "mirrored":
        return "it is of weights that are independent of each other, and mirrored ones are not"
    if ARCHITECTURES[network.architecture].normed and network.dropout:
        return f"with batch norm it is of nets without dropout, and network.dropout is {network.dropout:g}"
    if ARCHITECTURES[network.architecture].normed and network.kernel == 1 and recipe.input.batch < SMALLEST_BATCH:
        return f"with batch norm it is of batches of at least {SMALLEST_BATCH}, and input.batch is {recipe.input.batch}"
    return None


def _described(ds: xr.Dataset, where: str = "at infinite width") -> xr.Dataset:
    for name, values in ds.data_vars.items():
        symbol, long_name, _ = (PREDICTED | JUDGED)[str(name)]
        values.attrs = {"long_name": f"{long_name}, {where}", "units": "1", "symbol": symbol}
    return ds
