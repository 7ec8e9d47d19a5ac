"""The layouts of the paper's Figures 2 to 5."""

from __future__ import annotations

from collections.abc import Callable

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute

from moments_xr.analysis.growth import predicted_power_law
from moments_xr.analysis.sensitivity import architecture, chi, effective_rank, get, increments
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.panels import (
    RANKS,
    STEPS,
    Guide,
    Part,
    left_out,
    one_cube,
    profile,
    require_defined,
    sensitivity,
    steps,
    ylim,
)
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
    ds = one_cube(ds, kind)
    chosen = chosen_backend(backend)
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
    signal = get(chosen, "nu2_signal", log=True, site="output")
    noise = get(chosen, "mu2_noise", log=True, site="output")
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
        peak = max(curve.range("density")[1] for curve in overlay)
        axes = {"xlabel": symbol(name, backend), "ylabel": "density", "title": "; ".join(notes)}
        panels.append(panel(overlay, backend, **axes, ylim=(0.0, (1.2 if notes else 1.06) * peak)))
    return panels


def figure3(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Vanilla nets: the signal becomes one-dimensional."""
    drawn = elements.bands({"increment": increments(ds), "reff_signal": effective_rank(ds, site="output")})
    require_defined(drawn.values())
    looks = {"increment": (Line(BLUE), "increment of sensitivity"), "reff_signal": (Line(PURPLE), "effective rank")}
    panels = []
    for name, (line, ylabel) in looks.items():
        parts = [Part(drawn[name], symbol(name, backend), line)]
        note = left_out(ds, drawn[name])
        panels.append(profile(ds, parts, backend, level=1.0, ylabel=ylabel, title=note, ylim=ylim(parts)))
    return panels


def figure4(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Batch-normalised feed-forward nets: exploding sensitivity."""
    if "sum" in architecture(ds).sites:
        raise RequestError("fig4 is of feed-forward nets, and this is a cube of a residual one: draw fig5")
    parts = steps(ds, ["bn", "act"]) | {"layer": increments(ds)}
    drawn = elements.bands({**parts, "chi": chi(ds, log=True, site="output"), **_signal(ds)}, logs=["chi"])
    require_defined(drawn.values())
    return [
        _increments(ds, drawn, {"bn": "bn", "act": "act", "layer": "increment"}, backend),
        sensitivity(ds, drawn["chi"], backend, logy=True),
        *_ranks_and_moments(ds, drawn, backend, logy=True),
    ]


def figure5(ds: xr.Dataset, backend: Backend) -> list[hv.Overlay]:
    """Batch-normalised residual nets: well-behaved, with the power law that the increments predict."""
    symbols = {"bn": "unit_bn", "act": "unit_act", "unit": "unit_increment"}
    pieces = {**steps(ds, list(symbols)), "chi": chi(ds, log=True, site="output"), **_signal(ds, "unit_")}
    bands, law = compute(elements.lazy_bands(pieces, logs=["chi"]), predicted_power_law(ds))
    drawn, tau, layers = elements.read_bands(bands), float(law.tau), ds["layer"].values
    require_defined(drawn.values())
    with np.errstate(all="ignore"):
        log_law = np.log(float(law.kappa)) + tau * np.log(layers)
    power = Guide(layers, log_law, symbol("power", backend) % tau, Line(RED, "dashed"))
    return [
        _increments(ds, drawn, symbols, backend),
        sensitivity(ds, drawn["chi"], backend, [power]),
        *_ranks_and_moments(ds, drawn, backend, "unit_"),
    ]


FIGURES: dict[str, Callable[[xr.Dataset, Backend], list[hv.Overlay]]] = {
    "fig2": figure2,
    "fig3": figure3,
    "fig4": figure4,
    "fig5": figure5,
}


def _signal(ds: xr.Dataset, prefix: str = "") -> dict[str, xr.DataArray]:
    """Effective ranks and moments of z, under the names of their symbols."""
    _, ranked, z = architecture(ds).plotted
    return {
        f"{prefix}reff_noise": effective_rank(ds, "noise", site=ranked),
        f"{prefix}reff_signal": effective_rank(ds, "signal", site=ranked),
        f"{prefix}mu4": get(ds, "mu4_signal", site=z),
        f"{prefix}nu1_abs": get(ds, "nu1_abs_signal", site=z),
    }


def _increments(
    ds: xr.Dataset, drawn: dict[str, elements.Band], symbols: dict[str, str], backend: Backend
) -> hv.Overlay:
    parts = [Part(drawn[step], symbol(name, backend), STEPS[step]) for step, name in symbols.items()]
    note = left_out(ds, parts[-1].band)
    return profile(ds, parts, backend, level=1.0, ylabel="increment of sensitivity", title=note, ylim=ylim(parts))


def _ranks_and_moments(
    ds: xr.Dataset, drawn: dict[str, elements.Band], backend: Backend, prefix: str = "", logy: bool = False
) -> list[hv.Overlay]:
    def parts(looks: dict[str, Line]) -> list[Part]:
        names = {f"{prefix}{name}": line for name, line in looks.items()}
        return [Part(drawn[name], symbol(name, backend), line) for name, line in names.items()]

    ranks, moments = parts(RANKS), parts({"mu4": Line(RED, "dotted"), "nu1_abs": Line(RED)})
    return [
        profile(ds, ranks, backend, level=1.0, ylabel="effective rank", logy=True, ylim=ylim(ranks, True)),
        profile(ds, moments, backend, ylabel="moments of z", logy=logy, ylim=ylim(moments, logy)),
    ]
