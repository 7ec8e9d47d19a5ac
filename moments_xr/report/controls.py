"""What a visitor of the live report may choose: the widgets, what they offer, and what is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor
from typing import Any

import numpy as np
import panel as pn
import xarray as xr

from moments_xr.quantities import DECOMPOSED, MOMENTS
from moments_xr.report.figures import GROUPS, Figure

COMPARE, RECIPE = "Compare", "Recipe"
PAGES = (*GROUPS, COMPARE, RECIPE)
COMPARED = 8
"""Cubes that are compared before a person chooses."""

FITTING = "as it fits"
"""The choice of a control that leaves it to the figure."""

SENSITIVITIES = ("chi", *(name for name in DECOMPOSED if name != "chi"))
AXES = {FITTING: FITTING, "linear": False, "logarithmic": True}
QUANTITIES = {
    "Sensitivity": SENSITIVITIES,
    "Decomposition": SENSITIVITIES,
    "Channels": ("nu2_signal", *(name for name, row in MOMENTS.items() if not row.signed and name != "nu2_signal")),
    COMPARE: (FITTING, "chi", "reff_signal", "reff_noise", *MOMENTS),
}
"""What the control of the quantity offers, by page."""

SIZES = {"width": 230, "margin": (4, 12, 4, 0)}
WRAP = ".bk-btn-group { flex-wrap: wrap; gap: 2px; } .bk-btn { flex: 0 1 auto !important; }"
WRAP_BOXES = (
    ".bk-input-group { flex-wrap: wrap; white-space: normal; gap: 2px 12px; } .bk-input-group label { margin: 0; }"
)


class Controls:
    """The widgets above a page: `turn` is called for another page or cube, `draw` for another choice of what is shown."""

    def __init__(self, turn: Callable[..., None], draw: Callable[..., None]) -> None:
        self.page = pn.widgets.RadioButtonGroup(
            name="page", options=list(PAGES), value=PAGES[0], button_style="outline", button_type="primary",
            sizing_mode="stretch_width", stylesheets=[WRAP], margin=0,
        )  # fmt: skip
        self.cube = pn.widgets.Select(name="cube", **SIZES)
        self.layers = pn.widgets.IntRangeSlider(name="layers", start=0, end=1, **SIZES)
        self.realization = pn.widgets.IntInput(name="realization", value=None, placeholder="all", **SIZES)
        self.whole = pn.widgets.Button(name="all layers and realizations", margin=(22, 12, 4, 0))
        self.arguments = {
            "site": pn.widgets.Select(name="site", options=[FITTING], **SIZES),
            "logy": pn.widgets.Select(name="vertical axis", options=AXES, **SIZES),
            "of": pn.widgets.Select(name="quantity", **SIZES),
        }
        self.compared = pn.widgets.CheckBoxGroup(
            name="cubes", inline=True, stylesheets=[WRAP_BOXES], sizing_mode="stretch_width", margin=(4, 12, 4, 0)
        )
        self.row = pn.FlexBox(
            self.cube, self.layers, self.realization, self.whole, *self.arguments.values(), self.compared,
            sizing_mode="stretch_width",
        )  # fmt: skip
        self._draw = draw
        turning: tuple[pn.widgets.Widget, ...] = (self.page, self.cube)
        drawing: tuple[pn.widgets.Widget, ...] = (self.realization, self.compared, *self.arguments.values())
        for widgets, changed in ((turning, turn), (drawing, draw)):
            for widget in widgets:
                widget.param.watch(changed, "value")
        self.layers.param.watch(draw, "value_throttled")
        self.whole.on_click(self.choose_whole)

    @property
    def selection(self) -> dict[str, Any]:
        """`layers` (first, last) and `realization`, where chosen."""
        whole = self.layers.value == (self.layers.start, self.layers.end)
        chosen = {"layers": None if whole else self.layers.value, "realization": self.realization.value}
        return {name: value for name, value in chosen.items() if value is not None}

    @property
    def chosen_arguments(self) -> dict[str, Any]:
        """Arguments of figures, where chosen."""
        return {name: widget.value for name, widget in self.arguments.items() if widget.value != FITTING}

    def offer_cubes(self, labels: list[str]) -> None:
        """Cubes that are there now."""
        self.cube.param.update(options=labels, visible=len(labels) > 1)
        self.compared.options = labels
        self.compared.value = [label for label in self.compared.value if label in labels] or labels[:COMPARED]
        if self.cube.value not in labels:
            self.cube.value = labels[0] if labels else None

    def offer_parts(self, ds: xr.Dataset) -> None:
        """Layers and sites of the cube; a range that the cube has not becomes the whole of it."""
        depths = np.atleast_1d(ds["layer"].values)
        ends = int(depths[0]), max(int(depths[-1]), int(depths[0]) + 1)
        if ends != (self.layers.start, self.layers.end):
            self.layers.param.update(start=ends[0], end=ends[1], value=ends)
        sites = [str(site) for site in np.atleast_1d(ds["site"].values)] if "site" in ds.coords else []
        self.arguments["site"].options = [FITTING, *sites]

    def offer_page(self, figures: Sequence[Figure], there: bool) -> None:
        """What the figures of the page understand; nothing to select from if no cube is there."""
        page, quantity = self.page.value, self.arguments["of"]
        offered = list(QUANTITIES.get(page, ()))
        if offered and quantity.options != offered:
            quantity.param.update(options=offered, value=offered[0])
        for name, control in self.arguments.items():
            control.visible = any(name in row.controls for row in figures)
        for widget in (self.layers, self.realization, self.whole):
            widget.visible = page != RECIPE and there
        self.compared.visible = page == COMPARE

    def choose_layers(self, first: float, last: float) -> None:
        """The layers between two depths, if there are at least two."""
        ends = max(ceil(first), self.layers.start), min(floor(last), self.layers.end)
        if ends[1] > ends[0]:
            self.layers.value = ends
            self._draw()

    def choose_realization(self, label: int) -> None:
        """One net."""
        self.realization.value = label

    def choose_whole(self, *_: Any) -> None:
        """All layers and realizations."""
        self.layers.value = self.layers.start, self.layers.end
        self.realization.value = None
        self._draw()
