"""Theory beside experiment: what nets of infinite width would do, and what real ones did."""

from __future__ import annotations

from typing import Any, NamedTuple

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.comparison import WIDTH, compare_theory
from moments_xr.errors import MissingError
from moments_xr.plots import elements
from moments_xr.plots.beside import OWN, PREDICTED, SIGMAS, Compared, compared, interval_band, measured
from moments_xr.plots.compare import BANDED
from moments_xr.plots.nodes import key_label
from moments_xr.plots.panels import Guide, Part, numbers, ylim
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

Array = NDArray[Any]


class Look(NamedTuple):
    """How a quantity is drawn."""

    symbol: str
    ylabel: str
    color: str
    log: bool = True


DRAWN = {
    "q": Look("q", "mean square of pre-activations", PURPLE),
    "correlation": Look("correlation", "correlation of two inputs", GREY, log=False),
    "chi": Look("chi", "sensitivity", BLUE),
    "increment_chi": Look("increment", "increment of sensitivity", RED),
}
"""Quantities that have a panel each."""

CONVERGING = {"mu2_signal": "of_mu2_signal", "q": "q"}
"""Quantities whose distance from theory is drawn against the width, and their symbols."""

CONSTANTS = {"drift": "drift", "diffusion": "diffusion", "gamma": "rate γ", "tau": "exponent τ"}

GUIDE = Line(GREY, "dotted", 0.6)

WIDE = 10.0
"""Ratio of the ends of what is drawn from which on it stands on a log axis."""

SHOWN_DEPTHS = 3


def theory(ds: xr.Dataset | xr.DataTree, backend: Backend | None = None) -> hv.Layout:
    """What theory at infinite width predicts, and what real nets did (THEORY 8).

    Parameters
    ----------
    ds
        A cube of fully-connected nets, the DataTree of a sweep, or what `moments_xr.compare_theory` makes of either.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout. Panels by layer of the mean square q of pre-activations, the correlation of two inputs (with `measure.pairs`), χ and
    δχ, as far as theory predicts them and the cube has them: means of logarithms over realizations with 95 % intervals, and what
    is predicted, dashed; then their distance in standard errors, chance being the grey band. Of a sweep a curve a node, from light to
    dark, and the distance of χ, or else of δχ. Of a sweep over `network.width` alone instead of these how the distances of μ₂(x) and
    q shrink with the width N, at some depths, beside 1/N, with the fitted orders. With batch norm or where rates are known also
    these, measured over predicted.

    Raises
    ------
    MissingError
        Theory has no prediction for these nets, or nothing of what it predicts was measured.

    Examples
    --------
    >>> import moments_xr as mx
    >>> changes = {"realizations": 4, "network.depth": 6, "network.architecture": "vanilla", "measure.pairs": 4}
    >>> len(mx.run(mx.recipe("quickstart", changes), progress=False).moments.plot.theory())
    6
    """
    found = ds if isinstance(ds, xr.Dataset) and {"residual", "constant_measured"} & set(ds) else compare_theory(ds)
    found = found.compute()
    chosen = chosen_backend(backend)
    nodes = compared(found, chosen)
    names = [name for name in DRAWN if any(node.has(name) for node in nodes)]
    converges = [
        name
        for name in CONVERGING
        if "order" in found and set(found.dims) <= {WIDTH, *OWN} and name in found["quantity"]
    ]
    shown = [_profile(nodes, name, WIDTH in found.dims, chosen) for name in names]
    shown += [_converging(found, name, chosen) for name in converges]
    if names and not converges:
        shown.append(_residuals(nodes, names, chosen))
    if measured(found, "constant_measured") and not converges:
        shown.append(_constants(nodes, chosen))
    if not shown:
        raise MissingError(f"theory: nothing that it predicts was measured ({found.attrs.get('comment', 'no layer')})")
    return layout(shown, chosen)


def _profile(nodes: list[Compared], name: str, by_width: bool, backend: Backend) -> hv.Overlay:
    """One quantity by layer: measured with intervals, and predicted over it."""
    look, nodes = DRAWN[name], [node for node in nodes if node.has(name)]
    bands = [interval_band(node, name) for node in nodes]
    number, scale = numbers(bands) if look.log else (True, np.asarray)
    parts, guides = [], list[Guide]()
    words = "N = ∞" if by_width else "theory"
    if by_width and backend == "matplotlib":
        words = r"$N=\infty$"
    for node, band in zip(nodes, bands, strict=True):
        drawn = band.map(scale) if len(nodes) <= 2 * BANDED else band.map(scale).bare()
        parts.append(Part(drawn, node.label or ("" if node.point else "measured"), Line(node.color)))
        predicted = scale(node.values("predicted", name))
        if not any(np.allclose(predicted, guide.y, equal_nan=True) for guide in guides):
            guides.append(Guide(band.layer, predicted, "" if guides else words, PREDICTED))
    ends = np.concatenate([values[np.isfinite(values)] for part in parts for values in (part.band.mean,)])
    logy = bool(number and look.log and (name == "chi" or (name == "q" and ends.max() > WIDE * ends.min())))
    overlay = hv.Overlay([elements.level(1.0, backend)] if name == "increment_chi" and number else [])
    for band, label, line, _ in parts:
        overlay = overlay * elements.curve(band, label, line, backend, logy)
    for guide in guides:
        overlay = overlay * elements.plain(*guide, backend)
    levels = (1.0,) if name == "increment_chi" and number else ()
    axes = {"ylim": ylim(parts, logy, levels, guides), "ylabel": look.ylabel if number else f"log₁₀ of {look.ylabel}"}
    return panel(overlay, backend, **_depths(nodes, backend), **axes, logy=logy, title="")


