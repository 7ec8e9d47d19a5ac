"""Pictures of the analysis: the terms of the evolution with depth, and the diffusion of vanilla nets by width."""

from __future__ import annotations

from functools import partial

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute

from moments_xr.analysis.decomposition import Method, decompose
from moments_xr.analysis.lognormal import fit_lognormal
from moments_xr.analysis.sensitivity import architecture
from moments_xr.analysis.sweep import points
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.panels import left_out, one_cube, require_defined, xlabel, xlim
from moments_xr.plots.theme import BLUE, GREY, PURPLE, RED, Backend, Line, chosen_backend, layout, panel, symbol

TERMS = {
    "s": partial(elements.area, line=Line(RED)),
    "m_bar": partial(elements.curve, line=Line(BLUE)),
    "m_tilde": partial(elements.curve, line=Line(PURPLE)),
}
TOTAL = Line("#1a1a1a", "dashed", 0.8)
GUIDES = {"linear": Line(GREY, "dotted", 0.55), "root": Line(GREY, "dashed", 0.55)}
ESTIMATE = ("diffusion", "diffusion_low", "diffusion_high")
QUANTITIES = {"nu2_signal": Line(BLUE), "mu2_noise": Line(RED)}
BOUNDS = {
    "diffusion_bound_high": Line(GREY, "solid", 0.6),
    "diffusion_one_input": Line(GREY, "dotted", 0.8),
    "diffusion_bound_low": Line(GREY, "dashed", 0.6),
}


def decomposition(
    ds: xr.Dataset | xr.DataTree, of: str = "chi", method: Method = "auto", backend: Backend | None = None
) -> hv.Layout:
    """How a quantity evolves with depth, in three terms: log δq = m̄ + m̃ + s (THEORY 4; Labatie 2019, section 4).

    Parameters
    ----------
    ds
        A cube.
    of, method
        As of `moments_xr.decompose`.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of two panels. (a) By layer: means over realizations of m̄ and m̃, with bands of two standard
    errors, and the 16th to 84th percentile of s. (b) The same summed up to each layer, and the mean of the sum of all
    three; thin lines are ∝ l, through the last Σm̄ and Σm̃, and ∝ √l, through half the last width of Σs. Of s from K
    redraws the widths are those of s itself: (1 + 1/K)^½ smaller than measured, since the redraws' mean stands for the
    expectation.

    Raises
    ------
    MissingError
        The cube lacks what the method needs.
    RequestError
        There is no such method or quantity, or the cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> changes = {"realizations": 4, "network.depth": 6, "measure.branches": 4}
    >>> len(mx.run(mx.recipe("quickstart", changes), progress=False).moments.plot.decomposition())
    2
    """
    ds = one_cube(ds, "decomposition")
    terms = decompose(ds, of, method)
    if architecture(ds).name == "bn_res" and terms.attrs["method"] == "theory":
        raise MissingError(
            "decomposition: theory does not tell m̃ and s of a residual net: measure redraws with measure.branches: 8, "
            'or take method="realizations"'
        )
    drawn = _term_bands(terms, ds.sizes["branch"] if terms.attrs["method"] == "branches" else None)
    require_defined(drawn.values())
    chosen = chosen_backend(backend)
    what = symbol(f"of_{of}", chosen)
    axes = {"xlabel": xlabel(ds, chosen), "xlim": xlim(drawn["s"])}
    notes = list(filter(None, [left_out(ds, drawn["sum_log_increment"])]))
    notes += [] if bool(terms["complete"].all()) else ["sums of the measured layers only"]
    by_layer = hv.Overlay([elements.level(0.0, chosen)])
    for name, draw in TERMS.items():
        by_layer = by_layer * draw(drawn[name], symbol(name, chosen), backend=chosen)
    sums = _sums(drawn, what, chosen)
    shown, summed = ([drawn[prefix + name] for name in TERMS] for prefix in ("", "sum_"))
    limits = _ylim(shown, True), _ylim([*summed, drawn["sum_log_increment"]], bool(notes))
    terms_label = symbol("terms", chosen) % what
    return layout(
        [
            panel(by_layer, chosen, **axes, ylabel=terms_label, title=architecture(ds).long_name, ylim=limits[0]),
            panel(sums, chosen, **axes, ylabel="summed over layers", title="; ".join(notes), ylim=limits[1]),
        ],
        chosen,
    )


def _term_bands(terms: xr.Dataset, redraws: int | None) -> dict[str, elements.Band]:
    """The terms and their sums as bands, all in one pass over the cube."""
    means = ["m_bar", "m_tilde", "sum_m_bar", "sum_m_tilde", "sum_log_increment"]
    excess = np.sqrt(1 + 1 / redraws) if redraws else 1.0
    spreads = {name: terms[name] / excess for name in ("s", "sum_s")}
    errors = {name: terms[f"{name}_se"] for name in means}
    return elements.bands(spreads | {name: terms[name] for name in means}, errors=errors)


