"""Increments with depth, by layer and by step, and the growth rate that they make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr

from moments_xr.analysis import sensitivity as quantities
from moments_xr.errors import MissingError
from moments_xr.plots import elements
from moments_xr.plots.panels import STEPS, Guide, Part, left_out, one_cube, profile, standard_error, xlim, ylim
from moments_xr.plots.theme import GREY, Backend, Line, chosen_backend, layout, symbol

WHOLE = ("unit", "sum", "layer")
"""Steps that are the increment of a whole layer, or of the part of a residual unit that the papers plot."""

RANGES = 20
"""Ranges of depth, even in its logarithm, over which growth rates are averaged."""

GUIDE = Line(GREY, "dotted", 0.7)


def increments(ds: xr.Dataset | xr.DataTree, of: str = "chi", backend: Backend | None = None) -> hv.Layout:
    """Increments of a quantity by each layer, and by each step inside it (THEORY 3 and 4).

    Parameters
    ----------
    ds
        A cube.
    of
        `chi`, or any positive quantity that `moments_xr.get` knows.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of two panels. (a) δq of the layer and of its steps: means over realizations with bands from the
    16th to the 84th percentile. (b) The growth rate log δq of whole layers (and of the first part of residual units),
    averaged over realizations and over 20 ranges of depth, with two standard errors, on log axes: level if q grows
    exponentially, ∝ 1/l (dotted) if as a power of depth. Of a quantity that decreases it is −log δq. Means of the other
    sign have no place there: they are left out and counted.

    Raises
    ------
    MissingError
        The cube lacks the quantity, or the sites that increments need.
    RequestError
        There is no such quantity, it may be negative, or the cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 4, "network.depth": 6}), progress=False)
    >>> len(ds.moments.plot.increments())
    2
    """
    ds, chosen = one_cube(ds, "increments"), chosen_backend(backend)
    logs = _log_increments(ds, of)
    rates = {step: _over_ranges(logs[step]) for step in WHOLE if step in logs}
    rates = rates or {step: _over_ranges(log) for step, log in logs.items()}
    wanted = {("value", step): xr.ufuncs.exp(log) for step, log in logs.items()}
    wanted |= {("rate", step): rate for step, rate in rates.items()}
    errors = {("rate", step): standard_error(rate) for step, rate in rates.items()}
    drawn = {name: band for name, band in elements.bands(wanted, errors=errors).items() if np.isfinite(band.mean).any()}
    values = _parts(drawn, "value", "%s", of, chosen)
    rated = _parts(drawn, "rate", symbol("log_of", chosen), of, chosen)
    if not rated:
        raise MissingError(f"increments: those of {of} are not defined in any realization, at any layer")
    ylabel = "increment of sensitivity" if of == "chi" else "increment"
    note = left_out(ds, values[-1].band)
    by_layer = profile(ds, values, chosen, level=1.0, ylabel=ylabel, title=note, ylim=ylim(values))
    return layout([by_layer, *_rates(ds, rated, xlim(values[-1].band, logx=True), chosen)], chosen)


def _parts(drawn: dict[tuple[str, str], elements.Band], kind: str, label: str, of: str, backend: Backend) -> list[Part]:
    """The steps that are defined anywhere, in the order of drawing."""
    names = {
        step: symbol(f"step_{step}", backend) % symbol(f"of_{of}", backend) for step in STEPS if (kind, step) in drawn
    }
    return [Part(drawn[kind, step], _within(label, name), STEPS[step]) for step, name in names.items()]


def _within(template: str, name: str) -> str:
    """A symbol inside another, which in mathtext stand between dollars."""
    return template % (name.strip("$") if "$" in template else name)


def _log_increments(ds: xr.Dataset, of: str) -> dict[str, xr.DataArray]:
    """By the steps that the cube has the sites of, and by the whole layer, which in residual nets is the step `sum`."""
    found: dict[str, xr.DataArray] = {}
    lacking = []
    for by in ("step", "layer"):
        try:
            values = quantities.increments(ds, of, by=by, log=True)
        except MissingError as error:
            lacking.append(error)
            continue
        found |= {str(step): values.sel(step=step) for step in values["step"].values} if by == "step" else {by: values}
    if not found:
        raise lacking[-1]
    if "sum" in found:
        found.pop("layer", None)
    return found


def _over_ranges(rate: xr.DataArray) -> xr.DataArray:
    """Mean over the layers measured in each range of depth, at its middle: (realization, layer)."""
    layers = rate["layer"].values
    edges = np.searchsorted(layers, np.geomspace(layers[0], layers[-1], RANGES + 1)[1:-1])
    groups = [group for group in np.split(np.arange(len(layers)), edges) if len(group)]
    means = [rate.isel(layer=group).mean("layer", skipna=False) for group in groups]
    middles = [float(np.exp(np.log(layers[group]).mean())) for group in groups]
    return xr.concat(means, "layer").assign_coords(layer=middles)


def _rates(ds: xr.Dataset, parts: list[Part], depths: tuple[float, float], backend: Backend) -> list[hv.Overlay]:
    """Growth rates on log axes, beside one that falls as 1/l; those of what decreases with their sign turned.

    None if they are zero everywhere.
    """
    kept = [part for part in map(_positive, parts) if len(part.band.layer)]
    if not kept:
        return []
    measured, shown = (sum(len(part.band.layer) for part in some) for some in (parts, kept))
    note = f"{measured - shown} of {measured} means left out, of the other sign" if shown < measured else ""
    means = np.log10(np.concatenate([part.band.mean for part in kept]))
    decade = 10 ** ((means.min() + means.max()) / 2 + np.array([-0.5, 0.5]))  # at least, so that slopes can be told
    limits = ylim([part._replace(band=part.band.bare()) for part in kept], True, list(decade), (), bool(note))
    whole = kept[-1].band
    deep = whole.layer >= whole.layer[-1] / 2
    constant = np.exp(np.log(whole.layer * whole.mean)[deep].mean())
    top = max(decade[1], *(float(np.nanmax([part.band.mean, part.band.high])) for part in kept))
    across = np.clip([constant / top, constant / limits[0]], *depths)  # where the guide is within the panel
    guide = Guide(across, constant / across, symbol("per_depth", backend), GUIDE)
    drawn = [part._replace(band=replace(part.band, low=part.band.low.clip(limits[0]))) for part in kept]
    axes: dict[str, Any] = {"title": note, "logx": True, "xlim": depths, "ylim": limits}
    return [profile(ds, drawn, backend, [guide], logy=True, ylabel="log of the increment", **axes)]


def _positive(part: Part) -> Part:
    """The depths at which the mean has the sign that it has mostly, without it."""
    band = part.band
    falls = bool(np.nanmedian(band.mean) < 0)
    sign = -1.0 if falls else 1.0
    at = sign * band.mean > 0
    ends = sign * band.low[at], sign * band.high[at]
    low, high = ends[::-1] if falls else ends
    minus = f"$-{part.label[1:]}" if part.label.startswith("$") else f"−{part.label}"
    turned = elements.Band(band.layer[at], sign * band.mean[at], low, high, band.undefined)
    return part._replace(band=turned, label=minus if falls else part.label)
