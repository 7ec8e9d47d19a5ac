"""Moments of the pre-activations z with depth: tails and one-sidedness."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import holoviews as hv
import numpy as np
import xarray as xr

from moments_xr.analysis.criteria import log_kurtosis, log_one_sidedness, log_slope_spread
from moments_xr.analysis.sensitivity import architecture
from moments_xr.errors import MissingError
from moments_xr.plots import elements
from moments_xr.plots.panels import (
    STEPS,
    Guide,
    Part,
    at_site,
    left_out,
    log_mean_absolute,
    one_cube,
    profile,
    steps,
    xlim,
    ylim,
)
from moments_xr.plots.theme import GREY, RED, Backend, Line, chosen_backend, layout, symbol
from moments_xr.quantities import PATHOLOGIES, SLOPE_SPREAD

GAUSSIAN, THRESHOLD = Line(GREY, "dashed", 0.6), Line(GREY, "dotted", 0.7)


@dataclass(frozen=True)
class Statistic:
    """A statistic of z, by its logarithm: its symbols, its value if z is Gaussian, and what it is a symptom of."""

    name: str
    log: Callable[[xr.Dataset], xr.DataArray]
    symbol: str
    normed: str
    """Its symbol where every channel of z has a variance of 1."""
    gaussian: float | None
    logy: bool
    threshold: float | None = None
    """Of what it is a symptom of."""


PICTURED = {
    "kurtosis": Statistic(
        "kurtosis", log_kurtosis, "kurtosis", "mu4", 3.0, True, PATHOLOGIES["fat_tails"].threshold
    ),
    "absolute": Statistic(
        "mean absolute value", log_mean_absolute, "abs_over_root", "nu1_abs", float(np.sqrt(2 / np.pi)), False
    ),
    "one_sidedness": Statistic(
        "one-sidedness", log_one_sidedness, "one_sidedness", "one_sidedness", 0.5 / np.pi, True,
        PATHOLOGIES["pseudo_linearity"].threshold,
    ),
    "slope_spread": Statistic(
        "spread of slopes", log_slope_spread, "slope_spread", "slope_spread", None, True, SLOPE_SPREAD
    ),
}  # fmt: skip


def moments(
    ds: xr.Dataset | xr.DataTree, site: str | None = None, logy: bool | None = None, backend: Backend | None = None
) -> hv.Layout:
    """Moments of the pre-activations z with depth: fat tails and one-sidedness (THEORY 5.2, 5.3 and 6).

    Parameters
    ----------
    ds
        A cube.
    site
        A site's name, or `output`; that of z, which enters the activation, if not given.
    logy
        Whether the first three panels have log axes; kurtosis and ν₁⁺ν₁⁻/μ₂ do if not given.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of what the cube has of these panels: kurtosis μ₄(z), and the threshold above which tails are fat;
    ν₁(|z|); ν₁⁺ν₁⁻/μ₂, and the threshold below which each channel stays on one side of the activation, or where that is
    curved, of z, the spread of its slope, and the threshold below which it acts as a linear one; and of z the increment
    δ_φ χ by the activation, which is 1 then. The first three beside the value of a Gaussian. Where batch norm has not given every channel a variance of 1, the first is E_c μ₄,c/E_c μ₂,c² and the second
    ν₁(|z|)/√ν₂(z). Means over realizations (of ν₁⁺ν₁⁻/μ₂ geometric, as in verdicts) with bands from the 16th to the 84th
    percentile.

    Raises
    ------
    MissingError
        The cube lacks the site, or all these moments.
    RequestError
        The cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 4, "network.depth": 6}), progress=False)
    >>> len(ds.moments.plot.moments())
    4
    """
    ds, chosen = one_cube(ds, "moments"), chosen_backend(backend)
    at, name = at_site(ds, site, 2)
    wanted, lacking = {}, []
    of_z = name == architecture(ds).plotted[2]
    for key, row in PICTURED.items():
        if key == "slope_spread" and not of_z:
            continue
        try:
            wanted[key] = row.log(at)
        except MissingError as error:
            lacking.append(error)
    if not wanted:
        raise lacking[0]
    means = [key for key in wanted if key not in ("one_sidedness", "slope_spread")]
    if of_z:
        with suppress(MissingError):
            wanted["act"] = steps(ds, ["act"])["act"]
    drawn = {key: band for key, band in elements.bands(wanted, logs=means).items() if np.isfinite(band.mean).any()}
    if not drawn.keys() & PICTURED.keys():
        raise MissingError(f"moments: those at the site '{name}' are not defined in any realization")
    shown = [
        _statistic(ds, row, drawn[key].map(np.exp), name, row.logy if logy is None else logy, chosen)
        for key, row in PICTURED.items()
        if key in drawn
    ]
    if "act" in drawn:
        label = symbol("step_act", chosen) % symbol("of_chi", chosen)
        parts = [Part(drawn["act"], label, STEPS["act"])]
        note = left_out(ds, drawn["act"])
        shown.append(
            profile(ds, parts, chosen, level=1.0, ylabel="increment by activation", title=note, ylim=ylim(parts))
        )
    return layout(shown, chosen)


def _statistic(
    ds: xr.Dataset, row: Statistic, band: elements.Band, site: str, logy: bool, backend: Backend
) -> hv.Overlay:
    """A statistic beside its Gaussian value and the threshold of what it is a symptom of."""
    parts = [Part(band, symbol(row.normed if site == "norm" else row.symbol, backend), Line(RED))]
    across = np.array([0.0, xlim(band)[1]])
    levels = {"Gaussian": (row.gaussian, GAUSSIAN), "threshold": (row.threshold, THRESHOLD)}
    guides = [
        Guide(across, np.full(2, value), label, line) for label, (value, line) in levels.items() if value is not None
    ]
    where = "of z" if site == architecture(ds).plotted[2] else f"at {site}"
    limits = ylim(parts, logy, (), guides, bool(band.undefined))
    return profile(
        ds, parts, backend, guides, ylabel=f"{row.name} {where}", logy=logy, title=left_out(ds, band), ylim=limits
    )
