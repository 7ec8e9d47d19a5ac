"""Building blocks: small numpy arrays reduced from a cube, as HoloViews elements."""

from __future__ import annotations

from dataclasses import dataclass

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute

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


def bands(quantities: dict[str, xr.DataArray]) -> dict[str, Band]:
    """Reduce (realization, layer) quantities to bands, all in one pass over the cube."""
    lazy = {}
    for name, values in quantities.items():
        values = values if "realization" in values.dims else values.expand_dims("realization")
        lazy[name] = (values.mean("realization"), percentiles(values, ONE_SIGMA))
    reduced = compute(lazy)[0]
    return {
        name: Band(
            np.atleast_1d(mean["layer"].values),
            np.atleast_1d(mean.values),
            *(np.atleast_1d(spread.sel(statistic=s).values) for s in ONE_SIGMA),
        )
        for name, (mean, spread) in reduced.items()
    }


def curve(band: Band, label: str, line: Line, backend: Backend, logy: bool = False) -> hv.Overlay:
    """The mean as a line, and the band behind it."""
    area = hv.Area((band.layer, band.low, band.high), "layer", [hv.Dimension("low"), hv.Dimension("high")])
    area = area.opts(hv.opts.Area(**line.band(backend), logy=logy, backend=backend))
    drawn = hv.Curve((band.layer, band.mean), "layer", "value", label=label)
    return area * drawn.opts(hv.opts.Curve(**line.curve(backend), logy=logy, backend=backend))


def plain(x: np.ndarray, y: np.ndarray, label: str, line: Line, backend: Backend) -> hv.Overlay:
    """A line without a band."""
    return hv.Overlay(
        [hv.Curve((x, y), "layer", "value", label=label).opts(hv.opts.Curve(**line.curve(backend), backend=backend))]
    )


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
