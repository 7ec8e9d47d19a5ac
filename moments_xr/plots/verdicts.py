"""Pictures of verdicts: which pathology where along the depth, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.evidence import evidence
from moments_xr.errors import MissingError
from moments_xr.plots import elements
from moments_xr.plots.panels import one_cube, xlabel
from moments_xr.plots.symbols import VERDICTS
from moments_xr.plots.theme import BLUE, RED, Backend, Line, chosen_backend, layout, panel
from moments_xr.quantities import PATHOLOGIES

WORDS = {
    "zero_dimensional_signal": "signal shrinks to a point",
    "one_dimensional_signal": "signal shrinks to a line",
    "exploding_sensitivity": "sensitivity explodes",
    "high_sensitivity": "noise drowns the signal",
    "vanishing_gradient": "gradients vanish",
    "exploding_gradient": "gradients explode",
    "pseudo_linearity": "layers are nearly linear",
    "fat_tails": "few inputs carry the signal",
}


@dataclass(frozen=True)
class State:
    """How a state of `evidence` looks in the strip, and what it is called there and where the pointer rests on it."""

    colour: str
    label: str
    meaning: str
    edge: str = "white"


STATES = {
    "safe": State("#cfe2f8", "safe", "on the safe side of the threshold"),
    "growing": State("#7fb0ea", "growing", "χ grows, and not as an exponential as far as is known"),
    "straddling": State("#f2b632", "not certain", "the interval holds the threshold"),
    "beyond": State(RED, "beyond", "beyond the threshold"),
    "few": State("#9a9a9a", "too few nets", "fewer than 8 realizations are alive at the deepest layer"),
    "not measured": State(
        "#ffffff", "not measured", "not measured, or no realization is alive at the deepest layer", "#9a9a9a"
    ),
}
THRESHOLD = Line("#1a1a1a", "dashed", 0.7)
STRIP = 0.38
"""Height of a strip; the words above it have the rest of 1."""

SEPARATE = 8
"""Most layers that are drawn as points with bars, not as a curve."""

FEW_FOLD = 3.0
"""Ratio of the ends above which a statistic is drawn on a log axis, if it has one."""

LEAST = 1e-9
"""Statistics below this are drawn there: they vanish."""


def verdicts(ds: xr.Dataset | xr.DataTree, backend: Backend | None = None) -> hv.Layout:
    """Which pathology where along the depth, and the evidence for each verdict (THEORY 6).

    Parameters
    ----------
    ds
        A cube.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of up to eight panels. (a) A strip for each pathology, coloured by its state at each depth as
    `moments_xr.evidence` tells it, under its name and the verdict of `classify`; a triangle marks the onset of what is
    present. (b), … Of each one that was measured, the statistic with its 95 % interval over realizations, its threshold
    (dashed), and the side beyond that (shaded); vanishing and exploding gradients share a panel. Statistics are geometric means, of effective ranks in their distance from
    1; the growth rate, a mean, tells an explosion only by staying as large.

    Raises
    ------
    MissingError
        None of the statistics was measured.
    RequestError
        The cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 8, "network.depth": 20}), progress=False)
    >>> len(ds.moments.plot.verdicts())
    8
    """
    ds = one_cube(ds, "verdicts")
    found = evidence(ds).compute()
    measured = [name for name in PATHOLOGIES if np.isfinite(found["statistic"].sel(pathology=name)).any()]
    if not measured:
        why = dict.fromkeys(str(words) for words in found["sentence"].values)
        raise MissingError(f"verdicts: nothing to draw: {'; '.join(why)}")
    chosen = chosen_backend(backend)
    edges = _edges(found["layer"].values)
    depths = {"xlabel": xlabel(ds, chosen), "xlim": (float(edges[0]), float(edges[-1])), "title": ""}
    panels = [_strips(found, edges, chosen, depths)]
    panels += [_statistic(found.sel(pathology=names), chosen, depths) for names in _together(measured)]
    return layout(panels, chosen)


def _together(measured: list[str]) -> list[list[str]]:
    """Pathologies of each panel: those of one statistic, which two thresholds bound, share theirs."""
    return [list(names) for _, names in groupby(measured, key=lambda name: PATHOLOGIES[name].symbol)]


def _edges(layers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Edges of cells with the layers in them, half way between neighbours."""
    middle = (layers[1:] + layers[:-1]) / 2
    first, last = (
        (layers[0] - 0.5, layers[-1] + 0.5)
        if len(layers) == 1
        else (2 * layers[0] - middle[0], 2 * layers[-1] - middle[-1])
    )
    return np.concatenate([[first], middle, [last]])


