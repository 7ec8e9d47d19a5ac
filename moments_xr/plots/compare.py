"""Cubes beside each other: the nodes of a sweep, or several stores."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute
from numpy.typing import NDArray

from moments_xr.analysis.realizations import INTERVAL, central_moments, fitted, log_mean, reach
from moments_xr.analysis.sensitivity import architecture
from moments_xr.errors import MissingError
from moments_xr.plots import elements
from moments_xr.plots.nodes import OVERVIEW, Node, Quantity, key_label, nodes_of, numeric_key, quantity_of
from moments_xr.plots.panels import MARGIN, Part, numbers, profile, ylim
from moments_xr.plots.theme import GREY, Backend, Line, chosen_backend, layout, panel, ramp, symbol

BANDED, LABELLED, SOME = 4, 8, 5
"""Most nodes that are drawn with bands; most that are all labelled; how many are, of more."""

WIDE = 5.0
"""Ratio of the ends of swept values from which on they stand on a log axis."""


def compare(
    tree: xr.DataTree | xr.Dataset | Mapping[str, xr.Dataset],
    of: str | None = None,
    logy: bool | None = None,
    backend: Backend | None = None,
) -> hv.Layout:
    """Nodes of a sweep, or several cubes, beside each other.

    Parameters
    ----------
    tree
        The DataTree of a sweep, or cubes by name.
    of
        A quantity that `moments_xr.get` knows, or `increment_` and one that is positive. If not given: χ, δχ, r_eff(x) and
        the kurtosis of z, those that any node has.
    logy
        Whether values stand on log axes; those of all that is positive do if not given, but for increments.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout, of small multiples with a curve a node. Curves are means over realizations with depth, from light to dark in the order of the sweep; of up
    to 4 nodes with bands from the 16th to the 84th percentile. Ranks are at the site `act`, moments of order 4, absolute
    and one-sided ones those of z, all others at the output. Of one quantity alone also (b) its mean at the deepest layer that
    all nodes have, against the swept value if that is one number, with 95 % intervals over realizations (of the
    logarithm, if it is positive). Thin lines: 1, and 3, the kurtosis of a Gaussian.

    Raises
    ------
    MissingError
        No node has a finished realization, or none has the quantity.
    RequestError
        It is one cube, or there is no such quantity.

    Examples
    --------
    >>> import moments_xr as mx
    >>> changes = {"realizations": 4, "network.depth": 6, "sweep": {"network.width": [8, 16]}}
    >>> tree = mx.run(mx.recipe("quickstart", changes), progress=False)
    >>> len(tree.moments.plot.compare()), len(tree.moments.plot.compare("nu2_signal"))
    (4, 2)
    """
    chosen = chosen_backend(backend)
    nodes = nodes_of(tree, chosen)
    compared = OVERVIEW if of is None else {of: quantity_of(of, chosen)}
    wanted, errors = {}, []
    for name, quantity in compared.items():
        for k, node in enumerate(nodes):
            try:
                wanted[name, k] = quantity.values(node.ds)
            except MissingError as error:
                errors.append(error)
    if not wanted:
        raise errors[0]
    key = numeric_key(nodes)
    depths = reduce(np.intersect1d, [values["layer"].values for values in wanted.values()])
    at_depth = {}
    if key and len(depths):
        at_depth = {
            place: _mean(values.sel(layer=depths[-1]), compared[place[0]].log) for place, values in wanted.items()
        }
    logs = [place for place in wanted if compared[place[0]].log]
    bands, means = compute(elements.lazy_bands(wanted, logs), at_depth)
    drawn = {place: band for place, band in elements.read_bands(bands).items() if np.isfinite(band.mean).any()}
    by_name = {name: {k: band for (one, k), band in drawn.items() if one == name} for name in compared}
    compared = {name: quantity for name, quantity in compared.items() if by_name[name]}
    if not compared:
        raise MissingError(f"compare: {of or 'nothing that it draws'} is defined in no realization of any node")
    shown = [_overlaid(nodes, by_name[name], quantity, logy, chosen) for name, quantity in compared.items()]
    if key and means and len(compared) == 1:
        [(name, quantity)] = compared.items()
        at = {k: mean for (one, k), mean in means.items() if one == name}
        swept = np.array([nodes[k].point[key] for k in at], dtype="f8")
        colours = [ramp(len(nodes))[k] for k in at]
        axes = {"xlabel": key_label(key, chosen), "title": f"at layer {depths[-1]}"}
        shown.append(_against(swept, list(at.values()), colours, quantity, logy, chosen, **axes))
    return layout(shown, chosen)


def _overlaid(
    nodes: list[Node], bands: dict[int, elements.Band], quantity: Quantity, logy: bool | None, backend: Backend
) -> hv.Overlay:
    """A curve a node."""
    number, scale = numbers(list(bands.values())) if quantity.log else (True, np.asarray)
    log = number and (quantity.logy if logy is None else logy)
    count, colours = len(nodes), ramp(len(nodes))
    labelled = range(count) if count <= LABELLED else np.linspace(0, count - 1, SOME).round().astype(int)
    parts = []
    for k, band in bands.items():
        shown = band.map(scale) if len(bands) <= BANDED else band.map(scale).bare()
        parts.append(Part(shown, nodes[k].label if k in labelled else "", Line(colours[k]), nodes[k].name))
    notes = [f"not measured in {count - len(bands)} of {count}"] if len(bands) < count else []
    undefined = sum(band.undefined for band in bands.values())
    notes += [f"{undefined} undefined left out"] if undefined else []
    level = quantity.level if number else None
    limits = ylim(parts, log, () if level is None else (level,), noted=bool(notes))
    residual = all("sum" in architecture(nodes[k].ds).sites for k in bands)
    axes: dict[str, Any] = {
        "xlabel": symbol("unit" if residual else "layer", backend),
        "xlim": (0.0, max(float(band.layer[-1]) * (1 if len(band.layer) > 1 else 2) for band in bands.values())),
        "ylabel": quantity.ylabel if number else quantity.log10_label,
        "title": "; ".join(notes),
    }
    return profile(nodes[0].ds, parts, backend, level=level, logy=log, ylim=limits, **axes)


def _mean(values: xr.DataArray, log: bool) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Mean over realizations (of logs: the log of the mean), and how far its interval reaches below and above it."""
    moments = central_moments(xr.ufuncs.exp(values - log_mean(values)) if log else values, highest=4)
    count = moments["count"].where(moments["count"] >= INTERVAL)
    ends = fitted(reach, dict.fromkeys(("below", "above"), ""), count, moments["m2"], moments["m3"], core_dims=[[]] * 3)
    mean = log_mean(values) if log else moments["mean"].where(moments["count"] > 0)
    return mean, ends["below"], ends["above"]


