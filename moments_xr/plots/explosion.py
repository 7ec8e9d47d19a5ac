"""How noise explodes with depth: with batch norm at every variance of the weights, in residual nets more slowly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.comparison import compare_theory
from moments_xr.errors import RequestError
from moments_xr.plots import elements
from moments_xr.plots.beside import OWN, PREDICTED, compared, interval_band
from moments_xr.plots.theme import BLUE, DEPTHS, GREY, Backend, Line, chosen_backend, layout, panel, symbol
from moments_xr.recipe import Recipe
from moments_xr.theory.batch_norm import explosion_rate
from moments_xr.theory.phase import fixed_point

Array = NDArray[Any]

ACTIVATION, VARIANCE, ARCHITECTURE = "network.activation", "network.weights.variance", "network.architecture"

GAINS, SHIFTS = np.geomspace(0.1, 3.0, 25), np.linspace(0.0, 3.0, 25)

ROOT_TICKS = 6

VANILLA = Line(GREY, "dotted", 0.8)

FROZEN = "dashed: theory, frozen statistics"


def explosion(tree: xr.DataTree, backend: Backend | None = None) -> hv.Layout:
    """Batch-normalised feed-forward nets explode at every σ_w², and less in the linear regime (THEORY 8; Yang et al. 2019).

    Parameters
    ----------
    tree
        A sweep of `bn_ff` nets over `network.activation` and `network.weights.variance`, as of the recipe `batch_norm_explodes`.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout, of noise that passes batch norm with frozen statistics. (a) Rate γ of χ ∝ e^{γl} against σ_w², with 95 %
    intervals over realizations, over the rates predicted for this width, dashed; dotted, that of vanilla tanh nets without biases, 0 up
    to the edge of chaos. (b) δχ by layer. (c), (d) The rate at infinite width when all gains g and shifts β of batch norm are
    set to a value: it vanishes where the activation sees a straight line.

    Raises
    ------
    RequestError
        It is not such a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.plots.explosion import explosion
    >>> changes = {"realizations": 3, "network.width": 16, "network.depth": 6, "input.batch": 16}
    >>> tree = mx.run(mx.recipe("batch_norm_explodes", changes), progress=False)
    >>> len(explosion(tree))
    4
    """
    found = _swept(tree, {ACTIVATION, VARIANCE})
    recipe = _recipe(tree)
    if recipe.network.architecture != "bn_ff":
        raise RequestError(f"explosion is of bn_ff nets, and these are {recipe.network.architecture}")
    chosen = chosen_backend(backend)
    looks = dict(zip(found[ACTIVATION].values.tolist(), DEPTHS, strict=False))
    batch = recipe.input.batch
    tuned: list[tuple[str, Array, dict[str, Any]]] = [
        ("gain", GAINS, {"xlabel": "gain g of batch norm", "logx": True}),
        ("shift", SHIFTS, {"xlabel": "shift β of batch norm"}),
    ]
    return layout(
        [
            _rates(found, looks, chosen),
            _increments(found, looks, chosen),
            *(_tuned(key, values, looks, batch, chosen, axes) for key, values, axes in tuned),
        ],
        chosen,
    )


def residual(tree: xr.DataTree, backend: Backend | None = None) -> hv.Layout:
    """Noise in residual nets beside feed-forward ones, over the predictions of theory (THEORY 8; Yang & Schoenholz 2017).

    Parameters
    ----------
    tree
        A sweep over `network.architecture` of nets without batch norm, as of the recipe `residual`.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout: the sensitivity χ, and the squared noise μ₂(dx), (a), (c) against depth, where an exponential is straight,
    and (b), (d) against its root, where e^{Θ(√l)} is. Means of logarithms with 95 % intervals over realizations; predicted,
    dashed.

    Raises
    ------
    RequestError
        It is not such a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.plots.explosion import residual
    >>> changes = {"realizations": 3, "network.width": 16, "network.depth": 6, "measure.every": 1}
    >>> len(residual(mx.run(mx.recipe("residual", changes), progress=False)))
    4
    """
    found = _swept(tree, {ARCHITECTURE})
    chosen = chosen_backend(backend)
    labels = {"chi": "sensitivity", "mu2_noise": "variance of the noise"}
    return layout(
        [_growth(found, name, words, root, chosen) for name, words in labels.items() for root in (False, True)], chosen
    )


def _swept(tree: xr.DataTree, keys: set[str]) -> xr.Dataset:
    """The comparison of a sweep over these keys."""
    if not isinstance(tree, xr.DataTree):
        raise RequestError(f"this figure is of a sweep over {' and '.join(sorted(keys))}, and this is one cube")
    found = compare_theory(tree).compute()
    if not keys == set(map(str, found.dims)) - set(OWN):
        raise RequestError(f"this figure is of a sweep over {' and '.join(sorted(keys))} alone")
    return found


def _recipe(tree: xr.DataTree) -> Recipe:
    return Recipe.from_json(next(iter(tree.children.values())).attrs["recipe"])


def _rates(found: xr.Dataset, looks: dict[str, str], backend: Backend) -> hv.Overlay:
    """γ against the variance of the weights."""
    at = found.sel(constant="gamma").sortby(VARIANCE)
    variances = at[VARIANCE].values
    ends = variances[0] / 1.3, variances[-1] * 1.3
    fine = np.geomspace(*ends, 60)
    chaos = 0.5 * np.log(np.maximum(fixed_point("tanh", fine).chi_1, 1.0))
    overlay = elements.plain(fine, chaos, "vanilla tanh", VANILLA, backend)
    for name, colour in looks.items():
        one = at.sel({ACTIVATION: name})
        rate = np.full(2, float(one["constant_predicted"][0]))
        overlay = overlay * elements.plain(np.array(ends), rate, "", PREDICTED, backend)
        measured, low, high = (one[f"constant_{key}"].values for key in ("measured", "low", "high"))
        overlay = overlay * elements.intervals(variances, measured, low, high, name, Line(colour), backend, "σ_w²")
    top = 1.3 * float(max(at["constant_high"].max(), at["constant_predicted"].max()))
    axes = {"xlabel": symbol("weight_variance", backend), "ylabel": "growth rate γ of χ", "ylim": (-0.03 * top, top)}
    axes["xticks"] = [(value, f"{value:g}") for value in variances]
    return panel(overlay, backend, **axes, xlim=ends, logx=True, title=FROZEN)


def _increments(found: xr.Dataset, looks: dict[str, str], backend: Backend) -> hv.Overlay:
    """δχ by layer, of the first variance: draws are the same at all of them."""
    nodes = {node.point[ACTIVATION]: node for node in reversed(compared(found, backend))}
    overlay = hv.Overlay([elements.level(1.0, backend)])
    values = [np.ones(1)]
    for name, colour in looks.items():
        band = interval_band(nodes[name], "increment_chi").map(np.exp)
        predicted = np.exp(nodes[name].values("predicted", "increment_chi"))
        overlay = overlay * elements.curve(band, name, Line(colour), backend)
        overlay = overlay * elements.plain(band.layer, predicted, "", PREDICTED, backend)
        values += [band.low, band.high, predicted]
    axes = {"xlabel": symbol("layer", backend), "xlim": (0.0, float(found["layer"].max()))}
    limits = elements.limits(np.concatenate(values), above=0.18)
    return panel(overlay, backend, **axes, ylabel="increment of sensitivity", ylim=limits, title=FROZEN)


def _tuned(
    key: str, values: Array, looks: dict[str, str], batch: int, backend: Backend, axes: dict[str, Any]
) -> hv.Overlay:
    """The predicted rate over a parameter of batch norm, beyond what a batch of this size costs a linear net."""
    overlay = hv.Overlay([])
    for name, colour in looks.items():
        rates = [0.5 * np.log(explosion_rate(name, batch, **{key: value})) for value in values]
        overlay = overlay * elements.plain(values, np.array(rates), name, Line(colour), backend)
    linear = 0.5 * np.log(explosion_rate("linear", batch))
    overlay = overlay * elements.level(linear, backend)
    title = f"infinite width; dashed: linear, batch {batch}"
    return panel(overlay, backend, **axes, ylabel="rate γ, frozen statistics", ylim=(0.0, None), title=title)


def _growth(found: xr.Dataset, name: str, words: str, root: bool, backend: Backend) -> hv.Overlay:
    """A quantity against depth, or its root."""
    overlay, predicted, values = hv.Overlay([]), hv.Overlay([]), []
    for node, colour in zip(compared(found, backend), (BLUE, DEPTHS[3]), strict=False):
        band = interval_band(node, name).map(np.exp)
        x = np.sqrt(band.layer) if root else band.layer
        theory = np.exp(node.values("predicted", name))
        overlay = overlay * elements.curve(replace(band, layer=x), node.label, Line(colour), backend, logy=True)
        predicted = predicted * elements.plain(x, theory, "" if len(predicted) else "theory", PREDICTED, backend)
        values += [band.low, band.high, theory]
    last = float(found["layer"].max())
    axes: dict[str, Any] = {"ylabel": words, "ylim": elements.limits(np.concatenate(values), logy=True), "title": ""}
    axes |= {"xlabel": symbol("layer", backend), "xlim": (0.0, last)}
    if root:
        depths = (last * np.linspace(0, 1, ROOT_TICKS) ** 2).round().astype(int)
        axes |= {"xlabel": symbol("root_layer", backend), "xlim": (0.0, last**0.5)}
        axes["xticks"] = [(float(depth) ** 0.5, str(depth)) for depth in depths]
    return panel(overlay * predicted, backend, **axes, logy=True)
