"""A picture of one net's channels: how unlike they are, and how that changes with depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.sensitivity import architecture, get
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.panels import one_cube, xlabel
from moments_xr.plots.theme import PURPLE, Backend, Line, chosen_backend, layout, panel, symbol
from moments_xr.quantities import MOMENTS

Array = NDArray[np.float64]

CELLS = 512
"""Most cells of the image along either side."""

LEAST_REACH, GREATEST_REACH = 0.1, 2.0
"""Decades to either side of 1 that colours span, at least and at most; in between, 98 % of the ratios."""

PERCENTILES = (5.0, 16.0, 50.0, 84.0, 95.0)
LOG_RATIO = "log₁₀ of the ratio"
COLOURS = "RdBu_r"
DEAD = "#bdbdbd"


@dataclass(frozen=True)
class Channels:
    """Moments of a net's channels over their mean: (layer, channel), NaN where the net is dead."""

    layers: NDArray[np.int64]
    ratio: Array
    persist: bool
    """Whether a channel goes on from one layer to the next, through a skip connection."""

    @property
    def reach(self) -> float:
        """Decades to either side of 1 that the picture spans."""
        positive = self.ratio[self.ratio > 0]
        return float(np.clip(np.quantile(np.abs(np.log10(positive)), 0.98), LEAST_REACH, GREATEST_REACH))


def channels(
    ds: xr.Dataset | xr.DataTree,
    of: str = "nu2_signal",
    realization: int | None = None,
    site: str = "output",
    backend: Backend | None = None,
) -> hv.Layout:
    """How unlike the channels of one net are, with depth: each channel's moment over the mean of all channels (THEORY 2, 4).

    Parameters
    ----------
    ds
        A cube with moments of single channels (`measure.channels: all`).
    of
        A moment that is not negative: `nu2_signal`, `mu2_noise`, …
    realization
        Its label; the first if not given.
    site
        A site, or `output`.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of two panels. (a) The median of the ratio over channels, and the bands from the 16th to the 84th and
    from the 5th to the 95th percentile. (b) An image of log₁₀ of the ratio; what is beyond the colours has those of their
    ends, and layers where the net is dead are grey. Channels of a residual net's output go on from unit to unit, and are in
    the order of their ratio at the deepest; other channels have nothing to do with those of the next layer, and each layer
    has them in its own order. At most 512 layers and 512 channels are drawn, evenly taken.

    Raises
    ------
    MissingError
        The cube has no moments of single channels, not this one, or the net is dead at all layers.
    RequestError
        There is no such realization or moment, or the cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> changes = {"realizations": 2, "network.depth": 6, "measure.channels": "all"}
    >>> ds = mx.run(mx.recipe("quickstart", changes), progress=False)
    >>> len(ds.moments.plot.channels(realization=1))
    2
    """
    ds = one_cube(ds, "channels")
    if of not in MOMENTS or MOMENTS[of].signed:
        allowed = ", ".join(name for name, row in MOMENTS.items() if not row.signed)
        raise RequestError(f"of='{of}' is not a moment of single channels that is never negative; there are {allowed}")
    ds, label = _one_net(ds, realization)
    found = _ratios(ds, of, site)
    chosen = chosen_backend(backend)
    what = symbol(f"of_{of}", chosen)
    what = f"${what}$" if chosen == "matplotlib" else what
    depths = {"xlabel": xlabel(ds, chosen)}
    image, note = _image(found, label, chosen, depths)
    return layout([_bands(found, what, note, chosen, depths), image], chosen)


def _one_net(ds: xr.Dataset, realization: int | None) -> tuple[xr.Dataset, int]:
    labels = np.atleast_1d(ds["realization"].values) if "realization" in ds.coords else np.array([0])
    label = int(labels[0]) if realization is None else realization
    if label not in labels:
        raise RequestError(f"realization={label} is not in the cube; there are {labels[0]} to {labels[-1]}")
    return (ds.isel(realization=int(np.flatnonzero(labels == label)[0])) if "realization" in ds.dims else ds), label


def _ratios(ds: xr.Dataset, of: str, site: str) -> Channels:
    logs = get(ds, of, log=True, channels=True, site=site).transpose("layer", "channel").compute().values
    with np.errstate(invalid="ignore"):
        ratio = np.exp(logs - logs.max(1, keepdims=True))
        ratio = ratio / ratio.mean(1, keepdims=True)
    if not (ratio > 0).any():
        raise MissingError("channels: the net is dead at all layers, so there is nothing to compare")
    kind = architecture(ds)
    return Channels(ds["layer"].values, ratio, kind.name == "bn_res" and site in ("output", kind.output, "input"))


