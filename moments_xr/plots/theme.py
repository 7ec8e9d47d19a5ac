"""One look for all pictures: colours that colour-blind readers tell apart, symbols as in the paper, sizes of a journal."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any, Literal

import holoviews as hv
import numpy as np
from bokeh.models import FixedTicker, LogAxis, LogTicker, PrintfTickFormatter
from bokeh.models.annotations.geometry import Whisker
from matplotlib import colormaps
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from moments_xr.plots.notebook import show_in_notebook
from moments_xr.plots.symbols import SYMBOLS

Backend = Literal["matplotlib", "bokeh"]

# Apart in lightness as well as in hue: at least 26 in CIELAB between any two of a list, also under simulated deuteranopia,
# protanopia and tritanopia (Machado 2009), where the papers' own blue and purple are 19 apart.
BLUE, PURPLE, RED, GREY = "#2b83e8", "#5b1a86", "#d8321f", "#555555"
DEPTHS = (BLUE, PURPLE, "#b8257e", "#f0512d")

DASHES: dict[str, dict[Backend, Any]] = {
    "solid": {"matplotlib": "-", "bokeh": "solid"},
    "dotted": {"matplotlib": (0, (1, 1.3)), "bokeh": "dotted"},
    "dashed": {"matplotlib": (0, (4, 2)), "bokeh": "dashed"},
}

RCPARAMS: Any = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "cm",
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "svg.hashsalt": "moments-xr",
    "savefig.facecolor": "white",
}

FEW_DECADES = 1000
"""Ratio of the ends of a log axis below which its ticks are 1, 2, 5, 10, … instead of powers of ten."""

DIGITS = ((1, 2, 5), (1, 2, 3, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))
"""Digits of such ticks: the first of these that give three."""

LEGEND_MARKER = 20
"""Least size, in square points, of a marker in a legend of matplotlib."""

LEGEND = 5
"""Most entries of a legend that stand on one line."""

PANEL_INCHES, ASPECT = 3.4, 1.62
PANEL_PIXELS = {"width": 520, "height": 340}
LEGEND_WIDTH = 1.04
"""Widest legend of matplotlib, of the panel's width: the letter stands to its left."""

LEGEND_ENTRY, LEGEND_LETTER = 40, 6.5
"""Pixels of an entry of bokeh's legend without its label, and of a letter."""

LEGEND_LINE = 24
"""Pixels that each further line of bokeh's legend takes."""

FONT_PIXELS = {"title": "14px", "labels": "15px", "ticks": "13px", "legend": "14px"}


@dataclass(frozen=True)
class Line:
    """How a curve looks, in both backends."""

    color: str
    dash: str = "solid"
    weight: float = 1.0

    def curve(self, backend: Backend) -> dict[str, Any]:
        dash = DASHES[self.dash][backend]
        if backend == "matplotlib":
            return {"color": self.color, "linestyle": dash, "linewidth": 1.8 * self.weight}
        return {"color": self.color, "line_dash": dash, "line_width": 2.5 * self.weight, "tools": ["hover"]}

    def band(self, backend: Backend) -> dict[str, Any]:
        if backend == "matplotlib":
            same = {"color": self.color, "facecolor": self.color, "edgecolor": self.color}
            return {**same, "linewidth": 0, "alpha": 0.2}
        return {"color": self.color, "line_color": self.color, "line_width": 0.4, "alpha": 0.22}

    def points(self, backend: Backend) -> dict[str, Any]:
        if backend == "matplotlib":
            return {"color": self.color, "marker": "o", "s": 16}
        return {"color": self.color, "marker": "circle", "size": 7, "tools": ["hover"]}

    def bars(self, backend: Backend) -> dict[str, Any]:
        if backend == "matplotlib":
            return {"edgecolor": self.color, "elinewidth": 1.0, "capsize": 2.5, "capthick": 1.0}
        return {"line_color": self.color, "line_width": 1.5}


def chosen_backend(backend: Backend | None) -> Backend:
    """The backend asked for, or HoloViews' current one, else matplotlib; both are made ready, the current one is kept."""
    if backend is None:
        show_in_notebook()
    current = hv.Store.current_backend
    for needed in ("matplotlib", "bokeh"):
        hv.renderer(needed)
    hv.Store.set_current_backend(current)
    return backend or ("bokeh" if current == "bokeh" else "matplotlib")


