"""Pictures of theorems: measured against predicted with depth, and the distance in standard errors."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from moments_xr.analysis.realizations import INTERVAL
from moments_xr.analysis.theorems import FAMILY, check_theorems
from moments_xr.errors import MissingError
from moments_xr.plots import elements
from moments_xr.plots.panels import one_cube, xlabel
from moments_xr.plots.theme import BLUE, GREY, PURPLE, RED, Backend, Line, chosen_backend, layout, panel

QUANTITIES = {"ν₂(x)": BLUE, "μ₂(dx)": RED}
"""Colours of rows about one quantity; the others take `OTHERS`."""

OTHERS = (PURPLE, GREY)
MARKERS: dict[Backend, tuple[str, ...]] = {
    "matplotlib": ("o", "s", "^", "D", "v"),
    "bokeh": ("circle", "square", "triangle", "diamond", "inverted_triangle"),
}
FAILED = Line("#1a1a1a")
PREDICTED = Line("#1a1a1a", "dashed", 0.7)

SEPARATE = 8
"""Most layers that are drawn as points with bars, not as a curve."""

LABELS = {
    "1 drift": "Theorem 1: mean of log δq",
    "1 diffusion": "Theorem 1: variance of log δq",
    "1 survival": "Theorem 1: share alive",
    "2": "Theorem 2: mean of log δχ",
    "3": "Theorem 3: mean of log δχ",
    "4": "Theorem 4: mean of log δχ",
    "4 sharp": "Theorem 4, sharp: mean of log δχ",
}

Array = NDArray[np.float64]

DECADES = 30.0
"""Ratio of the ends above which values that are all positive are drawn on a log axis."""


@dataclass(frozen=True, eq=False)
class Row:
    """One row of `check_theorems`, how it is called, and how it looks."""

    data: xr.Dataset
    group: str
    """The part of its name that rows of one panel share."""
    quantity: str
    """The rest."""
    colour: str
    marker: int

    @property
    def label(self) -> str:
        """Of Theorem 1 what it is of, of the others their number."""
        name = f"{self.group} {self.quantity}".strip()
        return name.removeprefix("1 ") if name.startswith("1 ") else f"Theorem {name}"

    @property
    def outside(self) -> bool:
        """Whether it is beside its prediction, or outside of its bounds, at any layer."""
        return bool((self.data["residual"].fillna(0.0) != 0).any())

    @property
    def failed(self) -> bool:
        """Whether the theorem fails at any layer."""
        return bool((self.data["holds"] == 0).any())

    def numbers(self, name: str) -> Array:
        """Values of a variable (layer)."""
        return np.asarray(self.data[name].values, dtype="f8")

    @property
    def exact(self) -> bool:
        """Whether a value is predicted, and not bounds."""
        return np.array_equal(self.numbers("predicted_low"), self.numbers("predicted_high"), equal_nan=True)


def theorems(ds: xr.Dataset | xr.DataTree, backend: Backend | None = None) -> hv.Layout:
    """What the theorems predict and what was measured, layer by layer, for those that apply (THEORY 5).

    Parameters
    ----------
    ds
        A cube.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of up to six panels. (a) The residuals of all rows of `check_theorems`, in standard errors, over the
    band within which the residuals of all layers of a true theorem stay 95 times in a hundred (Bonferroni; of Student's
    law with as many realizations as the cube has); residuals of 0, inside of bounds, are not drawn. Layers where a theorem
    fails are circled; a residual beyond the band that is not is within what the theorem leaves out at this width (a note
    says so if none fails). (b), … For each theorem the measured values with two standard errors to either side, over its
    bounds (grey) or its prediction (dashed).

    Raises
    ------
    MissingError
        No theorem applies to this net, or the cube lacks what they are about.
    RequestError
        The cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 8, "network.depth": 4}), progress=False)
    >>> len(ds.moments.plot.theorems())
    2
    """
    ds = one_cube(ds, "theorems")
    found = check_theorems(ds).compute()
    if not bool(found["measured"].notnull().any()):
        raise MissingError("theorems: nothing that they are about is defined in any realization, at any layer")
    chosen = chosen_backend(backend)
    rows = _rows(found)
    depths = {"xlabel": xlabel(ds, chosen), "xlim": (0.0, 1.02 * float(found["layer"][-1]))}
    panels = [_residuals(rows, ds.sizes.get("realization", 1), chosen, depths)]
    for group in dict.fromkeys(row.group for row in rows):
        panels.append(_values([row for row in rows if row.group == group], chosen, depths))
    return layout(panels, chosen)


def _rows(found: xr.Dataset) -> list[Row]:
    others, rows = cycle(OTHERS), []
    groups = list(dict.fromkeys(str(name).partition(" of ")[0] for name in found["theorem"].values))
    for name in found["theorem"].values:
        group, _, quantity = str(name).partition(" of ")
        colour = QUANTITIES.get(quantity) or next(others)
        marker = groups.index(group) % len(MARKERS["bokeh"])
        rows.append(Row(found.sel(theorem=name), group, quantity, colour, marker))
    return sorted(rows, key=lambda row: groups.index(row.group))


def _residuals(rows: list[Row], realizations: int, backend: Backend, depths: dict[str, Any]) -> hv.Overlay:
    """Distances from what is predicted, in standard errors, over those that chance allows."""
    drawn = hv.Overlay([elements.level(0.0, backend)])
    axes = {"ylabel": "residual / standard error"}
    if realizations < INTERVAL:
        return panel(drawn, backend, **depths, **axes, title=f"below {INTERVAL} realizations: none", ylim=(-1.0, 1.0))
    critical = float(stats.t.isf(FAMILY / 2 / rows[0].data.sizes["layer"], realizations - 1))
    ylim = elements.limits(
        np.concatenate([[-critical, critical], *(row.numbers("residual") for row in rows)]), above=0.2
    )
    ends = np.array(depths["xlim"])
    allowed = elements.Band(ends, ends, np.full(2, -critical), np.full(2, critical))
    drawn = elements.area(allowed, "by chance", Line(GREY), backend) * drawn
    for row in (row for row in rows if row.outside):
        look = Line(row.colour).points(backend) | _marker(row.marker, backend)
        drawn = drawn * _points(row, look, row.label, ylim, backend)
    for k, row in enumerate(row for row in rows if row.failed):
        drawn = drawn * _points(row, _circle(backend), "" if k else "fails", ylim, backend, only_failed=True)
    inside = [row.label for row in rows if not row.outside]
    notes = [f"in bounds: {inside[0] if len(inside) == 1 else f'{len(inside)} others'}"] if inside else []
    residuals = np.concatenate([row.numbers("residual") for row in rows])
    if (np.abs(residuals) > critical).any() and not any(row.failed for row in rows):
        notes.append("none fails")
    return panel(drawn, backend, **depths, **axes, ylim=ylim, title="; ".join(notes))


def _points(
    row: Row, look: dict[str, Any], label: str, ylim: tuple[float, float], backend: Backend, only_failed: bool = False
) -> hv.Scatter:
    shown = row.data.isel(layer=np.flatnonzero(row.data["holds"] == 0 if only_failed else row.data["residual"] != 0))
    names = ["residual", "measured", "predicted_low", "predicted_high", "standard_error", "tolerance"]
    columns = [shown["layer"].values, shown["residual"].values.clip(*ylim), *(shown[name].values for name in names)]
    dimensions = ["distance", *names]
    points = hv.Scatter(tuple(columns), "layer", dimensions, label=label)
    tips = [("theorem", row.label), *((name.replace("_", " "), f"@{name}") for name in ("layer", *names))]
    hover = {"hover_tooltips": tips} if backend == "bokeh" else {}
    return points.opts(hv.opts.Scatter(**look, **hover, show_legend=bool(label), backend=backend))


def _marker(number: int, backend: Backend) -> dict[str, Any]:
    return {"marker": MARKERS[backend][number], **({"s": 9} if backend == "matplotlib" else {"size": 5})}


def _circle(backend: Backend) -> dict[str, Any]:
    if backend == "matplotlib":
        return {"facecolors": "none", "edgecolor": FAILED.color, "marker": "o", "s": 45, "linewidth": 0.8}
    return {"fill_alpha": 0.0, "line_color": FAILED.color, "marker": "circle", "size": 12}


def _values(rows: list[Row], backend: Backend, depths: dict[str, Any]) -> hv.Overlay:
    """Measured over predicted, of rows about alike quantities."""
    layers = rows[0].data["layer"].values
    names = ("measured", "predicted_low", "predicted_high")
    values = np.concatenate([row.numbers(name) for row in rows for name in names])
    least, greatest = np.nanmin(values), np.nanmax(values)
    logy = bool(rows[0].group != "1 survival" and least > 0 and greatest > DECADES * least)
    drawn, seen = hv.Overlay([]), list[Array]()
    for row in rows:
        low, high = row.numbers("predicted_low"), row.numbers("predicted_high")
        if not row.exact and not any(np.array_equal(low, before, equal_nan=True) for before in seen):
            drawn = drawn * elements.area(elements.Band(layers, low, low, high), "bounds", Line(GREY), backend, logy)
            seen.append(low)
    for row in rows:
        measured, error = row.numbers("measured"), 2 * row.numbers("standard_error")
        band = elements.Band(
            layers, measured, np.maximum(measured - error, least if logy else -np.inf), measured + error
        )
        label, line = row.quantity or "measured", Line(row.colour)
        if len(layers) <= SEPARATE:
            drawn = drawn * elements.intervals(layers, measured, band.low, band.high, label, line, backend)
        else:
            drawn = drawn * elements.curve(band, label, line, backend, logy)
        if row.exact:
            drawn = drawn * elements.plain(layers, row.numbers("predicted_low"), "predicted", PREDICTED, backend)
        values = np.concatenate([values, band.low, band.high])
    ylim = (-0.02, 1.06) if rows[0].group == "1 survival" else elements.limits(values, logy)
    axes = {"ylabel": LABELS.get(rows[0].group, f"Theorem {rows[0].group}"), "ylim": ylim}
    return panel(drawn, backend, **depths, **axes, logy=logy, title="")
