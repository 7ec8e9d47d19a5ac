"""Measured against predicted, layer by layer, for the theorems that apply (THEORY 5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats

from moments_xr.analysis.decomposition import terms_by_theory
from moments_xr.analysis.diffusion import theorem
from moments_xr.analysis.expectation import unit_bounds, why_no_theorem
from moments_xr.analysis.growth import by_depth
from moments_xr.analysis.network import fan_in, told, width
from moments_xr.analysis.realizations import INTERVAL, Array, central_moments, described, fitted, living
from moments_xr.analysis.sensitivity import architecture, increments, site_name, stored_moment
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError
from moments_xr.theory.finite_width import diffusion_bounds

FAMILY = 0.05
"""Chance that a theorem which is true fails at any of its layers."""

UNIT_TOLERANCE = 0.15
"""Of Theorem 4's log-increment, for taking every layer of a unit like its first: off by 13 % at the first unit, 5 % in all."""


@dataclass(frozen=True)
class Comparison:
    """A measured quantity (layer), between two predicted ones, with the standard error of their difference."""

    name: str
    says: str
    measured: xr.DataArray
    low: xr.DataArray
    high: xr.DataArray
    error: xr.DataArray
    count: xr.DataArray
    tolerance: xr.DataArray
    chance: xr.DataArray | None = None
    """Of a distance as large if the theorem is true; if not given, by the t law of the distance in standard errors."""


@along_sweep
def check_theorems(ds: xr.Dataset) -> xr.Dataset:
    """Each theorem that applies: measured against predicted at each layer, and whether it holds (THEORY 5).

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep).

    Returns
    -------
    Variables (theorem, layer): `measured`, `predicted_low` and `predicted_high` (equal where the theorem is an
    equality), `standard_error` over realizations of measured minus predicted, `residual`, the distance from the
    prediction in standard errors (0 within bounds), `tolerance`, what the theorem leaves out at this width, and `holds`:
    1, 0, or NaN where fewer than 3 realizations cannot tell. The distance may exceed the tolerance by so many standard
    errors that a true theorem fails at any of its layers at most one time in twenty (t law, for values nearly normal).
    `statement` (theorem) says what is compared; `holds_everywhere` (theorem) is 0 if any layer fails.

    * `1 survival` (vanilla): the living fraction of the realizations whose ν₂ was measured, between the bounds of Theorem 1.
      Its standard error is that of a binomial law at the nearest bound, 0 where that bound is 1 within floats; whether it
      holds is told by that law's exact tails, so that a failing residual may be infinite.
    * `1 drift`, `1 diffusion` (vanilla): mean and variance of log δν₂(x) and log δμ₂(dx) between the bounds of Theorem 1.
      The standard error of a variance below its lower bound is the one it would have there.
    * `2` (vanilla) and `3` (bn_ff): log δχ against m̄ + m̃, m̃ by the delta method.
    * `4` (bn_res): log δχ between the bounds; `4 sharp` against the unit's expected gain.

    Raises
    ------
    MissingError
        No theorem applies to this net, or the cube lacks what they are about.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 8, "network.depth": 4}), progress=False)
    >>> mx.check_theorems(ds).theorem.values.tolist()
    ['3']
    """
    why_not = why_no_theorem(ds)
    if why_not:
        raise MissingError(f"no theorem applies: {why_not}")
    ds = by_depth(ds)
    found, lacking = [], []
    for comparison in COMPARISONS[architecture(ds).name]:
        try:
            found += list(comparison(ds))
        except MissingError as error:
            lacking.append(str(error))
    if not found:
        raise MissingError(f"no theorem can be checked: {'; '.join(dict.fromkeys(lacking))}")
    result = xr.concat([_judged(row) for row in found], "theorem").assign_coords(theorem=[row.name for row in found])
    result["statement"] = ("theorem", np.array([row.says for row in found], dtype=object))
    for name, long_name in LONG_NAMES.items():
        result[name].attrs = described(long_name)
    result.attrs = {"comment": f"not checked: {'; '.join(dict.fromkeys(lacking))}"} if lacking else {}
    return result.transpose("theorem", "layer")


LONG_NAMES = {
    "measured": "measured",
    "predicted_low": "lower bound predicted, or the prediction",
    "predicted_high": "upper bound predicted, or the prediction",
    "standard_error": "standard error over realizations of measured minus predicted",
    "residual": "distance from the prediction in standard errors",
    "tolerance": "what the theorem leaves out at this width",
    "holds": "whether the theorem holds at the layer (NaN: cannot be told)",
    "holds_everywhere": "whether the theorem holds at all measured layers (NaN: cannot be told)",
    "statement": "what is compared",
}


def _judged(row: Comparison) -> xr.Dataset:
    share = FAMILY / 2 / row.measured.sizes["layer"]
    arrays = (row.measured, row.low, row.high, row.error, row.tolerance, row.count)
    judged = fitted(judge, {"residual": "", "chance": ""}, *arrays, core_dims=[[]] * len(arrays))
    chance = judged["chance"] if row.chance is None else row.chance
    holds = (chance >= share).astype("f8").where(chance.notnull())
    return xr.Dataset(
        {
            "measured": row.measured,
            "predicted_low": row.low,
            "predicted_high": row.high,
            "standard_error": row.error,
            "residual": judged["residual"],
            "tolerance": row.tolerance,
            "holds": holds,
            "holds_everywhere": holds.min("layer"),
        }
    ).drop_vars(["site", "quantity"], errors="ignore")