def symbol(name: str, backend: Backend) -> str:
    """A symbol in the spelling of the backend."""
    mathtext, plain = SYMBOLS[name]
    return mathtext if backend == "matplotlib" else plain


def ramp(count: int) -> list[str]:
    """Colours from light to dark, told apart by their lightness."""
    return [to_hex(colormaps["viridis"](place)) for place in np.linspace(0.78, 0.0, count)]


def depth_colours(count: int) -> list[str]:
    """From blue to red with depth, for up to four depths."""
    return list(DEPTHS[:count])


def panel(overlay: hv.Overlay, backend: Backend, **axes: Any) -> hv.Overlay:
    """An overlay as a panel of a figure: its axes (`xlabel`, `ylabel`, `logy`, `xlim`, `ylim`, `title`) and its size."""
    if backend == "matplotlib":
        look = {"aspect": ASPECT, "fig_inches": PANEL_INCHES, "fig_rcparams": RCPARAMS, "hooks": [_finish]}
    else:
        look = {**PANEL_PIXELS, "toolbar": "above", "show_grid": True, "legend_position": "top"}
        columns, lines = _legend_grid(labels(overlay))
        look |= {"fontsize": FONT_PIXELS, "legend_cols": columns}
        look["height"] = PANEL_PIXELS["height"] + LEGEND_LINE * (lines - 1)
        look["legend_opts"] = {
            "border_line_alpha": 0,
            "background_fill_alpha": 0,
            "padding": 5,
            "spacing": 12,
            "margin": 3,
            "glyph_height": 14,
        }
        look["hooks"] = [_finish_bokeh]
    return overlay.opts(hv.opts.Overlay(**look, **axes, backend=backend))


def labels(overlay: hv.Overlay) -> list[str]:
    """What stands in the legend."""
    found = [element.label for element in overlay.traverse(specs=[hv.Element])]
    return list(dict.fromkeys(label for label in found if label))