def _depths(nodes: list[Compared], backend: Backend) -> dict[str, Any]:
    last = float(nodes[0].found["layer"].max())
    return {"xlabel": symbol("layer", backend), "xlim": (0.0, last * (1 if nodes[0].found.sizes["layer"] > 1 else 2))}


def _residuals(nodes: list[Compared], names: list[str], backend: Backend) -> hv.Overlay:
    """Measured minus predicted in standard errors: of each quantity, or of χ (else δχ) at each node."""
    if nodes[0].point:
        [name] = [name for name in ("chi", "increment_chi", *names) if name in names][:1]
        drawn = [(node, name, node.label, Line(node.color)) for node in nodes if node.has(name)]
        what = f"{symbol(DRAWN[name].symbol, backend)}: "
    else:
        drawn = [
            (nodes[0], name, symbol(DRAWN[name].symbol, backend), Line(DRAWN[name].color, weight=0.8)) for name in names
        ]
        what = ""
    axes = _depths(nodes, backend)
    ends = np.array(axes["xlim"])
    allowed = elements.Band(ends, ends, np.full(2, -SIGMAS), np.full(2, SIGMAS))
    overlay = elements.area(allowed, "", Line(GREY), backend) * elements.level(0.0, backend)
    for node, name, label, line in drawn:
        overlay = overlay * elements.plain(
            node.found["layer"].values, node.values("residual", name), label, line, backend
        )
    values = np.concatenate([[-SIGMAS, SIGMAS], *(node.values("residual", name) for node, name, _, _ in drawn)])
    label = f"{what}distance / standard error"
    return panel(
        overlay, backend, **axes, ylabel=label, ylim=elements.limits(values, above=0.2), title="grey: by chance"
    )


def _converging(found: xr.Dataset, name: str, backend: Backend) -> hv.Overlay:
    """|measured − predicted| against the width, at some depths, with the fitted powers and 1/N."""
    at = found.sel(quantity=name)
    layers = at["layer"].values[np.unique(np.geomspace(1, at.sizes["layer"], SHOWN_DEPTHS + 1).round().astype(int)) - 1]
    layers, widths = layers[-SHOWN_DEPTHS:], at[WIDTH].values.astype("f8")
    distance, half = (abs(at[key].sel(layer=layers)) for key in ("difference", "standard_error"))
    half = SIGMAS * half
    # Bars of what may be zero have no end on a log axis.
    floor = float(half.min()) / 4
    order = np.argsort(widths)
    ends = widths[order][[0, -1]]
    overlay, largest = hv.Overlay([]), float((distance + half).max())
    start = float(distance.isel(layer=-1).max())
    overlay = overlay * elements.plain(ends, start * ends[0] / ends, "", GUIDE, backend)
    for layer, colour in zip(layers, DEPTHS, strict=False):
        d, h = distance.sel(layer=layer).values[order], half.sel(layer=layer).values[order]
        p, low, high = (float(at[key].sel(layer=layer)) for key in ("order", "order_low", "order_high"))
        label = symbol("depth", backend) % layer
        if np.isfinite(p):
            label += symbol("order", backend) % elements.with_interval(p, low, high)
            weight = (widths[order] ** -p / h) ** 2
            amplitude = np.sum(weight * d * widths[order] ** p) / weight.sum()
            overlay = overlay * elements.plain(ends, amplitude * ends**-p, "", Line(colour, weight=0.6), backend)
        shown = widths[order], np.maximum(d, floor), np.maximum(d - h, floor), np.maximum(d + h, floor)
        overlay = overlay * elements.intervals(*shown, label, Line(colour), backend, "width N")
    what = symbol("log_of", backend).strip("$") % symbol(CONVERGING[name], backend).strip("$")
    axes: dict[str, Any] = {
        "xlabel": key_label(WIDTH, backend),
        "ylabel": symbol("distance", backend) % what,
        "xticks": [(width, f"{width:g}") for width in widths],
        "xlim": (ends[0] / 1.2, ends[1] * 1.2),
        "ylim": (floor, 1.5 * largest),
    }
    return panel(overlay, backend, **axes, logx=True, logy=True, title=f"dotted: {symbol('per_width', backend)}")


def _constants(nodes: list[Compared], backend: Backend) -> hv.Overlay:
    """Constants of the whole depth, measured over predicted, with their intervals."""
    overlay, words, drawn = hv.Overlay([elements.level(1.0, backend)]), list[str](), [np.array([0.9, 1.1])]
    for node in nodes:
        known = node.found["constant_measured"].notnull()
        if not known.any():
            continue
        at = node.found.isel(constant=known.values)
        ratio, *ends = (at[f"constant_{key}"] / at["constant_predicted"] for key in ("measured", "low", "high"))
        low, high = np.sort(ends, axis=0)  # of what is negative the ends change places
        x = len(words) + np.arange(at.sizes["constant"])
        words += [CONSTANTS[name] for name in at["constant"].values]
        line = Line(node.color)
        overlay = overlay * elements.intervals(x, ratio.values, low, high, node.label, line, backend, "number")
        drawn += [ratio.values, low, high]
    what = f"{words[0]}: " if len(set(words)) == 1 else ""
    axes: dict[str, Any] = {"xlabel": "", "ylabel": f"{what}measured / predicted"}
    axes["xticks"] = [(k, "" if what else word) for k, word in enumerate(words)]
    limits = elements.limits(np.concatenate(drawn))
    return panel(overlay, backend, **axes, ylim=limits, xlim=(-0.6, len(words) - 0.4), title="")
