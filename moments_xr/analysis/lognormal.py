"""How nearly lognormal a positive quantity is over realizations, and how it diffuses with depth (THEORY 5.1 and 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from moments_xr.analysis.diffusion import fit_diffusion, theorem
from moments_xr.analysis.elementwise import elementwise, finite
from moments_xr.analysis.normal_law import heavy_tails, normal_law, shape
from moments_xr.analysis.realizations import INTERVAL, central_moments, described, fitted, living, log_mean, text
from moments_xr.analysis.sensitivity import architecture, get, site_name, stored_moment
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError, RequestError

Array = NDArray[Any]

TESTABLE = 8
"""Least realizations of the goodness-of-fit test."""

TESTED = 10_000
"""Most realizations that the test uses: it has to sort them."""

MEAN_ERROR = 0.1
"""Largest relative error of E[q], ((exp(σ²) − 1)/R)^½, with which it is compared: the few largest realizations make
all of a mean that is known less well. Up to there ±1.96 `mean_gap_se` about `mean_gap_bias` held the gap in 94 to 97.5 %
of 4000 to 20 000 simulations of lognormal laws at each R = 30 to 10 000 (more than 99 % at R = 10); beyond, in up to 100 %."""

DIFFUSING = ("nu2_signal", "mu2_noise")
"""Quantities of Theorem 1."""

# Quantiles of A² for a normal law with both parameters fitted, as the sample grows: Imhof's inversion of the law of
# Σ_j λ_j χ²_j(1), λ_j the eigenvalues of the covariance of the fitted empirical process (Stephens, Ann. Stat. 4 (1976) 357).
_P = (0.9999, 0.995, 0.975, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05,
      0.025, 0.01, 1e-3, 1e-4, 1e-6, 5e-23, 1e-111)  # fmt: skip
_A = (0.0811, 0.1183, 0.1481, 0.1673, 0.1937, 0.2331, 0.2679, 0.3028, 0.3404, 0.3836, 0.4367, 0.5091, 0.6306, 0.7517,
      0.8732, 1.0350, 1.448, 1.8692, 2.7291, 10.0, 50.0)  # fmt: skip

LAW = {
    "count": "realizations fitted",
    "mu": "mean μ of log q",
    "mu_low": "lower bound of μ",
    "mu_high": "upper bound of μ",
    "sigma": "standard deviation σ of log q",
    "sigma_low": "lower bound of σ",
    "sigma_high": "upper bound of σ",
    "skewness": "skewness of log q",
    "skewness_se": "standard error of the skewness under the law",
    "excess_kurtosis": "excess kurtosis of log q",
    "excess_kurtosis_se": "standard error of the excess kurtosis under the law",
    "log_mean": "log of the mean of q",
    "log_mean_lognormal": "log of the mean of q under the law, μ + σ²/2",
    "mean_gap": "log of the mean of q less that under the law",
    "mean_gap_bias": "expectation of the gap under the law, from the logarithm of a mean of few",
    "mean_gap_se": "standard error of the gap under the law",
}
TEST = {
    "tested": "realizations in the goodness-of-fit test",
    "anderson": "Anderson-Darling statistic A² of log q",
    "p_value": "p-value of A² under the law, its parameters fitted",
}

SHAPE = ("skewness", "skewness_se", "excess_kurtosis", "excess_kurtosis_se")
SAID = ("count", "tested", "sigma", "mean_gap_se", *SHAPE)
"""What the status needs of `LAW` and `TEST`."""


@along_sweep
def fit_lognormal(
    ds: xr.Dataset, of: str = "nu2_signal", site: str = "output", layers: tuple[int, int] | None = None
) -> xr.Dataset:
    """Fit a lognormal law to a quantity q over realizations, layer by layer, and test it (THEORY 6; Theorem 1).

    All is conditional on survival: realizations whose log q is −∞ or undefined are left out. Intervals are 95 %, over
    realizations: of μ and the drift the t interval, longer on the side of the longer tail if log q is skewed (Hall 1992); of
    σ and the diffusion that of χ² with as many degrees of freedom as the kurtosis leaves (Shoemaker 2003). Under the law
    they hold 95 to 96 %; with heavy tails they may hold less, and the status says so where these are seen. What too
    few realizations can't tell is NaN.

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep), or a selection of it.
    of
        A positive quantity that `get` knows: `nu2_signal`, `mu2_signal`, `mu2_noise`, …
    site
        Its site, or `output`.
    layers
        First and last layer of the range of drift and diffusion; the deeper half of the measured depths if not given.

    Returns
    -------
    Variables (layer), without unit:

    * `count`, and `dead`, the realizations with ν₂ = 0 (NaN if ν₂ was not measured).
    * `mu`, `sigma`, with `_low`, `_high`; `skewness`, `excess_kurtosis`, unbiased under the law, with exact errors `_se`.
    * `anderson`, `p_value`: A² with both parameters fitted, and its p-value: the limit law's (Stephens 1976) at
      A² (1 + 0.75/n + 2.25/n²) (D'Agostino and Stephens 1986, table 4.7), NaN below 8 values. It sorts them, so for bounded
      memory it takes the first 10 000 realizations at most; `tested` of them are alive.
    * `log_mean` = log E[q], `log_mean_lognormal` = μ + σ²/2, their difference `mean_gap`; under the law its expectation is
      `mean_gap_bias` = −(exp(σ²) − 1)/(2R), its standard error `mean_gap_se` = ((exp(σ²) − 1 − σ² − σ⁴/2)/R)^½ (Hausman).
      NaN where σ² is so large that R realizations don't know E[q] within 10 %.
    * `status`: `ok`, or what is NaN and why; and whether skewness or excess kurtosis is above 1 and three standard errors
      (so are fewer than 2.5 % of lognormal samples): the intervals of μ and σ may then hold less often.

    Of ν₂(x) and μ₂(dx) in vanilla nets also, for Theorem 1 (THEORY 5.1):

    * (layer) `alive`, the living fraction, `alive_bound_low`, `alive_bound_high`; `alive_p_low`, `alive_p_high`: binomial
      probability of as few alive at the lower bound, of as many at the upper one.
    * scalars `drift`, `diffusion`: mean and variance of log q^{l2} − log q^{l1}, over l2 − l1, with `_low`, `_high`, of the
      `drift_count` realizations that survive from `first_layer` l1 to `last_layer` l2; `drift_status`, as `status`.
    * scalars `drift_bound_low`, `drift_bound_high`, `diffusion_bound_low`, `diffusion_bound_high`; of one input, fully
      connected, `drift_one_input` = −5/(2N), `diffusion_one_input` = 5/N; `bounds_status`. A cube without a recipe needs
      attributes `width`, `kernel` and, if the kernel is not 1, `dimensions`; what else it does not tell is as in the theorem.

    Raises
    ------
    MissingError
        The cube lacks the quantity or the site.
    RequestError
        The quantity may be negative, or `layers` is no range of measured layers.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.analysis.lognormal import fit_lognormal
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> fit_lognormal(ds).mu.dims
    ('layer',)
    """
    span = _span(ds, layers)
    log_q = _rows(ds, of, site)
    try:
        nu2 = stored_moment(ds, "nu2_signal", site=site)
    except MissingError:
        nu2 = xr.full_like(log_q, np.nan)
    alive, measured = living(nu2)
    log_q = elementwise(finite, log_q)
    tested = log_q.isel(realization=slice(TESTED))
    tested = tested.chunk({"realization": -1}) if tested.chunks is not None else tested
    law = fitted(
        lognormal_law, LAW, *central_moments(log_q, highest=4).data_vars.values(), log_mean(log_q), core_dims=[[]] * 6
    )
    result = law.assign(fitted(_anderson_darling, TEST, tested, core_dims=[["realization"]]).data_vars)
    result["dead"] = (measured - alive).where(measured > 0).assign_attrs(described("realizations with ν₂ = 0"))
    result["status"] = text(_law_status, "status of the fit", *(result[name] for name in SAID))
    if architecture(ds).name == "vanilla" and of in DIFFUSING:
        result = result.assign(fit_diffusion(log_q, *span)).assign(theorem(ds, site_name(ds, site), alive, measured))
    return result.drop_vars("site", errors="ignore").assign_attrs(quantity=of)


@np.errstate(invalid="ignore", divide="ignore", over="ignore")
def lognormal_law(count: Array, mean: Array, m2: Array, m3: Array, m4: Array, log_mean: Array) -> list[Array]:
    """What `LAW` lists, from the central moments of log q and the log of the mean of q."""
    mu, mu_low, mu_high, variance, low, high = normal_law(count, mean, m2, m3, m4)
    squared_error = np.expm1(variance) / count  # of the mean of q, relative
    known = (count >= INTERVAL) & (squared_error <= MEAN_ERROR**2)
    gap_se = np.sqrt(variance**3 / 6 * special.hyp1f1(1, 4, variance) / count)  # e^v − 1 − v − v²/2, for small v too
    return [
        count, mu, mu_low, mu_high, *np.sqrt([variance, low, high]), *shape(count, m2, m3, m4), log_mean,
        mu + variance / 2, log_mean - mu - variance / 2,
        np.where(known, -squared_error / 2, np.nan), np.where(known, gap_se, np.nan),
    ]  # fmt: skip


def anderson_darling(values: Array) -> tuple[float, float, float]:
    """How many of the values are defined, their A² about the normal law fitted to them, and its p-value."""
    x = np.sort(values[np.isfinite(values)])
    n = len(x)
    if n < 2 or x[0] == x[-1]:
        return n, np.nan, np.nan
    z = (x - x.mean()) / x.std(ddof=1)
    rank = np.arange(1, n + 1)
    a2 = -n - np.mean((2 * rank - 1) * special.log_ndtr(z) + (2 * n + 1 - 2 * rank) * special.log_ndtr(-z))
    return n, a2, float(anderson_p_value(a2, n)) if n >= TESTABLE else np.nan


def anderson_p_value(a2: Array | float, n: Array | int) -> Array:
    """p-value of A² of n normal values whose mean and variance are fitted.

    By simulation uniform within 0.005 from n = 30 on; at n = 8 within 0.04, and within 0.004 where p < 0.1. Below 10⁻⁶
    only the order of magnitude holds.
    """
    modified = np.asarray(a2) * (1 + 0.75 / n + 2.25 / n**2)
    p: Array = special.ndtr(np.interp(np.log(modified), np.log(_A), special.ndtri(_P)))
    return p


_anderson_darling = np.vectorize(anderson_darling, otypes=["f8"] * 3, signature="(n)->(),(),()")


def _rows(ds: xr.Dataset, of: str, site: str) -> xr.DataArray:
    """log q (realization, ...); of a cube without a realization, one row of NaN."""
    values = get(ds, of, log=True, site=site)
    values = values if "realization" in values.dims else values.expand_dims("realization")
    return values if values.sizes["realization"] else np.nan * values.sum("realization").expand_dims("realization")


def _span(ds: xr.Dataset, layers: tuple[int, int] | None) -> tuple[int, int]:
    """First and last layer of the range of drift and diffusion; the same if only one was measured."""
    measured = sorted(np.atleast_1d(ds["layer"].values).tolist())
    if layers is None:
        upper = [layer for layer in measured if 2 * layer <= measured[-1]]
        return upper[-1] if upper else measured[0], measured[-1]
    first, last = layers
    if not {first, last} <= set(measured) or first >= last:
        raise RequestError(
            f"layers: {layers} is not a range (first, last) of measured layers; there are {measured[0]} to {measured[-1]}"
        )
    return first, last


def _law_status(count: float, tested: float, sigma: float, gap_se: float, *shape: float) -> str:
    reasons = []
    if count < INTERVAL:
        reasons.append(f"too few realizations for intervals (R = {count:.0f}, at least {INTERVAL})")
    if tested < TESTABLE:
        reasons.append(f"too few realizations for a goodness-of-fit test (R = {tested:.0f}, at least {TESTABLE})")
    if sigma == 0:
        reasons.append("all realizations are equal: there is no law to test")
    if heavy := heavy_tails(*shape):
        reasons.append(f"{heavy}: the intervals of μ and σ may hold them in less than 95 %")
    if count >= INTERVAL and np.isnan(gap_se):
        reasons.append(f"σ² = {sigma**2:.3g} is too large for R = {count:.0f} to compare E[q] with the law's")
    return "; ".join(reasons) or "ok"
