"""The layouts of the paper's Figures 2 to 5."""

from __future__ import annotations

from collections.abc import Callable

import holoviews as hv
import numpy as np
import xarray as xr

from moments_xr.analysis.growth import predicted_power_law
from moments_xr.analysis.sensitivity import architecture, at_site, chi, effective_rank, get, increments
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.theme import BLUE, PURPLE, RED, Backend, Line, depth_colours, layout, panel, symbol

FEW = 20
LARGEST_LOG = 690.0
"""Beyond this log χ does not fit a float, and its logarithm is drawn."""


def figure(ds: xr.Dataset | xr.DataTree, kind: str, backend: Backend | None = None) -> hv.Layout:
    """A figure of the paper (Labatie, ICML 2019), of any cube that has its quantities.

    Parameters
    ----------
    ds
        A cube.
    kind
        `fig2`: distributions of log ν₂(x) and log μ₂(dx) at four depths. `fig3`: δχ and r_eff(x). `fig4`: increments by
        step, χ, ranks and moments of z. `fig5`: the same for residual nets, with the predicted power law.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout: means over realizations with bands from the 16th to the 84th percentile.

    Raises
    ------
    MissingError
        The cube lacks a piece of the figure.
    RequestError
        There is no such figure, or the cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.plots.papers import figure
    >>> changes = {"realizations": 2, "network.depth": 4}
    >>> len(figure(mx.run(mx.recipe("quickstart", changes), progress=False), "fig4"))
    4
    """
    if kind not in FIGURES:
        raise RequestError(f"figure '{kind}' is not one of {', '.join(FIGURES)}")
    if isinstance(ds, xr.DataTree):
        names = ", ".join(f'tree["{name}"]' for name in ds.children)
        raise RequestError(f"{kind} is of one cube, and this is a sweep: choose a node, as {names}")
    chosen: Backend = backend or ("bokeh" if hv.Store.current_backend == "bokeh" else "matplotlib")
    for needed in ("matplotlib", "bokeh"):
        if needed not in hv.Store.renderers:
            hv.extension(needed, logo=False) if hv.Store.renderers else hv.renderer(needed)
    try:
        panels = FIGURES[kind](ds, chosen)
    except MissingError as error:
        raise MissingError(f"{kind}: {error}") from None
    return layout(panels, chosen)


