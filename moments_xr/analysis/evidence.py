"""The evidence for each verdict along the depth: where a statistic is beyond its threshold (THEORY 6)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.criteria import CRITERIA
from moments_xr.analysis.growth import by_depth
from moments_xr.analysis.pathology import classify
from moments_xr.analysis.realizations import curves, described, fitted, mean_interval, text
from moments_xr.analysis.sensitivity import chi
from moments_xr.analysis.sweep import along_sweep
from moments_xr.analysis.verdicts import FEWEST, Condition
from moments_xr.errors import MissingError
from moments_xr.quantities import PATHOLOGIES

Array = NDArray[Any]

STATES = ("not measured", "few", "straddling", "growing", "beyond", "safe")
UNMEASURED, FEW, STRADDLING, GROWING, BEYOND, SAFE = range(6)

SEEN = ("statistic", "statistic_low", "statistic_high", "code")
"""What `seen_from` returns."""

LONG_NAMES = {
    "statistic": "statistic along the depth",
    "statistic_low": "lower bound of the 95 % interval of the statistic",
    "statistic_high": "upper bound of the 95 % interval of the statistic",
    "threshold": "threshold of the statistic",
    "state": "on which side of the threshold the statistic is",
}


@along_sweep
def evidence(ds: xr.Dataset) -> xr.Dataset:
    """Where along the depth each pathology is: its statistic at every layer, beside the verdict of `classify` (THEORY 6).

    Statistics and thresholds are those of `classify`, at every layer as it takes them at the deepest. Of exploding
    sensitivity the statistic is the local growth rate of log χ per layer, since the measured layer nearest to half the
    depth (at the first since the image, where χ = 1). A power law's rate is positive too, so that alone it never says
    `beyond`. Sensitivity and gradients are in decades.

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep), or a selection of it.

    Returns
    -------
    Variables (pathology, layer): `statistic` (a geometric mean over realizations, of rate and decades the mean) with its 95 %
    interval `statistic_low`, `statistic_high`, NaN below 3 realizations; `state`, one of

    * `safe`, `beyond`: the interval is on that side of the threshold. Pseudo-linearity takes increments δχ below 1.05
      too, on average since half the depth: it is safe if either is, and beyond if both are. Gradients are beyond if they are
      or, without batch norm, the signal is, and safe if both are.
    * `straddling`: the interval holds the threshold.
    * `growing`: χ grows, but `classify` has not found this growth exponential; where it has, layers are `beyond` from
      `onset` on, and where it has found another growth, layers that do not grow are `safe`.
    * `few`: fewer than 8 realizations are alive down to the deepest layer; those that are not are left out everywhere.
    * `not measured`, or no realization is alive.

    (pathology): `symbol`, `threshold`, `verdict`, `onset`, `sentence` of `classify`. Without unit.

    Raises
    ------
    MissingError
        The cube has no layer.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 8, "network.depth": 40}), progress=False)
    >>> str(mx.evidence(ds).state.sel(pathology="exploding_sensitivity", layer=40).values)
    'beyond'
    """
    ds = by_depth(ds)
    ds = ds if "realization" in ds.dims else ds.expand_dims("realization")
    verdicts = classify(ds)[["verdict", "onset", "sentence", "threshold", "symbol"]]
    found = [_along_depth(ds, name, verdicts.sel(pathology=name)) for name in PATHOLOGIES]
    result = xr.concat(found, "pathology", coords="minimal", compat="override").assign_coords(
        pathology=list(PATHOLOGIES)
    )
    result["state"] = text(lambda code: STATES[int(code)], "", result["code"])
    result = result.drop_vars("code").assign(verdicts.data_vars)
    for name, long_name in LONG_NAMES.items():
        result[name].attrs = described(long_name)
    return result


def _along_depth(ds: xr.Dataset, name: str, verdict: xr.Dataset) -> xr.Dataset:
    """What is seen of one pathology at each layer."""
    if PATHOLOGIES[name].judged == "law":
        return _growth(ds, verdict)
    try:
        criterion = CRITERIA[name](ds)
    except MissingError:
        return _unmeasured(ds)
    parts = [_seen(one.rows, one.condition) for one in criterion.statistics]
    codes = [part["code"] for part in parts] + ([_unmeasured(ds)["code"]] if criterion.lacking else [])
    by_one = BEYOND if criterion.need == "any" else SAFE
    joined = xr.concat(codes, "condition")
    parts[0]["code"] = joined.min("condition").where(~(joined == by_one).any("condition"), by_one)
    return parts[0]


def _growth(ds: xr.Dataset, verdict: xr.Dataset) -> xr.Dataset:
    """The local growth rate of log χ."""
    try:
        log_chi = chi(ds, log=True, site="output")
    except MissingError:
        return _unmeasured(ds)
    layers, row = ds["layer"].values, PATHOLOGIES["exploding_sensitivity"]
    condition = Condition(row.symbol, row.threshold, above=True, origin=None)
    seen = _seen(log_chi, condition, partial(growth_rate, layers=layers))
    seen["code"] = xr.apply_ufunc(
        partial(growth_state, layers=layers), seen["code"], verdict["verdict"], verdict["onset"],
        input_core_dims=[["layer"], [], []], output_core_dims=[["layer"]], dask="parallelized", output_dtypes=["f8"],
    )  # fmt: skip
    return seen.drop_vars("pathology", errors="ignore")


def _seen(values: xr.DataArray, condition: Condition, prepare: Any = None) -> xr.Dataset:
    rows = curves(values.drop_vars("site", errors="ignore")).drop_attrs()
    core = partial(seen_from, condition=condition)
    return fitted(
        (lambda array: core(prepare(array))) if prepare else core,
        dict.fromkeys(SEEN, ""),
        rows,
        core_dims=[["realization", "layer"]],
        along="layer",
    )


def _unmeasured(ds: xr.Dataset) -> xr.Dataset:
    nothing = xr.DataArray(np.full(ds.sizes["layer"], np.nan), {"layer": ds["layer"].values}, "layer")
    return xr.Dataset({**dict.fromkeys(SEEN[:3], nothing), "code": xr.zeros_like(nothing) + UNMEASURED})


def seen_from(rows: Array, condition: Condition) -> list[Array]:
    """The statistic of rows (realization, layer), its bounds, and on which side of the threshold they are: (layer) each."""
    mean, low, high = mean_interval(rows)
    threshold = condition.on_curves()
    beyond, within = (low > threshold, high < threshold) if condition.above else (high < threshold, low > threshold)
    code = np.select([beyond, within], [BEYOND, SAFE], STRADDLING)
    count = np.isfinite(rows).sum(0)
    statistics = [condition.of_curves(value) for value in (mean, low, high)]
    return [*statistics, np.select([count == 0, count < FEWEST], [UNMEASURED, FEW], code)]


def growth_rate(log_chi: Array, layers: Array) -> Array:
    """Mean growth of log χ (realization, layer) per layer since the layer nearest to half the depth, or the image if none is."""
    half = np.abs(layers[:, None] / 2 - layers).argmin(1)
    earlier = half < np.arange(len(layers))
    return np.asarray(
        (log_chi - np.where(earlier, log_chi[:, half], 0.0)) / (layers - np.where(earlier, layers[half], 0))
    )


def growth_state(codes: Array, verdict: Array, onset: Array, layers: Array) -> Array:
    """States that agree with the verdict on the growth of χ, from those of its local rate."""
    found = np.asarray(verdict)[..., None]
    known = codes > FEW
    growing = np.where(codes == BEYOND, GROWING, codes)
    states = np.where((found == "absent") & (growing == STRADDLING), SAFE, growing)
    exponential = (found == "present") & (layers >= np.asarray(onset)[..., None])
    return np.asarray(np.where(known & exponential, BEYOND, states), dtype="f8")
