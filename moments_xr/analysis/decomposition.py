"""Evolution with depth split into three terms, log δq = m̄ + m̃ + s (THEORY 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.channels import channel_variance, half_difference, pooled_variance
from moments_xr.analysis.expectation import expected_log_increment
from moments_xr.analysis.network import width
from moments_xr.analysis.realizations import central_moments, described, fitted, log_mean
from moments_xr.analysis.sensitivity import architecture, increments
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError, RequestError
from moments_xr.quantities import DECOMPOSED

Method = Literal["auto", "branches", "theory", "realizations"]

TERMS = {
    "m_bar": ("m̄", "log of the expected increment"),
    "m_tilde": ("m̃", "expected log-increment minus log of the expected increment"),
    "s": ("s", "log-increment minus its expectation"),
    "log_increment": ("log δ", "log-increment by layer"),
    "s_variance": ("Var s", "variance of the centred term, given what is before the layer"),
}


NEXT_ORDER = 4.0
"""N times the part of m̃ that leading order in 1/N leaves out, of one input in a ReLU net: 4.2 as N → ∞; less of more inputs."""

NEGLIGIBLE = 0.05
"""Part of m̃ that may be left out without a word."""


@along_sweep
def decompose(ds: xr.Dataset, of: str = "chi", method: Method = "auto") -> xr.Dataset:
    """The terms m̄, m̃ and s of each layer's log-increment, and their sums with depth (THEORY 4).

    With δq^k = q(output of layer k)/q(its input) and the expectation over the layer's own parameters θ^k, given all
    before: m̄ = log E δq, m̃ = E log δq − log E δq, s = log δq − E log δq. Of χ the first two are the half-differences
    ½(m̄[μ₂(dx)] − m̄[μ₂(x)]) and ½(m̃[μ₂(dx)] − m̃[μ₂(x)]).

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep).
    of
        `nu2_signal`, `mu2_signal`, `mu2_noise` or `chi`.
    method
        How the expectation is estimated. `branches`: over the layer's stored redraws, with the bias of a finite number
        of them removed. `theory`: m̄ from Theorems 2 (vanilla), 3 (bn_ff) and 4 (bn_res, all layers of a unit taken like
        the first), with expectations over channels; m̃ from the fluctuation of channels, to leading order in 1/width (not of
        bn_res: NaN).
        `realizations`: over all realizations, so that the terms absorb what differs between them. `auto`: branches if
        they are stored, else theory.

    Returns
    -------
    Variables `m_bar`, `m_tilde`, `s`, `log_increment` (realization, layer) — with `realizations` the first two are
    (layer) — and `s_variance`, the variance of the true s given what is before, NaN (layer) where it is not known; the same with
    prefix `sum_`, summed over the measured layers up to each; with `_mean` and `_se` (layer) the mean over realizations
    and its standard error; with `branches` also `m_bar_error` and `m_tilde_error` (realization, layer), the error of one
    realization's estimate from its redraws. `complete` (layer) says whether the sums miss no layer: then m̄ + m̃ + s sum to
    log q^l − log q(input of layer 1). With `theory` also `m_tilde_status`: `ok`, or how much too small m̃ may be in so narrow a
    net. NaN from where a net is dead.

    The returned s is measured from an estimate of E log δq, or else the three terms would not sum to log δq. With `branches`
    that is the mean of K redraws, so s and Σs have (1 + 1/K) times the variance of the true ones: divide theirs by that, or take
    `s_variance` and `sum_s_variance`, which come from the redraws' own spread and have no such excess. With `realizations` it is the
    mean over R nets, this one among them, and the variance of s is (1 − 1/R) of theirs; with `theory` m̄ errs by some 1/√width, and s
    with it.

    Raises
    ------
    MissingError
        What the method needs is not in the cube, or its theorem does not apply to the net.
    RequestError
        There is no such method, or no such quantity to decompose.

    Examples
    --------
    >>> import moments_xr as mx
    >>> changes = {"realizations": 2, "network.depth": 4, "measure.branches": 4}
    >>> terms = mx.decompose(mx.run(mx.recipe("quickstart", changes), progress=False))
    >>> bool(abs(terms.m_bar + terms.m_tilde + terms.s - terms.log_increment).max() < 1e-12)
    True
    """
    if of not in DECOMPOSED:
        raise RequestError(f"of='{of}' is not one of {', '.join(DECOMPOSED)}")
    if method not in ("auto", *ESTIMATORS):
        raise RequestError(f"method='{method}' is not one of auto, {', '.join(ESTIMATORS)}")
    ds = ds if "layer" in ds.dims else ds.expand_dims("layer")
    chosen = ("branches" if "branch_log_increment" in ds else "theory") if method == "auto" else method
    log_increment = increments(ds, of, log=True)
    terms, influences = ESTIMATORS[chosen](ds, of, log_increment)
    alive = log_increment.notnull()
    expected = {name for name, values in terms.items() if not set(alive.dims) <= set(values.dims)}  # over realizations
    terms = {name: values if name in expected else values.where(alive) for name, values in terms.items()}
    influences = {name: values.where(alive) for name, values in influences.items()}
    terms["log_increment"] = influences["log_increment"] = log_increment
    influences["s"] = terms["s"]
    result = {name: values.transpose(..., "layer") for name, values in terms.items()}
    for name, values in list(result.items()):
        if name in TERMS or name == "s_variance":
            result[f"sum_{name}"] = values.cumsum("layer", skipna=False)
    for name, values in influences.items():
        result |= _averaged(name, values) | _averaged(f"sum_{name}", values.cumsum("layer", skipna=False))
        if name in expected:
            result |= {f"{each}_mean": result[each] for each in (name, f"sum_{name}")}
    if chosen == "theory":
        result["m_tilde_status"] = xr.DataArray(_m_tilde_status(ds))
    return _described(xr.Dataset(result), ds, of, chosen)


def _m_tilde_status(ds: xr.Dataset) -> str:
    if architecture(ds).name == "bn_res":
        return "no theory of it: measure redraws with measure.branches"
    bias = NEXT_ORDER / width(ds)
    if bias < NEGLIGIBLE:
        return "ok"
    return f"may be some {bias:.0%} too small, of leading order in 1/{width(ds)}: measure redraws with measure.branches"


Terms = tuple[dict[str, xr.DataArray], dict[str, xr.DataArray]]
"""Terms by name; and for the terms that have an expectation, values by realization whose mean they are."""


def _from_branches(ds: xr.Dataset, of: str, log_increment: xr.DataArray) -> Terms:
    if "branch_log_increment" not in ds:
        raise MissingError("the cube has no redraws of its layers: measure them with measure.branches: 8")
    stored = ds["branch_log_increment"]
    stored = stored if "branch" in stored.dims else stored.expand_dims("branch", -1)
    if stored.sizes["branch"] < 2:
        raise MissingError(f"branches need at least 2 redraws of a layer, and the cube has {stored.sizes['branch']}")
    lacking = [name for name in DECOMPOSED[of] if name not in np.atleast_1d(stored["quantity"].values)]
    if lacking:
        raise MissingError(f"the cube's redraws lack {', '.join(lacking)}")
    stored = stored if "quantity" in stored.dims else stored.expand_dims("quantity")
    samples = stored.sel(quantity=list(DECOMPOSED[of])).astype("f8")
    if samples.chunks is not None:
        samples = samples.chunk(branch=-1, quantity=-1)
    terms = fitted(
        partial(branch_terms, weights=tuple(DECOMPOSED[of].values())),
        dict.fromkeys(("m_bar", "m_tilde", "s", "s_variance", "m_bar_error", "m_tilde_error"), ""),
        log_increment,
        samples,
        core_dims=[[], ["branch", "quantity"]],
    )
    named = {str(name): values for name, values in terms.data_vars.items()}
    return named, {name: named[name] for name in ("m_bar", "m_tilde")}


def branch_terms(realised: NDArray[Any], redrawn: NDArray[Any], weights: Sequence[float]) -> list[NDArray[Any]]:
    """m̄, m̃, s, the variance of s, and the errors of m̄ and m̃, from redraws of a layer.

    `realised` is log δq (...), `redrawn` log δq of each redraw and moment (..., branch, moment), and `weights` make q of
    the moments. Of K redraws, log-mean-exp minus mean of logs is −(1 − 1/K) m̃ on average, which is corrected (THEORY 4);
    errors take the redraws as normal.
    """
    alive = np.isfinite(redrawn).all(-1)
    count = alive.sum(-1).astype("f8")
    count = np.where(count >= 2, count, np.nan)
    samples = np.where(alive[..., None], redrawn, np.nan)
    mean = np.nansum(samples, axis=-2) / count[..., None]
    deviation = np.where(alive[..., None], samples - mean[..., None, :], 0.0)
    log_of_mean = np.log(np.where(alive[..., None], np.exp(deviation), 0.0).sum(-2) / count[..., None])
    m_tilde = -(log_of_mean * (count / (count - 1))[..., None]) @ weights
    expected = mean @ weights
    covariance = np.einsum("...bi,...bj->...ij", deviation, deviation) / (count - 1)[..., None, None]
    s_variance = np.einsum("...ij,i,j->...", covariance, weights, weights)
    # m̃ is about −½ of the variance, and estimates of (co)variances of normal values vary by 2c²/(K−1)
    m_tilde_variance = np.einsum("...ij,i,j->...", _squared(covariance, count), weights, weights) / (2 * (count - 1))
    m_tilde_variance = np.maximum(m_tilde_variance, 0.0)
    m_bar_error = np.sqrt(s_variance / count + m_tilde_variance)
    return [expected - m_tilde, m_tilde, realised - expected, s_variance, m_bar_error, np.sqrt(m_tilde_variance)]


def _squared(covariance: NDArray[Any], count: NDArray[Any]) -> NDArray[Any]:
    """Squares of the covariances of normal values (..., i, j) from their estimates, without bias from 3 redraws on."""
    dof = (count - 1)[..., None, None]
    square, variances = covariance**2, np.diagonal(covariance, axis1=-2, axis2=-1)
    product = variances[..., :, None] * variances[..., None, :]
    return np.where(
        dof > 1,
        (square - product / dof) * dof**2 / ((dof + 2) * np.maximum(dof - 1, 1)),
        square / 3,
    )


def terms_by_theory(ds: xr.Dataset, of: str, log_increment: xr.DataArray) -> Terms:
    """Terms by Theorems 2 to 4 and the delta method, not yet undefined where a net is dead."""
    m_bar = xr.DataArray(sum(weight * expected_log_increment(ds, name) for name, weight in DECOMPOSED[of].items()))
    m_bar = m_bar.broadcast_like(log_increment)
    if architecture(ds).name == "bn_res":
        m_tilde, s_variance = xr.full_like(log_increment, np.nan), _unknown(ds)
    else:
        m_tilde, s_variance = _from_channels(ds, of)
    terms = {"m_bar": m_bar, "m_tilde": m_tilde, "s": log_increment - m_bar - m_tilde, "s_variance": s_variance}
    return terms, {"m_bar": m_bar, "m_tilde": m_tilde}


def _from_channels(ds: xr.Dataset, of: str) -> tuple[xr.DataArray, xr.DataArray]:
    """m̃ and the variance of s by the delta method; the variance of s[χ] needs single channels, and is NaN without."""
    try:
        m_tilde = half_difference(ds, of, pooled_variance)
    except MissingError:
        m_tilde = half_difference(ds, of, channel_variance)
    if of != "chi":
        return m_tilde, -2 * m_tilde
    if "channel_moments" not in ds:
        return m_tilde, _unknown(ds)
    return m_tilde, channel_variance(ds, of)


def _unknown(ds: xr.Dataset) -> xr.DataArray:
    return xr.full_like(ds["layer"], np.nan, dtype="f8").drop_attrs()


def _from_realizations(ds: xr.Dataset, of: str, log_increment: xr.DataArray) -> Terms:
    if ds.sizes.get("realization", 1) < 2:
        raise MissingError('method="realizations" needs at least 2 realizations, and the cube has 1')
    moments = central_moments(log_increment)
    count, expected = moments["count"].where(moments["count"] >= 2), moments["mean"]
    m_tilde, relative = xr.zeros_like(expected), xr.zeros_like(log_increment)
    for name, weight in DECOMPOSED[of].items():
        log_moment = increments(ds, name, log=True) if name != of else log_increment
        log_of_mean = log_mean(log_moment)
        below = central_moments(log_moment)["mean"] - log_of_mean
        m_tilde = m_tilde + weight * below * count / (count - 1)
        relative = relative + weight * (np.exp(log_moment - log_of_mean) - 1)
    s = log_increment - expected
    terms = {"m_bar": expected - m_tilde, "m_tilde": m_tilde, "s": s, "s_variance": moments["m2"] / (count - 1)}
    return terms, {"m_bar": relative, "m_tilde": s - relative}


ESTIMATORS = {"branches": _from_branches, "theory": terms_by_theory, "realizations": _from_realizations}


def _averaged(name: str, values: xr.DataArray) -> dict[str, xr.DataArray]:
    """Mean over realizations and its standard error: (layer); NaN with none, and with fewer than two."""
    moments = central_moments(values)
    count = moments["count"].where(moments["count"] >= 2)
    error = xr.ufuncs.sqrt(moments["m2"] / (count * (count - 1)))
    return {f"{name}_mean": moments["mean"].where(moments["count"] > 0), f"{name}_se": error}


def _described(result: xr.Dataset, ds: xr.Dataset, of: str, method: str) -> xr.Dataset:
    layers = np.atleast_1d(ds["layer"].values)
    complete = layers == np.arange(1, len(layers) + 1)
    result = result.drop_vars("site", errors="ignore")
    result["complete"] = ("layer", complete)
    what = {"mu2_noise": "μ₂(dx)", "mu2_signal": "μ₂(x)", "nu2_signal": "ν₂(x)", "chi": "χ"}[of]
    for name, values in result.data_vars.items():
        term = str(name).removeprefix("sum_").removesuffix("_mean").removesuffix("_se").removesuffix("_error")
        if term not in TERMS:
            continue
        symbol, long_name = TERMS[term]
        symbol = f"{symbol}{what}" if term == "log_increment" else f"{symbol}[{what}]"
        if str(name).startswith("sum_"):
            symbol, long_name = f"Σ{symbol}", f"{long_name}, summed over the measured layers so far"
        if str(name).endswith("_mean"):
            symbol, long_name = f"⟨{symbol}⟩", f"mean over realizations of: {long_name}"
        if str(name).endswith("_se"):
            symbol, long_name = "", f"standard error over realizations of the mean of: {long_name}"
        if str(name).endswith("_error"):
            symbol, long_name = "", f"error of one realization's estimate of: {long_name}"
        values.attrs = described(long_name, symbol or None)
    result["complete"].attrs = described("whether the sums miss no layer from the first")
    if "m_tilde_status" in result:
        result["m_tilde_status"].attrs = described("whether the width allows m̃ of leading order in 1/width")
    result.attrs = {"quantity": of, "method": method}
    if not complete.all():
        result.attrs["comment"] = (
            f"incomplete sums: {len(layers)} layers of 1 to {layers[-1]} are measured; measure.every: 1 measures all"
        )
    return result
