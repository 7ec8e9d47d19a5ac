"""Order and chaos over weight and bias variances: what theory predicts, and what nets of finite width do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import xarray as xr
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import ArrayLike, NDArray

from moments_xr import activations
from moments_xr.activations import Activation, Function
from moments_xr.errors import RequestError
from moments_xr.plots.phase_points import Points, drawn_points, points_of
from moments_xr.plots.theme import Backend, Line, chosen_backend, layout, panel, symbol
from moments_xr.theory.fixed import log_fixed_variance
from moments_xr.theory.gaussian_kernels import kernels
from moments_xr.theory.phase import critical_line, fixed_point

CELLS = (40, 26)
"""Cells along weight and bias variances."""

BEYOND, DEFAULT_EDGE = 1.6, 1.5
"""Weight variances are drawn up to so many times the middle of the edge of chaos, and where this is taken if there is none."""

LARGEST_BIAS = 0.5

DEEPEST = 100.0
"""Depth scale at which colours end."""

COLOURS = [to_hex(colormaps["viridis"](place)) for place in np.linspace(0.3, 1.0, 256)]
"""Light enough for black words and lines."""

NOWHERE = "#d4d4d4"
"""Where the variance has no fixed point."""

NAMED = 0.04
"""Least share of the cells that a region has to be named."""

LETTER = 0.035
"""Share of the image's width that a letter of a name takes."""

SKIRT = 0.055
"""Share of the image's height that is left below zero, where the edge of chaos and points may be."""

ROOM = 0.62
"""Space between the panels, which holds a bar of colours."""

Array = NDArray[Any]


class Diagram(NamedTuple):
    """Fixed points over a grid: arrays (bias variance, weight variance), NaN where the variance has no fixed point."""

    weight: Array
    bias: Array
    c: Array
    xi: Array
    region: Array
    """`ordered`, `chaotic`, `critical`, or what the variance does: `variance diverges`, `variance vanishes`."""


def phase_diagram(
    activation: str | Activation | Function,
    weight_variances: ArrayLike | None = None,
    bias_variances: ArrayLike | None = None,
    keep: float = 1.0,
    measured: xr.DataTree | xr.Dataset | Mapping[str, xr.Dataset] | None = None,
    backend: Backend | None = None,
) -> hv.Layout:
    """The order parameter c* and the depth scale ξ_c over weight and bias variances, with the edge of chaos.

    Parameters
    ----------
    activation
        Name, row or function φ.
    weight_variances, bias_variances
        σ_w² and σ_b² at the centres of the image's cells, in even steps; cells around the edge of chaos if not given.
    keep
        Keep rate ρ of dropout; below 1 there is no edge of chaos, and c* < 1.
    measured
        Cubes with `measure.pairs` at some of these variances: the DataTree of a sweep, a cube, or cubes by name.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of two panels, colours being what theory predicts: (a) c*, to which correlations of inputs go with depth
    (1: all inputs look alike); (b) ξ_c, over how many layers, on a logarithmic scale that ends at 100 (the edge of chaos has
    infinity). Grey: the variance has no fixed point, so neither is drawn. Circles have the colour of what was measured: (a)
    the mean correlation of pre-activations at the deepest layer; (b) the depth scale fitted to it (`fit_depth_scale`).
    Triangles: layers are too few to bound it from above, and the colour is that of its lower bound. Where circles vanish
    in the image but for their edge, theory and experiment agree.

    Raises
    ------
    MissingError
        A measured cube has no correlations of pairs.
    RequestError
        A variance is negative, steps are uneven, there is no such activation, or the measured nets have another one, or another keep rate.

    Examples
    --------
    >>> from moments_xr.plots.phase import phase_diagram
    >>> len(phase_diagram("erf", weight_variances=[0.5, 1, 1.5], bias_variances=[0.1, 0.2]))
    2
    """
    chosen = chosen_backend(backend)
    row = activations.activation(activation)
    bias = np.ravel(bias_variances) if bias_variances is not None else _centres(LARGEST_BIAS, CELLS[1])
    if weight_variances is None:
        edge = critical_line(row, bias if row.homogeneous is False else 0.0).weight_variance
        middle = float(np.nanmedian(edge)) if np.isfinite(edge).any() else DEFAULT_EDGE
        weight_variances = _centres(BEYOND * middle, CELLS[0])
    found = _diagram(row, np.ravel(weight_variances), bias, keep)
    points = points_of(measured, row, keep, chosen) if measured is not None else None
    edge = _edge(row, found, chosen) if keep == 1 else hv.Overlay([])
    panels = [_panel(found, points, edge, quantity, row, keep, chosen) for quantity in ("c", "xi")]
    shown = layout(panels, chosen)
    return shown.opts(hv.opts.Layout(hspace=ROOM, backend="matplotlib")) if chosen == "matplotlib" else shown


def _ends(centres: Array) -> tuple[float, float]:
    """Of evenly spaced cells with these centres."""
    steps = np.diff(centres)
    if not steps.size or steps.min() <= 0 or not np.allclose(steps, steps[0]):
        raise RequestError(
            "weight and bias variances are centres of cells: at least two each, increasing in even steps"
        )
    return float(centres[0] - steps[0] / 2), float(centres[-1] + steps[0] / 2)


