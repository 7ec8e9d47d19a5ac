"""The layouts of the paper's Figures 2 to 5."""

from __future__ import annotations

from collections.abc import Callable

import holoviews as hv
import numpy as np
import xarray as xr

from moments_xr.analysis.growth import predicted_power_law
from moments_xr.analysis.sensitivity import architecture, chi, effective_rank, get, increments, select_site
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.theme import (
    BLUE,
    PURPLE,
    RED,
    Backend,
    Line,
    chosen_backend,
    depth_colours,
    layout,
    panel,
    symbol,
)

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
        There is no such figure, it is not of this architecture, or the cube is a sweep.

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
    if ds.sizes.get("realization") == 0 or ds.sizes.get("layer") == 0:
        raise MissingError(f"{kind}: the cube has no finished realization, or no layer")
    chosen = chosen_backend(backend)
    try:
        panels = FIGURES[kind](ds if "layer" in ds.dims else ds.expand_dims("layer"), chosen)
    except MissingError as error:
        raise MissingError(f"{kind}: {error}") from None
    return layout(panels, chosen)


def figure2(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Vanilla nets: moments diffuse in log space."""
    layers = ds["layer"].values
    wanted = layers[-1] * np.arange(1, 5) / 4
    depths = np.unique([layers[np.abs(layers - depth).argmin()] for depth in wanted])
    chosen = ds.sel(layer=depths)
    signal = get(select_site(chosen), "nu2_signal", log=True)
    noise = get(select_site(chosen), "mu2_noise", log=True)
    start = np.log(chosen["input_mu2_signal"]) if "input_mu2_signal" in chosen else 0.0
    panels = []
    for values, name in ((signal - start, "log_nu2"), (noise, "log_mu2")):
        values = (
            values.compute().transpose("layer", "realization") if "realization" in values.dims else values.compute()
        )
        array = np.atleast_2d(values.values) if values.ndim > 1 else values.values[:, None]
        finite = {
            symbol("depth", backend) % depth: row[np.isfinite(row)] for depth, row in zip(depths, array, strict=True)
        }
        samples = {label: row for label, row in finite.items() if len(row)}
        if not samples:
            raise MissingError("no realization is alive at any of the depths, so there is nothing to draw")
        left_out = int((~np.isfinite(array[-1])).sum())
        why = "dead" if np.isneginf(array[-1]).sum() == left_out else "undefined"
        notes = [f"{left_out} {why} of {array.shape[1]} left out"] if left_out else []
        notes += [f"only {array.shape[1]} realization{'s' * (array.shape[1] > 1)}"] if array.shape[1] < FEW else []
        overlay = elements.histograms(samples, depth_colours(len(samples)), backend)
        panels.append(panel(overlay, backend, xlabel=symbol(name, backend), ylabel="density", title="; ".join(notes)))
    return panels


def figure3(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Vanilla nets: the signal becomes one-dimensional."""
    drawn = elements.bands({"increment": increments(ds), "reff_signal": effective_rank(select_site(ds))})
    xlabel = _xlabel(ds, backend)
    looks = {"increment": (Line(BLUE), "increment of sensitivity"), "reff_signal": (Line(PURPLE), "effective rank")}
    return [
        panel(
            elements.level(1.0, backend) * elements.curve(drawn[name], symbol(name, backend), line, backend),
            backend, xlabel=xlabel, ylabel=ylabel, title=_left_out(ds, drawn[name]), xlim=_xlim(drawn[name]),
            ylim=_ylim([drawn[name]]),
        )
        for name, (line, ylabel) in looks.items()
    ]  # fmt: skip


def figure4(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Batch-normalised feed-forward nets: exploding sensitivity."""
    if architecture(ds).name == "bn_res":
        raise RequestError("fig4 is of feed-forward nets, and this is a cube of a residual one: draw fig5")
    parts = {**_steps(ds, {"bn": "bn", "act": "act"}), "increment": increments(ds)}
    drawn = elements.bands({**parts, "chi": chi(select_site(ds), log=True), **_signal(ds)}, logs=["chi"])
    return [
        _increments(ds, {name: drawn[name] for name in parts}, backend),
        _sensitivity(ds, drawn["chi"], backend, logy=True),
        *_ranks_and_moments(ds, drawn, backend, logy=True),
    ]


def figure5(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Batch-normalised residual nets: well-behaved, with the power law that the increments predict."""
    parts = _steps(ds, {"unit_bn": "bn", "unit_act": "act", "unit_increment": "unit"})
    pieces = {**parts, "chi": chi(select_site(ds), log=True), **_signal(ds, "unit_")}
    drawn = elements.bands(pieces, logs=["chi"])
    law = predicted_power_law(ds).compute()
    return [
        _increments(ds, {name: drawn[name] for name in parts}, backend),
        _sensitivity(ds, drawn["chi"], backend, law=(float(law.tau), float(law.kappa))),
        *_ranks_and_moments(ds, drawn, backend, "unit_"),
    ]


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


def _signal(ds: xr.Dataset, prefix: str = "") -> dict[str, xr.DataArray]:
    """Effective ranks and moments of z, under the names of their symbols."""
    _, ranked, z = architecture(ds).plotted
    return {
        f"{prefix}reff_noise": effective_rank(select_site(ds, ranked), "noise"),
        f"{prefix}reff_signal": effective_rank(select_site(ds, ranked), "signal"),
        f"{prefix}mu4": get(select_site(ds, z), "mu4_signal"),
        f"{prefix}nu1_abs": get(select_site(ds, z), "nu1_abs_signal"),
    }


def _increments(ds: xr.Dataset, drawn: dict[str, elements.Band], backend: Backend) -> hv.Overlay:
    overlay = hv.Overlay([elements.level(1.0, backend)])
    for name, band in drawn.items():
        colour = PURPLE if name.endswith("bn") else RED if name.endswith("act") else BLUE
        overlay = overlay * elements.curve(band, symbol(name, backend), Line(colour), backend)
    return panel(
        overlay,
        backend,
        xlabel=_xlabel(ds, backend),
        ylabel="increment of sensitivity",
        title=_left_out(ds, band),
        xlim=_xlim(band),
        ylim=_ylim(list(drawn.values())),
    )


def _sensitivity(
    ds: xr.Dataset, logs: elements.Band, backend: Backend, logy: bool = False, law: tuple[float, float] | None = None
) -> hv.Overlay:
    """χ from the band of its log, as a number where it is one; with the power law κ l^τ, where that is finite."""
    finite = logs.mean[np.isfinite(logs.mean)]
    if float(max([*finite, *logs.high[np.isfinite(logs.high)]], default=0.0)) < LARGEST_LOG:
        band, name, ylabel = logs.map(np.exp), "chi", "sensitivity"
    else:
        band, name, ylabel, logy = (
            logs.map(lambda log: log / np.log(10)),
            "log10_chi",
            "logarithm of sensitivity",
            False,
        )
    overlay = elements.curve(band, symbol(name, backend), Line(BLUE), backend, logy)
    if law is not None and np.isfinite(law).all() and name == "chi":
        tau, kappa = law
        power, label = kappa * band.layer**tau, symbol("power", backend) % tau
        overlay = overlay * elements.plain(band.layer, power, label, Line(RED, "dashed"), backend)
    return panel(overlay, backend, xlabel=_xlabel(ds, backend), ylabel=ylabel, title="", xlim=_xlim(band), logy=logy)


def _ranks_and_moments(
    ds: xr.Dataset, drawn: dict[str, elements.Band], backend: Backend, prefix: str = "", logy: bool = False
) -> list[hv.Overlay]:
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
        parts = [drawn[f"{prefix}{name}"] for name in names]
        for name, part in zip(names, parts, strict=True):
            overlay = overlay * elements.curve(part, symbol(f"{prefix}{name}", backend), looks[name], backend, log)
        panels.append(
            panel(
                overlay,
                backend,
                xlabel=_xlabel(ds, backend),
                ylabel=ylabel,
                title="",
                xlim=_xlim(parts[0]),
                ylim=_ylim(parts, log),
                logy=log,
            )
        )
    return panels


def _left_out(ds: xr.Dataset, band: elements.Band) -> str:
    """A note on nets that the last layer leaves out: dead, or not measured."""
    return f"{band.undefined} undefined of {ds.sizes.get('realization', 1)} left out" if band.undefined else ""


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
