"""Theory beside experiment: a cube against what nets of infinite width would do (THEORY 8)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import optimize, stats

from moments_xr.analysis.growth import by_depth, mean_slope
from moments_xr.analysis.lognormal import fit_lognormal
from moments_xr.analysis.paired import error_of_difference
from moments_xr.analysis.realizations import LEVEL, central_moments, described, fitted
from moments_xr.analysis.sensitivity import architecture, chi, get, increments, select_site
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError, RequestError
from moments_xr.prediction import PREDICTED, first_variance, predict, why_no_prediction
from moments_xr.recipe import Recipe
from moments_xr.theory.batch_norm import explosion_rate
from moments_xr.theory.phase import fixed_point

WIDTH = "network.width"

BATCHES = 8
"""Realizations whose inputs theory propagates: their batches of many samples are nearly alike."""

PARTS = ("constant_measured", "constant_low", "constant_high", "constant_predicted")

LONG_NAMES = {
    "measured": "mean over realizations",
    "predicted": "prediction at infinite width, mean over input batches",
    "standard_error": "standard error of measured minus predicted, which share inputs",
    "difference": "measured minus predicted",
    "residual": "difference in standard errors",
    "constant_measured": "measured",
    "constant_low": "lower bound of the 95 % interval",
    "constant_high": "upper bound of the 95 % interval",
    "constant_predicted": "predicted",
    "order": "order p of the difference in 1/N, by weighted least squares over widths",
    "order_low": "lower bound of the 95 % interval of the order",
    "order_high": "upper bound of the 95 % interval of the order",
}


def compare_theory(
    ds: xr.Dataset | xr.DataTree, batches: int = BATCHES, inputs: NDArray[Any] | None = None
) -> xr.Dataset:
    """Measured against the mean-field prediction, layer by layer, in standard errors; and how it depends on width.

    Parameters
    ----------
    ds
        A cube of fully-connected nets, with its recipe (or the DataTree of a sweep).
    batches
        Of how many realizations, the first ones, theory propagates the inputs, which it draws again from the recipe. If it is of
        all, each net is compared with the prediction for its own inputs, and what inputs differ by drops out of the error.
    inputs
        Batches (realization, sample, feature) as they enter the embedding, instead of the recipe's: those of the first
        realizations, or others.

    Returns
    -------
    Variables (quantity, layer), of the logarithm of each quantity of `PREDICTED` but `correlation`:

    * `measured`, mean over realizations; `predicted`, mean over input batches; `difference`, `standard_error` of it, and
      `residual`, their ratio. The error counts that the nets of the batches have the same inputs as these, and is
      larger by Student's t over the normal quantile where few realizations or batches tell it: where theory is exact,
      residuals are nearly N(0, 1), and 95 % of them within ±1.96. It takes 3 realizations and 2 batches. Nets of finite width
      differ from theory by O(1/N): a residual that is large says that this is seen, not that theory fails.
    * scalars along `constant`: `drift` and `diffusion` of ν₂ (vanilla ReLU nets, He's weights: −5/2N and 5/N of one input),
      `gamma`, the exponential rate of χ (in the chaotic phase that of the predicted χ, fitted alike, which tends to ½ log χ₁; with
      batch norm that of nets of this width, `explosion_at_width`), `tau`, its power (residual nets with batch norm, from `explosion_rate`
      at infinite width), as `constant_measured`, `_low`, `_high` and `_predicted`. With batch norm statistics are frozen, as the noise's are.
    * of a sweep over `network.width`: `order` p of difference ∝ N^−p with `order_low`, `order_high`; NaN where fewer than two
      widths show a difference beyond twice its error.

    Raises
    ------
    MissingError
        Theory has no prediction for this net, or the cube lacks its recipe or its data.
    RequestError
        `batches` or `inputs` is not what it should be.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"network.architecture": "vanilla", "network.depth": 4}), progress=False)
    >>> compared = mx.compare_theory(ds, batches=2)
    >>> bool(abs(compared.difference.sel(quantity="chi", layer=1)) < 0.05)
    True
    """
    if not isinstance(batches, int) or batches < 1:
        raise RequestError(f"batches={batches}: needs a whole number of at least 1")
    if inputs is not None:
        inputs = np.asarray(inputs, dtype="f8")
        if inputs.ndim != 3 or not inputs.size or not np.isfinite(inputs).all():
            raise RequestError(
                f"inputs: shape {inputs.shape} needs to be (realization, sample, feature), of finite values"
            )
    result = _compared(ds, batches, inputs)
    if WIDTH in result.dims and result.sizes[WIDTH] > 1:
        whole = result.chunk({WIDTH: -1}) if result.chunks else result
        orders = fitted(
            np.vectorize(_order, signature="(n),(n),(n)->(),(),()"), dict.fromkeys(("order", "order_low", "order_high"), ""),
            whole["difference"], whole["standard_error"], result[WIDTH].astype("f8"), core_dims=[[WIDTH]] * 3,
        )  # fmt: skip
        result = result.assign(orders.data_vars)
    for name, long_name in LONG_NAMES.items():
        if name in result:
            result[name].attrs = described(long_name)
    return result


@along_sweep
def _compared(ds: xr.Dataset, batches: int, inputs: NDArray[Any] | None) -> xr.Dataset:
    recipe, ds = _recipe(ds), by_depth(ds)
    known = np.atleast_1d(ds["realization"].values) if "realization" in ds.coords else np.arange(1)
    if not known.size:
        raise MissingError("the cube has no realization")
    predicted = predict(recipe, [int(r) for r in known[:batches]], inputs).sel(layer=np.atleast_1d(ds["layer"].values))
    rows, lacking = [], []
    for name in predicted.data_vars:
        try:
            rows.append(_row(str(name), MEASURED[str(name)](ds), predicted[name]))
        except MissingError as error:
            lacking.append(str(error))
    result = xr.concat(rows, "quantity", coords="minimal", compat="override") if rows else xr.Dataset()
    result = result.merge(_constants(ds, recipe, predicted), compat="override")
    if rows:
        result = result.transpose("quantity", "layer", ...)
        for k, key in enumerate(("symbol", "meaning")):
            words = [PREDICTED[str(name)][k] for name in result["quantity"].values]
            result[key] = ("quantity", np.array(words, dtype=object), described(f"{key} of the quantity"))
    result.attrs = {"comment": f"not compared: {'; '.join(dict.fromkeys(lacking))}"} if lacking else {}
    return result


def _recipe(ds: xr.Dataset) -> Recipe:
    if "recipe" not in ds.attrs:
        raise MissingError("theory needs the network and its inputs, and the cube has no recipe")
    recipe = Recipe.from_json(ds.attrs["recipe"])
    why_not = why_no_prediction(recipe)
    if why_not:
        raise MissingError(f"no mean-field theory: {why_not}")
    return recipe


def _output(ds: xr.Dataset, name: str) -> xr.DataArray:
    return get(ds, name, log=True, site=architecture(ds).output)


def _correlation(ds: xr.Dataset) -> xr.DataArray:
    if "pair_correlation" not in ds:
        raise MissingError("the cube has no correlations of pairs: measure them with measure.pairs")
    return select_site(ds, "conv")["pair_correlation"].astype("f8").mean("pair")


MEASURED: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "q": lambda ds: get(ds, "nu2_signal", log=True, site="conv"),
    "correlation": _correlation,
    "nu2_signal": lambda ds: _output(ds, "nu2_signal"),
    "mu2_signal": lambda ds: _output(ds, "mu2_signal"),
    "mu2_noise": lambda ds: _output(ds, "mu2_noise"),
    "chi": lambda ds: chi(ds, log=True, site=architecture(ds).output),
    "increment_chi": lambda ds: increments(ds, "chi", log=True),
}


def _row(name: str, measured: xr.DataArray, predicted: xr.DataArray) -> xr.Dataset:
    """One quantity: (realization, layer), the predicted batches being those of the first realizations."""
    measured = measured.drop_vars("site", errors="ignore")
    found, theory = central_moments(measured), central_moments(predicted)
    mean = found["mean"].where(found["count"] > 0)
    difference, error = mean - theory["mean"], error_of_difference(measured, predicted)
    row = xr.Dataset(
        {
            "measured": mean,
            "predicted": theory["mean"],
            "standard_error": error,
            "difference": difference,
            "residual": difference / error,
        }
    )
    return row.assign_coords(quantity=name)


Constant = tuple[xr.DataArray | float, xr.DataArray | float, xr.DataArray | float, xr.DataArray | float]
"""Measured, the ends of its interval, and predicted."""


def _constants(ds: xr.Dataset, recipe: Recipe, predicted: xr.Dataset) -> xr.Dataset:
    """What theory says of the whole depth, of those constants that this net has."""
    found = {}
    for name, row in CONSTANTS.items():
        with suppress(MissingError):
            values = row(ds, recipe, predicted)
            if values is not None:
                found[name] = xr.Dataset(dict(zip(PARTS, values, strict=True)))
    if not found:
        return xr.Dataset()
    joined = xr.concat(found.values(), "constant", coords="minimal", compat="override")
    return joined.assign_coords(constant=list(found))


def _walk(name: str) -> Callable[[xr.Dataset, Recipe, xr.Dataset], Constant | None]:
    def row(ds: xr.Dataset, recipe: Recipe, predicted: xr.Dataset) -> Constant | None:
        if recipe.network.architecture != "vanilla":
            return None
        fit = fit_lognormal(ds)
        if fit["bounds_status"] != "ok":
            return None
        return fit[name], fit[f"{name}_low"], fit[f"{name}_high"], fit[f"{name}_one_input"]

    return row


def _gamma(ds: xr.Dataset, recipe: Recipe, predicted: xr.Dataset) -> Constant | None:
    network = recipe.network
    if network.architecture == "bn_ff":
        rate: xr.DataArray | float = float(predicted["increment_chi"].mean())
    elif network.architecture == "vanilla":
        laws = (network.weights.variance, network.bias_variance, 1 - network.dropout)
        point = fixed_point(network.activation, *laws, first_variance(recipe))
        if point.variance != "converges" or not point.c < 1:
            return None  # noise and signal have the same rate
        rate = mean_slope(xr.Dataset({"log_chi": predicted["chi"].expand_dims(site=["act"])}), "exponential")[0]
    else:
        return None
    return (*mean_slope(ds, "exponential"), rate)


def _tau(ds: xr.Dataset, recipe: Recipe, predicted: xr.Dataset) -> Constant | None:
    if recipe.network.architecture != "bn_res":
        return None
    # Of infinite width: a unit is H layers from the sum of all branches on, in which little of what width does adds up.
    rate = explosion_rate(recipe.network.activation, recipe.input.batch)
    return (*mean_slope(ds, "power"), (rate ** (recipe.network.unit_depth or 1) - 1) / 2)


CONSTANTS: dict[str, Callable[[xr.Dataset, Recipe, xr.Dataset], Constant | None]] = {
    "drift": _walk("drift"),
    "diffusion": _walk("diffusion"),
    "gamma": _gamma,
    "tau": _tau,
}
"""Constants of the whole depth: measured, its interval, and predicted; None where theory has none."""


def _order(difference: NDArray[Any], error: NDArray[Any], widths: NDArray[Any]) -> tuple[float, float, float]:
    """p of difference = a N^−p by weighted least squares, and its interval, wider where the law fits worse than errors allow."""
    usable = np.isfinite(difference) & np.isfinite(error) & (error > 0)
    seen = usable & (abs(difference) > 2 * error)
    nothing = (np.nan, np.nan, np.nan)
    if usable.sum() < 2 or seen.sum() < 2:
        return nothing
    d, e, n = difference[usable], error[usable], widths[usable]
    start = d[np.argmax(seen[usable])], n[np.argmax(seen[usable])]

    def law(n: NDArray[Any], amplitude: float, order: float) -> NDArray[Any]:
        return amplitude * (n / start[1]) ** -order

    try:
        (amplitude, order), covariance = optimize.curve_fit(law, n, d, p0=(start[0], 1.0), sigma=e, absolute_sigma=True)
    except RuntimeError:
        return nothing
    freedom = len(d) - 2
    misfit = max(1.0, float(np.square((d - law(n, amplitude, order)) / e).sum() / freedom)) if freedom else 1.0
    quantile = stats.t.ppf(0.5 + LEVEL / 2, freedom) if misfit > 1 else stats.norm.ppf(0.5 + LEVEL / 2)
    half = quantile * np.sqrt(misfit * covariance[1, 1])
    return (order, order - half, order + half) if np.isfinite(half) else nothing
