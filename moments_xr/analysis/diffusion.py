"""How vanilla nets diffuse in log space and die, against Theorem 1 (THEORY 5.1)."""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from scipy import stats

from moments_xr.analysis.expectation import why_no_theorem
from moments_xr.analysis.network import fact, fan_in, told, width
from moments_xr.analysis.normal_law import heavy_tails, normal_law, shape
from moments_xr.analysis.realizations import INTERVAL, Array, central_moments, described, fitted, text
from moments_xr.analysis.sensitivity import architecture
from moments_xr.errors import MissingError
from moments_xr.theory.finite_width import diffusion_bounds, survival_bounds

DIFFUSION = {
    "drift_count": "realizations alive over the whole range",
    "drift": "mean of log q, per layer",
    "drift_low": "lower bound of the drift",
    "drift_high": "upper bound of the drift",
    "diffusion": "variance of log q, per layer",
    "diffusion_low": "lower bound of the diffusion",
    "diffusion_high": "upper bound of the diffusion",
}
BOUNDS = {
    "drift_bound_low": "Theorem 1's lower bound of the drift",
    "drift_bound_high": "Theorem 1's upper bound of the drift",
    "diffusion_bound_low": "Theorem 1's lower bound of the diffusion",
    "diffusion_bound_high": "Theorem 1's upper bound of the diffusion",
    "drift_one_input": "drift of a single input, fully connected, to first order in 1/N",
    "diffusion_one_input": "diffusion of a single input, fully connected, to first order in 1/N",
}
SURVIVAL = {
    "alive": "fraction of realizations alive",
    "alive_p_low": "probability of as few living realizations, or fewer, at Theorem 1's lower bound",
    "alive_p_high": "probability of as many living realizations, or more, at Theorem 1's upper bound",
}


def survival(alive: Array, measured: Array, low: Array, high: Array) -> list[Array]:
    """Living fraction, and the probability of as few alive at the lower bound, and of as many at the upper one."""
    n = np.where(measured > 0, measured, np.nan)
    return [alive / n, stats.binom.cdf(alive, n, low), stats.binom.sf(alive - 1, n, high)]


@np.errstate(invalid="ignore")
def diffusion(count: Array, mean: Array, m2: Array, m3: Array, m4: Array, length: int) -> list[Array]:
    """What `DIFFUSION` lists, from the moments of the change of log q over `length` layers; NaN over none."""
    return [count, *(np.divide(value, length) for value in normal_law(count, mean, m2, m3, m4))]


def fit_diffusion(log_q: xr.DataArray, first: int, last: int) -> dict[str, xr.DataArray]:
    """Drift and diffusion of log q from a first to a last layer, with their intervals."""
    log_q = log_q if "layer" in log_q.dims else log_q.expand_dims("layer")
    change = log_q.sel(layer=last, drop=True) - log_q.sel(layer=first, drop=True)
    moments = list(central_moments(change, highest=4).data_vars.values())
    walk = fitted(partial(diffusion, length=last - first), DIFFUSION, *moments, core_dims=[[]] * 5)
    for name, layer in (("first", first), ("last", last)):
        walk[f"{name}_layer"] = (), layer, described(f"{name} layer of the range of drift and diffusion")
    say = partial(_drift_status, length=last - first)
    walk["drift_status"] = text(say, "status of drift and diffusion", *moments)
    return {str(name): values for name, values in walk.data_vars.items()}


def theorem(ds: xr.Dataset, site: str, alive: xr.DataArray, measured: xr.DataArray) -> dict[str, xr.DataArray]:
    """Theorem 1's bounds, NaN where it has none, and survival against them."""
    why_not, layer = _why_no_bounds(ds, site), ds["layer"].reset_coords(drop=True)
    scalars = np.full(len(BOUNDS), np.nan)
    low = high = np.full(layer.shape, np.nan)
    if not why_not:
        size = width(ds), fan_in(ds)
        m_min, m_max, v_min, v_max = diffusion_bounds(*size)
        one_input = 5 / size[0] if fact(ds, "kernel") == 1 else np.nan
        scalars = np.array([-m_max, -m_min, v_min, v_max, -one_input / 2, one_input])
        low, high = survival_bounds(layer.values, *size)
    bounds = {
        f"alive_bound_{name}": xr.DataArray(
            values, layer.coords, layer.dims, attrs=described(f"Theorem 1's {side} bound of the living fraction")
        )
        for name, side, values in (("low", "lower", low), ("high", "upper", high))
    }
    table = fitted(survival, SURVIVAL, alive, measured, *bounds.values(), core_dims=[[]] * 4).assign(bounds)
    for (name, long_name), value in zip(BOUNDS.items(), scalars, strict=True):
        table[name] = (), value, described(long_name)
    table["bounds_status"] = (), np.array(why_not or "ok", dtype=object), described("status of Theorem 1's bounds")
    return {str(name): values for name, values in table.data_vars.items()}


def _why_no_bounds(ds: xr.Dataset, site: str) -> str | None:
    """Why Theorem 1 has no numbers here; None if it has. Of weights, biases and boundary what is not told is as it wants."""
    output = architecture(ds).output
    if site != output:
        return f"Theorem 1 is of the site '{output}', not of '{site}'"
    try:
        fan_in(ds)
    except MissingError as error:
        return str(error)
    variance = told(ds, "weight_variance", 2.0)
    if variance != 2:
        return f"Theorem 1 is of weights of variance 2/fan_in, and here it is {variance:g}/fan_in"
    return why_no_theorem(ds)


def _drift_status(count: float, *moments: float, length: int) -> str:
    if not length:
        return "drift and diffusion need two measured layers"
    if count < INTERVAL:
        return f"too few realizations survive the range for intervals (R = {count:.0f}, at least {INTERVAL})"
    heavy = heavy_tails(*(float(each) for each in shape(*np.array([count, *moments[1:]]))))
    return f"{heavy}: the intervals of drift and diffusion may hold them in less than 95 %" if heavy else "ok"