def _centres(last: float, count: int) -> Array:
    return (np.arange(count) + 0.5) * last / count


def _diagram(row: Activation, weight: Array, bias: Array, keep: float) -> Diagram:
    """Fixed points wherever the variance has one: elsewhere quadrature is slow, and c* that of a limit never reached."""
    w, b = (each.ravel() for each in np.meshgrid(weight, bias))
    point = fixed_point(row, w[:0], b[:0], keep)  # checks the activation and the keep rate
    log_q = log_fixed_variance(kernels(row), w / keep, b, np.log(w / keep + b))
    finite = np.isfinite(log_q)
    region = np.where(log_q > 0, "variance diverges", "variance vanishes").astype(object)
    c, xi = np.full(w.size, np.nan), np.full(w.size, np.nan)
    point = fixed_point(row, w[finite], b[finite], keep)
    c[finite], xi[finite], region[finite] = point.c, point.xi_c, point.phase
    shape = (bias.size, weight.size)
    return Diagram(weight, bias, c.reshape(shape), xi.reshape(shape), region.reshape(shape))


def _edge(row: Activation, found: Diagram, backend: Backend) -> hv.Overlay:
    """The edge of chaos: a line, or a point where only that is critical."""
    bias = found.bias[-1] * 1.05 * np.linspace(0, 1, 80) ** 3  # the line is steep at zero
    weight = critical_line(row, bias).weight_variance
    known = np.isfinite(weight)
    line = Line("#000000")
    if known.sum() > 1:
        curve = hv.Curve((weight[known], bias[known]), "weight", "bias", label="edge of chaos")
        return hv.Overlay([curve.opts(hv.opts.Curve(**line.curve(backend), backend=backend))])
    if not known.any():
        return hv.Overlay([])
    look: dict[str, Any] = {"color": line.color, "marker": "D", "s": 60} if backend == "matplotlib" else {}
    look = look or {"color": line.color, "marker": "diamond", "size": 13}
    point = hv.Points((weight[known], bias[known]), ["weight", "bias"], label="edge of chaos")
    return hv.Overlay([point.opts(hv.opts.Points(**look, backend=backend))])


def _panel(
    found: Diagram,
    points: Points | None,
    edge: hv.Overlay,
    quantity: str,
    row: Activation,
    keep: float,
    backend: Backend,
) -> hv.Overlay:
    """An image, the edge, names of regions, and measured points."""
    named = symbol({"c": "fixed_correlation", "xi": "depth_scale"}[quantity], backend)
    values = found.c if quantity == "c" else np.minimum(found.xi, DEEPEST)
    known = values[np.isfinite(values)]
    lowest = 0.0 if quantity == "c" else min(1.0, float(known.min(initial=1.0)))
    colours: dict[str, Any] = {"cmap": COLOURS, "clim": (lowest, 1.0 if quantity == "c" else DEEPEST)}
    colours |= {} if quantity == "c" else {"cnorm": "log"}
    ends = [_ends(found.weight), _ends(found.bias)]
    bounds = (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
    image = hv.Image(values[::-1], ["weight", "bias"], hv.Dimension(("value", named)), bounds=bounds)
    look = {**colours, "colorbar": True, "clipping_colors": {"NaN": NOWHERE}}
    if backend == "bokeh":
        tips = [("σ_w²", "@weight"), ("σ_b²", "@bias"), (named, "@value")]
        look |= {"tools": ["hover"], "hover_tooltips": tips, "clabel": ""}
    overlay = hv.Overlay([image.opts(hv.opts.Image(**look, backend=backend))]) * edge
    for region in np.unique(found.region.astype(str)):
        overlay = overlay * _name(found, region, backend)
    notes = [f"keep rate {keep:g}"] if keep < 1 else []
    if points is not None:
        overlay = overlay * drawn_points(points, quantity, colours, backend)
    if backend == "bokeh":
        notes.insert(0, f"{row.name}; colours: {named}")
    bottom = min(ends[1][0], -SKIRT * ends[1][1]) if found.bias[0] < SKIRT * ends[1][1] else ends[1][0]
    axes = {"xlim": ends[0], "ylim": (bottom, ends[1][1]), "title": "; ".join(notes)}
    axes |= {"xlabel": f"weight variance {symbol('weight_variance', backend)}"}
    axes |= {"ylabel": f"bias variance {symbol('bias_variance', backend)}"}
    return panel(overlay, backend, **axes)


def _name(found: Diagram, region: str, backend: Backend) -> hv.Overlay:
    """The name of a region in its middle, if it is large enough."""
    inside = found.region == region
    if inside.mean() < NAMED:
        return hv.Overlay([])
    row = int(np.flatnonzero(inside.any(1))[-1] * 0.85)
    across = np.flatnonzero(inside[row])
    if not across.size:
        return hv.Overlay([])
    x, y, words = found.weight[across].mean(), found.bias[row], region.replace(" ", "\n")
    narrow = across.size / found.weight.size < LETTER * max(map(len, words.split()))
    size = 8 if backend == "matplotlib" else 11
    drawn = hv.Text(x, y, words, fontsize=size, rotation=90 if narrow else 0)
    return hv.Overlay([drawn.opts(hv.opts.Text(color="#000000", backend=backend))])
