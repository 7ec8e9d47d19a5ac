"""Moments, normalised sensitivity and its increments, effective ranks, survival (THEORY 2 and 3)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np
import xarray as xr

from moments_xr.analysis.elementwise import elementwise, log_positive, log_scaled, positive, scaled, weighted
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError, RequestError
from moments_xr.quantities import (
    ARCHITECTURES,
    DECOMPOSED,
    MOMENTS,
    STATISTICS,
    Architecture,
    Moment,
    Statistic,
    scale_orders,
    symbol,
)

UNDEFINED = "NaN where the net is dead (ν₂ = 0) or its signal is a single point (μ₂ = 0 with ν₂ > 0)"


@along_sweep
def get(ds: xr.Dataset, name: str, log: bool = False, channels: bool = False, site: str | None = None) -> xr.DataArray:
    """A quantity by its registered name, of the tensors as they are (the cube keeps rescaled ones).

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep).
    name
        A moment (`nu2_signal`), a statistic over channels (`mu2_ratio`), `reff_signal`, `reff_noise` or `chi`.
    log
        The natural logarithm, which never overflows; −inf where the quantity is zero.
    channels
        Of each channel, instead of the mean over channels; for cubes with `channels: all`.
    site
        At one site only, by name or `output`; nothing else is computed.

    Returns
    -------
    (realization, layer, site), with `channels` also channel, with `site` without; without unit.

    Raises
    ------
    MissingError
        The cube does not have it.
    RequestError
        There is no such quantity, or it may be negative and has no logarithm.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> mx.get(ds, "nu2_signal", log=True).dims
    ('realization', 'layer', 'site')
    """
    if name == "chi":
        return chi(ds, log=log, site=site)
    if name in ("reff_signal", "reff_noise"):
        rank = effective_rank(ds, "signal" if name == "reff_signal" else "noise", site)
        if not log:
            return rank
        long_name = f"log of the {rank.attrs['long_name']}"
        return _named(elementwise(np.log, rank), f"log_{name}", f"log {symbol(name)}", long_name)
    row = _moment(name, log)
    stored = stored_moment(ds, name, channels, site)
    signal, noise = scale_orders(name)
    scales, orders = _scales(ds, signal=signal, noise=noise)
    if log:
        total = elementwise(partial(log_scaled, orders), stored, *scales)
        return _named(total, f"log_{name}", f"log {symbol(name)}", f"log of the {row.long_name}")
    return _named(elementwise(partial(scaled, orders), stored, *scales), name, symbol(name), row.long_name)


@along_sweep
def chi(ds: xr.Dataset, log: bool = False, site: str | None = None) -> xr.DataArray:
    """Normalised sensitivity χ = (SNR⁰/SNR^l)^½ = (μ₂(dx^l) μ₂(x⁰) / (μ₂(x^l) μ₂(dx⁰)))^½ (THEORY 3; the paper's eq. 3).

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep), with moments of both tensors or with `log_chi`.
    log
        log χ, which never overflows.
    site
        At one site only, by name or `output`.

    Returns
    -------
    (realization, layer, site), with `site` without. NaN where the net is dead (ν₂ = 0), or its signal is a single point
    (μ₂ = 0).

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> bool((mx.chi(ds, log=True).sel(site="act", layer=4) > 0).all())
    True
    """
    if "log_chi" in ds:
        log_chi = (ds if site is None else select_site(ds, site))["log_chi"].astype("f8")
    else:
        signal, noise = (stored_moment(ds, name, site=site) for name in ("mu2_signal", "mu2_noise"))
        start = ds["input_mu2_signal"] if "input_mu2_signal" in ds else xr.DataArray(1.0)
        scales, orders = _scales(ds, signal=-1, noise=1)
        log_chi = elementwise(partial(_log_chi, orders), noise, signal, start, *scales)
    if log:
        result = _named(log_chi, "log_chi", "log χ", "log of the normalised sensitivity")
    else:
        result = _named(elementwise(np.exp, log_chi), "chi", "χ", "normalised sensitivity")
    return result.assign_attrs(comment=UNDEFINED)


def _log_chi(
    orders: Sequence[int], noise: np.ndarray, signal: np.ndarray, start: np.ndarray, *log_scales: np.ndarray
) -> np.ndarray:
    """log χ from variances of the noise, of the signal, and of the signal at the start."""
    log_ratio = np.log(noise) - log_positive(signal) + np.log(start)
    return np.asarray(0.5 * log_ratio + weighted(orders, *log_scales))


@along_sweep
def increments(
    ds: xr.Dataset, of: str = "chi", by: Literal["layer", "step"] = "layer", log: bool = False
) -> xr.DataArray:
    """Increments δq = q(output)/q(input) of each layer, or of each step inside it (THEORY 3).

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep).
    of
        `chi`, or any positive quantity that `get` knows.
    by
        `layer`: output over input of the same layer, so any `measure.every` works. `step`: of the parts of a layer; with
        batch norm δ_BN and δ_φ; for bn_res the feed-forward increment inside the unit (`unit`), its parts, and `sum`.
    log
        log δq.

    Returns
    -------
    (realization, layer), with `by="step"` also step, last.

    Raises
    ------
    MissingError
        The cube lacks a site that the increment needs.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> mx.increments(ds, by="step").step.values.tolist()
    ['bn', 'act']
    """
    if by not in ("layer", "step"):
        raise RequestError(f"by='{by}' is not one of layer, step")
    kind = architecture(ds)
    present = [str(site) for site in np.atleast_1d(ds["site"].values)] if "site" in ds.coords else []
    if by == "layer":
        steps = {"layer": (kind.output, "input")}
    else:
        steps = {step: pair for step, pair in kind.steps.items() if set(pair) <= set(present)}
    wanted = [site for pair in (steps or kind.steps).values() for site in pair]
    lacking = [site for site in dict.fromkeys(wanted) if site not in present]
    if lacking or "site" not in ds.dims:
        raise MissingError(
            f"increments by {by} need the sites {', '.join(dict.fromkeys(wanted))}; this cube has {', '.join(present)}"
        )
    parts = [_log_ratio(ds, of, end, start) for end, start in steps.values()]
    log_increment = (
        parts[0] if by == "layer" else xr.concat(parts, "step").assign_coords(step=list(steps)).transpose(..., "step")
    )
    what = symbol(of)
    if log:
        return _named(log_increment, f"log_increment_{of}", f"log δ{what}", f"log-increment of {what} by {by}")
    return _named(elementwise(np.exp, log_increment), f"increment_{of}", f"δ{what}", f"increment of {what} by {by}")


def _log_ratio(ds: xr.Dataset, of: str, end: str, start: str) -> xr.DataArray:
    """log of a quantity at one site over that at another of the same layer; NaN of a dead net."""
    if of in ("reff_signal", "reff_noise") or (of == "chi" and "log_chi" in ds):
        ends = [get(ds, of, log=True, site=site).drop_vars("site", errors="ignore") for site in (end, start)]
        return ends[0].where(ends[0] > -np.inf) - ends[1].where(ends[1] > -np.inf)
    weights = DECOMPOSED.get(of, {of: 1.0})
    for name in weights:
        _moment(name, log=True)
    moments = [rescaled(ds, name, site) for name in weights for site in (end, start)]
    return elementwise(partial(_log_of_ratios, tuple(weights.values())), *moments)


def _log_of_ratios(weights: Sequence[float], *moments: np.ndarray) -> np.ndarray:
    """Σ w log(a/b) of moments a, b, a, b, …, one weight each pair."""
    pairs = zip(moments[::2], moments[1::2], strict=True)
    return np.asarray(weighted(weights, *(np.log(positive(end) / positive(start)) for end, start in pairs)))


def rescaled(ds: xr.Dataset, name: str, site: str) -> xr.DataArray:
    """A moment of the rescaled tensors at one site.

    Tensors are rescaled alike all through a layer, so that their scales drop out of ratios of the same order there.
    """
    return stored_moment(ds, name, site=site).drop_vars("site", errors="ignore")


@along_sweep
def effective_rank(
    ds: xr.Dataset, tensor: Literal["signal", "noise"] = "signal", site: str | None = None
) -> xr.DataArray:
    """Effective rank r_eff = Tr C / ‖C‖ of the signal or of the noise (THEORY 2): (realization, layer, site).

    With `site`, a name or `output`, at that one only. It is biased low by the number of vectors (batch times positions):
    compare only at equal numbers.

    Raises
    ------
    MissingError
        The cube does not have it.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> bool((mx.effective_rank(ds) >= 1).all())
    True
    """
    if tensor not in ("signal", "noise"):
        raise RequestError(f"tensor='{tensor}' is not one of signal, noise")
    name = f"reff_{tensor}"
    if name not in ds:
        raise MissingError(f"the cube has no {name}: measure it with measure.effective_rank: [{tensor}]")
    values = (ds if site is None else select_site(ds, site))[name].astype("f8")
    return _named(values, name, symbol(name), f"effective rank of the {tensor}")


@along_sweep
def alive(ds: xr.Dataset, site: str = "output") -> xr.DataArray:
    """Whether ν₂(x) > 0 after each layer; a dead net stays dead (THEORY 4): (realization, layer), bool.

    Where ν₂ was not measured nothing says that the net is dead.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> bool(mx.alive(ds).all())
    True
    """
    stored = stored_moment(ds, "nu2_signal", site=site)
    return _named(stored != 0, "alive", "ν₂ > 0", "whether the signal is not all zero")


def architecture(ds: xr.Dataset) -> Architecture:
    """The cube's architecture, from its recipe, its attribute `architecture`, or else from its sites."""
    name = ds.attrs.get("architecture")
    if name is None and "recipe" in ds.attrs:
        name = json.loads(ds.attrs["recipe"])["network"]["architecture"]
    if name is None:
        name = _by_sites([str(site) for site in np.atleast_1d(ds["site"].values)] if "site" in ds.coords else [])
    return ARCHITECTURES[name]