def _strips(found: xr.Dataset, edges: NDArray[np.float64], backend: Backend, depths: dict[str, Any]) -> hv.Overlay:
    """One strip a pathology, from top to bottom, each in runs of layers of one state."""
    runs: dict[str, list[tuple[Any, ...]]] = {state: [] for state in STATES}
    names, answers, onsets = [], [], []
    for row, name in enumerate(PATHOLOGIES):
        one = found.sel(pathology=name)
        bottom, layers = float(len(PATHOLOGIES) - 1 - row), one["layer"].values
        for state, group in groupby(range(len(layers)), key=lambda k: str(one["state"].values[k])):
            first, *_, last = [*(run := list(group)), run[-1]]
            span = f"{layers[first]} to {layers[last]}" if last > first else f"{layers[first]}"
            place = (edges[first], bottom, edges[last + 1], bottom + STRIP)
            runs[state].append((*place, WORDS[name], span, STATES[state].meaning, str(one["sentence"].values)))
        names.append((edges[0], bottom + STRIP, WORDS[name]))
        answers.append((edges[-1], bottom + STRIP, _answer(one)))
        onsets += [(float(one["onset"]), bottom + STRIP / 2, WORDS[name])] if one["verdict"] == "present" else []
    drawn = hv.Overlay([])
    for state, rectangles in runs.items():
        if rectangles:
            drawn = drawn * _rectangles(rectangles, STATES[state], backend)
    if backend == "matplotlib":
        for state in (state for state, rectangles in runs.items() if rectangles):
            drawn = drawn * _swatch(STATES[state])
    drawn = drawn * _labels(names, "left", backend) * _labels(answers, "right", backend) * _onsets(onsets, backend)
    return panel(drawn, backend, **depths, ylim=(-0.2, len(PATHOLOGIES) + 0.02), ylabel="", yaxis=None)


def _answer(one: xr.Dataset) -> str:
    verdict, onset = str(one["verdict"].values), float(one["onset"])
    if set(one["state"].values.tolist()) == {"not measured"}:
        return "not measured"
    return f"{verdict}, from {onset:.0f} on" if verdict == "present" else verdict


def _rectangles(rectangles: list[tuple[Any, ...]], state: State, backend: Backend) -> hv.Rectangles:
    columns = ["pathology", hv.Dimension(("layers", "layers")), "state", "verdict"]
    label = state.label if backend == "bokeh" else ""
    drawn = hv.Rectangles(rectangles, ["x0", "y0", "x1", "y1"], columns, label=label)
    if backend == "matplotlib":
        return drawn.opts(
            hv.opts.Rectangles(facecolor=state.colour, edgecolor=state.edge, linewidth=0.4, backend=backend)
        )
    tips = [(name, f"@{name}") for name in ("pathology", "layers", "state", "verdict")]
    look = {
        "color": state.colour,
        "line_color": state.edge,
        "line_width": 0.5,
        "tools": ["hover"],
        "hover_tooltips": tips,
    }
    return drawn.opts(hv.opts.Rectangles(**look, backend=backend))


