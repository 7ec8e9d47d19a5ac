"""Building blocks: small numpy arrays reduced from a cube, as HoloViews elements."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute

from moments_xr.analysis.realizations import log_mean
from moments_xr.analysis.summary import percentiles
from moments_xr.plots.theme import GREY, Backend, Line

K = TypeVar("K", bound=Hashable)

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

    def bare(self) -> Band:
        """The mean alone: bands of many curves would hide each other."""
        return replace(self, low=self.mean, high=self.mean)


def bands(
    quantities: Mapping[K, xr.DataArray], logs: Collection[K] = (), errors: Mapping[K, xr.DataArray] | None = None
) -> dict[K, Band]:
    """Reduce (realization, layer) quantities to bands, all in one pass over the cube.

    Those named in `logs` are logs of a quantity, and so is their band: the mean is the log of the quantity's mean. The
    band of those that `errors` gives a standard error of the mean (layer) is two of these to either side.
    """
    return read_bands(compute(lazy_bands(quantities, logs, errors))[0])


def lazy_bands(
    quantities: Mapping[K, xr.DataArray], logs: Collection[K] = (), errors: Mapping[K, xr.DataArray] | None = None
) -> dict[K, tuple[xr.DataArray, xr.DataArray, xr.DataArray]]:
    """What `bands` reduces to, to be computed together with other results, for `read_bands`."""
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
    return lazy


def read_bands(reduced: Mapping[K, tuple[xr.DataArray, xr.DataArray, xr.DataArray]]) -> dict[K, Band]:
    """Bands of what `lazy_bands` was computed to."""
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


def curve(
    band: Band, label: str, line: Line, backend: Backend, logy: bool = False, name: str | None = None
) -> hv.Overlay:
    """The mean as a line, or a point, and the band behind it; `name` tells of a line that has no label."""
    drawn = _line(band.layer, band.mean, label, line, backend, name).opts(hv.opts.Curve(logy=logy, backend=backend))
    if len(band.layer) == 1:
        return drawn * intervals(band.layer, band.mean, band.low, band.high, "", line, backend)
    if not (band.high > band.low).any():
        return hv.Overlay([drawn])
    return area(band, "", line, backend, logy) * drawn


def plain(x: np.ndarray, y: np.ndarray, label: str, line: Line, backend: Backend) -> hv.Overlay:
    """A line without a band."""
    return hv.Overlay([_line(x, y, label, line, backend)])


def _line(x: np.ndarray, y: np.ndarray, label: str, line: Line, backend: Backend, name: str | None = None) -> hv.Curve:
    """A curve, whose values bokeh's hover shows under its name."""
    hover = {"hover_tooltips": [("layer", "@layer"), (name or label, "@value")]} if backend == "bokeh" else {}
    drawn = hv.Curve((x, y), "layer", "value", label=label)
    return drawn.opts(hv.opts.Curve(**line.curve(backend), **hover, backend=backend))


def intervals(
    x: np.ndarray,
    estimate: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    label: str,
    line: Line,
    backend: Backend,
    along: str = "layer",
) -> hv.Overlay:
    """Points with bars from `low` to `high`, where these are known; bokeh's hover calls x what it is `along`."""
    points = hv.Scatter((x, estimate, low, high), "x", ["value", "low", "high"], label=label)
    tips = [(along, "@x"), (label or "value", "@value"), ("from", "@low"), ("to", "@high")]
    hover = {"hover_tooltips": tips} if backend == "bokeh" else {}
    drawn = hv.Overlay([points.opts(hv.opts.Scatter(**line.points(backend), **hover, backend=backend))])
    if not np.isfinite(high - low).any():
        return drawn
    bars = hv.ErrorBars((x, estimate, estimate - low, high - estimate), "x", ["value", "below", "above"])
    return bars.opts(hv.opts.ErrorBars(**line.bars(backend), backend=backend)) * drawn


def with_interval(value: float, low: float, high: float) -> str:
    """A number with its interval, to the digits that this lets stand; by itself if the interval is not known."""
    if not np.isfinite(high - low):
        return f"{value:.3g}"
    digits = max(0, int(np.ceil(np.log10(2 / max(high - low, 1e-12)))))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def limits(values: np.ndarray, logy: bool = False, above: float = 0.08, least: float = 0.0) -> tuple[float, float]:
    """The range of what is finite, wider by a share of it, `above` that at the upper end; at least `least` in all."""
    known = values[np.isfinite(values) & ((values > 0) | (not logy))]
    known = np.log10(known) if logy else known
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    span = max(high - low, least) or 0.1 * abs(high) or 1.0
    low, high = low - 0.08 * span, high + above * span
    return (float(10**low), float(10**high)) if logy else (float(low), float(high))


def level(value: float, backend: Backend) -> hv.HLine:
    """A thin dashed line across the panel."""
    look = (
        {"linewidth": 0.8, "linestyle": "--"} if backend == "matplotlib" else {"line_width": 1, "line_dash": "dashed"}
    )
    return hv.HLine(value).opts(hv.opts.HLine(color=GREY, **look, backend=backend))


def densities(samples: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Edges and densities of histograms, each over bins of its own (Freedman and Diaconis' width), zero at both ends."""
    found = {}
    for label, values in samples.items():
        bins = np.clip(len(np.histogram_bin_edges(values, "fd")) - 1, 5, 120)
        step = (float(np.ptp(values)) or 1.0) / bins
        edges = values.min() + step * (
            np.arange(-1, bins + 3) - 0.5
        )  # the least and the greatest in the middle of a bin
        found[label] = (edges, np.histogram(values, edges, density=True)[0])
    return found


def histograms(samples: dict[str, np.ndarray], colours: list[str], backend: Backend) -> hv.Overlay:
    """Densities of several samples as lines."""
    lines = []
    for (label, (edges, density)), colour in zip(densities(samples).items(), colours, strict=True):
        line = hv.Curve(((edges[:-1] + edges[1:]) / 2, density), "log moment", "density", label=label)
        lines.append(line.opts(hv.opts.Curve(**Line(colour).curve(backend), backend=backend)))
    return hv.Overlay(lines)
