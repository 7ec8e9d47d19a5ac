"""Profiles: sensitivity, increments, effective ranks and moments of z with depth."""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute

from moments_xr.analysis.growth import fit_growth
from moments_xr.analysis.growth_models import between
from moments_xr.analysis.sensitivity import chi, get
from moments_xr.errors import MissingError
from moments_xr.plots import elements, panels
from moments_xr.plots.increments import increments
from moments_xr.plots.panels import RANKS, Guide, Part, at_site, left_out, one_cube, profile, ylim
from moments_xr.plots.preactivations import moments
from moments_xr.plots.theme import BLUE, GREY, PURPLE, RED, Backend, Line, chosen_backend, layout, symbol
from moments_xr.quantities import SITES

__all__ = ["effective_rank", "increments", "moments", "sensitivity"]

LAWS = {"exponential": ("gamma", RED), "power": ("tau", PURPLE)}
"""Name of each law's slope in `fit_growth`, and its colour."""

ANSWERS = {
    "exponential": "exponential growth",
    "power": "power-law growth",
    "bounded": "bounded growth",
    "undecided": "growth undecided",
}
FAINT = Line(GREY, "dotted", 0.7)

AT_SITES = {
    "input": Line(GREY, "dashed", 0.8),
    "conv": Line(BLUE),
    "norm": Line(RED, "dotted"),
    "act": Line(PURPLE),
    "sum": Line("#1a1a1a", "dashed"),
}


def sensitivity(
    ds: xr.Dataset | xr.DataTree,
    layers: tuple[int, int] | None = None,
    site: str = "output",
    logy: bool | None = None,
    backend: Backend | None = None,
) -> hv.Layout:
    """χ with depth, and both laws of growth fitted to it (THEORY 3, 5.4 and 6).

    Parameters
    ----------
    ds
        A cube.
    layers, site
        As of `moments_xr.fit_growth`; all measured layers are drawn, and fits only over the range that it judged.
    logy
        Whether χ stands on a log axis; it does if not given. Beyond 1e300 its logarithm is drawn.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of two panels: χ against l, where an exponential is straight, and (b) against log l, where a power
    of depth is. The geometric mean over realizations, whose log is what `fit_growth` fits, with a band from the 16th to
    the 84th percentile; e^(a + γ l) and l^τ, each through the middle of the curve's log over the range. The law that
    `fit_growth` names is dashed, has its slope, and tells it with the 95 % interval in the legend of the panel where it is
    straight; others, dotted, have the curve's least-squares slope. Of residual nets also the papers' prediction κ l^τ (grey).

    Raises
    ------
    MissingError
        The cube lacks the site, or what χ needs.
    RequestError
        `layers` is not a range of measured layers, or the cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 4, "network.depth": 6}), progress=False)
    >>> len(ds.moments.plot.sensitivity())
    2
    """
    ds, chosen = one_cube(ds, "sensitivity"), chosen_backend(backend)
    log_chi = chi(ds, log=True, site=site)
    bands, fit = compute(elements.lazy_bands({"chi": log_chi}), fit_growth(ds, layers, site))
    band, fit = elements.read_bands(bands)["chi"], fit.load()
    if not np.isfinite(band.mean).any():
        raise MissingError("sensitivity: χ is not defined in any realization (dead nets, or signals of a single point)")
    first, last = (int(fit[name].sel(range="all")) for name in ("first_layer", "last_layer"))
    where = f", layers {first} to {last}" if first < last else ""
    growth = str(fit.growth.item())
    notes = (between(float(fit.exponent)) if growth == "between" else ANSWERS[growth]) + where, left_out(ds, band)
    logarithmic = logy is not False
    return layout(
        [
            panels.sensitivity(
                ds, band, chosen, _laws(fit, band, (first, last), straight, chosen), logarithmic,
                logx=straight == "power", title=note, noted=True, mean="geometric mean of ",
            )
            for straight, note in zip(LAWS, notes, strict=True)
        ],
        chosen,
    )  # fmt: skip