def _by_sites(sites: list[str]) -> str:
    """The papers' architecture that has these sites; `res` if a skip goes round a convolution and then an activation."""
    if "sum" not in sites:
        return "bn_ff" if "norm" in sites else "vanilla"
    first, last = (sites.index(name) if name in sites else None for name in ("conv", "act"))
    plain = "norm" not in sites and first is not None and last is not None and first < last
    return "res" if plain else "bn_res"


def select_site(ds: xr.Dataset, site: str = "output") -> xr.Dataset:
    """The cube at one site, by name or `output`; if it was selected to one already, `output` is that.

    Selecting before anything is computed leaves the other sites alone.

    Raises
    ------
    MissingError
        The cube lacks that site, or was selected to another.
    """
    name = site_name(ds, site)
    return ds.sel(site=name).assign_attrs(architecture=architecture(ds).name) if "site" in ds.dims else ds


def site_name(ds: xr.Dataset, site: str) -> str:
    """The name of a site of a cube, as `select_site` finds it."""
    present = [str(label) for label in np.atleast_1d(ds["site"].values)] if "site" in ds.coords else []
    if site == "output" and "site" in ds.coords and "site" not in ds.dims:
        return present[0]
    name = architecture(ds).output if site == "output" else site
    if (present or "site" in ds.dims) and name not in present:
        raise MissingError(f"the cube lacks the site '{name}'; it has {', '.join(present)}")
    return name