def _columns(entries: int) -> list[int]:
    """Columns that a legend may have, of even lines and the fewest lines first."""
    return [columns for lines in range(1, entries + 1) if (columns := -(-entries // lines)) <= LEGEND]


def _legend_grid(entries: list[str]) -> tuple[int, int]:
    """Columns and lines of bokeh's legend, each column as wide as its longest entry."""
    wide = [LEGEND_ENTRY + LEGEND_LETTER * len(entry) for entry in entries]
    for columns in _columns(len(entries)):
        lines = -(-len(entries) // columns)
        if sum(max(wide[k : k + lines]) for k in range(0, len(wide), lines)) <= PANEL_PIXELS["width"] - 80:
            return columns, lines
    return 1, max(1, len(entries))


def _finish(plot: Any, element: hv.Overlay) -> None:
    """What HoloViews leaves to matplotlib: one shape for linear and log panels, the legend on the line of the letter."""
    axes = plot.handles["axis"]
    axes.set_aspect("auto")
    axes.set_box_aspect(1 / ASPECT)
    axes.grid(True, which="major")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_zorder(-1)  # HoloViews draws its first element at zero, under a grid that is "below"
    if axes.get_xscale() == "log":
        axes.xaxis.set_minor_locator(NullLocator())
    elif not isinstance(axes.xaxis.get_major_locator(), FixedLocator):  # ticks that were asked for stay
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer="$l$" in axes.get_xlabel()))
    if axes.get_yscale() == "log":
        axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        low, high = axis.get_view_interval()
        if isinstance(axis.get_major_locator(), LogLocator) and high / low < FEW_DECADES:
            ticks = log_ticks(low, high)
            axis.set_major_locator(FixedLocator(ticks) if ticks else MaxNLocator(5))
            axis.set_major_formatter("{x:g}")
    _legend(axes)
    if axes.get_title():
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1}  # readable over curves
        words = {"ha": "right", "va": "top", "fontsize": 7, "color": GREY, "bbox": box}
        axes.text(0.98, 0.95, axes.get_title(), transform=axes.transAxes, **words)
        axes.set_title("")


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a log axis of few decades, and some beyond for who zooms out; none if it is too short for three."""
    decades = np.arange(np.floor(np.log10(low)) - 2, np.log10(high) + 3)
    found = ([float(f"{digit}e{k:.0f}") for k in decades for digit in digits] for digits in DIGITS)
    return next((ticks for ticks in found if sum(low <= tick <= high for tick in ticks) > 2), [])


def _legend(axes: Any) -> None:
    """The legend above a panel, in as few lines as the panel is wide enough for."""
    handles, labels = axes.get_legend_handles_labels()
    spacing = {"columnspacing": 0.9, "handletextpad": 0.4, "borderaxespad": 0.1, "handlelength": 1.3}
    for columns in _columns(len(labels)):
        drawn = axes.legend(handles, labels, loc="lower right", bbox_to_anchor=(1.0, 1.01), ncols=columns, **spacing)
        for handle in drawn.legend_handles:
            if isinstance(handle, PathCollection):
                handle.set_sizes(np.maximum(handle.get_sizes(), LEGEND_MARKER))
        if drawn.get_window_extent().width <= LEGEND_WIDTH * axes.get_window_extent().width:
            break


def _finish_bokeh(plot: Any, element: hv.Overlay) -> None:
    """What HoloViews leaves to bokeh: as few ticks on a log axis as matplotlib's, and bars all of one colour."""
    figure = plot.state
    figure.axis.axis_label_text_font_style = "normal"
    for legend in figure.legend:
        legend.location = "bottom_left"  # beside a panel with a higher legend, it would float up into the title
    for axis, grid, span in (
        (figure.xaxis[0], figure.xgrid[0], figure.x_range),
        (figure.yaxis[0], figure.ygrid[0], figure.y_range),
    ):
        if isinstance(axis, LogAxis) and isinstance(axis.ticker, LogTicker):
            axis.minor_tick_line_color = None
            if span.end / span.start < FEW_DECADES and (ticks := log_ticks(span.start, span.end)):
                axis.update(ticker=FixedTicker(ticks=ticks), formatter=PrintfTickFormatter(format="%g"))
                grid.ticker = axis.ticker
    for bars in plot.state.select({"type": Whisker}):
        for head in (bars.lower_head, bars.upper_head):
            head.update(line_color=bars.line_color, size=8)


def layout(panels: list[hv.Overlay], backend: Backend) -> hv.Layout:
    """Panels in two columns, lettered (a), (b), … ."""
    if backend == "bokeh":
        heights = [_plot_option(one, "height") or PANEL_PIXELS["height"] for one in panels]
        lettered = [
            one.opts(hv.opts.Overlay(title=f"({letter}) {_title(one)}".strip(), height=height, backend="bokeh"))
            for one, letter, height in zip(panels, ascii_lowercase, _by_row(heights), strict=False)
        ]
        return hv.Layout(lettered).cols(2).opts(hv.opts.Layout(shared_axes=False, backend="bokeh"))
    legends = [labels(one) for one in panels]
    options = {
        "sublabel_format": "({alpha})",
        "sublabel_size": 10,
        "sublabel_position": (-0.17, 1.0),
        "hspace": 0.28,
        "vspace": 0.34 if max(map(len, legends)) > LEGEND else 0.2,
        "fig_inches": PANEL_INCHES,
        "tight": False,
        "fig_rcparams": RCPARAMS,
        "shared_axes": False,
    }
    return hv.Layout(panels).cols(2).opts(hv.opts.Layout(**options, backend="matplotlib"))


def _plot_option(overlay: hv.Overlay, name: str) -> Any:
    return hv.Store.lookup_options("bokeh", overlay, "plot").kwargs.get(name)


def _by_row(heights: list[int]) -> list[int]:
    """The greater height for both panels of a row, so that their frames are alike."""
    return [max(heights[k - k % 2 : k - k % 2 + 2]) for k in range(len(heights))]


def _title(overlay: hv.Overlay) -> str:
    """Its title without the letter it may have of another layout."""
    title = str(_plot_option(overlay, "title") or "")
    return re.sub(r"^\([a-z]\)\s*", "", title)