def figure2(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Vanilla nets: moments diffuse in log space."""
    layers = ds["layer"].values
    wanted = layers[-1] * np.arange(1, 5) / 4
    depths = np.unique([layers[np.abs(layers - depth).argmin()] for depth in wanted])
    chosen = ds.sel(layer=depths)
    signal = at_site(chosen, get(chosen, "nu2_signal", log=True))
    noise = at_site(chosen, get(chosen, "mu2_noise", log=True))
    start = np.log(chosen["input_mu2_signal"]) if "input_mu2_signal" in chosen else 0.0
    panels = []
    for values, name in ((signal - start, "log_nu2"), (noise, "log_mu2")):
        values = (
            values.compute().transpose("layer", "realization") if "realization" in values.dims else values.compute()
        )
        array = np.atleast_2d(values.values) if values.ndim > 1 else values.values[:, None]
        samples = {
            symbol("depth", backend) % depth: row[np.isfinite(row)] for depth, row in zip(depths, array, strict=True)
        }
        left_out = int((~np.isfinite(array[-1])).sum())
        notes = [f"{left_out} dead of {array.shape[1]} left out"] if left_out else []
        notes += [f"only {array.shape[1]} realizations"] if array.shape[1] < FEW else []
        if not all(len(row) for row in samples.values()):
            raise MissingError("at some depth no realization is alive, so there is nothing to draw")
        overlay = elements.histograms(samples, depth_colours(len(samples)), backend)
        panels.append(panel(overlay, backend, xlabel=symbol(name, backend), ylabel="density", title="; ".join(notes)))
    return panels


def figure3(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Vanilla nets: the signal becomes one-dimensional."""
    drawn = elements.bands({"increment": increments(ds), "reff_signal": at_site(ds, effective_rank(ds))})
    xlabel = _xlabel(ds, backend)
    looks = {"increment": (Line(BLUE), "increment of sensitivity"), "reff_signal": (Line(PURPLE), "effective rank")}
    return [
        panel(
            elements.level(1.0, backend) * elements.curve(drawn[name], symbol(name, backend), line, backend),
            backend, xlabel=xlabel, ylabel=ylabel, title="", xlim=_xlim(drawn[name]), ylim=_ylim([drawn[name]]),
        )
        for name, (line, ylabel) in looks.items()
    ]  # fmt: skip


def figure4(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Batch-normalised feed-forward nets: exploding sensitivity."""
    parts = {**_steps(ds, {"bn": "bn", "act": "act"}), "increment": increments(ds)}
    return [_increments(ds, parts, backend), _sensitivity(ds, backend), *_ranks_and_moments(ds, backend, logy=True)]


def figure5(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Batch-normalised residual nets: well-behaved, with the power law that the increments predict."""
    parts = _steps(ds, {"unit_bn": "bn", "unit_act": "act", "unit_increment": "unit"})
    drawn = elements.bands({"chi": at_site(ds, chi(ds))})["chi"]
    law = predicted_power_law(ds).compute()
    tau, kappa = float(law.tau), float(law.kappa)
    power = elements.plain(
        drawn.layer, kappa * drawn.layer**tau, symbol("power", backend) % tau, Line(RED, "dashed"), backend
    )
    growth = panel(
        elements.curve(drawn, symbol("chi", backend), Line(BLUE), backend) * power,
        backend, xlabel=_xlabel(ds, backend), ylabel="sensitivity", title="", xlim=_xlim(drawn),
    )  # fmt: skip
    return [_increments(ds, parts, backend), growth, *_ranks_and_moments(ds, backend, logy=False)]


FIGURES: dict[str, Callable[[xr.Dataset, Backend], list[hv.Overlay]]] = {
    "fig2": figure2,
    "fig3": figure3,
    "fig4": figure4,
    "fig5": figure5,
}


def _steps(ds: xr.Dataset, names: dict[str, str]) -> dict[str, xr.DataArray]:
    """Increments by step, under the names of their symbols."""
    steps = increments(ds, by="step")
    missing = sorted(set(names.values()) - {str(step) for step in steps["step"].values})
    if missing:
        raise MissingError(
            f"needs the increments of the steps {', '.join(missing)}; this {architecture(ds).long_name} has none"
        )
    return {name: steps.sel(step=step) for name, step in names.items()}


def _increments(ds: xr.Dataset, parts: dict[str, xr.DataArray], backend: Backend) -> hv.Overlay:
    drawn = elements.bands(parts)
    overlay = hv.Overlay([elements.level(1.0, backend)])
    for name, band in drawn.items():
        colour = PURPLE if name.endswith("bn") else RED if name.endswith("act") else BLUE
        overlay = overlay * elements.curve(band, symbol(name, backend), Line(colour), backend)
    ylim = _ylim(list(drawn.values()))
    return panel(
        overlay,
        backend,
        xlabel=_xlabel(ds, backend),
        ylabel="increment of sensitivity",
        title="",
        xlim=_xlim(band),
        ylim=ylim,
    )


def _sensitivity(ds: xr.Dataset, backend: Backend) -> hv.Overlay:
    log_chi = at_site(ds, chi(ds, log=True))
    if float(log_chi.max().compute()) < LARGEST_LOG:
        band, name, logy, ylabel = elements.bands({"chi": at_site(ds, chi(ds))})["chi"], "chi", True, "sensitivity"
    else:
        band, name, logy = elements.bands({"chi": log_chi / np.log(10)})["chi"], "log10_chi", False
        ylabel = "logarithm of sensitivity"
    overlay = elements.curve(band, symbol(name, backend), Line(BLUE), backend, logy)
    return panel(overlay, backend, xlabel=_xlabel(ds, backend), ylabel=ylabel, title="", xlim=_xlim(band), logy=logy)


def _ranks_and_moments(ds: xr.Dataset, backend: Backend, logy: bool) -> list[hv.Overlay]:
    _, ranked, z = architecture(ds).plotted
    drawn = elements.bands(
        {
            "reff_noise": at_site(ds, effective_rank(ds, "noise"), ranked),
            "reff_signal": at_site(ds, effective_rank(ds, "signal"), ranked),
            "mu4": at_site(ds, get(ds, "mu4_signal"), z),
            "nu1_abs": at_site(ds, get(ds, "nu1_abs_signal"), z),
        }
    )
    looks = {
        "reff_noise": Line(PURPLE, "dotted"),
        "reff_signal": Line(PURPLE),
        "mu4": Line(RED, "dotted"),
        "nu1_abs": Line(RED),
    }
    panels = []
    for names, ylabel, log in (
        (("reff_noise", "reff_signal"), "effective rank", True),
        (("mu4", "nu1_abs"), "moments of z", logy),
    ):
        overlay = hv.Overlay([elements.level(1.0, backend)] if names[0] == "reff_noise" else [])
        for name in names:
            overlay = overlay * elements.curve(drawn[name], symbol(name, backend), looks[name], backend, log)
        ylim = _ylim([drawn[name] for name in names], log)
        panels.append(
            panel(
                overlay,
                backend,
                xlabel=_xlabel(ds, backend),
                ylabel=ylabel,
                title="",
                xlim=_xlim(drawn[names[0]]),
                ylim=ylim,
                logy=log,
            )
        )
    return panels


def _xlabel(ds: xr.Dataset, backend: Backend) -> str:
    return symbol("unit" if architecture(ds).name == "bn_res" else "layer", backend)


def _xlim(band: elements.Band) -> tuple[float, float]:
    return 0.0, float(band.layer[-1]) * (1 if len(band.layer) > 1 else 2)


def _ylim(drawn: list[elements.Band], logy: bool = False) -> tuple[float, float]:
    """The range of the bands and the level 1."""
    values = np.concatenate([np.concatenate([band.mean, band.low, band.high]) for band in drawn])
    values = np.append(values[np.isfinite(values)], 1.0)
    if logy:
        low, high = np.log10(values.min()), np.log10(values.max())
        span = max(high - low, 0.5)
        return float(10 ** (low - 0.06 * span)), float(10 ** (high + 0.06 * span))
    low, high = values.min(), values.max()
    span = max(high - low, 0.05)
    return float(low - 0.06 * span), float(high + 0.06 * span)
