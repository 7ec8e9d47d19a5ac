"""Measured nets as points of a phase diagram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.activations import Activation
from moments_xr.analysis.depth_scale import fit_depth_scale
from moments_xr.analysis.network import fact, told
from moments_xr.errors import RequestError
from moments_xr.plots.nodes import nodes_of
from moments_xr.plots.theme import Backend

Array = NDArray[Any]


class Points(NamedTuple):
    """Measured nodes: arrays (node,)."""

    weight: Array
    bias: Array
    c: Array
    xi: Array
    xi_low: Array
    depth: int


def points_of(
    measured: xr.DataTree | xr.Dataset | Mapping[str, xr.Dataset], row: Activation, keep: float, backend: Backend
) -> Points:
    """What was measured, a point a node."""
    nodes = nodes_of({"": measured} if isinstance(measured, xr.Dataset) else measured, backend)
    rows = []
    for node in nodes:
        used, kept = told(node.ds, "activation", row.name), 1 - told(node.ds, "dropout", 1 - keep)
        if used != row.name or not np.isclose(kept, keep):
            raise RequestError(
                f"measured: {node.name or 'the cube'} has the activation {used} and keep rate {kept:g}; "
                f"the diagram is of {row.name} and {keep:g}"
            )
        fit = fit_depth_scale(node.ds).compute()
        at = [float(fact(node.ds, name)) for name in ("weight_variance", "bias_variance")]
        rows.append((*at, *(fit[name].item() for name in ("correlation", "xi", "xi_low"))))
    weight, bias, c, xi, low = np.array(rows).T
    return Points(weight, bias, c, xi, low, max(int(node.ds["layer"].max()) for node in nodes))


def drawn_points(points: Points, quantity: str, colours: dict[str, Any], backend: Backend) -> hv.Overlay:
    """Points in the colours of the image; triangles of lower bounds."""
    bounded = np.isfinite(points.c if quantity == "c" else points.xi)
    label = f"measured, layer {points.depth}" if quantity == "c" else "measured"
    rows = [(bounded, points.c if quantity == "c" else points.xi, label, "circle")]
    if quantity == "xi":
        rows.append((~bounded & ~np.isnan(points.xi_low), points.xi_low, "at least", "triangle"))
    drawn = hv.Overlay([])
    for kept, values, label, shape in rows:
        if not kept.any():
            continue
        look: dict[str, Any] = {"color": "value", **colours, "show_legend": True}
        if backend == "matplotlib":
            look |= {
                "marker": {"circle": "o", "triangle": "^"}[shape],
                "s": 55,
                "edgecolor": "#000000",
                "linewidth": 1.0,
            }
        else:
            tips = [("σ_w²", "@weight"), ("σ_b²", "@bias"), (label, "@value")]
            look |= {"marker": shape, "size": 12, "line_color": "#000000", "tools": ["hover"], "hover_tooltips": tips}
        at = (points.weight[kept], points.bias[kept], np.minimum(values[kept], colours["clim"][1]))
        one = hv.Points(at, ["weight", "bias"], "value", label=label)
        drawn = drawn * one.opts(hv.opts.Points(**look, backend=backend))
    return drawn
