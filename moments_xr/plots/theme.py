"""One look for all pictures: colours that colour-blind readers tell apart, symbols as in the paper, sizes of a journal.

Each symbol has two spellings: mathtext for matplotlib, plain text for bokeh (whose legends know no mathematics).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import holoviews as hv
import numpy as np
from bokeh.models import FixedTicker, LogAxis, LogTicker, PrintfTickFormatter
from bokeh.models.annotations.geometry import Whisker
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from moments_xr.plots.notebook import show_in_notebook

Backend = Literal["matplotlib", "bokeh"]

# Apart in lightness as well as in hue: at least 26 in CIELAB between any two of a list, also under simulated deuteranopia,
# protanopia and tritanopia (Machado 2009), where the papers' own blue and purple are 19 apart.
BLUE, PURPLE, RED, GREY = "#2b83e8", "#5b1a86", "#d8321f", "#555555"
DEPTHS = (BLUE, PURPLE, "#b8257e", "#f0512d")

SYMBOLS: dict[str, tuple[str, str]] = {
    "chi": (r"$\chi^l$", "χ"),
    "increment": (r"$\delta\chi^l$", "δχ"),
    "bn": (r"$\delta_{\mathrm{BN}}\chi^l$", "δ_BN χ"),
    "act": (r"$\delta_{\phi}\chi^l$", "δ_φ χ"),
    "unit_increment": (r"$\delta\chi^{l,1}$", "δχ"),
    "unit_bn": (r"$\delta_{\mathrm{BN}}\chi^{l,1}$", "δ_BN χ"),
    "unit_act": (r"$\delta_{\phi}\chi^{l,1}$", "δ_φ χ"),
    "power": (r"$\kappa\, l^{\,\tau},\ \tau=%.2f$", "κ l^τ, τ = %.2f"),
    "reff_signal": (r"$r_{\mathrm{eff}}(\mathbf{x}^l)$", "r_eff(x)"),
    "reff_noise": (r"$r_{\mathrm{eff}}(\mathrm{d}\mathbf{x}^l)$", "r_eff(dx)"),
    "mu4": (r"$\mu_4(\mathbf{z}^l)$", "μ₄(z)"),
    "nu1_abs": (r"$\nu_1(|\mathbf{z}^l|)$", "ν₁(|z|)"),
    "unit_reff_signal": (r"$r_{\mathrm{eff}}(\mathbf{x}^{l,1})$", "r_eff(x)"),
    "unit_reff_noise": (r"$r_{\mathrm{eff}}(\mathrm{d}\mathbf{x}^{l,1})$", "r_eff(dx)"),
    "unit_mu4": (r"$\mu_4(\mathbf{z}^{l,1})$", "μ₄(z)"),
    "unit_nu1_abs": (r"$\nu_1(|\mathbf{z}^{l,1}|)$", "ν₁(|z|)"),
    "log_nu2": (r"$\log\,\nu_2(\mathbf{x}^l)-\log\,\nu_2(\mathbf{x}^0)$", "log ν₂(xˡ) − log ν₂(x⁰)"),
    "log_mu2": (
        r"$\log\,\mu_2(\mathrm{d}\mathbf{x}^l)-\log\,\mu_2(\mathrm{d}\mathbf{x}^0)$",
        "log μ₂(dxˡ) − log μ₂(dx⁰)",
    ),
    "layer": ("layer $l$", "layer l"),
    "unit": ("residual unit $l$", "residual unit l"),
    "depth": (r"$l=%d$", "l = %d"),
    "log10_chi": (r"$\log_{10}\,\chi^l$", "log₁₀ χ"),
    "m_bar": (r"$\overline{m}$", "m̄"),
    "m_tilde": (r"$\widetilde{m}$", "m̃"),
    "s": (r"$s$", "s"),
    "sum_m_bar": (r"$\Sigma\,\overline{m}$", "Σ m̄"),
    "sum_m_tilde": (r"$\Sigma\,\widetilde{m}$", "Σ m̃"),
    "sum_s": (r"$\Sigma\,s$", "Σ s"),
    "sum_log_increment": (r"$\Sigma\,\log\,\delta%s$", "Σ log δ%s"),
    "terms": (r"terms of $\log\,\delta%s$", "terms of log δ%s"),
    "linear": (r"$\propto l$", "∝ l"),
    "root": (r"$\propto\sqrt{l}$", "∝ √l"),
    "of_chi": (r"\chi^l", "χ"),
    "of_nu2_signal": (r"\nu_2(\mathbf{x}^l)", "ν₂(x)"),
    "of_mu2_signal": (r"\mu_2(\mathbf{x}^l)", "μ₂(x)"),
    "of_mu2_noise": (r"\mu_2(\mathrm{d}\mathbf{x}^l)", "μ₂(dx)"),
    "of_nu1_signal": (r"\nu_1(\mathbf{x}^l)", "ν₁(x)"),
    "of_nu1_abs_signal": (r"\nu_1(|\mathbf{x}^l|)", "ν₁(|x|)"),
    "of_mu4_signal": (r"\mu_4(\mathbf{x}^l)", "μ₄(x)"),
    "of_mu4_noise": (r"\mu_4(\mathrm{d}\mathbf{x}^l)", "μ₄(dx)"),
    "of_nu1_plus_minus_signal": (r"\mathrm{E}[\nu_1^{+}\nu_1^{-}]", "E[ν₁⁺ν₁⁻]"),
    "of_mu2_ratio": (r"\mathrm{E}[\mu_2(\mathrm{d}\mathbf{x}^l)/\mu_2(\mathbf{x}^l)]", "E[μ₂(dx)/μ₂(x)]"),
    "of_var_nu2_signal": (r"\mathrm{Var}\,\nu_2(\mathbf{x}^l)", "Var ν₂(x)"),
    "of_var_mu2_signal": (r"\mathrm{Var}\,\mu_2(\mathbf{x}^l)", "Var μ₂(x)"),
    "of_var_mu2_noise": (r"\mathrm{Var}\,\mu_2(\mathrm{d}\mathbf{x}^l)", "Var μ₂(dx)"),
    "of_reff_signal": (r"r_{\mathrm{eff}}(\mathbf{x}^l)", "r_eff(x)"),
    "of_reff_noise": (r"r_{\mathrm{eff}}(\mathrm{d}\mathbf{x}^l)", "r_eff(dx)"),
    "z_mu4_signal": (r"\mu_4(\mathbf{z}^l)", "μ₄(z)"),
    "z_nu1_abs_signal": (r"\nu_1(|\mathbf{z}^l|)", "ν₁(|z|)"),
    "plain": ("$%s$", "%s"),
    "log10_of": (r"$\log_{10}\,%s$", "log₁₀ %s"),
    "step_conv": (r"$\delta_{\mathrm{conv}}%s$", "δ_conv %s"),
    "step_bn": (r"$\delta_{\mathrm{BN}}%s$", "δ_BN %s"),
    "step_act": (r"$\delta_{\phi}%s$", "δ_φ %s"),
    "step_unit": (r"$\delta_{\mathrm{unit}}%s$", "δ_unit %s"),
    "step_sum": (r"$\delta%s$", "δ%s"),
    "step_layer": (r"$\delta%s$", "δ%s"),
    "per_depth": (r"$\propto 1/l$", "∝ 1/l"),
    "exponential_law": (r"$\propto e^{\,\gamma l},\ \gamma=%s$", "∝ exp(γ l), γ = %s"),
    "power_law": (r"$\propto l^{\,\tau},\ \tau=%s$", "∝ l^τ, τ = %s"),
    "kurtosis": (r"$\mu_4/\mu_2^2$", "μ₄/μ₂²"),
    "abs_over_root": (r"$\nu_1(|\cdot|)/\sqrt{\nu_2}$", "ν₁(|·|)/√ν₂"),
    "one_sidedness": (r"$\nu_1^{+}\nu_1^{-}/\mu_2$", "ν₁⁺ν₁⁻/μ₂"),
    "log_of": (r"$\log\,%s$", "log %s"),
    "zero_dimensional_signal": (r"$\mu_2(\mathbf{x}^l)/\nu_2(\mathbf{x}^l)$", "μ₂(x)/ν₂(x)"),
    "one_dimensional_signal": (r"$r_{\mathrm{eff}}(\mathbf{x}^l)$", "r_eff(x)"),
    "exploding_sensitivity": (r"growth rate $\gamma^l$", "growth rate γ"),
    "pseudo_linearity": (r"$\nu_1^{+}\nu_1^{-}/\mu_2(\mathbf{z}^l)$", "ν₁⁺ν₁⁻/μ₂(z)"),
    "fat_tails": (r"$\mu_4(\mathbf{z}^l)$", "μ₄(z)"),
    "width": ("width $N$", "width N"),
    "width_diffusion": (r"$N\,\times$ diffusion per layer", "N × diffusion per layer"),
    "diffusion_one_input": (r"$5/N$", "5/N"),
    "diffusion_bound_low": (r"$v_{\mathrm{min}}$", "v_min"),
    "diffusion_bound_high": (r"$v_{\mathrm{max}}$", "v_max"),
}

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

LEGEND = 5
"""Most entries of a legend that stand on one line."""

PANEL_INCHES, ASPECT = 3.4, 1.62
PANEL_PIXELS = {"width": 520, "height": 340}
LEGEND_WIDTH = 1.04
"""Widest legend of matplotlib, of the panel's width: the letter stands to its left."""

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
    """Columns and lines of bokeh's legend, by its longest entry."""
    wide = 45 + 8 * max(map(len, entries), default=0)
    columns = next((columns for columns in _columns(len(entries)) if columns * wide <= PANEL_PIXELS["width"] - 80), 1)
    return columns, max(1, -(-len(entries) // columns))


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
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
    _legend(axes)
    if axes.get_title():
        axes.text(0.98, 0.95, axes.get_title(), transform=axes.transAxes, ha="right", va="top", fontsize=7, color=GREY)
        axes.set_title("")


def _legend(axes: Any) -> None:
    """The legend above a panel, in as few lines as the panel is wide enough for."""
    handles, labels = axes.get_legend_handles_labels()
    spacing = {"columnspacing": 0.9, "handletextpad": 0.4, "borderaxespad": 0.1, "handlelength": 1.3}
    for columns in _columns(len(labels)):
        drawn = axes.legend(handles, labels, loc="lower right", bbox_to_anchor=(1.0, 1.01), ncols=columns, **spacing)
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
            ticks = [digit * 10.0**k for k in range(-9, 10) for digit in (1, 2, 5)]
            if span.end / span.start < FEW_DECADES and sum(span.start <= tick <= span.end for tick in ticks) > 1:
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
            for one, letter, height in zip(panels, "abcdef", _by_row(heights), strict=False)
        ]
        return hv.Layout(lettered).cols(2).opts(hv.opts.Layout(shared_axes=False, backend="bokeh"))
    legends = [labels(one) for one in panels]
    options = {
        "sublabel_format": "({alpha})",
        "sublabel_size": 10,
        "sublabel_position": (-0.17, 1.0),
        "hspace": 0.25,
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
    return re.sub(r"^\([a-f]\)\s*", "", title)
