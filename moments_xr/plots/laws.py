"""Pictures of laws over realizations: how nearly lognormal a moment is at several depths."""

from __future__ import annotations

from dataclasses import dataclass

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute
from numpy.typing import NDArray
from scipy import special, stats

from moments_xr.analysis.lognormal import fit_lognormal
from moments_xr.analysis.realizations import INTERVAL, LEVEL
from moments_xr.analysis.sensitivity import get
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.panels import one_cube
from moments_xr.plots.theme import DEPTHS, GREY, Backend, Line, chosen_backend, depth_colours, layout, panel, symbol

Array = NDArray[np.float64]

FEW = 20
"""Realizations below which the panel says how few there are."""

QUANTILES = 500
"""Most points of one depth among the quantiles."""

REACH = 3.5
"""Standard deviations to either side over which a fitted law is drawn."""


@dataclass(frozen=True)
class Law:
    """log q over realizations at one depth, in order, and the normal law fitted to it."""

    layer: int
    values: Array
    mu: float
    sigma: float
    p_value: float


def lognormal(
    ds: xr.Dataset | xr.DataTree,
    of: str = "nu2_signal",
    site: str = "output",
    layers: list[int] | None = None,
    backend: Backend | None = None,
) -> hv.Layout:
    """How nearly lognormal a quantity q is over realizations, at up to four depths (THEORY 5.1 and 6; Labatie 2019, Fig. 2).

    Parameters
    ----------
    ds
        A cube.
    of
        A positive quantity that `moments_xr.get` knows: `nu2_signal`, `mu2_noise`, `chi`, …
    site
        Its site, or `output`.
    layers
        Up to four measured layers; evenly from a quarter of the deepest to the deepest if not given.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of two panels. (a) Histograms of log q (steps) and the normal laws that `fit_lognormal` fits to them
    (lines). (b) Order statistics of log q, standardised by the fitted μ and σ, against those of the normal law (medians);
    the line y = x; and the pointwise 95 % band of order statistics (beta law) of as many draws as the depth with the
    fewest has. The band is that of known parameters: with fitted ones order statistics scatter less, and it is
    conservative. The p-value is of `fit_lognormal`'s Anderson-Darling test, NaN (and not shown) below 8 realizations.
    Nets whose log q is not defined (dead) are left out, and counted at the deepest depth.

    Raises
    ------
    MissingError
        The cube lacks the quantity or the site, or fewer than 3 realizations of it differ at any of the depths.
    RequestError
        The quantity may be negative, the layers were not measured or are more than four, or the cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 4, "network.depth": 6}), progress=False)
    >>> len(ds.moments.plot.lognormal("mu2_noise", layers=[2, 6]))
    2
    """
    ds = one_cube(ds, "lognormal")
    laws, undefined, total = _laws(ds.sel(layer=_depths(ds["layer"].values, layers)), of, site)
    chosen = chosen_backend(backend)
    colours = depth_colours(len(laws))
    note = f"only {total} realizations" if total < FEW else ""
    note = f"{undefined} of {total} dead or undefined at the deepest" if undefined else note
    what = symbol("log_of", chosen) % symbol(f"of_{of}", chosen)
    drawn, highest = _histograms(laws, colours, chosen)
    axes = {"xlabel": what, "ylabel": "density", "ylim": (0.0, (1.2 if note else 1.05) * highest), "title": note}
    histograms = panel(drawn, chosen, **axes)
    reach = 1.08 * _furthest(laws)
    axes = {"xlabel": "normal quantile, with its 95 % band", "ylabel": f"standardised {what}", "xlim": (-reach, reach)}
    return layout([histograms, panel(_quantiles(laws, colours, chosen), chosen, **axes, title="")], chosen)


def _depths(measured: NDArray[np.int64], layers: list[int] | None) -> NDArray[np.int64]:
    if layers is None:
        wanted = measured[-1] * np.arange(1, len(DEPTHS) + 1) / len(DEPTHS)
        return np.unique([measured[np.abs(measured - depth).argmin()] for depth in wanted])
    unknown = sorted(set(layers) - set(measured.tolist()))
    if unknown or not 1 <= len(layers) <= len(DEPTHS):
        raise RequestError(
            f"layers: {unknown or layers} {'were not measured' if unknown else f'are not 1 to {len(DEPTHS)}'}; "
            f"there are {measured[0]} to {measured[-1]}"
        )
    return np.unique(layers)


