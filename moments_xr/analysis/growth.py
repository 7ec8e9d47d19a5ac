"""How χ grows with depth (THEORY 5.4 and 6)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.expectation import unit_bounds
from moments_xr.analysis.growth_models import (
    ANSWERS,
    JUDGED,
    RANGES,
    SAID,
    SHALLOWEST,
    halves,
    judge,
    power_law,
    predicted_exponent,
    slopes,
    status,
)
from moments_xr.analysis.network import told
from moments_xr.analysis.realizations import GROUPS, curves, described, fitted, log_mean, mean_interval, text
from moments_xr.analysis.sensitivity import architecture, chi
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError, RequestError

UNIT_SITES = ("input", "conv", "sum")

SYMBOLS = {"gamma": "γ", "tau": "τ", "exponent": "p", "delta_aic": "ΔAIC", "tau_predicted": "τ", "kappa": "κ"}


@along_sweep
def fit_growth(ds: xr.Dataset, layers: tuple[int, int] | None = None, site: str = "output") -> xr.Dataset:
    """How χ grows with depth: exponentially, as a power of depth, between these, boundedly, or undecided (THEORY 5.4 and 6).

    Curves are random walks along the depth, so everything is judged by realizations, with 95 % intervals over them. The growth
    rate of log χ is taken as ∝ l^−p, and p sought over the whole range and its halves in the logarithm of depth. A law is named
    only where it fits: nowhere in the deeper half (of a power law, in both) does the curve surely leave it by more than 1.5 %
    of its growth there, and the interval of p tells it from its neighbours:

    * `exponential`, p = 0: over the deeper half p is surely below 0.08 (and over the whole range below 0.4, from a transient);
      or over the whole range, and over the deeper half it isn't surely above 0.04.
    * `power`, p = 1: with a correction in 1/l, which the offset of log(l + c) makes, p is surely above 0.91, and without
      it below 1.09.
    * `between`: p is surely neither over the deeper half (from 0.08 to 0.8, or above 1.09) and is steady: it neither rises
      from one half to the other as under a power law with an offset or in growth that ends, nor falls as where an
      exponential emerges. For p < 1 χ grows like exp(c l^(1−p)), for p > 1 more slowly than every power: as a power of log l, or boundedly.
      This is of the layers measured: deeper ones may show a law.
    * `bounded`: over the deeper half p is surely above 1.5 and over the whole above 1.09; or growth since its beginning isn't
      seen, and is below l^0.03 at all its layers.

    All else is `undecided`, as is what has fewer than 8 realizations or layers, or none as deep as 16. What has not begun
    at the layers measured can't be told: an exponential behind an initial rise that is still larger may pass for bounded growth.

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep), or a selection of it.
    layers
        First and last measured layer of the range; from a sixteenth of the deepest (at least 2) to the deepest if not given.
    site
        Its site, or `output`.

    Returns
    -------
    Without unit:

    * `growth`, one of exponential, power, between, bounded, undecided, and `status`, what it rests on or why it is undecided.
    * along `range` (all, shallower, deeper): `first_layer`, `last_layer`, and `range_growth`, the answer of the range by
      itself; `changes_with_range`, whether ranges give different answers (an initial rise, often).
    * `exponent`: p over the deeper half; NaN where nothing grows, bounds NaN below 8 realizations and where unbounded.
    * `gamma`, `tau`: least-squares slopes of each realization's log χ on l and on log l over the deeper half, averaged. Of the
      law that `growth` names; NaN otherwise. An offset c makes slopes on log l smaller than τ, by about 2c/L of it.
    * 95 % intervals of all three, `_low` and `_high`.
    * `delta_aic` = AIC(power) − AIC(exponential) of a + γ l and a + τ log l over the whole range in the metric of a random walk,
      positive in favour of the exponential; `support`, the share of resamplings of the realizations that do so.
      They compare these two, of which neither may fit.

    Of residual nets, for Theorem 4, if the cube has the sites input, conv and sum:

    * `tau_predicted` = ½(δχ_avg^{2H} − 1) with `_low`, `_high` (t, linear in the realizations around their means), and
      `kappa`, as `predicted_power_law`; over all units measured, or those within `layers`.
    * `tau_min` = ½ρ_min and `tau_max` = ½ρ_max, if it has μ₂ at the site act: bounds of the exponent for l ≫ 1, from the
      extremes over units of means over realizations; slopes fitted at l near the embedding's offset may lie below.

    Realizations that are dead at any depth of the range are left out. Above 2000, they are averaged in groups first.

    Raises
    ------
    MissingError
        The cube lacks the site, or what χ needs, or has no layer.
    RequestError
        `layers` is not a range of measured layers.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 12, "network.depth": 20}), progress=False)
    >>> str(mx.fit_growth(ds).growth.values)
    'exponential'
    """
    ds = by_depth(ds)
    rows = growth_rows(ds, layers, site)
    depths = rows["layer"].values
    found = fitted(partial(judge, layers=depths), JUDGED, rows, core_dims=[["realization", "layer"]])
    ends = np.array([depths[within][[0, -1]] for within in halves(depths)])
    result = xr.Dataset(
        {
            "growth": text(_answer, "how χ grows with depth", found["together"]),
            "status": text(partial(status, depths), "what the answer rests on", *(found[name] for name in SAID)),
            "first_layer": ("range", ends[:, 0], described("first layer of the range")),
            "last_layer": ("range", ends[:, 1], described("last layer of the range")),
            "range_growth": _answers(found),
            "changes_with_range": _changes(found),
            **{name: found[name] for name in JUDGED if name not in (*RANGES, "together")},
        },
        {"range": list(RANGES)},
    )
    with suppress(MissingError):
        result = result.assign(_residual(ds if layers is None else ds.sel(layer=slice(*layers))).data_vars)
    for name, symbol in SYMBOLS.items():
        if name in result:
            result[name].attrs["symbol"] = symbol
    return result


def by_depth(ds: xr.Dataset) -> xr.Dataset:
    """The cube with its layers in order, from the shallowest."""
    ds = ds if "layer" in ds.dims else ds.expand_dims("layer")
    if not ds.sizes["layer"]:
        raise MissingError("the cube has no layer")
    return ds if ds["layer"].to_index().is_monotonic_increasing else ds.sortby("layer")


def judged_range(measured: NDArray[Any], layers: tuple[int, int] | None) -> tuple[int, int]:
    """First and last layer of the range that is judged, of those measured."""
    if layers is None:
        deep = measured[measured >= max(2, measured[-1] / SHALLOWEST)]
        return int(deep[0] if len(deep) else measured[-1]), int(measured[-1])
    first, last = layers
    if not {first, last} <= set(measured.tolist()) or first >= last:
        raise RequestError(
            f"layers: {layers} is not a range (first, last) of measured layers; there are {measured[0]} to {measured[-1]}"
        )
    return first, last


def growth_rows(ds: xr.Dataset, layers: tuple[int, int] | None = None, site: str = "output") -> xr.DataArray:
    """Independent curves of log χ over the range of depths that is judged: (realization, layer), as `curves` makes them."""
    first, last = judged_range(ds["layer"].values, layers)
    values = chi(ds, log=True, site=site).drop_vars("site", errors="ignore").sel(layer=slice(first, last))
    return curves(values).drop_attrs()


def mean_slope(ds: xr.Dataset, law: Literal["exponential", "power"]) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Least-squares slope of log χ on depth (or its log, of a power law) over the judged range, whether or not the law holds:
    mean over realizations, and the bounds of its interval."""
    rows = growth_rows(by_depth(ds))
    depths = rows["layer"].values.astype("f8")
    x = depths if law == "exponential" else np.log(depths)
    outputs = dict.fromkeys(("slope", "low", "high"), f"slope of log χ of {law} growth")
    found = fitted(lambda each: mean_interval(slopes(each, x)), outputs, rows, core_dims=[["realization", "layer"]])
    return found["slope"], found["low"], found["high"]


