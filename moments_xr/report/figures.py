"""The figures that a report can have, in order: one row each, from which the page and the application are made.

A row's `draw` is a method of `ds.moments.plot`; what it lacks of a cube it says in a MissingError.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

CONTROLS = ("site", "layers", "logy", "of", "method", "realization")
"""Arguments of figures that a person may choose."""

BANDS = "Lines are means over realizations and bands the 16th to 84th percentile."


@dataclass(frozen=True)
class Figure:
    """A figure: what it is called, what to look at in it, and the method of `ds.moments.plot` that draws it."""

    name: str
    group: str
    title: str
    caption: str
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that are this figure's own; they are no controls of it."""

    of_all: bool = False
    """Whether it says nothing of a single realization."""

    @property
    def controls(self) -> tuple[str, ...]:
        """Which of CONTROLS `draw` takes."""
        from moments_xr.plots import Plots

        taken = inspect.signature(getattr(Plots, self.method)).parameters
        return tuple(name for name in CONTROLS if name in taken and name not in self.arguments)

    def draw(self, ds: xr.Dataset | xr.DataTree, **controls: Any) -> Any:
        """The figure as a HoloViews layout in bokeh.

        Raises
        ------
        MissingError
            The cube lacks a piece of the figure, which the message names.
        RequestError
            The figure is not of this kind of net, or a control has a value that cannot be.
        """
        from moments_xr.plots import Plots

        return getattr(Plots(ds), self.method)(**self.arguments, **controls, backend="bokeh")


GROUPS = ("Verdicts", "Sensitivity", "Signal", "Laws", "Decomposition", "Theorems", "Channels")

FIGURES: dict[str, Figure] = {
    row.name: row
    for row in (
        Figure(
            "verdicts",
            "Verdicts",
            "Pathologies along the depth",
            "Each strip is a pathology: from which depth on its statistic is beyond the threshold. Below, each statistic with "
            "its 95 % interval over realizations and its threshold (dashed; beyond it, shaded).",
            "verdicts",
        ),
        Figure(
            "sensitivity",
            "Sensitivity",
            "Sensitivity χ with depth",
            "Where χ is straight it grows exponentially, that is explodes; (b) where it is straight, as a power of depth. "
            "Broken lines are both laws fitted. χ is the geometric mean over realizations, its band the 16th to 84th percentile.",
            "sensitivity",
        ),
        Figure(
            "increments",
            "Sensitivity",
            "Increments of the sensitivity",
            "By how much each layer, and each step inside it, multiplies χ: above 1 it amplifies noise. (b) Its logarithm is level "
            "if χ explodes, and falls as 1/l if χ is a power of depth; its band is two standard errors. " + BANDS,
            "increments",
        ),
        Figure(
            "effective_rank",
            "Signal",
            "Effective ranks of signal and noise",
            "How many directions signal and noise span: at 1 the signal lies on a line. " + BANDS,
            "effective_rank",
        ),
        Figure(
            "moments",
            "Signal",
            "Moments of the pre-activations",
            "Whether a few inputs carry the signal (kurtosis above its threshold: fat tails), and whether activations act as "
            "linear (one-sidedness below its threshold). " + BANDS,
            "moments",
        ),
        Figure(
            "lognormal_signal",
            "Laws",
            "Law of the signal's mean square",
            "Histograms of log ν₂(x) over realizations with the fitted normal law; (b) quantiles against those of a normal law: "
            "inside the grey 95 % band the law is lognormal.",
            "lognormal",
            {"of": "nu2_signal"},
            of_all=True,
        ),
        Figure(
            "lognormal_noise",
            "Laws",
            "Law of the noise's variance",
            "Histograms of log μ₂(dx) over realizations with the fitted normal law; (b) quantiles against those of a normal law: "
            "inside the grey 95 % band the law is lognormal.",
            "lognormal",
            {"of": "mu2_noise"},
            of_all=True,
        ),
        Figure(
            "realizations",
            "Laws",
            "Nets at the deepest layer",
            "Each point is a net: how far realizations of one recipe lie apart, and which ones stand out.",
            "realizations",
        ),
        Figure(
            "decomposition",
            "Decomposition",
            "Terms of the evolution with depth",
            "What moves log χ: drifts m̄ and m̃ add up in proportion to depth, the fluctuation s only to its square root. "
            "Bands of m̄ and m̃ are two standard errors, of s the 16th to 84th percentile.",
            "decomposition",
        ),
        Figure(
            "theorems",
            "Theorems",
            "Measured against predicted",
            "By how many standard errors each theorem misses the measurement: in the grey band, by chance. Then measured "
            "values, with two standard errors to either side, over bounds (grey) or predictions (dashed).",
            "theorems",
        ),
        Figure(
            "channels",
            "Channels",
            "Channels of one realization",
            "How unequal the channels of one net are, and whether a few take over with depth. (b) Each row is a channel: red "
            "above the mean of all channels, blue below.",
            "channels",
        ),
    )
}
"""Figures of one cube, by name."""

SWEEP_FIGURES: dict[str, Figure] = {
    row.name: row
    for row in (
        Figure(
            "compare",
            "Sweep",
            "Nodes beside each other",
            "One line a node: how the swept value changes the net. " + BANDS,
            "compare",
        ),
        Figure(
            "diffusion",
            "Sweep",
            "Diffusion of log moments by width",
            "Variance of the log moments gained per layer against width: theory has it fall as 1/width, between the bounds. "
            "Bars are 95 % intervals over realizations.",
            "diffusion",
        ),
    )
}
"""Figures of a sweep's DataTree, by name."""