def _against(
    swept: NDArray[Any],
    means: list[tuple[Any, Any, Any]],
    colours: list[str],
    quantity: Quantity,
    logy: bool | None,
    backend: Backend,
    **axes: Any,
) -> hv.Overlay:
    """The mean at one depth against the swept value, with intervals."""
    mean, below, above = np.array([[float(value) for value in row] for row in means]).T
    band = elements.Band(swept, mean, mean - below, mean + above)
    number, scale = numbers([band]) if quantity.log else (True, np.asarray)
    band = band.map(scale)
    log = number and (quantity.logy if logy is None else logy)
    order = np.argsort(swept)
    overlay = elements.plain(swept[order], band.mean[order], "", Line(GREY, "dotted", 0.6), backend)
    for k, colour in enumerate(colours):
        x, value, low, high = (values[[k]] for values in (swept, band.mean, band.low, band.high))
        overlay = overlay * elements.intervals(x, value, low, high, "", Line(colour), backend, axes["xlabel"])
    first, last = float(swept.min()), float(swept.max())
    logx = first > 0 and last / first >= WIDE
    margin = (last / first) ** MARGIN if logx else MARGIN * (last - first)
    axes |= {
        "xlim": (first / margin, last * margin) if logx else (first - margin, last + margin),
        "ylabel": quantity.ylabel if number else quantity.log10_label,
        "ylim": ylim([Part(band, "", Line(GREY))], log, (), noted=True),
    }
    if len(swept) <= LABELLED:
        axes["xticks"] = [(value, f"{value:g}") for value in swept]
    return panel(overlay, backend, **axes, logx=logx, logy=log)
