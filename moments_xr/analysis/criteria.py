"""What each verdict rests on: statistics of a cube along the depth, and the conditions on them (THEORY 6)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.activations import ACTIVATIONS
from moments_xr.analysis.elementwise import elementwise, log_positive, positive
from moments_xr.analysis.network import fact, told
from moments_xr.analysis.realizations import curves
from moments_xr.analysis.sensitivity import architecture, chi, effective_rank, get, increments, rescaled, site_name
from moments_xr.analysis.verdicts import Condition
from moments_xr.errors import MissingError
from moments_xr.quantities import LINEAR_INCREMENT, PATHOLOGIES, SLOPE_SPREAD, SMALLEST_LOG


class Statistic(NamedTuple):
    """Curves (realization, layer) whose size at the deepest layer, or limit with depth, is judged, and the condition on them."""

    rows: xr.DataArray
    condition: Condition


class Criterion(NamedTuple):
    """What a verdict on sizes and limits rests on: statistics of which all, or any, are needed, and what was not measured."""

    statistics: list[Statistic]
    need: Literal["all", "any"] = "all"
    lacking: str = ""


def _condition(name: str, symbol: str | None = None) -> Condition:
    """The condition that the registry has for a pathology."""
    row = PATHOLOGIES[name]
    return Condition(symbol or row.symbol, row.threshold, row.side == "above", row.origin, row.judged == "limit")


def _dimension(ds: xr.Dataset) -> Criterion:
    rows = _log_ratio(ds, "mu2_signal", "nu2_signal", architecture(ds).output)
    return Criterion([Statistic(rows, _condition("zero_dimensional_signal"))])


def _rank(ds: xr.Dataset) -> Criterion:
    rows = elementwise(_log_excess, effective_rank(ds, site=architecture(ds).plotted[1]))
    return Criterion([Statistic(rows, _condition("one_dimensional_signal"))])


def _sensitivity(ds: xr.Dataset) -> Criterion:
    rows = elementwise(_decades, chi(ds, log=True, site=architecture(ds).output))
    return Criterion([Statistic(rows, _condition("high_sensitivity"))])


def _gradient(name: str, ds: xr.Dataset) -> Criterion:
    """The noise's growth, which is that of squared gradients sent back; without batch norm the signal's, too."""
    noise = elementwise(_decades, get(ds, "mu2_noise", log=True, site=architecture(ds).output))
    found, lacking = [Statistic(noise, _condition(name))], ""
    if not architecture(ds).normed:
        try:
            signal = get(ds, "nu2_signal", log=True, site=architecture(ds).output)
            start = ds["input_mu2_signal"] if "input_mu2_signal" in ds else xr.DataArray(1.0)
            found.append(Statistic(elementwise(_decades_since, signal, start), _condition(name, "Δ log₁₀ ν₂(x)")))
        except MissingError as error:
            lacking = str(error)
    return Criterion(found, "any", lacking)


def _pseudo_linearity(ds: xr.Dataset) -> Criterion:
    """The nonlinearity within channels, and what it leaves of the increments of χ."""
    found, lacking = [], ""
    try:
        found.append(_nonlinearity(ds))
    except MissingError as error:
        lacking = str(error)
    increment = over_deeper_half(curves(increments(ds, "chi", log=True)))
    found.append(Statistic(increment, Condition("mean δχ since half the depth", LINEAR_INCREMENT, above=False)))
    return Criterion(found, "all", lacking)


def _nonlinearity(ds: xr.Dataset) -> Statistic:
    """How φ' varies over the data rather than between channels; one-sidedness where φ is made of two straight lines."""
    limit = Condition("E_c Var_c φ'/Var φ'", SLOPE_SPREAD, above=False)
    if "slope_spread" in ds:
        return Statistic(log_slope_spread(ds), limit)
    lines = ACTIVATIONS[str(fact(ds, "activation"))].lines
    if lines == 1:
        return Statistic(xr.full_like(increments(ds, "chi"), SMALLEST_LOG), limit)
    if lines == 2:
        return Statistic(log_one_sidedness(ds, architecture(ds).plotted[2]), _condition("pseudo_linearity"))
    return Statistic(log_slope_spread(ds), limit)


def log_one_sidedness(ds: xr.Dataset, site: str = "output") -> xr.DataArray:
    """log of ν₁⁺ν₁⁻/μ₂ at one site, which is small where each channel stays on one side of a kink at zero."""
    name = told(ds, "activation")
    if name is not None and ACTIVATIONS[str(name)].lines != 2:
        raise MissingError(f"a side of the activation, which is {name} and not two straight lines that meet at zero")
    return _log_ratio(ds, "nu1_plus_minus_signal", "mu2_signal", site_name(ds, site))


def log_slope_spread(ds: xr.Dataset) -> xr.DataArray:
    """log of the share of the variance of φ' that is over the data within channels: each has one slope where it vanishes."""
    if "slope_spread" not in ds:
        raise MissingError("the cube has no slope_spread, how the slope of its activation varies over the data")
    return elementwise(_log_cut, ds["slope_spread"])


def _kurtosis(ds: xr.Dataset) -> Criterion:
    symbol = None if architecture(ds).normed else "E_c μ₄/E_c μ₂²"
    rows = log_kurtosis(ds, architecture(ds).plotted[2])
    return Criterion([Statistic(rows, _condition("fat_tails", symbol))])


def over_deeper_half(log_increments: xr.DataArray) -> xr.DataArray:
    """Mean of log-increments over the measured layers since half the depth, at each layer: their errors are independent."""
    layers = log_increments["layer"].values
    start = np.searchsorted(layers, layers / 2, side="right").clip(max=np.arange(len(layers)))
    total = log_increments.cumsum("layer", skipna=False)
    before = (total - log_increments).isel(layer=start).assign_coords(layer=layers)
    return (total - before) / xr.DataArray(np.arange(len(layers)) - start + 1, {"layer": layers}, "layer")


def _log_excess(rank: NDArray[Any]) -> NDArray[Any]:
    return np.log(np.maximum(rank - PATHOLOGIES["one_dimensional_signal"].origin, np.exp(SMALLEST_LOG)))


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


def _log_ratio(ds: xr.Dataset, of: str, to: str, site: str) -> xr.DataArray:
    return elementwise(_cut_log_ratio, rescaled(ds, of, site), rescaled(ds, to, site))


def _cut_log_ratio(of: NDArray[Any], to: NDArray[Any]) -> NDArray[Any]:
    return _log_cut(of / positive(to))


def _log_cut(share: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.maximum(np.log(share), SMALLEST_LOG))


def _decades(log: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(log / np.log(10))


def _decades_since(log: NDArray[Any], start: NDArray[Any]) -> NDArray[Any]:
    return _decades(log - np.log(start))


CRITERIA: dict[str, Callable[[xr.Dataset], Criterion]] = {
    "zero_dimensional_signal": _dimension,
    "one_dimensional_signal": _rank,
    "high_sensitivity": _sensitivity,
    "vanishing_gradient": partial(_gradient, "vanishing_gradient"),
    "exploding_gradient": partial(_gradient, "exploding_gradient"),
    "pseudo_linearity": _pseudo_linearity,
    "fat_tails": _kurtosis,
}
"""What the verdict on each pathology that is a size or a limit with depth rests on (THEORY 6)."""