def _answer(code: float) -> str:
    return ANSWERS[int(code)]


def _answers(found: xr.Dataset) -> xr.DataArray:
    codes = xr.concat([found[name] for name in RANGES], "range")
    return text(_answer, "how χ grows over the range by itself", codes)


def _differ(*codes: NDArray[Any]) -> NDArray[Any]:
    decided = np.stack(codes)
    return np.asarray(decided.max(0) != np.where(decided > 0, decided, np.inf).min(0)) & (decided.max(0) > 0)


def _changes(found: xr.Dataset) -> xr.DataArray:
    flags: xr.DataArray = xr.apply_ufunc(
        _differ, *(found[name] for name in RANGES), dask="parallelized", output_dtypes=["bool"]
    )
    return flags.assign_attrs(described("whether ranges give different answers"))


def _residual(ds: xr.Dataset) -> xr.Dataset:
    """What Theorem 4 and the papers predict of a residual net."""
    law = predicted_power_law(ds)
    outputs = {
        "tau_predicted": "predicted exponent of the power law of χ",
        "tau_predicted_low": "lower bound of the predicted exponent",
        "tau_predicted_high": "upper bound of the predicted exponent",
    }
    rows = _level_rows(chi(ds, log=True).sel(site=list(UNIT_SITES[:2]))).drop_attrs()
    core = partial(predicted_exponent, unit_depth=_unit_depth(ds))
    result = fitted(core, outputs, rows, core_dims=[["realization", "layer", "site"]]).assign(kappa=law["kappa"])
    with suppress(MissingError):
        for name, side, rho in zip(("tau_min", "tau_max"), ("least", "greatest"), unit_bounds(ds, False), strict=True):
            result[name] = (0.5 * rho).drop_attrs().assign_attrs(described(f"{side} exponent by Theorem 4"))
    return result


