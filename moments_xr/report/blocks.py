"""The parts of a page of the live report: what is chosen, as words, tables and plots of Panel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from threading import Lock
from typing import Any

import panel as pn
import xarray as xr
from bokeh.events import SelectionGeometry
from bokeh.models import BoxSelectTool, LinearAxis, Plot, TapTool
from bokeh.models.ranges import Range
from bokeh.models.renderers import GlyphRenderer

from moments_xr.analysis.pathology import classify
from moments_xr.errors import RequestError
from moments_xr.report import content, words
from moments_xr.report.figures import Figure
from moments_xr.report.panels import fit
from moments_xr.report.watch import Watched, said, select

CSS = files("moments_xr.report").joinpath("page.css").read_text("utf-8")

LOOK = """:host { font: 16px/1.5 system-ui, sans-serif; }
h2 { font-size: 1.05rem; margin: 1.5rem 0 .25rem; padding: 0; border: 0; }"""

DEPTH_AXES = ("layer", "residual unit")
"""What the label of an axis along the depth begins with."""

ALL = " It is of all realizations, whichever is chosen."

DRAWING = Lock()
"""HoloViews keeps state: one figure at a time."""

GRID = {
    "display": "grid",
    "gap": "8px 20px",
    "grid-template-columns": "repeat(auto-fit, minmax(min(100%, 440px), 1fr))",
}
"""Two plots beside each other where there is room."""


@dataclass(frozen=True)
class View:
    """A cube and what of it is looked at."""

    store: Watched
    label: str
    selection: Mapping[str, Any]
    """`layers` (first, last) and `realization`, where chosen."""
    arguments: Mapping[str, Any]
    """Arguments of figures, where chosen."""

    @property
    def ds(self) -> xr.Dataset:
        """The whole cube."""
        return self.store.nodes[self.label]

    @property
    def cube(self) -> xr.Dataset:
        """The selected part."""
        return select(self.ds, self.selection)

    def of(self, row: Figure) -> tuple[xr.Dataset, dict[str, Any]]:
        """The cube and the arguments of a figure; one of all realizations, or that marks one, takes the others too."""
        if "realization" not in row.controls and not row.of_all:
            return self.cube, dict(self.arguments)
        layers = {key: value for key, value in self.selection.items() if key == "layers"}
        marked = {key: value for key, value in self.selection.items() if key == "realization"}
        return select(self.ds, layers), {**self.arguments, **marked}

    @property
    def title(self) -> str:
        """The cube's label, and what of it is chosen."""
        parts = [self.label]
        if "layers" in self.selection:
            parts.append("layers {} to {}".format(*self.selection["layers"]))
        if "realization" in self.selection:
            parts.append(f"realization {self.selection['realization']}")
        return ", ".join(parts)

    @property
    def in_sweep(self) -> bool:
        """Whether it is a node of a sweep."""
        return isinstance(self.store.cube, xr.DataTree)

    @property
    def started(self) -> bool:
        """Whether a realization is done."""
        return bool(self.ds.sizes.get("realization", 1))


def html(text: str) -> pn.pane.HTML:
    """Words with the look of the report."""
    return pn.pane.HTML(text, stylesheets=[CSS, LOOK], sizing_mode="stretch_width", margin=0)


def head(stores: Sequence[Watched], view: View | None, headline: str = "") -> pn.Column:
    """Which cube, what is wrong with it, and which stores cannot be shown.

    Without a headline, what its analysis says.
    """
    notices = [store.problem for store in stores if store.problem]
    if view is None:
        title = words.say("head", ", ".join(store.name for store in stores), "Nothing to show yet")
        return pn.Column(html(title), *map(_notice, notices), sizing_mode="stretch_width")
    try:
        headline = headline or _headline(view)
    except Exception as error:  # a damaged chunk, or a realization that is not there
        headline, notices = "Nothing to show", [*notices, said(error, f"cube '{view.label}'")]
    recipe = content.recipe_of(view.ds)
    title = words.say("head", view.title, headline, recipe.description if recipe else "")
    return pn.Column(html(title), *map(_notice, notices), sizing_mode="stretch_width")


def progress(view: View | None) -> list[Any]:
    """How much of a cube is done, unless all is."""
    there, wanted = content.completeness(view.ds) if view else (0, 0)
    if there >= wanted:
        return []
    state = f"{there} of {wanted} realizations are done; what is shown follows as blocks land."
    bar = pn.indicators.Progress(value=there, max=wanted, sizing_mode="stretch_width", max_width=400, margin=(4, 0))
    return [_notice(state), bar]


