"""Dynamical isometry: singular values of Jacobians, of drawn nets and as free probability predicts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import holoviews as hv
import numpy as np
from numpy.typing import NDArray

from moments_xr.analysis.realizations import mean_interval
from moments_xr.errors import RequestError
from moments_xr.inputs import input_batch, load_dataset
from moments_xr.jacobian import singular_values
from moments_xr.plots import elements
from moments_xr.plots.theme import (
    BLUE,
    DEPTHS,
    GREY,
    PURPLE,
    RED,
    Backend,
    Line,
    chosen_backend,
    layout,
    panel,
    symbol,
)
from moments_xr.recipe import Recipe
from moments_xr.theory.evolution import propagate_variance
from moments_xr.theory.jacobian import jacobian_moments
from moments_xr.theory.spectrum import LAWS, Spectrum, singular_value_density

Array = NDArray[Any]

NODES = {1: (BLUE,), 2: (RED, BLUE), 3: (RED, PURPLE, BLUE), 4: (GREY, RED, PURPLE, BLUE)}
"""Colours of the nets compared, by how many they are."""

HISTOGRAMS = 3
"""Depths whose densities are drawn, of all those measured: the deepest, and such that each is several times the last."""

LOWEST = 1e-4
"""Singular values below are not drawn; they are counted."""

BINS = 60

VSPACE = 0.3
"""Room between rows of panels for legends of two lines."""

ALIKE = 0.1
"""Layers whose log q differ by less share the mean: a density takes time in proportion to the different ones."""


@dataclass(frozen=True)
class Net:
    """Singular values of one kind of net: drawn, (realization, layer, index), and predicted."""

    label: str
    layers: Array
    log_values: Array
    relative_variance: Array
    """Predicted at layers 1 … L."""
    spectra: dict[int, Spectrum]


def isometry(
    recipe: Recipe, layers: Sequence[int] | None = None, realizations: int = 20, backend: Backend | None = None
) -> hv.Layout:
    """Singular values s of the Jacobians of drawn nets, over what free probability predicts (THEORY 8; Pennington et al. 2017).

    Parameters
    ----------
    recipe
        Of vanilla fully-connected nets with Gaussian or orthogonal weights; or a sweep of up to 4 such.
    layers
        Depths; 1, 2, 4, … if not given.
    realizations
        How many nets of each kind are drawn: the first of the recipe's.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout: a panel for each kind of net, of the density of log s at up to three depths, drawn nets filled and predicted as
    lines, with the predicted share of directions that are lost, s = 0; then by depth the relative variance of s² and the largest s, drawn
    nets as points with 95 % intervals over nets (of the variance's mean, and of the mean logarithm) and predicted as
    lines. Isometric nets keep the variance at 0. Predictions take the variance q of each layer from the input's on.

    Raises
    ------
    RequestError
        The nets are of another kind, or too many.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.plots.isometry import isometry
    >>> changes = {"network.width": 16, "network.depth": 4, "sweep": {"network.activation": ["relu", "tanh"]}}
    >>> len(isometry(mx.recipe("isometry", changes), realizations=3))
    4
    """
    nodes = recipe.nodes()
    if len(nodes) not in NODES:
        raise RequestError(f"isometry: {len(nodes)} kinds of nets; needs at most {max(NODES)}, as panels of one figure")
    for node in nodes.values():
        _check(node)
    nets = [_net(node.to_json(), None if layers is None else tuple(layers), realizations) for node in nodes.values()]
    chosen = chosen_backend(backend)
    colours = NODES[len(nets)]
    shown = [_densities(net, chosen) for net in nets]
    shown += [_relative_variance(nets, colours, chosen), _largest(nets, colours, chosen)]
    figure = layout(shown, chosen)
    return figure.opts(hv.opts.Layout(vspace=VSPACE, backend="matplotlib")) if chosen == "matplotlib" else figure


def _check(recipe: Recipe) -> None:
    network = recipe.network
    if network.architecture != "vanilla" or network.kernel > 1 or network.weights.law not in LAWS:
        raise RequestError(
            f"isometry: {network.architecture} nets of kernel {network.kernel} and {network.weights.law} weights have no predicted"
            f" density; needs vanilla nets, fully connected, of {' or '.join(LAWS)} weights"
        )


@lru_cache(maxsize=8)
def _net(text: str, layers: tuple[int, ...] | None, realizations: int) -> Net:
    """Of one recipe; kept, since both backends may draw it."""
    recipe = Recipe.from_json(text)
    network, weights, numbers = recipe.network, recipe.network.weights, range(realizations)
    layers = layers or tuple(2**k for k in range(network.depth.bit_length()))
    found = singular_values(recipe, layers, numbers)
    dataset = load_dataset(recipe)
    # The embedding keeps the mean square of its input.
    square = np.mean([np.mean(input_batch(recipe, r, dataset)[0] ** 2.0) for r in numbers])
    start, depth = weights.variance * square + network.bias_variance, int(found["layer"][-1])
    log_q = propagate_variance(network.activation, depth - 1, weights.variance, network.bias_variance, q=start)
    single = jacobian_moments(network.activation, 1, weights.variance, np.exp(log_q), weights.law).relative_variance
    q = _grouped(log_q)
    spectra = {
        int(layer): singular_value_density(network.activation, int(layer), weights.variance, q[:layer], weights.law)
        for layer in found["layer"].values
        if layer > 1
    }
    label = f"{network.activation}, {weights.law}"
    return Net(label, found["layer"].values, found.values, np.cumsum(single), spectra)


def _grouped(log_q: Array) -> Array:
    """The variances, those that are alike replaced by their mean."""
    _, group = np.unique(np.round(log_q / ALIKE), return_inverse=True)
    means: Array = np.exp(np.bincount(group, log_q) / np.bincount(group))[group]
    return means


def _densities(net: Net, backend: Backend) -> hv.Overlay:
    """Densities of log s at some depths."""
    step = max(1, (len(net.spectra) - 1) // (HISTOGRAMS - 1))
    there = sorted(net.spectra, reverse=True)[::step][:HISTOGRAMS][::-1]
    largest = max(net.log_values.max(), *(net.spectra[layer].log_largest for layer in there))
    edges = np.linspace(np.log(LOWEST), largest + 0.1, BINS + 1)
    overlay, highest = hv.Overlay([]), 0.0
    for layer, colour in zip(there, DEPTHS, strict=False):
        values = net.log_values[:, list(net.layers).index(layer)]
        density = np.histogram(values, edges)[0] / values.size / np.diff(edges)
        fill = hv.Histogram((np.exp(edges), density), kdims=["s"], vdims=["density"])
        look = {"color": colour, "line_alpha": 0.0} if backend == "bokeh" else {"facecolor": colour, "linewidth": 0}
        overlay = overlay * fill.opts(hv.opts.Histogram(**look, alpha=0.3, backend=backend))
        highest = max(highest, density.max())
    for layer, colour in zip(there, DEPTHS, strict=False):
        law = net.spectra[layer]
        label = symbol("depth", backend) % layer
        overlay = overlay * elements.plain(np.exp(law.log_value), law.density, label, Line(colour), backend)
    deepest = net.spectra[there[-1]]
    shares = {"0": deepest.zero, "one value": deepest.atom}
    notes = [f"{share:.0%} at {where}" for where, share in shares.items() if share > 0.005]
    axes: dict[str, Any] = {"xlabel": "singular value s", "ylabel": "density of log s"}
    axes["title"] = "; ".join([net.label, *notes])
    axes |= {
        "xlim": (LOWEST, float(np.exp(edges[-1]))),
        "ylim": (0.0, 1.35 * highest),
    }  # predicted densities may end at infinity
    return panel(overlay, backend, **axes, logx=True)


def _relative_variance(nets: list[Net], colours: Sequence[str], backend: Backend) -> hv.Overlay:
    """Relative variance of s² of each net, averaged over nets."""
    overlay, all_values = hv.Overlay([]), []
    for net, colour in zip(nets, colours, strict=True):
        squares = np.exp(2 * (net.log_values - net.log_values.max(-1, keepdims=True)))
        measured = (squares**2).mean(-1) / squares.mean(-1) ** 2 - 1
        depth = np.arange(1, len(net.relative_variance) + 1)
        points, drawn = _against_depth(net.layers, measured, net.label, colour, backend)
        overlay = overlay * points * elements.plain(depth, net.relative_variance, "", Line(colour), backend)
        all_values += [drawn, net.relative_variance]
    limits = elements.limits(np.concatenate(all_values), logy=True)
    axes = {"ylabel": "relative variance of s²", "ylim": limits}
    return panel(overlay, backend, **_depths(nets, backend), **axes, logx=True, logy=True, title="")


def _largest(nets: list[Net], colours: Sequence[str], backend: Backend) -> hv.Overlay:
    """The largest singular value, by its mean logarithm over nets."""
    overlay, all_values = hv.Overlay([]), []
    for net, colour in zip(nets, colours, strict=True):
        points, drawn = _against_depth(net.layers, net.log_values[..., 0], net.label, colour, backend, np.exp)
        predicted = np.exp([net.spectra[layer].log_largest for layer in net.spectra])
        overlay = overlay * points * elements.plain(np.array(list(net.spectra)), predicted, "", Line(colour), backend)
        all_values += [drawn, predicted]
    limits = elements.limits(np.concatenate(all_values), logy=True)
    axes = {"ylabel": "largest singular value", "ylim": limits}
    return panel(overlay, backend, **_depths(nets, backend), **axes, logx=True, logy=True, title="")


def _against_depth(
    layers: Array, values: Array, label: str, colour: str, backend: Backend, scale: Any = np.asarray
) -> tuple[hv.Overlay, Array]:
    """Means over nets (realization, layer) with their intervals, and their ends."""
    middle, low, high = (scale(one) for one in mean_interval(values))
    drawn = elements.intervals(layers, middle, low, high, label, Line(colour), backend)
    return drawn, np.concatenate([middle, low, high])


def _depths(nets: list[Net], backend: Backend) -> dict[str, Any]:
    layers = nets[0].layers
    ticks = [(int(layer), str(layer)) for layer in layers]
    return {"xlabel": symbol("layer", backend), "xticks": ticks, "xlim": (layers[0] / 1.2, layers[-1] * 1.2)}
