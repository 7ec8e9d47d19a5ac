"""Building blocks: small numpy arrays reduced from a cube, as HoloViews elements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute

from moments_xr.analysis.realizations import log_mean
from moments_xr.analysis.summary import percentiles
from moments_xr.plots.theme import GREY, Backend, Line

ONE_SIGMA = {"low": 0.16, "high": 0.84}


@dataclass(frozen=True)
class Band:
    """Mean over realizations with the percentiles of one standard deviation (16 to 84 %), by layer."""

    layer: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    undefined: int = 0
    """Realizations that the last layer leaves out."""

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Band:
        """The band of an increasing function of the quantity, the mean taken along."""
        return replace(self, mean=function(self.mean), low=function(self.low), high=function(self.high))


def bands(
    quantities: dict[str, xr.DataArray], logs: Collection[str] = (), errors: Mapping[str, xr.DataArray] | None = None
) -> dict[str, Band]:
    """Reduce (realization, layer) quantities to bands, all in one pass over the cube.

    Those named in `logs` are logs of a quantity, and so is their band: the mean is the log of the quantity's mean. The
    band of those that `errors` gives a standard error of the mean (layer) is two of these to either side.
    """
    lazy = {}
    for name, values in quantities.items():
        values = values if "realization" in values.dims else values.expand_dims("realization")
        mean = log_mean(values) if name in logs else values.mean("realization")
        if errors and name in errors:
            ends = [mean - 2 * errors[name], mean + 2 * errors[name]]
            spread = xr.concat(ends, "statistic").assign_coords(statistic=list(ONE_SIGMA))
        else:
            spread = percentiles(values, ONE_SIGMA)
        lazy[name] = (mean, spread, values.isel(layer=-1).isnull().sum())
    reduced = compute(lazy)[0]
    return {
        name: Band(
            np.atleast_1d(mean["layer"].values),
            np.atleast_1d(mean.values),
            low=np.atleast_1d(spread.sel(statistic="low").values),
            high=np.atleast_1d(spread.sel(statistic="high").values),
            undefined=int(undefined),
        )
        for name, (mean, spread, undefined) in reduced.items()
    }


def area(band: Band, label: str, line: Line, backend: Backend, logy: bool = False) -> hv.Area:
    """The band by itself."""
    drawn = hv.Area((band.layer, band.low, band.high), "layer", ["low", "high"], label=label)
    return drawn.opts(hv.opts.Area(**line.band(backend), show_legend=bool(label), logy=logy, backend=backend))


def curve(band: Band, label: str, line: Line, backend: Backend, logy: bool = False) -> hv.Overlay:
    """The mean as a line, and the band behind it."""
    behind = area(band, "", line, backend, logy)
    drawn = hv.Curve((band.layer, band.mean), "layer", "value", label=label)
    return behind * drawn.opts(hv.opts.Curve(**line.curve(backend), logy=logy, backend=backend))


def plain(x: np.ndarray, y: np.ndarray, label: str, line: Line, backend: Backend) -> hv.Overlay:
    """A line without a band."""
    return hv.Overlay(
        [hv.Curve((x, y), "layer", "value", label=label).opts(hv.opts.Curve(**line.curve(backend), backend=backend))]
    )


def intervals(
    x: np.ndarray, estimate: np.ndarray, low: np.ndarray, high: np.ndarray, label: str, line: Line, backend: Backend
) -> hv.Overlay:
    """Points with bars from `low` to `high`, where these are known."""
    points = hv.Scatter((x, estimate), "x", "value", label=label)
    drawn = hv.Overlay([points.opts(hv.opts.Scatter(**line.points(backend), backend=backend))])
    if not np.isfinite(high - low).any():
        return drawn
    bars = hv.ErrorBars((x, estimate, estimate - low, high - estimate), "x", ["value", "below", "above"])
    return bars.opts(hv.opts.ErrorBars(**line.bars(backend), backend=backend)) * drawn


def level(value: float, backend: Backend) -> hv.HLine:
    """A thin dashed line across the panel."""
    look = (
        {"linewidth": 0.8, "linestyle": "--"} if backend == "matplotlib" else {"line_width": 1, "line_dash": "dashed"}
    )
    return hv.HLine(value).opts(hv.opts.HLine(color=GREY, **look, backend=backend))


def histograms(samples: dict[str, np.ndarray], colours: list[str], backend: Backend) -> hv.Overlay:
    """Densities of several samples as lines, over the same bins (Freedman and Diaconis' width for the narrowest)."""
    together = np.concatenate(list(samples.values()))
    widths = [np.diff(np.histogram_bin_edges(values, "fd")).mean() for values in samples.values() if np.ptp(values) > 0]
    span = float(np.ptp(together)) or 1.0
    step = span / np.clip(span / min(widths, default=span / 10), 10, 120)
    low, high = (
        together.min() - 1.5 * step,
        together.max() + 2.5 * step,
    )  # an empty bin at each end: lines start at zero
    edges = np.arange(low, high, step)
    centres = (edges[:-1] + edges[1:]) / 2
    lines = []
    for (label, values), colour in zip(samples.items(), colours, strict=True):
        density, _ = np.histogram(values, edges, density=True)
        line = hv.Curve((centres, density), "log moment", "density", label=label)
        lines.append(line.opts(hv.opts.Curve(**Line(colour).curve(backend), backend=backend)))
    return hv.Overlay(lines)