def _notice(text: str) -> pn.pane.HTML:
    return html(words.say("notice", text))


def _headline(view: View) -> str:
    return content.headline(view.store.analysis(view.label, view.selection)) if view.started else "not started"


def verdicts(view: View) -> pn.pane.HTML:
    """The verdicts, with evidence, and what net they are of."""
    results = view.store.analysis(view.label, view.selection)
    told = words.say("cards", content.verdicts(results)) + words.say("findings", content.findings(results))
    return html(told + words.say("pairs", content.facts(view.cube, results)))


def numbers(view: View) -> pn.pane.HTML:
    """The summary as a table."""
    results = view.store.analysis(view.label, view.selection)
    return html(
        words.say("heading", "Numbers")
        + words.say("numbers", content.numbers(results), content.completeness(view.cube)[0])
    )


def provenance(view: View) -> pn.pane.HTML:
    """The recipe, and where the numbers come from."""
    cube = view.ds
    found = content.recipe_of(cube)
    return html(words.say("provenance", content.provenance(cube), found.to_yaml() if found else ""))


def headlines(views: Mapping[str, View]) -> pn.pane.HTML:
    """The verdicts on several cubes as a table, and in a line each why a cube has none."""
    rows, lacking = {}, []
    for label, view in views.items():
        try:
            if view.started:
                rows[label] = content.verdicts({"classify": classify(view.cube).compute()})
        except Exception as error:  # one damaged cube does not hide the others
            lacking.append(words.say("missing", f"{label}: {said(error, 'the cube')}"))
    return html(words.say("verdict_table", rows) + "".join(lacking))


@dataclass(frozen=True)
class Choose:
    """What happens when a person chooses in a plot."""

    layers: Callable[[float, float], None]
    """The ends of a range of layers."""
    realization: Callable[[int], None]


def figure(row: Figure, cube: Any, arguments: Mapping[str, Any], depths: dict[str, Range], choose: Choose) -> pn.Column:
    """A figure with its title and caption, or in a line why it is not drawn.

    Plots along the depth share the ranges in `depths`, so that they are zoomed together.
    """
    heading = words.say("heading", row.title)
    taken = {name: value for name, value in arguments.items() if name in row.controls}
    caption = row.caption + (ALL if row.of_all and "realization" in arguments else "")
    try:
        with DRAWING:
            panels = fit(row.draw(cube, **taken))
    except RequestError as error:
        return pn.Column(html(heading + words.say("missing", str(error))), sizing_mode="stretch_width")
    for plot, _, _ in panels:
        _link_layers(plot, depths, choose)
        _link_realizations(plot, choose)
    panes = [
        pn.Column(
            html(words.say("panel_title", title)),
            pn.pane.Bokeh(plot, sizing_mode="stretch_width", margin=0),
            sizing_mode="stretch_width",
            styles={"grid-column": "1 / -1"} if wide else {},
        )
        for plot, title, wide in panels
    ]
    grid = pn.Column(*panes, sizing_mode="stretch_width", styles=GRID)
    return pn.Column(html(heading + words.say("caption", caption)), grid, sizing_mode="stretch_width")


def _link_layers(plot: Plot, depths: dict[str, Range], choose: Choose) -> None:
    """Zoom plots along the depth together, and let a box choose a range of layers."""
    axis = plot.below[0] if plot.below else None
    label = getattr(axis, "axis_label", None) or ""
    if not label.startswith(DEPTH_AXES):
        return
    if isinstance(axis, LinearAxis):
        plot.x_range = depths.setdefault(label, plot.x_range)

    def chosen(event: Any) -> None:
        if event.final and event.geometry and event.geometry["type"] == "rect":
            choose.layers(event.geometry["x0"], event.geometry["x1"])

    plot.add_tools(BoxSelectTool(dimensions="width", renderers=[], description="Choose a range of layers"))
    plot.on_event(SelectionGeometry, chosen)


def _link_realizations(plot: Plot, choose: Choose) -> None:
    """Let a tap on a net's point choose the net."""
    for renderer in plot.renderers:
        source = getattr(renderer, "data_source", None)
        if not isinstance(renderer, GlyphRenderer) or source is None or "realization" not in source.data:
            continue

        def tapped(
            attribute: str, before: list[int], indices: list[int], labels: Any = source.data["realization"]
        ) -> None:
            if indices:
                choose.realization(int(labels[indices[0]]))

        plot.add_tools(TapTool(renderers=[renderer], description="Choose a net"))
        source.selected.on_change("indices", tapped)