def _sums(drawn: dict[str, elements.Band], what: str, backend: Backend) -> hv.Overlay:
    """Sums of the terms up to each layer, and the lines that drifts and a random walk would follow."""
    layers = drawn["sum_s"].layer
    share = np.append(np.linspace(0.0, 1.0, 101), np.nan)  # a gap between the two lines of a guide
    half = (drawn["sum_s"].high[-1] - drawn["sum_s"].low[-1]) / 2
    guides = {
        "linear": np.outer([drawn["sum_m_bar"].mean[-1], drawn["sum_m_tilde"].mean[-1]], share),
        "root": np.outer([half, -half], np.sqrt(share)),
    }
    overlay = hv.Overlay([elements.level(0.0, backend)])
    for name, draw in TERMS.items():
        overlay = overlay * draw(drawn[f"sum_{name}"], symbol(f"sum_{name}", backend), backend=backend)
    total, label = drawn["sum_log_increment"], symbol("sum_log_increment", backend) % what
    overlay = overlay * elements.plain(layers, total.mean, label, TOTAL, backend)
    for name, values in guides.items():
        depth = np.tile(share * layers[-1], 2)
        overlay = overlay * elements.plain(depth, values.ravel(), symbol(name, backend), GUIDES[name], backend)
    return overlay


def diffusion(tree: xr.DataTree | xr.Dataset, backend: Backend | None = None) -> hv.Layout:
    """How fast log ν₂(x) and log μ₂(dx) of vanilla nets diffuse with depth, by width N, beside Theorem 1 (THEORY 5.1).

    Parameters
    ----------
    tree
        A sweep over network.width of vanilla nets, or what `moments_xr.fit_lognormal` makes of it.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of two panels: variance of log q per layer over the deeper half of the net, with 95 % intervals
    over realizations, and (b) the same times N. Lines: Theorem 1's bounds v_min and v_max, and 5/N, that of a single
    input, fully connected.

    Raises
    ------
    MissingError
        The nets are not vanilla, or the cubes lack ν₂(x) and μ₂(dx).
    RequestError
        It is not a sweep over network.width alone.

    Examples
    --------
    >>> import moments_xr as mx
    >>> changes = {"realizations": 4, "network.depth": 6, "network.architecture": "vanilla"}
    >>> recipe = mx.recipe("quickstart", changes | {"sweep": {"network.width": [8, 16]}})
    >>> len(mx.run(recipe, progress=False).moments.plot.diffusion())
    2
    """
    fits = _fits(tree)
    chosen = chosen_backend(backend)
    widths = np.unique(np.concatenate([fit["network.width"].values for fit in fits.values()]))
    axes = {
        "xlabel": symbol("width", chosen),
        "logx": True,
        "xlim": (float(widths[0]) / 1.35, float(widths[-1]) * 1.35),
        "xticks": [(int(width), str(width)) for width in widths],
    }
    dead = max(float(fit["dead"].max()) for fit in fits.values())
    note = f"up to {dead:.0f} dead at a width left out" if dead > 0 else ""
    plain, scaled = _by_width(fits, chosen), _by_width(fits, chosen, times_width=True)
    return layout(
        [
            panel(plain, chosen, **axes, logy=True, ylabel="diffusion per layer", title=note),
            panel(scaled, chosen, **axes, ylabel=symbol("width_diffusion", chosen), title="", ylim=(0.0, None)),
        ],
        chosen,
    )


def _fits(tree: xr.DataTree | xr.Dataset) -> dict[str, xr.Dataset]:
    """What is drawn of each quantity's fit along network.width, all in one pass over the cubes."""
    wanted = [*ESTIMATE, *BOUNDS, "dead"]
    if isinstance(tree, xr.DataTree):
        swept = {key for point in points(tree).values() for key in point}
        if swept != {"network.width"}:
            raise RequestError(f"diffusion is of a sweep over network.width, and this one is over {', '.join(swept)}")
        found = {of: fit_lognormal(tree, of) for of in QUANTITIES}
    elif "diffusion" in tree and tree["diffusion"].dims == ("network.width",):
        found = {tree.attrs["quantity"]: tree}
    else:
        raise RequestError("diffusion is of a sweep over network.width (or its fit_lognormal), not of one cube")
    if not all("diffusion" in fit for fit in found.values()):
        raise MissingError("diffusion is of vanilla nets, and these are not")
    reduced: dict[str, xr.Dataset] = compute({of: fit[wanted] for of, fit in found.items()})[0]
    return {of: fit.sortby("network.width") for of, fit in reduced.items()}


def _by_width(fits: dict[str, xr.Dataset], backend: Backend, times_width: bool = False) -> hv.Overlay:
    """Diffusion against width, with its intervals, over the lines of Theorem 1."""
    overlay = hv.Overlay([])
    for of, fit in fits.items():
        widths = fit["network.width"].values
        factor = widths if times_width else 1.0
        if not overlay:
            for name, line in BOUNDS.items():
                values = fit[name].values * factor
                if np.isfinite(values).any():
                    overlay = overlay * elements.plain(widths, values, symbol(name, backend), line, backend)
        estimate, low, high = (fit[name].values * factor for name in ESTIMATE)
        label = symbol("log_of", backend) % symbol(f"of_{of}", backend)
        overlay = overlay * elements.intervals(widths, estimate, low, high, label, QUANTITIES[of], backend, "width N")
    return overlay


def _ylim(drawn: list[elements.Band], noted: bool) -> tuple[float, float]:
    """The range of the bands and zero, with room for a note above."""
    values = np.concatenate([[0.0], *(side for band in drawn for side in (band.mean, band.low, band.high))])
    return elements.limits(values, above=0.18 if noted else 0.08)
