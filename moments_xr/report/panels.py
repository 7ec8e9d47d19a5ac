"""Figures as parts of a page: each panel a bokeh plot that takes the width it is given."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import holoviews as hv
import xarray as xr
from bokeh.document import Document
from bokeh.embed import components
from bokeh.models import GridPlot, InlineStyleSheet, Plot
from bokeh.models.annotations import Legend
from bokeh.resources import Resources

from moments_xr.errors import MissingError, RequestError
from moments_xr.report.figures import Figure

WIDE = 700
"""Pixels from which on a panel takes the width of the page."""

IDS = re.compile(r"(?<=[\"'])(?:p\d{4,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?=[\"'])")
"""Ids of bokeh's models, documents and elements, in quotes: they depend on what the process did before."""

NARROW_LEGEND = """@media (max-width: 640px) {
  .bk-grid { grid-template: none / repeat(%d, max-content) !important; grid-auto-flow: row !important; row-gap: 0 !important; }
  .bk-label { font-size: 12px !important; }
}"""
"""A legend in as many columns as a phone has room for."""

PHONE, ENTRY, LETTER = 290, 36, 6
"""Pixels of a panel's axis on a phone, of an entry of a legend without its label, and of a letter."""


@dataclass(frozen=True)
class Panel:
    """Where bokeh puts a plot, and its title: a page wraps what is too long for a phone."""

    div: str
    title: str
    wide: bool


class Fitted(NamedTuple):
    """A plot, its title, and whether it is as wide as the page."""

    plot: Plot
    title: str
    wide: bool


@dataclass(frozen=True)
class Drawn:
    """A figure's panels and the script that fills them; or, in one line, why there are none."""

    panels: tuple[Panel, ...] = ()
    script: str = ""
    missing: str = ""


def draw(figure: Figure, cube: xr.Dataset | xr.DataTree, numbers: dict[str, str]) -> Drawn | None:
    """A figure, or what the cube lacks of it; None if there is no such figure of its kind.

    Ids are numbered in the order they come in; `numbers` has those of the page.
    """

    def renumbered(text: str) -> str:
        return IDS.sub(lambda found: numbers.setdefault(found.group(), f"p{len(numbers) + 1}"), text)

    try:
        layout = figure.draw(cube)
    except MissingError as error:
        return Drawn(missing=str(error))
    except RequestError:  # no figure of this kind of net, or of sweep
        return None
    fitted = fit(layout)
    script, divs = components([panel.plot for panel in fitted], wrap_script=False)
    panels = tuple(Panel(renumbered(div), panel.title, panel.wide) for div, panel in zip(divs, fitted, strict=True))
    return Drawn(panels, renumbered(script))


def fit(layout: Any) -> list[Fitted]:
    """The plots of a HoloViews layout, made to fit a page."""
    # A renderer and a document of its own: shared ones keep what is drawn.
    renderer = hv.renderer("bokeh").instance(mode="server")
    fitted = [
        Fitted(plot, _title_taken(plot), (plot.width or 0) >= WIDE)
        for plot in _plots(renderer.get_plot_state(layout, doc=Document()))
    ]
    for panel in fitted:
        _adapt(panel.plot)
    return fitted


def runtime() -> str:
    """The JavaScript that draws plots: bokeh's core, without what it has for widgets and tables, or others registered."""
    return "\n".join(Resources(mode="inline", components=["bokeh"], log_level="error").js_raw)


def _plots(root: Any) -> list[Plot]:
    """The plots of what HoloViews rendered, in the order of the layout."""
    if isinstance(root, Plot):
        return [root]
    children = [child[0] for child in root.children] if isinstance(root, GridPlot) else root.children
    return [plot for child in children if child is not None for plot in _plots(child)]


def _title_taken(plot: Plot) -> str:
    """The title of a plot, which has none from now on."""
    title = str(getattr(plot.title, "text", None) or "")
    plot.title = None
    return title


def _adapt(plot: Plot) -> None:
    """Fit a plot to a page that scrolls: its own toolbar, no tool that takes wheel or finger before it is chosen."""
    plot.update(sizing_mode="stretch_width", width=None, toolbar_location="above")
    plot.toolbar.update(logo=None, active_drag=None, active_scroll=None)
    legends: list[Any] = list(plot.select({"type": Legend}))
    for legend in legends:
        longest = max((len(str(getattr(item.label, "value", item.label))) for item in legend.items), default=0)
        columns = max(1, PHONE // (ENTRY + LETTER * longest))
        legend.stylesheets = [*legend.stylesheets, InlineStyleSheet(css=NARROW_LEGEND % columns)]