def stored_moment(ds: xr.Dataset, name: str, channels: bool = False, site: str | None = None) -> xr.DataArray:
    """A stored moment, of the rescaled tensors; at one site, by name or `output`, if given."""
    variable, dim = ("channel_moments", "moment") if channels else ("pooled_moments", "pooled_moment")
    if channels and variable not in ds:
        raise MissingError("the cube keeps no moments of single channels: measure them with measure.channels: all")
    if variable not in ds or dim not in ds[variable].coords or name not in np.atleast_1d(ds[variable][dim].values):
        raise MissingError(f"the cube lacks {name}")
    values = ds[variable]
    chosen = {dim: name} if dim in values.dims else {}
    if site is not None:
        named = site_name(ds, site)
        chosen |= {"site": named} if "site" in values.dims else {}
    values = values.sel(chosen)  # at once, since each selection copies what it leaves
    return values.drop_vars([dim, "symbol", "order", "tensor"], errors="ignore").astype("f8", copy=False)


def _moment(name: str, log: bool) -> Moment | Statistic:
    """The registry's row of a pooled moment, whose logarithm is wanted or not."""
    row = MOMENTS.get(name) or STATISTICS.get(name)
    if row is None:
        names = ", ".join([*MOMENTS, *STATISTICS, "reff_signal", "reff_noise", "chi"])
        raise RequestError(f"'{name}' is not a quantity; there are {names}")
    if log and getattr(row, "signed", False):
        raise RequestError(f"'{name}' may be negative and has no logarithm; use nu1_abs_signal, or log=False")
    return row


def _scales(ds: xr.Dataset, **orders: int) -> tuple[list[xr.DataArray], tuple[int, ...]]:
    """What the logarithm of a stored moment lacks, since tensors were rescaled: logs of scales, and the order of each."""
    stored = {f"log_{tensor}_scale": order for tensor, order in orders.items() if order}
    present = {name: order for name, order in stored.items() if name in ds}
    return [ds[name] for name in present], tuple(present.values())


def _named(values: xr.DataArray, name: str, symbol: str, long_name: str) -> xr.DataArray:
    values = values.rename(name)
    values.attrs = {"long_name": long_name, "units": "1", "symbol": symbol}
    return values