def _laws(ds: xr.Dataset, of: str, site: str) -> tuple[list[Law], int, int]:
    """The law at each depth that has one, how many realizations are undefined at the deepest, and of how many."""
    values = get(ds, of, log=True, site=site)
    values = values if "realization" in values.dims else values.expand_dims("realization")
    fit = fit_lognormal(ds, of, site)[["mu", "sigma", "p_value"]]
    values, fit = compute(values.transpose("layer", "realization"), fit)
    laws = []
    for row in values:
        alive = np.sort(row.values[np.isfinite(row.values)])
        here = fit.sel(layer=row["layer"])
        if len(alive) >= INTERVAL and alive[0] < alive[-1]:
            numbers = (float(here[name]) for name in ("mu", "sigma", "p_value"))
            laws.append(Law(int(row["layer"]), alive, *numbers))
    if not laws:
        raise MissingError(
            f"lognormal: a law over realizations takes {INTERVAL} that are alive and differ; this cube has "
            f"{values.sizes['realization']}, of which {int(np.isfinite(values[0]).sum())} are alive at layer {int(values.layer[0])}"
        )
    return laws, int((~np.isfinite(values[-1])).sum()), values.sizes["realization"]


def _histograms(laws: list[Law], colours: list[str], backend: Backend) -> tuple[hv.Overlay, float]:
    """Histograms and fitted laws, and the highest density."""
    drawn = hv.Overlay([])
    samples = {symbol("depth", backend) % law.layer: law.values for law in laws}
    found = elements.densities(samples)
    for (edges, density), colour in zip(found.values(), colours, strict=True):
        steps = hv.Area((np.repeat(edges, 2)[1:-1], np.repeat(density, 2)), "log q", "density")
        drawn = drawn * steps.opts(hv.opts.Area(**Line(colour).band(backend), backend=backend))
    for label, law, colour in zip(samples, laws, colours, strict=True):
        x = law.mu + law.sigma * np.linspace(-REACH, REACH, 121)
        density = hv.Dimension(("density", f"density fitted at layer {law.layer}"))
        line = hv.Curve((x, stats.norm.pdf(x, law.mu, law.sigma)), "log q", density, label=label)
        look = Line(colour, weight=0.7).curve(backend)
        drawn = drawn * line.opts(hv.opts.Curve(**look, backend=backend))
    peaks = [stats.norm.pdf(0.0) / law.sigma for law in laws]
    return drawn, float(max(*peaks, *(density.max() for _, density in found.values())))


def _quantiles(laws: list[Law], colours: list[str], backend: Backend) -> hv.Overlay:
    fewest = min((law.values for law in laws), key=len)
    x, low, high = order_band(len(fewest), thinned(len(fewest)))
    drawn = elements.area(elements.Band(x, x, low, high), "", Line(GREY), backend)
    ends = np.array([-1.0, 1.0]) * _furthest(laws)
    drawn = drawn * elements.plain(ends, ends, "", Line(GREY, "dashed", 0.5), backend)
    for law, colour in zip(laws, colours, strict=True):
        ranks = thinned(len(law.values))
        points = ((law.values[ranks - 1] - law.mu) / law.sigma, law.values[ranks - 1])
        data = (order_band(len(law.values), ranks)[0], *points, np.full(len(ranks), law.layer))
        label = symbol("depth", backend) % law.layer + _p_value(law.p_value)
        scatter = hv.Scatter(data, "normal quantile", ["standardised", "log q", "layer"], label=label)
        look = {"s": 5} if backend == "matplotlib" else {"size": 4}
        drawn = drawn * scatter.opts(hv.opts.Scatter(**Line(colour).points(backend) | look, backend=backend))
    return drawn


def _furthest(laws: list[Law]) -> float:
    """The normal quantile of the greatest value of the largest sample."""
    most = max(len(law.values) for law in laws)
    return float(order_band(most, np.array([most]))[0][0])


def _p_value(p: float) -> str:
    """As it is written behind a label; nothing if there was no test."""
    if np.isnan(p):
        return ""
    shown = "p < .001" if p < 0.001 else "p = " + (f"{p:.2f}" if p >= 0.01 else f"{p:.3f}").replace("0.", ".", 1)
    return f", {shown}"


def thinned(count: int) -> NDArray[np.int64]:
    """Ranks, from 1, of the order statistics that are drawn: even in the normal quantile, so that all far ones stay."""
    if count <= QUANTILES:
        return np.arange(1, count + 1)
    furthest = special.ndtri(0.5 / count)
    wanted = special.ndtr(np.linspace(furthest, -furthest, QUANTILES)) * count + 0.5
    return np.unique(np.rint(wanted).astype(int))


def order_band(count: int, ranks: NDArray[np.int64], level: float = LEVEL) -> tuple[Array, Array, Array]:
    """Median and pointwise bounds of order statistics of `count` draws of the standard normal law: (rank) each."""
    shares = (0.5, 0.5 - level / 2, 0.5 + level / 2)
    median, low, high = (special.ndtri(special.betaincinv(ranks, count + 1 - ranks, share)) for share in shares)
    return median, low, high
