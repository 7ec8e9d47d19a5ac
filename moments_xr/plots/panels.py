"""Panels that several figures share, and what they ask of a cube."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.sensitivity import architecture, get, increments, select_site
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.theme import BLUE, PURPLE, RED, Backend, Line, panel, symbol

LARGEST_LOG = 690.0
"""Beyond this log χ does not fit a float, and its logarithm is drawn."""

STEPS = {
    "conv": Line(PURPLE),
    "bn": Line(PURPLE),
    "act": Line(RED),
    "unit": Line(BLUE),
    "sum": Line("#1a1a1a"),
    "layer": Line(BLUE),
}
"""Looks of increments by step, in the order in which they are drawn."""

RANKS = {"reff_noise": Line(PURPLE, "dotted"), "reff_signal": Line(PURPLE)}

MARGIN, NOTE_MARGIN = 0.06, 0.18
"""Shares of a panel's height left free at its ends, and above if a note stands there."""


class Part(NamedTuple):
    """A curve with its band."""

    band: elements.Band
    label: str
    line: Line
    name: str | None = None
    """What bokeh's hover shows, where it is not the label."""


class Guide(NamedTuple):
    """A line without a band."""

    x: NDArray[Any]
    y: NDArray[Any]
    label: str
    line: Line


def one_cube(ds: xr.Dataset | xr.DataTree, what: str) -> xr.Dataset:
    """The cube, with a dimension `layer`; or an error that says why there is nothing to draw.

    Raises
    ------
    MissingError
        It has no finished realization, or no layer.
    RequestError
        It is a sweep.
    """
    if isinstance(ds, xr.DataTree):
        names = ", ".join(f'tree["{name}"]' for name in ds.children)
        raise RequestError(f"{what} is of one cube, and this is a sweep: choose a node, as {names}")
    if ds.sizes.get("realization") == 0 or ds.sizes.get("layer") == 0:
        raise MissingError(f"{what}: the cube has no finished realization, or no layer")
    return ds if "layer" in ds.dims else ds.expand_dims("layer")


def at_site(ds: xr.Dataset, site: str | None, plotted: int) -> tuple[xr.Dataset, str]:
    """The cube at a site, by name or `output`, or else at that of the papers' figures; and the site's name.

    Raises
    ------
    MissingError
        The cube lacks that site.
    """
    kind = architecture(ds)
    name = kind.plotted[plotted] if site is None else kind.output if site == "output" else site
    if "site" in ds.dims or "site" not in ds.coords:
        try:
            return select_site(ds, name), name
        except MissingError as error:
            raise MissingError(f"{error}: measure it with measure.sites, or choose another site") from None
    there = str(ds["site"].item())
    if site is not None and name != there:
        raise MissingError(f"the cube lacks the site '{name}'; it has {there}")
    return ds.assign_attrs(architecture=kind.name), there


def require_defined(bands: Iterable[elements.Band]) -> None:
    """Nothing, if there is anything to draw.

    Raises
    ------
    MissingError
        All means are undefined, at all layers.
    """
    if not any(np.isfinite(band.mean).any() for band in bands):
        raise MissingError("nothing that it draws is defined in any realization, at any layer")


def steps(ds: xr.Dataset, names: Sequence[str]) -> dict[str, xr.DataArray]:
    """Increments of χ by these steps.

    Raises
    ------
    MissingError
        The architecture, or the cube, has not all of them.
    """
    found = increments(ds, by="step")
    missing = sorted(set(names) - {str(step) for step in found["step"].values})
    if missing:
        raise MissingError(
            f"needs the increments of the steps {', '.join(missing)}; this {architecture(ds).long_name} has none"
        )
    return {name: found.sel(step=name) for name in names}


def log_mean_absolute(at: xr.Dataset) -> xr.DataArray:
    """log of ν₁(|·|) where batch norm gives every channel a variance of 1, elsewhere of ν₁(|·|)/√ν₂, at one site."""
    absolute = get(at, "nu1_abs_signal", log=True)
    absolute = absolute.where(absolute > -np.inf)
    if str(at["site"].item()) == "norm":
        return absolute
    return absolute - 0.5 * get(at, "nu2_signal", log=True)