def ordered(ratio: Array, persist: bool) -> Array:
    """Ratios (layer, channel) with channels from least to greatest: at the deepest layer alive, or at each."""
    if not persist:
        return np.sort(ratio, axis=1)
    alive = np.flatnonzero(np.isfinite(ratio[:, 0]))
    return ratio[:, np.argsort(ratio[alive[-1]], kind="stable")]


def even_grid(layers: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Evenly spaced depths, at most `CELLS`, and the position of the measured layer nearest to each."""
    step = np.diff(layers).min(initial=layers[-1] - layers[0] or 1)
    count = min(CELLS, round((layers[-1] - layers[0]) / step) + 1)
    grid = np.linspace(layers[0], layers[-1], count)
    return grid, np.abs(grid[:, None] - layers).argmin(1)


def _image(found: Channels, label: int, backend: Backend, depths: dict[str, Any]) -> tuple[hv.Overlay, str]:
    """The image, and a note on what it leaves out."""
    grid, nearest = even_grid(found.layers)
    cells, count = ordered(found.ratio, found.persist), found.ratio.shape[1]
    kept = np.unique(np.linspace(0, count - 1, min(CELLS, count)).round().astype(int))
    logs = _log10(cells[nearest][:, kept], lowest=float(np.finfo("f4").min)).T
    half = (grid[1] - grid[0]) / 2 if len(grid) > 1 else 0.5
    bounds = (grid[0] - half, 0.5, grid[-1] + half, count + 0.5)
    image = hv.Image(logs[::-1], ["layer", "channel"], hv.Dimension(("log", LOG_RATIO)), bounds=bounds)
    look = {"cmap": COLOURS, "clim": (-found.reach, found.reach), "colorbar": True, "clipping_colors": {"NaN": DEAD}}
    look |= {"tools": ["hover"], "clabel": ""} if backend == "bokeh" else {}  # bokeh writes it over the bar
    drawn = hv.Overlay([image.opts(hv.opts.Image(**look, backend=backend))])
    order = f"channel, ordered at {'the deepest' if found.persist else 'each layer'}"
    title = f"colours: {LOG_RATIO}" if backend == "bokeh" else ""
    axes = {"ylabel": order, "xlim": bounds[::2], "ylim": bounds[1::2], "title": title}
    axes["xlabel"] = f"{depths['xlabel']}, realization {label}"
    left_out = [f"{len(kept)} of {count} channels"] if len(kept) < count else []
    left_out += [f"{len(grid)} of {len(found.layers)} layers"] if len(grid) < len(found.layers) else []
    return panel(drawn, backend, **axes), f"image: {', '.join(left_out)}" if left_out else ""


def _bands(found: Channels, what: str, note: str, backend: Backend, depths: dict[str, Any]) -> hv.Overlay:
    """Percentiles over channels."""
    alive = np.isfinite(found.ratio[:, 0])
    spread = np.full((len(PERCENTILES), len(alive)), np.nan)
    spread[:, alive] = _log10(np.percentile(found.ratio[alive], PERCENTILES, axis=1), lowest=-2 * GREATEST_REACH)
    p5, p16, p50, p84, p95 = spread
    deepest = int(np.flatnonzero(alive)[-1])
    zero = float((found.ratio[deepest] == 0).mean())
    notes = [note] if note else []
    notes += [f"zero in {100 * zero:.0f} % at layer {found.layers[deepest]}"] if zero else []
    notes += [] if alive.all() else [f"dead from layer {found.layers[np.argmin(alive)]} on"]
    drawn = hv.Overlay([elements.level(0.0, backend)])
    for low, high, name, alpha in ((p5, p95, "5 to 95 %", 0.2), (p16, p84, "16 to 84 %", 0.4)):
        area = elements.area(elements.Band(found.layers, p50, low, high), name, Line(PURPLE), backend)
        drawn = drawn * area.opts(hv.opts.Area(alpha=alpha, backend=backend))
    drawn = drawn * elements.plain(found.layers, p50, "median", Line(PURPLE), backend)
    ends = (-1.05 * found.reach, 1.3 * found.reach)  # with room for the note
    xlim = (found.layers[0] - 0.5, found.layers[-1] + 0.5)
    axes = {"ylabel": f"log₁₀ of {what} / mean", "xlim": xlim, "ylim": ends, "title": "; ".join(notes)}
    return panel(drawn, backend, **depths, **axes)


def _log10(ratio: Array, lowest: float) -> Array:
    """log₁₀, and `lowest` of zero."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log10(ratio), lowest)
