"""Correlations of pairs of inputs along the depth, and their depth scales, beside what theory predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.depth_scale import fit_depth_scale
from moments_xr.analysis.network import fact
from moments_xr.analysis.sensitivity import select_site
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.nodes import Node, nodes_of
from moments_xr.plots.panels import Guide, Part, profile
from moments_xr.plots.theme import Backend, Line, chosen_backend, layout, panel, ramp, symbol
from moments_xr.prediction import predict
from moments_xr.recipe import Recipe
from moments_xr.theory.phase import fixed_point

BATCHES = 2
"""Realizations whose inputs theory propagates: batches of random inputs are nearly alike."""

SYMBOL = {
    "network.weights.variance": "weight_variance",
    "network.bias_variance": "bias_variance",
}
"""Swept keys that have a symbol."""

PANELS, BANDED = 6, 5
"""Most panels of a layout; most curves of a panel that have bands."""

FINE = 160
"""Weight variances at which theory is drawn."""

DEEPEST = 200.0
"""Depth scale at which the axis ends at most."""

Measured = xr.Dataset | xr.DataTree | Mapping[str, xr.Dataset]


def correlation(ds: Measured, backend: Backend | None = None) -> hv.Layout:
    """Correlations c of pairs of inputs along the depth, measured and as the c-map has them.

    Parameters
    ----------
    ds
        A cube with `measure.pairs`, the DataTree of a sweep, or cubes by name.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout. Curves are means over realizations and pairs of the correlations of pre-activations, with bands from
    the 16th to the 84th percentile over realizations; dotted black lines are theory at infinite width, from the same inputs
    (none where it has no prediction). A sweep over two keys has a panel for each value of the first, up to six, and a
    curve for each of the second; other sweeps have one panel with a curve a node.

    Raises
    ------
    MissingError
        No node has a finished realization, or one has no correlations of pairs.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.plots.correlations import correlation
    >>> changes = {"realizations": 4, "network.architecture": "vanilla", "network.depth": 6, "measure.pairs": 4}
    >>> len(correlation(mx.run(mx.recipe("quickstart", changes), progress=False)))
    1
    """
    chosen = chosen_backend(backend)
    nodes = nodes_of({"": ds} if isinstance(ds, xr.Dataset) else ds, chosen)
    return layout([_profiles(group, title, chosen) for title, group in _groups(nodes, chosen)], chosen)


def _groups(nodes: list[Node], backend: Backend) -> list[tuple[str, list[Node]]]:
    """Titles of panels and their nodes."""
    keys = list(nodes[0].point)
    values = list(dict.fromkeys(node.point[keys[0]] for node in nodes)) if len(keys) == 2 else []
    if not 1 < len(values) <= PANELS:
        return [("", nodes)]
    alike = {value: [node for node in nodes if node.point[keys[0]] == value] for value in values}
    return [(_named(keys[0], value, backend), group) for value, group in alike.items()]


def _named(key: str, value: Any, backend: Backend) -> str:
    name = symbol(SYMBOL[key], backend) if key in SYMBOL else key.rpartition(".")[2]
    return f"{name} = {value:g}" if isinstance(value, (int, float)) else f"{name} = {value}"


def _profiles(nodes: list[Node], title: str, backend: Backend) -> hv.Overlay:
    """A curve a node."""
    measured = {}
    for k, node in enumerate(nodes):
        if "pair_correlation" not in node.ds:
            raise MissingError(
                f"correlation: {node.name or 'the cube'} has no correlations of pairs: measure them with measure.pairs"
            )
        cube = node.ds if "layer" in node.ds.dims else node.ds.expand_dims("layer")
        measured[k] = select_site(cube, "conv")["pair_correlation"].astype("f8").mean("pair")
    bands = elements.bands(measured)
    parts: list[Part] = []
    guides: list[Guide] = []
    for k, node in enumerate(nodes):
        keys = list(node.point)[-1:] if title else list(node.point)
        label = ", ".join(_named(key, node.point[key], backend) for key in keys) or node.name or "measured"
        band = bands[k] if len(nodes) <= BANDED else bands[k].bare()
        parts.append(Part(band, label, Line(ramp(len(nodes))[k]), node.name))
        theory = _predicted(node.ds)
        if theory is not None:
            guides.append(Guide(bands[k].layer, theory, "theory" if not guides else "", Line("#000000", "dotted", 0.8)))
    lowest = min(float(np.nanmin(part.band.low)) for part in parts)
    limits = (min(0.0, lowest) - 0.04, 1.18 if title else 1.04)
    ylabel = f"correlation {symbol('correlation', backend)}"
    return profile(nodes[0].ds, parts, backend, guides, title=title, ylabel=ylabel, ylim=limits)


def _predicted(ds: xr.Dataset) -> NDArray[Any] | None:
    """The c-map's correlation at the measured layers; None where theory has none."""
    if "recipe" not in ds.attrs:
        return None
    known = [int(r) for r in np.atleast_1d(ds["realization"].values)[:BATCHES]]
    try:
        found = predict(Recipe.from_json(ds.attrs["recipe"]), known)
    except MissingError:
        return None
    if "correlation" not in found:
        return None
    return np.asarray(found["correlation"].mean("realization").sel(layer=np.atleast_1d(ds["layer"].values)))