def profile(
    ds: xr.Dataset,
    parts: Sequence[Part],
    backend: Backend,
    guides: Sequence[Guide] = (),
    level: float | None = None,
    **axes: Any,
) -> hv.Overlay:
    """A panel of curves with depth, over a thin line at `level`; `axes` as `theme.panel` takes them."""
    overlay = hv.Overlay([] if level is None else [elements.level(level, backend)])
    for band, label, line, name in parts:
        overlay = overlay * elements.curve(band, label, line, backend, axes.get("logy", False), name)
    for guide in guides:
        overlay = overlay * elements.plain(*guide, backend)
    depths = {"xlabel": xlabel(ds, backend), "xlim": xlim(parts[0].band, axes.get("logx", False)), "title": ""}
    return panel(overlay, backend, **(depths | axes))


def sensitivity(
    ds: xr.Dataset,
    logs: elements.Band,
    backend: Backend,
    laws: Sequence[Guide] = (),
    logy: bool = False,
    mean: str = "",
    **axes: Any,
) -> hv.Overlay:
    """χ from the band of its log, as a number where it is one, beside laws given by their logs, where these are finite.

    `mean` says which one is drawn, if not the arithmetic.
    """
    number, scale = numbers([logs])
    name, ylabel = ("chi", f"{mean}sensitivity") if number else ("log10_chi", f"logarithm of {mean}sensitivity")
    parts = [Part(logs.map(scale), symbol(name, backend), Line(BLUE))]
    guides = [law._replace(y=scale(law.y)) for law in laws if np.isfinite(law.y).all()]
    if axes.pop("noted", False):
        axes["ylim"] = ylim(parts, logy and number, guides=guides, noted=True)
    return profile(ds, parts, backend, guides, ylabel=ylabel, logy=logy and number, **axes)


def numbers(logs: Sequence[elements.Band]) -> tuple[bool, Callable[[NDArray[Any]], NDArray[Any]]]:
    """Whether bands of logs are drawn as the numbers themselves, and the function that makes them so, or else decimal logs."""
    ends = np.concatenate([values for band in logs for values in (band.mean, band.high)])
    number = bool(np.max(ends, initial=0.0, where=np.isfinite(ends)) < LARGEST_LOG)
    return number, np.exp if number else lambda log: log / np.log(10)


def standard_error(values: xr.DataArray) -> xr.DataArray:
    """Of the mean over realizations, which it keeps no dimension of; not known of a single one."""
    values = values if "realization" in values.dims else values.expand_dims("realization")
    count = values.notnull().sum("realization")
    deviations = values - values.mean("realization")
    return xr.ufuncs.sqrt((deviations**2).sum("realization") / (count * (count - 1)).where(count > 1))


def left_out(ds: xr.Dataset, band: elements.Band) -> str:
    """A note on nets that the last layer leaves out: dead, or not measured."""
    return f"{band.undefined} undefined of {ds.sizes.get('realization', 1)} left out" if band.undefined else ""


def xlabel(ds: xr.Dataset, backend: Backend) -> str:
    """Layers, or residual units."""
    return symbol("unit" if "sum" in architecture(ds).sites else "layer", backend)


def xlim(band: elements.Band, logx: bool = False) -> tuple[float, float]:
    """From the input, or on a log axis from the first layer drawn, to the last."""
    first, last = float(band.layer[0]), float(band.layer[-1])
    if logx:
        return (first, last) if first < last else (first / 2, first * 2)
    return 0.0, last * (1 if len(band.layer) > 1 else 2)


def ylim(
    parts: Sequence[Part],
    logy: bool = False,
    levels: Sequence[float] = (1.0,),
    guides: Sequence[Guide] = (),
    noted: bool = False,
) -> tuple[float, float]:
    """The range of the bands, of guides and of levels, with room for a note above."""
    arrays = [values for part in parts for values in (part.band.mean, part.band.low, part.band.high)]
    values = np.concatenate([*arrays, *(guide.y for guide in guides), levels])
    values = values[np.isfinite(values) & (values > 0 if logy else True)]
    if not len(values):
        values = np.array([1.0])
    values = np.log10(values) if logy else values
    low, high = values.min(), values.max()
    span = max(high - low, 0.5 if logy else 0.05)
    low, high = low - MARGIN * span, high + (NOTE_MARGIN if noted else MARGIN) * span
    return (float(10**low), float(10**high)) if logy else (float(low), float(high))
