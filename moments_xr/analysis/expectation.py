"""m̄ by theory: the expected increment of a layer over its own parameters (THEORY 5, Theorems 2 to 4)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.ufuncs import exp, log, maximum, minimum

from moments_xr.analysis.channels import pooled_variance
from moments_xr.analysis.elementwise import elementwise, log_positive, positive
from moments_xr.analysis.network import fact, told
from moments_xr.analysis.realizations import log_mean
from moments_xr.analysis.sensitivity import architecture, get, rescaled
from moments_xr.errors import MissingError

Array = NDArray[Any]


def expected_log_increment(ds: xr.Dataset, of: str) -> xr.DataArray:
    """m̄ of a moment by theory, log E_θ[δq], with the mean over this net's channels for the expectation; a scalar if exact.

    For weights of variance v/fan_in and a signal y that is symmetric under a change of their sign, ReLU keeps half of
    ν₂ and of μ₂(dy), and E μ₂(φ(y)) = ½ E μ₂(y) − E[ν₁⁺ν₁⁻] (THEORY 5, Theorems 2 to 4).
    """
    kind = architecture(ds).name
    why_not = why_no_theorem(ds)
    if why_not:
        raise MissingError(f"no theory of m̄: {why_not}; use measure.branches")
    variance = float(told(ds, "weight_variance", 2.0))

    at = partial(rescaled, ds)
    before = at(of, "input")
    if kind == "bn_res":
        deeper = int(fact(ds, "unit_depth")) - 1 if of == "mu2_noise" else 0
        snr = [at("mu2_signal", site) for site in ("input", "act")] if deeper else []
        return elementwise(partial(_log_gain_of_unit, variance, deeper), before, at(of, "act"), *snr)
    z = "conv" if kind == "vanilla" else "norm"
    one_sided = [at("nu1_plus_minus_signal", z)] if of == "mu2_signal" else []
    if kind == "bn_ff":
        normed = at("mu2_signal" if of == "nu2_signal" else of, z)
        log_gain = elementwise(partial(_log_gain, 0.5), before, normed, *one_sided)
        return log_gain + 0.5 * _spread(ds, of, z) if of == "mu2_noise" else log_gain
    if not one_sided:
        return xr.DataArray(np.log(0.5 * variance))
    return elementwise(partial(_log_gain, 0.5 * variance), before, before, *one_sided)


def _log_gain(kept: float, before: Array, activated: Array, one_sided: Array | float = 0.0) -> Array:
    """log of the expected increment of a layer, of whose activation's input this share is kept; NaN of a dead net."""
    return log_positive((kept * activated - one_sided) / positive(before))


def _spread(ds: xr.Dataset, of: str, site: str) -> xr.DataArray | float:
    """Variance of a mean over N channels, relative: its logarithm is lower by half of that; nothing where not measured."""
    try:
        return pooled_variance(ds, of, site)
    except MissingError:
        return 0.0


def _log_gain_of_unit(variance: float, deeper: int, before: Array, act: Array, *signal: Array) -> Array:
    """log of 1 + q(y^{l,H})/q(y^{l−1}), all layers of a residual unit taken like the first, which is measured.

    Of the noise each of the `deeper` layers gains as much on the `signal` (before, act) as the first does.
    """
    gain = positive(act) / positive(before)
    branch = variance * gain
    if deeper:
        branch = branch * (gain * positive(signal[0]) / positive(signal[1])) ** deeper
    return np.asarray(np.log1p(branch))


def why_no_theorem(ds: xr.Dataset) -> str | None:
    """Why Theorems 2 to 4 are not of this net; None if they are, or if the cube does not tell.

    With batch norm in every layer (bn_ff) neither biases nor the boundary matter.
    """
    if architecture(ds).name == "res":
        return "the theorems are of vanilla nets and of batch-normalised ones, and it is residual without batch norm"
    if told(ds, "activation", "relu") != "relu":
        return f"the theorems are of ReLU nets, and its activation is {fact(ds, 'activation')}"
    if told(ds, "weight_law", "gaussian") != "gaussian":
        return f"the theorems are of independent normal weights, and its law is {fact(ds, 'weight_law')}"
    if told(ds, "dropout", 0) > 0:
        return f"the theorems are of nets without dropout, and it drops {fact(ds, 'dropout'):g} of what enters a layer"
    if architecture(ds).name == "bn_ff":
        return None
    if told(ds, "bias_variance", 0) > 0:
        return f"the theorems are of nets without biases, and its have variance {fact(ds, 'bias_variance'):g}"
    if told(ds, "boundary", "periodic") == "zero" and told(ds, "kernel", 3) > 1:
        return "the boundary is zero, and the theorems need one that preserves the signal's statistics"
    return None


def unit_bounds(ds: xr.Dataset, embedding: bool = True) -> tuple[xr.DataArray, xr.DataArray]:
    """ρ_min and ρ_max of Theorem 4, from the extremes over the measured residual units of means over realizations.

    ρ = (δ^{2H} μ₂ − μ₂')/μ₂' with δ = δχ^{l,1} for every layer of a unit, and μ₂(y^{l,H}) taken as that of its first
    layer, whose expectation is v μ₂(x^{l,1}). The `embedding` counts as a unit, μ₂(y⁰) ≈ μ₂(x⁰), hence l + 1 in the
    theorem; for l ≫ 1 it may be left out.
    """

    def mean_log(name: str, site: str) -> xr.DataArray:
        return log_mean(get(ds, name, log=True, site=site)).drop_vars("site", errors="ignore")

    log_delta = mean_log("chi", "conv") - mean_log("chi", "input")
    power = exp(2 * int(told(ds, "unit_depth", 2)) * log_delta)
    mu2 = float(told(ds, "weight_variance", 2.0)) * exp(mean_log("mu2_signal", "act"))
    low, high = mu2.min("layer"), mu2.max("layer")
    if embedding:
        embedded = exp(log_mean(log(ds["input_mu2_signal"]))) if "input_mu2_signal" in ds else xr.DataArray(1.0)
        low, high = minimum(low, embedded), maximum(high, embedded)
    return (power.min("layer") * low - high) / high, (power.max("layer") * high - low) / low
