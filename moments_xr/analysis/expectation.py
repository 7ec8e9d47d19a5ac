"""m̄ by theory: the expected increment of a layer over its own parameters (THEORY 5, Theorems 2 to 4)."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr
from xarray.ufuncs import exp, isfinite, log

from moments_xr.analysis.network import fact, weight_variance, why_not_statistics_preserving
from moments_xr.analysis.sensitivity import architecture, at_site, get
from moments_xr.errors import MissingError


def expected_log_increment(ds: xr.Dataset, of: str) -> xr.DataArray:
    """m̄ of a moment by theory, log E_θ[δq], with the mean over this net's channels for the expectation.

    For weights of variance v/fan_in and a signal y that is symmetric under a change of their sign, ReLU keeps half of
    ν₂ and of μ₂(dy), and E μ₂(φ(y)) = ½ E μ₂(y) − E[ν₁⁺ν₁⁻] (THEORY 5, Theorems 2 to 4).
    """
    kind = architecture(ds).name
    why_not = why_not_statistics_preserving(ds)
    if why_not and kind != "bn_ff":
        raise MissingError(f"no theory of m̄: {why_not}; use measure.branches")
    variance = weight_variance(ds)

    def log_at(name: str, site: str) -> xr.DataArray:
        return at_site(ds, get(ds, name, log=True), site).drop_vars("site", errors="ignore")

    before = log_at(of, "input")
    if kind == "bn_res":
        gain = _unit_gain(ds, of, variance, log_at)
    else:
        z = "conv" if kind == "vanilla" else "norm"
        gain = xr.full_like(before, 0.5 * variance)
        if kind == "bn_ff":
            gain = 0.5 * exp(log_at("mu2_signal" if of == "nu2_signal" else of, z) - before)
        if of == "mu2_signal":
            gain = gain - exp(log_at("nu1_plus_minus_signal", z) - before)
    return log(gain).where(isfinite(before))


def _unit_gain(ds: xr.Dataset, of: str, variance: float, log_at: Callable[[str, str], xr.DataArray]) -> xr.DataArray:
    """E δq of a residual unit: 1 + q(y^{l,H})/q(y^{l−1}), all its layers taken like the first, which is measured."""
    branch = variance * exp(log_at(of, "act") - log_at(of, "input"))
    if of == "mu2_noise":
        deeper = int(fact(ds, "unit_depth")) - 1
        snr = [log_at("mu2_noise", site) - log_at("mu2_signal", site) for site in ("act", "input")]
        branch = branch * exp(deeper * (snr[0] - snr[1]))
    return 1 + branch
