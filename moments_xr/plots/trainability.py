"""How deep nets train, beside the depth that theory gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.errors import MissingError, RequestError
from moments_xr.plots.theme import RED, Backend, Line, chosen_backend, layout, panel
from moments_xr.recipe import Recipe
from moments_xr.theory import fixed_point, trainable_depth

DEPTH, VARIANCE = "network.depth", "network.weights.variance"

SYMBOLS: dict[str, dict[Backend, str]] = {
    "variance": {"matplotlib": r"weight variance $\sigma_w^2$", "bokeh": "weight variance σ_w²"},
    "depth": {"matplotlib": r"$6\,\xi_c$, theory", "bokeh": "6 ξ_c, theory"},
}

COLOURS = "Blues"
POINTS = 201
"""Of the curve."""


def trainability(ds: xr.Dataset, steps: Sequence[int] | None = None, backend: Backend | None = None) -> hv.Layout:
    """Accuracy of trained nets over depth and weight variance, and the depth to which theory lets them train (THEORY 8).

    Parameters
    ----------
    ds
        What `moments_xr.train` gives for a sweep over `network.depth` and `network.weights.variance`.
    steps
        After which steps of training; all that were looked at, but the start, if not given.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout with a panel for each step: training accuracy, the mean over realizations, as an image. A cell
    reaches half way to its neighbours. Over it, of nets without skip connections or batch norm, the curve 6 ξ_c.

    Raises
    ------
    MissingError
        There is nothing along depth, along weight variance, or at these steps.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.plots.trainability import trainability
    >>> sweep = {"network.depth": [2, 4], "network.weights.variance": [1.0, 2.0]}
    >>> recipe = mx.recipe("trainable_depth", {"network.width": 32, "sweep": sweep})
    >>> len(trainability(mx.train(recipe, steps=[0, 20], progress=False)))
    1
    """
    for key in (DEPTH, VARIANCE):
        if ds.sizes.get(key, 0) < 2:
            raise MissingError(f"trainability: needs a sweep of at least two values of {key}; lacks it")
    there = [int(step) for step in np.atleast_1d(ds["step"].values)]
    wanted = [step for step in there if step > 0] or there if steps is None else list(steps)
    if not set(wanted) <= set(there):
        raise MissingError(f"trainability: steps {wanted} are not all among those looked at, {there}")
    if not 0 < len(wanted) <= 6:
        raise RequestError(f"trainability: {len(wanted)} steps; needs 1 to 6, a panel each")
    accuracy = ds["training_accuracy"]
    accuracy = accuracy.mean("realization") if "realization" in accuracy.dims else accuracy
    accuracy = accuracy.sortby([DEPTH, VARIANCE]).transpose(DEPTH, VARIANCE, ...)
    chosen = chosen_backend(backend)
    curve = _curve(Recipe.from_json(ds.attrs["recipe"]), accuracy[VARIANCE].values)
    panels = []
    for k, step in enumerate(wanted):
        bar = (
            chosen == "bokeh" or k % 2 == 1 or k == len(wanted) - 1
        )  # matplotlib's stands in the way of a panel to its right
        panels.append(_image(accuracy.sel(step=step), step, curve, bar, chosen))
    return layout(panels, chosen)


def edges(values: NDArray[Any]) -> NDArray[np.float64]:
    """Edges of cells that reach half way to their neighbours, and as far at the ends, though not below zero."""
    middle = (values[1:] + values[:-1]) / 2
    return np.concatenate([[max(0, 2 * values[0] - middle[0])], middle, [2 * values[-1] - middle[-1]]])


def _curve(recipe: Recipe, variances: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Weight variances and 6 ξ_c; None where the theory is not of these nets."""
    if recipe.network.architecture != "vanilla":
        return None
    low, *_, high = edges(variances)
    grid = np.linspace(low, high, POINTS)
    depth = trainable_depth(fixed_point(recipe.network.activation, grid, recipe.network.bias_variance).xi_c)
    return grid, depth


def _image(
    accuracy: xr.DataArray, step: int, curve: tuple[NDArray[Any], NDArray[Any]] | None, bar: bool, backend: Backend
) -> hv.Overlay:
    """One panel, with a bar of its colours or without."""
    variances, depths = accuracy[VARIANCE].values, accuracy[DEPTH].values
    x, y = edges(variances), edges(depths)
    exact = np.meshgrid(variances, depths)  # the middles of cells are not quite the values
    names = [hv.Dimension(("accuracy", "training accuracy")), "exact_variance", "exact_depth"]
    shown = hv.QuadMesh((x, y, accuracy.values, *exact), ["variance", "depth"], names)
    look: dict[str, Any] = {"cmap": COLOURS, "clim": (0.0, 1.0), "colorbar": bar}
    tips = [("σ_w²", "@exact_variance"), ("depth", "@exact_depth"), ("training accuracy", "@accuracy")]
    look |= {"tools": ["hover"], "hover_tooltips": tips, "clabel": ""} if backend == "bokeh" else {"edgecolors": "none"}
    drawn = hv.Overlay([shown.opts(hv.opts.QuadMesh(**look, backend=backend))])
    if curve is not None:
        line = hv.Curve(curve, "variance", "depth", label=SYMBOLS["depth"][backend])
        options = Line(RED).curve(backend) | ({"tools": []} if backend == "bokeh" else {})
        drawn = drawn * line.opts(hv.opts.Curve(**options, backend=backend))
    note = f"after {step} steps"
    title = f"training accuracy {note}" if backend == "bokeh" else note
    axes = {"xlabel": SYMBOLS["variance"][backend], "ylabel": "depth", "title": title}
    return panel(drawn, backend, **axes, xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