def _laws(
    fit: xr.Dataset, band: elements.Band, judged: tuple[int, int], straight: str, backend: Backend
) -> list[Guide]:
    """Fitted laws by their logarithm, through the middle of the curve over the range; and the predicted one.

    The one that is `straight` in the panel tells its slope.
    """
    inside = (band.layer >= judged[0]) & (band.layer <= judged[1]) & np.isfinite(band.mean)
    depths = np.linspace(*judged, 201)
    guides: dict[str, Guide] = {}
    for law, (name, colour) in LAWS.items():
        of = np.log if law == "power" else np.asarray
        x, mean = of(band.layer[inside]), band.mean[inside]
        if len(x) < 2:
            continue
        number, *ends = (float(fit[f"{name}{end}"]) for end in ("", "_low", "_high"))
        named = np.isfinite(number)
        slope = number if named else np.polyfit(x, mean, 1)[0]
        label = symbol(f"{law}_law", backend)
        if named and law == straight:
            told = elements.with_interval(number, *ends)
            label = symbol(f"{law}_slope", backend) % (told.replace(" ", r"\ ") if backend == "matplotlib" else told)
        line = Line(colour, "dashed" if named else "dotted", 0.6)
        guides[law] = Guide(depths, np.mean(mean - slope * x) + slope * of(depths), label, line)
    if "kappa" in fit and float(fit["kappa"]) > 0:
        tau = float(fit["tau_predicted"])
        label = symbol("power", backend) % tau
        guides["predicted"] = Guide(depths, np.log(float(fit["kappa"])) + tau * np.log(depths), label, FAINT)
    last = guides.pop(straight, None)  # the longest label, which at the end leaves the legend fewest lines
    return [*guides.values(), *([last] if last else [])]


def effective_rank(
    ds: xr.Dataset | xr.DataTree, site: str | None = None, logy: bool | None = None, backend: Backend | None = None
) -> hv.Layout:
    """Effective ranks of signal and noise with depth (THEORY 2).

    Parameters
    ----------
    ds
        A cube.
    site
        A site's name, or `output`; that of the papers' figures if not given.
    logy
        Whether ranks stand on a log axis; they do if not given.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout: r_eff of signal and noise at the site, means over realizations with bands from the 16th to the
    84th percentile; and (b) means of the signal's at every site where it was measured, if these are several. 1, that of a
    single direction, is marked. It is biased low by the number of vectors.

    Raises
    ------
    MissingError
        The cube lacks effective ranks, or the site.
    RequestError
        The cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 4, "network.depth": 6}), progress=False)
    >>> len(ds.moments.plot.effective_rank())
    2
    """
    ds, chosen = one_cube(ds, "effective_rank"), chosen_backend(backend)
    at, name = at_site(ds, site, 1)
    wanted = {tensor: get(at, tensor) for tensor in RANKS if tensor in ds}
    if not wanted:
        raise MissingError("the cube has no effective ranks: measure them with measure.effective_rank: [signal, noise]")
    if "site" in ds.dims and "reff_signal" in ds:
        ranks = get(ds, "reff_signal")
        wanted |= {str(one): ranks.sel(site=one) for one in ds["site"].values}
    drawn = {key: band for key, band in elements.bands(wanted).items() if np.isfinite(band.mean).any()}
    pair = [Part(drawn[tensor], symbol(tensor, chosen), line) for tensor, line in RANKS.items() if tensor in drawn]
    if not pair:
        raise MissingError(f"effective_rank: none was measured at the site '{name}'")
    by_site = [Part(drawn[one].bare(), one, line) for one, line in AT_SITES.items() if one in drawn]
    pictured = {"; ".join(filter(None, [SITES[name], left_out(ds, pair[-1].band)])): pair}
    if len(by_site) > 1:
        pictured["of the signal, by site"] = by_site
    log = logy is not False
    return layout(
        [
            profile(
                ds, parts, chosen, level=1.0, ylabel="effective rank", logy=log, title=note,
                ylim=ylim(parts, log, noted=True),
            )
            for note, parts in pictured.items()
        ],
        chosen,
    )  # fmt: skip