def depth_scale(tree: Measured, backend: Backend | None = None) -> hv.Layout:
    """The depth scale ξ_c of correlations along the weight variance, fitted to measured ones, and as theory has it.

    Parameters
    ----------
    tree
        A sweep over `network.weights.variance` and at most one more key (dropout, say), with `measure.pairs`; or cubes by
        name.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of one panel, with a colour for each value of the other key. Lines are theory, which is infinite on
    the edge of chaos; points are `fit_depth_scale` with its 95 % intervals; triangles are lower bounds where the
    layers are too few for more.

    Raises
    ------
    MissingError
        A cube has no correlations of pairs, or does not tell its network.
    RequestError
        The nets have several activations, or differ in more than one key beside the weight variance.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.plots.correlations import depth_scale
    >>> changes = {"realizations": 8, "network.architecture": "vanilla", "network.activation": "tanh", "measure.pairs": 4}
    >>> changes |= {"network.depth": 20, "sweep": {"network.weights.variance": [0.5, 0.8]}}
    >>> len(depth_scale(mx.run(mx.recipe("quickstart", changes), progress=False)))
    1
    """
    chosen = chosen_backend(backend)
    nodes = nodes_of({"": tree} if isinstance(tree, xr.Dataset) else tree, chosen)
    names = ("activation", "weight_variance", "bias_variance", "dropout")
    facts = [{name: fact(node.ds, name) for name in names} for node in nodes]
    varying = [name for name in names if len({each[name] for each in facts}) > 1 and name != "weight_variance"]
    if "activation" in varying or len(varying) > 1:
        raise RequestError(
            f"depth_scale is along the weight variance, with one more key at most; here differ {', '.join(varying)}"
        )
    key = varying[0] if varying else "dropout"
    fits = [fit_depth_scale(node.ds).compute() for node in nodes]
    values = sorted({each[key] for each in facts})
    weights = np.array([each["weight_variance"] for each in facts])
    span = np.ptp(weights) or weights[0]
    fine = np.linspace(max(weights.min() - 0.15 * span, 0.02 * span), weights.max() + 0.15 * span, FINE)
    overlay, drawn = hv.Overlay([]), []
    for colour, value in zip(ramp(len(values)), values, strict=True):
        line, label = Line(colour), _named(f"network.{key}", value, chosen)
        used = facts[0] | {key: value}
        theory = fixed_point(used["activation"], fine, used["bias_variance"], 1 - used["dropout"]).xi_c
        curve = hv.Curve((fine, np.minimum(theory, 10 * DEEPEST)), "weight", "xi", label=label)
        overlay = overlay * curve.opts(hv.opts.Curve(**line.curve(chosen), backend=chosen))
        kept = [k for k, each in enumerate(facts) if each[key] == value]
        xi, low, high = (np.array([fits[k][name].item() for k in kept]) for name in ("xi", "xi_low", "xi_high"))
        overlay = overlay * _fitted(weights[kept], xi, low, high, line, chosen)
        drawn += [theory[np.isfinite(theory)], xi[np.isfinite(xi)], low[np.isfinite(low)]]
    known = np.concatenate(drawn) if sum(map(len, drawn)) else np.array([1.0, DEEPEST])
    axes: dict[str, Any] = {
        "xlabel": f"weight variance {symbol('weight_variance', chosen)}",
        "xlim": (fine[0], fine[-1]),
    }
    axes |= {"ylabel": f"depth scale {symbol('depth_scale', chosen)}, layers", "logy": True, "title": ""}
    axes["ylim"] = (0.7 * float(known.min()), min(1.5 * float(known.max()), DEEPEST))
    return layout([panel(overlay, chosen, **axes)], chosen)


def _fitted(
    weight: NDArray[Any], xi: NDArray[Any], low: NDArray[Any], high: NDArray[Any], line: Line, backend: Backend
) -> hv.Overlay:
    """Points with intervals, and triangles of lower bounds."""
    known, bound = np.isfinite(xi), ~np.isfinite(xi) & np.isfinite(low)
    overlay = hv.Overlay([])
    if known.any():
        overlay = overlay * elements.intervals(
            weight[known], xi[known], low[known], high[known], "", line, backend, "weight variance"
        )
    if bound.any():
        look = {"marker": "^", "s": 40} if backend == "matplotlib" else {"marker": "triangle", "size": 10}
        points = hv.Scatter((weight[bound], low[bound]), "x", "at least")
        overlay = overlay * points.opts(hv.opts.Scatter(**(line.points(backend) | look), backend=backend))
    return overlay
