"""A picture of all nets of a cube: where each one stands at the deepest layer."""

from __future__ import annotations

from typing import Any

import holoviews as hv
import numpy as np
import xarray as xr
from dask.base import compute

from moments_xr.analysis.sensitivity import architecture, effective_rank, get, select_site
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots.panels import one_cube
from moments_xr.plots.theme import BLUE, RED, Backend, Line, chosen_backend, layout, panel, symbol

SHOWN = 2000
"""Most realizations that are drawn, evenly taken."""

PAIRS = (("reff_signal", "log_chi"), ("log_nu2_signal", "log_mu2_noise"))
QUANTITIES = tuple(dict.fromkeys(name for pair in PAIRS for name in pair))
LOOKS = {False: Line(BLUE), True: Line(RED)}

MANY = 500
"""Points above which they are drawn smaller and fainter."""


def realizations(
    ds: xr.Dataset | xr.DataTree, realization: int | None = None, backend: Backend | None = None
) -> hv.Layout:
    """Each net as a point at the deepest layer: how unlike nets of one recipe are, and which ones stand apart.

    Parameters
    ----------
    ds
        A cube.
    realization
        Label of one to mark.
    backend
        `matplotlib` (PNG, SVG, PDF) or `bokeh` (HTML); HoloViews' current one if not given, else matplotlib.

    Returns
    -------
    A HoloViews layout of up to two panels: (a) log χ against r_eff(x), (b) log μ₂(dx) against log ν₂(x), natural logarithms,
    those that the cube has. At most 2000 realizations are drawn, evenly taken.

    Raises
    ------
    MissingError
        The cube has fewer than 2 realizations, or none of these pairs.
    RequestError
        There is no such realization, or the cube is a sweep.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 4, "network.depth": 6}), progress=False)
    >>> len(ds.moments.plot.realizations())
    2
    """
    ds = one_cube(ds, "realizations")
    if ds.sizes.get("realization", 1) < 2:
        raise MissingError("realizations: the cube has one realization, and this picture compares them")
    every = -(-ds.sizes["realization"] // SHOWN)
    if realization is not None and realization not in ds["realization"].values:
        raise RequestError(f"realization={realization} is not there; there are {_ends(ds['realization'].values)}")
    last = ds.isel(layer=[-1])
    lazy = {name: values for name in QUANTITIES if (values := _measured(last, name)) is not None}
    table = {name: values.values.ravel() for name, values in compute(lazy)[0].items()}
    pairs = [pair for pair in PAIRS if set(pair) <= table.keys() and np.isfinite(table[pair[0]] + table[pair[1]]).any()]
    if not pairs:
        raise MissingError("realizations: the cube has neither χ and r_eff(x), nor ν₂(x) and μ₂(dx)")
    chosen = chosen_backend(backend)
    labels = ds["realization"].values
    kept = np.union1d(np.arange(0, len(labels), every), np.flatnonzero(labels == realization))
    depth = symbol("depth", chosen) % int(last["layer"].item())
    note = depth if every == 1 else f"{depth}, {len(kept)} of {len(labels)} nets"
    points = {name: values[kept] for name, values in table.items()}
    return layout([_panel(points, pair, labels[kept], realization, note, chosen) for pair in pairs], chosen)


def _panel(
    points: dict[str, np.ndarray],
    pair: tuple[str, str],
    labels: np.ndarray,
    marked: int | None,
    note: str,
    backend: Backend,
) -> hv.Overlay:
    x, y = (points[name] for name in pair)
    finite = np.isfinite(x) & np.isfinite(y)
    left_out = int((~finite).sum())
    names = [_label(name, backend) for name in pair]
    tips = [("realization", "@realization"), (names[0], "@x"), (names[1], "@y")]
    hover = {"hover_tooltips": tips} if backend == "bokeh" else {}
    overlay = hv.Overlay([])
    for is_marked, line in LOOKS.items():
        shown = finite & ((labels == marked) == is_marked)
        if shown.any():
            scatter = hv.Scatter((x[shown], y[shown], labels[shown]), "x", ["y", "realization"])
            label = f"realization {marked}" if is_marked else ""
            look = line.points(backend) | hover | (_bold(backend) if is_marked else _faint(len(labels), backend))
            overlay = overlay * scatter.relabel(label).opts(hv.opts.Scatter(**look, backend=backend))
    title = f"{note}; {left_out} undefined left out" if left_out else note
    low, high = float(y[finite].min()), float(y[finite].max())
    span = (high - low) or 1.0
    return panel(
        overlay, backend, xlabel=names[0], ylabel=names[1], title=title, ylim=(low - 0.06 * span, high + 0.18 * span)
    )


def _bold(backend: Backend) -> dict[str, Any]:
    return {"s": 40} if backend == "matplotlib" else {"size": 11}


def _faint(count: int, backend: Backend) -> dict[str, Any]:
    if count <= MANY:
        return {"alpha": 0.6}
    return {"alpha": 0.35, **({"s": 5} if backend == "matplotlib" else {"size": 4})}


def _label(name: str, backend: Backend) -> str:
    if not name.startswith("log_"):
        return symbol(name, backend)
    return symbol("log_of", backend) % symbol(f"of_{name.removeprefix('log_')}", backend)


def _measured(last: xr.Dataset, name: str) -> xr.DataArray | None:
    """A quantity at the deepest layer, (realization), if the cube has it."""
    ranked = architecture(last).plotted[1]
    try:
        if name == "reff_signal":
            return effective_rank(last, site=ranked)
        return get(select_site(last), name.removeprefix("log_"), log=True)
    except MissingError:
        return None


def _ends(labels: np.ndarray) -> str:
    return f"{labels[0]} to {labels[-1]}"
