"""What a person wants first: one small table over a few depths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from moments_xr.analysis.elementwise import elementwise, positive
from moments_xr.analysis.sensitivity import alive, architecture, effective_rank, get, increments, rescaled
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError, RequestError

STATISTICS = {"median": 0.5, "p16": 0.16, "p84": 0.84}
DEPTHS = 5


@along_sweep
def summary(ds: xr.Dataset, layers: Sequence[int] | None = None) -> xr.Dataset:
    """Sensitivity, its increments, effective ranks, moments of z, dimension of the signal and survival, at a few depths.

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep).
    layers
        Depths; five from the first to the last measured, evenly in the logarithm, if not given.

    Returns
    -------
    Variables (layer, statistic), statistic being the median and the 16th and 84th percentiles over realizations, and
    `alive` (layer), the fraction of realizations whose signal is not dead. What the cube lacks is left out.

    Raises
    ------
    RequestError
        A layer was not measured.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> mx.summary(ds).chi.dims
    ('layer', 'statistic')
    """
    measured = ds["layer"].values
    chosen = _spread(measured) if layers is None else np.asarray(layers)
    unknown = set(chosen.tolist()) - set(measured.tolist())
    if unknown:
        raise RequestError(
            f"layers: {sorted(unknown)} were not measured; there are {measured.min()} to {measured.max()}"
        )
    ds = ds.sel(layer=chosen)
    kind = architecture(ds)
    _, ranked, z = kind.plotted
    quantities = {
        "chi": lambda: get(ds, "chi", site="output"),
        "increment_chi": lambda: increments(ds, "chi"),
        "reff_signal": lambda: effective_rank(ds, "signal", site=ranked),
        "reff_noise": lambda: effective_rank(ds, "noise", site=ranked),
        "mu2_over_nu2_signal": lambda: _dimension(ds),
        "log_nu2_signal": lambda: get(ds, "nu2_signal", log=True, site="output"),
        "log_mu2_noise": lambda: get(ds, "mu2_noise", log=True, site="output"),
        "mu4_signal": lambda: get(ds, "mu4_signal", site=z).assign_attrs(symbol="μ₄(z)"),
        "nu1_abs_signal": lambda: get(ds, "nu1_abs_signal", site=z).assign_attrs(symbol="ν₁(|z|)"),
    }
    table = {}
    for name, quantity in quantities.items():
        try:
            values = quantity()
        except MissingError:
            continue
        if "realization" not in values.dims:
            values = values.expand_dims("realization")
        table[name] = percentiles(values, STATISTICS)
    result = xr.Dataset(table)
    try:
        flags = alive(ds)
    except MissingError:
        return result
    fraction = flags.mean("realization") if "realization" in flags.dims else flags.astype("f8")
    fraction.attrs = {"long_name": "fraction of realizations whose signal is alive", "units": "1"}
    return result.assign(alive=fraction).drop_vars("site", errors="ignore")


def _spread(layers: np.ndarray) -> np.ndarray:
    wanted = np.geomspace(layers[0], layers[-1], min(DEPTHS, len(layers)))
    return np.unique([layers[np.abs(layers - depth).argmin()] for depth in wanted])


def _dimension(ds: xr.Dataset) -> xr.DataArray:
    ratio = elementwise(_share, *(rescaled(ds, name, "output") for name in ("mu2_signal", "nu2_signal")))
    ratio.attrs = {"long_name": "share of the signal's mean square that varies", "units": "1", "symbol": "μ₂(x)/ν₂(x)"}
    return ratio


def _share(variance: np.ndarray, square: np.ndarray) -> np.ndarray:
    return variance / positive(square)


def percentiles(values: xr.DataArray, at: Mapping[str, float]) -> xr.DataArray:
    """Quantiles over realizations, by name, leaving out NaN; lazy: the dimension `statistic` comes last."""

    def quantiles(array: np.ndarray) -> np.ndarray:
        nothing = np.isnan(array).all(-1)
        with np.errstate(invalid="ignore"):
            found = np.nanquantile(np.where(nothing[..., None], 0.0, array), list(at.values()), axis=-1)
        return np.moveaxis(np.where(nothing, np.nan, found), 0, -1)

    statistic: xr.DataArray = xr.apply_ufunc(
        quantiles,
        values.chunk({"realization": -1}) if values.chunks is not None else values,
        input_core_dims=[["realization"]],
        output_core_dims=[["statistic"]],
        dask="parallelized",
        output_dtypes=["f8"],
        dask_gufunc_kwargs={"output_sizes": {"statistic": len(at)}},
    )
    return statistic.assign_coords(statistic=list(at)).drop_vars("site", errors="ignore").assign_attrs(values.attrs)
