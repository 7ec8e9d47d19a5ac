"""Verdicts: which pathologies a net has, with the evidence (THEORY 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.activations import ACTIVATIONS
from moments_xr.analysis.elementwise import elementwise, log_positive, positive
from moments_xr.analysis.growth import by_depth, growth_rows
from moments_xr.analysis.network import told
from moments_xr.analysis.realizations import curves, described, living
from moments_xr.analysis.sensitivity import (
    architecture,
    effective_rank,
    get,
    increments,
    rescaled,
    site_name,
    stored_moment,
)
from moments_xr.analysis.sweep import along_sweep
from moments_xr.analysis.verdicts import Condition, Verdict, not_measured, on_growth, on_limit, overall
from moments_xr.errors import MissingError
from moments_xr.quantities import LINEAR_INCREMENT, PATHOLOGIES

SMALLEST_LOG = -30.0
"""Logarithms of ratios that vanish are cut here, so that an exact zero counts as very small."""

NUMBERS = Verdict._fields[2:]
"""What a verdict has in numbers."""


class Judged(NamedTuple):
    """What gives a verdict, from curves (realization, layer), and the threshold of its statistic."""

    verdict: Callable[..., Verdict]
    rows: list[xr.DataArray]
    threshold: float


@along_sweep
def classify(ds: xr.Dataset) -> xr.Dataset:
    """Which of three pathologies and two symptoms a net has: present, absent or undecided, with the evidence (THEORY 6).

    Zero- and one-dimensional signals, pseudo-linearity and fat tails are limits with depth: a statistic (a geometric mean
    over realizations) is `present` if its interval at the deepest layer is beyond the threshold, and `absent` if it is on
    the safe side and would stay there: going on as it did since half the depth, at twice the depth (within its interval) and
    at eight times (on average); or since it moved less than half as far in the last doubling of depth as in the one before,
    and as far again would not do. Pseudo-linearity takes increments δχ below 1.05 too, on average
    over the deeper half of layers. Exploding sensitivity is exponential growth by
    `fit_growth`. Dead nets are left out of the statistics, and counted by `alive`.

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep).

    Returns
    -------
    Variables (pathology): `verdict`, one of present, absent, undecided; `statistic` with its 95 % interval
    `statistic_low`, `statistic_high` over realizations; `threshold`; `onset`, the depth from which on the mean is beyond
    it (of exploding sensitivity, the first layer judged); `sentence`, all that in words. Scalars `overall`
    (`well-behaved`, the list of what is present, or `undecided`) and `alive`, the fraction of realizations alive at the
    deepest layer, of those whose ν₂ was measured there. What the cube lacks makes a verdict `undecided (not measured)` in
    words.

    Raises
    ------
    MissingError
        The cube has no layer.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 8, "network.depth": 20}), progress=False)
    >>> str(mx.classify(ds).verdict.sel(pathology="one_dimensional_signal").values)
    'absent'
    """
    ds = by_depth(ds)
    ds = ds if "realization" in ds.dims else ds.expand_dims("realization")
    judged: dict[str, Judged] = {}
    for name in PATHOLOGIES:
        try:
            judged[name] = _growth(ds) if name == "exploding_sensitivity" else _limit(ds, name)
        except MissingError as error:
            judged[name] = Judged(partial(not_measured, str(error)), [], PATHOLOGIES[name].threshold)
    rows = [values for each in judged.values() for values in each.rows] or [xr.DataArray(np.nan)]
    functions = {name: (each.verdict, len(each.rows)) for name, each in judged.items()}
    verdict, sentence, numbers, all_together = xr.apply_ufunc(
        partial(_verdicts, functions), *rows,
        input_core_dims=[values.dims for values in rows],
        output_core_dims=[["pathology"], ["pathology"], ["pathology", "number"], []],
        dask="parallelized", output_dtypes=[object, object, "f8", object],
        dask_gufunc_kwargs={"output_sizes": {"pathology": len(PATHOLOGIES), "number": len(NUMBERS)}},
    )  # fmt: skip
    result = xr.Dataset(
        {
            "verdict": verdict,
            **{name: numbers.isel(number=k) for k, name in enumerate(NUMBERS)},
            "threshold": ("pathology", [each.threshold for each in judged.values()]),
            "sentence": sentence,
            "overall": all_together,
        },
        {"pathology": list(PATHOLOGIES)},
    )
    with suppress(MissingError):
        nu2 = stored_moment(ds, "nu2_signal", site=architecture(ds).output).isel(layer=-1, drop=True)
        alive, measured = living(nu2)
        result["alive"] = alive / measured.where(measured > 0)
    for name, long_name in LONG_NAMES.items():
        if name in result:
            result[name].attrs = described(long_name)
    return result.drop_vars("site", errors="ignore")


LONG_NAMES = {
    "verdict": "verdict",
    "statistic": "statistic at the deepest layer",
    "statistic_low": "lower bound of the 95 % interval of the statistic",
    "statistic_high": "upper bound of the 95 % interval of the statistic",
    "threshold": "threshold of the statistic",
    "onset": "depth from which on the statistic is beyond its threshold",
    "sentence": "the verdict and its evidence in words",
    "overall": "what is wrong, or well-behaved",
    "alive": "fraction of realizations alive at the deepest layer",
}


def _limit(ds: xr.Dataset, name: str) -> Judged:
    row = PATHOLOGIES[name]
    above = row.side == "above"
    conditions, rows, lacking = [], [], ""
    unscaled = name == "fat_tails" and not architecture(ds).normed
    try:
        rows.append(STATISTICS[name](ds))
        conditions.append(Condition("E_c μ₄/E_c μ₂²" if unscaled else row.symbol, row.threshold, above, row.origin))
    except MissingError as error:
        if name != "pseudo_linearity":
            raise
        lacking = str(error)
    if name == "pseudo_linearity":
        rows.append(over_deeper_half(curves(increments(ds, "chi", log=True))))
        conditions.append(Condition("mean δχ since half the depth", LINEAR_INCREMENT, above))
    verdict = partial(on_limit, name=name, conditions=tuple(conditions), layers=ds["layer"].values, lacking=lacking)
    rows = [curves(values.drop_vars("site", errors="ignore")) for values in rows]
    return Judged(verdict, rows, conditions[0].threshold)


def _growth(ds: xr.Dataset) -> Judged:
    rows = growth_rows(ds)
    verdict = partial(on_growth, layers=rows["layer"].values)
    return Judged(verdict, [rows.rename(layer="judged_layer")], PATHOLOGIES["exploding_sensitivity"].threshold)


def _verdicts(functions: Mapping[str, tuple[Callable[..., Verdict], int]], *rows: NDArray[Any]) -> tuple[Any, ...]:
    """Verdicts, sentences and numbers of each pathology, and all together, from functions and how many rows each takes."""
    given = iter(rows)
    found = {name: function(*islice(given, count)) for name, (function, count) in functions.items()}
    verdicts, sentences, *numbers = zip(*found.values(), strict=True)
    return (
        np.array(verdicts, dtype=object), np.array(sentences, dtype=object), np.array(numbers, dtype="f8").T,
        np.array(overall(found), dtype=object),
    )  # fmt: skip


def over_deeper_half(log_increments: xr.DataArray) -> xr.DataArray:
    """Mean of log-increments over the measured layers since half the depth, at each layer: their errors are independent."""
    layers = log_increments["layer"].values
    start = np.searchsorted(layers, layers / 2, side="right").clip(max=np.arange(len(layers)))
    total = log_increments.cumsum("layer", skipna=False)
    before = (total - log_increments).isel(layer=start).assign_coords(layer=layers)
    return (total - before) / xr.DataArray(np.arange(len(layers)) - start + 1, {"layer": layers}, "layer")


def _log_ratio(ds: xr.Dataset, of: str, to: str, site: str) -> xr.DataArray:
    return elementwise(_cut_log_ratio, rescaled(ds, of, site), rescaled(ds, to, site))


def _cut_log_ratio(of: NDArray[Any], to: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.maximum(np.log(of / positive(to)), SMALLEST_LOG))


def _log_dimension(ds: xr.Dataset) -> xr.DataArray:
    return _log_ratio(ds, "mu2_signal", "nu2_signal", architecture(ds).output)


def _log_rank(ds: xr.Dataset) -> xr.DataArray:
    return elementwise(_log_excess, effective_rank(ds, site=architecture(ds).plotted[1]))


def _log_excess(rank: NDArray[Any]) -> NDArray[Any]:
    return np.log(np.maximum(rank - PATHOLOGIES["one_dimensional_signal"].origin, np.exp(SMALLEST_LOG)))


def _log_one_sidedness(ds: xr.Dataset) -> xr.DataArray:
    activation = str(told(ds, "activation", "relu"))
    if ACTIVATIONS[activation].kinks != (0,):
        raise MissingError(f"a side of the activation, which is {activation} and has no kink at zero")
    return _log_ratio(ds, "nu1_plus_minus_signal", "mu2_signal", architecture(ds).plotted[2])


def _log_kurtosis(ds: xr.Dataset) -> xr.DataArray:
    return log_kurtosis(ds, architecture(ds).plotted[2])


def log_kurtosis(ds: xr.Dataset, site: str = "output") -> xr.DataArray:
    """log of μ₄ where batch norm gives every channel a variance of 1, elsewhere of E_c μ₄,c/E_c μ₂,c², at one site."""
    if site_name(ds, site) == "norm":
        return elementwise(log_positive, get(ds, "mu4_signal", site=site))
    moments = [rescaled(ds, name, site) for name in ("mu4_signal", "mu2_signal", "var_mu2_signal")]
    return elementwise(partial(_log_kurtosis_over_channels, told(ds, "width", np.inf)), *moments)


def _log_kurtosis_over_channels(
    channels: float, fourth: NDArray[Any], square: NDArray[Any], spread: NDArray[Any]
) -> NDArray[Any]:
    known = positive(square)  # divided by twice, since its square may vanish
    biased = spread * (1 - 1 / channels) if channels > 1 else 0.0  # over N channels, from the unbiased over N − 1
    return log_positive(fourth / known / known / (1 + biased / known / known))


STATISTICS: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "zero_dimensional_signal": _log_dimension,
    "one_dimensional_signal": _log_rank,
    "pseudo_linearity": _log_one_sidedness,
    "fat_tails": _log_kurtosis,
}