def _log_means(log_values: xr.DataArray, sites: Sequence[str]) -> list[xr.DataArray]:
    """Log of the mean over realizations (layer), at each site."""
    present = {str(site) for site in np.atleast_1d(log_values["site"].values)} if "site" in log_values.coords else set()
    if not set(sites) <= present:
        raise MissingError(f"the predicted power law needs the sites {', '.join(sites)} of a residual net")
    means = [log_mean(log_values.sel(site=name, drop=True)).drop_attrs() for name in sites]
    return [mean.chunk(layer=-1) if mean.chunks is not None else mean for mean in means]


def _level_rows(log_values: xr.DataArray) -> xr.DataArray:
    """Rows as `curves` makes them, but with the log of the mean of each group, which never overflows."""
    values = log_values if "realization" in log_values.dims else log_values.expand_dims("realization")
    values = values.transpose("realization", "layer", "site")
    size = max(1, values.sizes["realization"] // GROUPS)
    if values.chunks is not None:
        values = values.chunk({"realization": max(1, round(values.chunks[0][0] / size)) * size})
    values = values.where(xr.ufuncs.isfinite(values).all(["layer", "site"])).drop_vars("realization", errors="ignore")
    members = values.coarsen(realization=size, boundary="pad").construct(realization=("realization", "member"))

    def mean(block: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(divide="ignore", invalid="ignore"):
            total = np.logaddexp.reduce(np.where(np.isnan(block), -np.inf, block), axis=-1)
            return np.asarray(total - np.log(np.isfinite(block).sum(-1)))

    rows: xr.DataArray = xr.apply_ufunc(
        mean, members, input_core_dims=[["member"]], dask="parallelized", output_dtypes=["f8"]
    )
    return rows.chunk(dict.fromkeys(rows.dims, -1)) if rows.chunks is not None else rows


def _unit_depth(ds: xr.Dataset) -> int:
    return int(told(ds, "unit_depth", 2))


@along_sweep
def predicted_power_law(ds: xr.Dataset) -> xr.Dataset:
    """The papers' prediction χ^l ≈ κ l^τ for residual nets, from the increments inside the units.

    τ = ½(δχ_avg^{2H} − 1), where δχ_avg is the mean over measured units of ⟨χ(y^{l,1})⟩/⟨χ(y^{l,0})⟩ and ⟨⟩ is the mean
    over realizations; κ = ⟨χ l^τ⟩/⟨l^{2τ}⟩ is the least-squares constant, over units (THEORY 5.4 and 6). Both are formed
    in logarithms; κ itself may be beyond the floats (inf).

    Returns
    -------
    Scalars `tau` and `kappa`, without unit.

    Raises
    ------
    MissingError
        The cube lacks a site (`input`, `conv` or `sum`), as that of a net without residual units does; or its net is
        residual without batch norm.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.analysis.growth import predicted_power_law
    >>> net = {"network.architecture": "bn_res", "realizations": 2, "network.depth": 6}
    >>> ds = mx.run(mx.recipe("quickstart", net), progress=False)
    >>> 0.3 < float(predicted_power_law(ds).tau) < 1.5
    True
    """
    if architecture(ds).name == "res":
        raise MissingError("the predicted power law is of residual nets with batch norm")
    ds = ds if "layer" in ds.dims else ds.expand_dims("layer")
    means = _log_means(chi(ds, log=True), UNIT_SITES)
    outputs = {
        "tau": "predicted exponent of the power law of χ",
        "kappa": "least-squares constant of the power law of χ",
    }
    core = partial(power_law, layers=ds["layer"].values.astype("f8"), unit_depth=_unit_depth(ds))
    law = fitted(core, outputs, *means, core_dims=[["layer"]] * 3)
    for name in outputs:
        law[name].attrs["symbol"] = SYMBOLS[name]
    return law