@np.errstate(divide="ignore", invalid="ignore")
def judge(measured: Array, low: Array, high: Array, error: Array, tolerance: Array, count: Array) -> list[Array]:
    """Distance from the bounds in standard errors, and the chance of one as far beyond the tolerance, on that side."""

    def in_errors(distance: Array) -> Array:
        return np.where(distance == 0, 0 * error, distance / error)

    distance = np.maximum(measured - high, 0) - np.maximum(low - measured, 0)
    return [in_errors(distance), stats.t.sf(in_errors(abs(distance) - tolerance), count - 1)]


def _survival(ds: xr.Dataset) -> Iterator[Comparison]:
    """Theorem 1's collapse."""
    alive, measured = living(stored_moment(ds, "nu2_signal", site="output"))
    found = theorem(ds, site_name(ds, "output"), alive, measured)
    if found["bounds_status"] != "ok":
        raise MissingError(str(found["bounds_status"].item()))
    alive, low, high = found["alive"], found["alive_bound_low"], found["alive_bound_high"]
    count = measured.where(measured >= INTERVAL)
    nearest = low.where(alive - low <= high - alive, high)
    yield Comparison(
        "1 survival", "fraction of nets alive, ν₂(x) > 0, within [∏_{k=1}^l (1 − 2^−N), ∏_{k=2}^l (1 − 2^−RN)], R the fan-in",
        alive, low, high, xr.ufuncs.sqrt(nearest * (1 - nearest) / count), count, xr.zeros_like(alive),
        xr.ufuncs.minimum(found["alive_p_low"], found["alive_p_high"]).where(count.notnull()),
    )  # fmt: skip


def _moments(values: xr.DataArray) -> xr.Dataset:
    """Central moments over realizations, NaN of none."""
    moments = central_moments(values, highest=4)
    return moments.where(moments["count"] > 0)


def _diffusion(ds: xr.Dataset) -> Iterator[Comparison]:
    """Theorem 1, for signal and noise."""
    weights = float(told(ds, "weight_variance", 2.0))
    if weights != 2:
        raise MissingError(f"Theorem 1 is of weights of variance 2/fan_in, and here it is {weights:g}/fan_in")
    bounds = diffusion_bounds(width(ds), fan_in(ds))
    for of, symbol in (("nu2_signal", "ν₂(x)"), ("mu2_noise", "μ₂(dx)")):
        moments = _moments(increments(ds, of, log=True))
        count = moments["count"].where(moments["count"] >= 3)
        variance = moments["m2"] / (count - 1)
        kurtosis = count * moments["m4"] / moments["m2"] ** 2
        nothing = xr.zeros_like(variance)
        yield Comparison(
            f"1 drift of {symbol}", f"mean of log δ{symbol}, per layer, within [−m_max, −m_min]",
            moments["mean"], nothing - bounds.m_max, nothing - bounds.m_min, xr.ufuncs.sqrt(variance / count), count, nothing,
        )  # fmt: skip
        yield Comparison(
            f"1 diffusion of {symbol}", f"variance of log δ{symbol}, per layer, within [v_min, v_max]",
            variance, nothing + bounds.v_min, nothing + bounds.v_max,
            variance.clip(min=bounds.v_min) * xr.ufuncs.sqrt((kurtosis - 1) / count), count, nothing,
        )  # fmt: skip


def _expected_increment(ds: xr.Dataset) -> Iterator[Comparison]:
    """Theorems 2, 3 and the sharper form of 4: log δχ against m̄ + m̃, both of the same realizations."""
    kind = architecture(ds).name
    log_increment = increments(ds, "chi", log=True)
    terms, _ = terms_by_theory(ds, "chi", log_increment)
    predicted = terms["m_bar"] if kind == "bn_res" else terms["m_bar"] + terms["m_tilde"]
    left = _moments(log_increment - predicted)
    count = left["count"].where(left["count"] >= 3)
    error = xr.ufuncs.sqrt(left["m2"] / (count - 1) / count)
    measured = _moments(log_increment)["mean"]
    expectation = measured - left["mean"]
    name, says = {
        "vanilla": ("2", "mean of log δχ equals that of −½ log(1 − E[ν₁⁺ν₁⁻]/μ₂(x)) + m̃"),
        "bn_ff": ("3", "mean of log δχ equals that of m̄_BN + m̄_φ + m̃"),
        "bn_res": ("4 sharp", "mean of log δχ equals that of ½ log of the ratio of the unit's expected gains"),
    }[kind]
    tolerance = abs(expectation) * UNIT_TOLERANCE if kind == "bn_res" else xr.zeros_like(error) + 1 / width(ds)
    yield Comparison(name, says, measured, expectation, expectation, error, count, tolerance)


def _unit_increments(ds: xr.Dataset) -> Iterator[Comparison]:
    """Theorem 4's bounds."""
    rho_min, rho_max = unit_bounds(ds)
    moments = _moments(increments(ds, "chi", log=True))
    count = moments["count"].where(moments["count"] >= 3)
    low, high = (0.5 * xr.ufuncs.log(1 + rho / (ds["layer"] + 1)) for rho in (rho_min, rho_max))
    error = xr.ufuncs.sqrt(moments["m2"] / (count - 1) / count)
    yield Comparison(
        "4", "mean of log δχ between units within ½ log(1 + ρ_min/(l+1)) and ½ log(1 + ρ_max/(l+1))",
        moments["mean"], low, high, error, count, UNIT_TOLERANCE * abs(moments["mean"]),
    )  # fmt: skip


COMPARISONS = {
    "vanilla": (_survival, _diffusion, _expected_increment),
    "bn_ff": (_expected_increment,),
    "bn_res": (_unit_increments, _expected_increment),
}