def _swatch(state: State) -> hv.Scatter:
    """An entry of the legend, which rectangles have not in matplotlib."""
    look = {"marker": "s", "s": 40, "edgecolor": state.edge, "linewidth": 0.4}
    nowhere = hv.Scatter(([np.nan], [np.nan]), "x", "y", label=state.label)
    return nowhere.opts(hv.opts.Scatter(color=state.colour, **look, backend="matplotlib"))


def _labels(words: list[tuple[float, float, str]], side: str, backend: Backend) -> hv.Labels:
    look = (
        {"color": "#1a1a1a", "horizontalalignment": side, "verticalalignment": "bottom", "size": 7}
        if backend == "matplotlib"
        else {"text_color": "#1a1a1a", "text_align": side, "text_baseline": "bottom", "text_font_size": "12px"}
    )
    return hv.Labels(words, ["x", "y"], "text").opts(hv.opts.Labels(**look, backend=backend))


def _onsets(onsets: list[tuple[float, float, str]], backend: Backend) -> hv.Scatter:
    look = {"marker": "^", "s": 14} if backend == "matplotlib" else {"marker": "triangle", "size": 7}
    drawn = hv.Scatter(onsets or np.empty((0, 3)), "onset", ["y", "pathology"])
    return drawn.opts(hv.opts.Scatter(color="#1a1a1a", **look, backend=backend))


def _statistic(found: xr.Dataset, backend: Backend, depths: dict[str, Any]) -> hv.Overlay:
    """A statistic with depth, and its threshold; two where it has one below and one above."""
    names, layers = [str(name) for name in found["pathology"].values], found["layer"].values
    one, rows = found.isel(pathology=0), [PATHOLOGIES[name] for name in names]
    mean, low, high = (one[key].values for key in ("statistic", "statistic_low", "statistic_high"))
    thresholds = found["threshold"].values
    values = np.concatenate([mean, low, high, thresholds])
    logy = bool(rows[0].origin is not None and np.nanmax(values) > FEW_FOLD * np.nanmin(values))
    if logy:
        mean, low, high, values = (np.maximum(array, LEAST) for array in (mean, low, high, values))
    ylim = elements.limits(values, logy)
    ends, drawn = np.array(depths["xlim"]), hv.Overlay([])
    for row, threshold in zip(rows, thresholds, strict=True):
        beyond = (threshold, ylim[1]) if row.side == "above" else (ylim[0], threshold)
        shade = hv.Area((ends, np.full(2, beyond[0]), np.full(2, beyond[1])), "layer", ["from", "to"])
        if row.judged != "law":  # told by how it changes: no rate alone is beyond the threshold
            drawn = drawn * shade.opts(
                hv.opts.Area(**Line(RED).band(backend) | {"alpha": 0.1}, logy=logy, backend=backend)
            )
    label = str(one["symbol"].values)
    label = VERDICTS.get(label, label) if backend == "matplotlib" else label
    if len(layers) <= SEPARATE:
        drawn = drawn * elements.intervals(layers, mean, low, high, label, Line(BLUE), backend)
    else:
        drawn = drawn * elements.area(elements.Band(layers, mean, low, high), "", Line(BLUE), backend, logy)
        columns = ["statistic", "low", "high", "state"]
        curve = hv.Curve((layers, mean, low, high, one["state"].values.astype(str)), "layer", columns, label=label)
        drawn = drawn * curve.opts(hv.opts.Curve(**Line(BLUE).curve(backend), logy=logy, backend=backend))
    words = f"threshold{'s' if len(names) > 1 else ''} {' and '.join(f'{value:g}' for value in thresholds)}"
    for label, threshold in zip((words, ""), thresholds, strict=False):
        drawn = drawn * elements.plain(ends, np.full(2, threshold), label, THRESHOLD, backend)
    ylabel = "change of gradients" if len(names) > 1 else WORDS[names[0]]
    return panel(drawn, backend, **depths, logy=logy, ylim=ylim, ylabel=ylabel)
