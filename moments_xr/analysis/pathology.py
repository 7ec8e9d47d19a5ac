"""Verdicts: which pathologies a net has, with the evidence (THEORY 6)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from dask.base import is_dask_collection
from numpy.typing import NDArray

from moments_xr.activations import ACTIVATIONS
from moments_xr.analysis.growth import by_depth, fit_growth
from moments_xr.analysis.growth_models import enough
from moments_xr.analysis.network import told
from moments_xr.analysis.realizations import curves, described, fitted, mean_interval
from moments_xr.analysis.sensitivity import (
    architecture,
    effective_rank,
    get,
    increments,
    log_rescaled,
    site_name,
    stored_moment,
)
from moments_xr.analysis.sweep import along_sweep
from moments_xr.errors import MissingError
from moments_xr.quantities import LINEAR_INCREMENT, PATHOLOGIES

SHALLOWEST = 16
"""Depth below which nothing is said of what happens with depth."""

FEWEST = 8
"""Realizations below which nothing is said."""

SOON, LATER = 2, 8
"""A pathology is absent if the statistic, going on at its rate since half the depth, would not meet the threshold: within
its interval at twice the depth, and on average at eight times."""

EXPONENTIAL = 0.5
"""Growth whose rate falls with depth faster than l^−½ is nearer to a power law than to an exponential."""

SMALLEST_LOG = -30.0
"""Logarithms of ratios that vanish are cut here, so that an exact zero counts as very small."""

VERDICTS = ("undecided", "present", "absent")
UNDECIDED, PRESENT, ABSENT = range(3)

REASONS = (
    "",
    "the interval holds the threshold: more realizations would tell",
    "it moves towards the threshold: a deeper net would tell",
    f"fewer than {FEWEST} living realizations have it at every layer",
    f"no layer as deep as {SHALLOWEST} is measured: too shallow to tell what happens with depth",
    "fewer than 3 layers are measured",
)
DECIDED, STRADDLES, APPROACHES, FEW, SHALLOW, UNMEASURED_DEPTHS = range(6)


@along_sweep
def classify(ds: xr.Dataset) -> xr.Dataset:
    """Which of three pathologies and two symptoms a net has: present, absent or undecided, with the evidence (THEORY 6).

    Zero- and one-dimensional signals, pseudo-linearity and fat tails are limits with depth: a statistic (a geometric mean
    over realizations) is `present` if its interval at the deepest layer is beyond the threshold, and `absent` if it is on
    the safe side and would stay there: going on as it did since half the depth, at twice the depth (within its interval) and
    at eight times (on average); or since it moved less than half as far in the last doubling of depth as in the one before,
    and as far again would not do. Pseudo-linearity takes increments δχ below 1.05 too, on average
    over the deeper half of layers. Exploding sensitivity is exponential growth by
    `fit_growth`. Dead nets are left out of the statistics, and counted by `alive`.

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep).

    Returns
    -------
    Variables (pathology): `verdict`, one of present, absent, undecided; `statistic` with its 95 % interval
    `statistic_low`, `statistic_high` over realizations; `threshold`; `onset`, the depth from which on the mean is beyond
    it (of exploding sensitivity, the first layer judged); `sentence`, all that in words. Scalars `overall`
    (`well-behaved`, the list of what is present, or `undecided`) and `alive`, the fraction of realizations alive at the
    deepest layer, of those whose ν₂ was measured there. What the cube lacks makes a verdict `undecided (not measured)` in
    words.

    Raises
    ------
    MissingError
        The cube has no layer.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 8, "network.depth": 20}), progress=False)
    >>> str(mx.classify(ds).verdict.sel(pathology="one_dimensional_signal").values)
    'absent'
    """
    ds = by_depth(ds)
    ds = ds if "realization" in ds.dims else ds.expand_dims("realization")
    parts = []
    for name in PATHOLOGIES:
        try:
            parts.append(_exploding(ds) if name == "exploding_sensitivity" else _limit(ds, name))
        except MissingError as error:
            parts.append(_not_measured(name, str(error)))
    parts = [part.expand_dims("pathology") for part in parts]
    if any(is_dask_collection(part) for part in parts):
        parts = [part.chunk(pathology=1) for part in parts]  # text is not chunked by itself
    result = xr.concat(parts, "pathology", coords="minimal", compat="override").assign_coords(
        pathology=list(PATHOLOGIES)
    )
    if result["verdict"].chunks is not None:
        result = result.chunk(pathology=-1)
    result["overall"] = xr.apply_ufunc(
        _overall, result["verdict"], input_core_dims=[["pathology"]], vectorize=True, dask="parallelized",
        output_dtypes=[object],
    )  # fmt: skip
    with suppress(MissingError):
        nu2 = stored_moment(ds, "nu2_signal", site=architecture(ds).output).isel(layer=-1, drop=True)
        result["alive"] = (nu2 > 0).astype("f8").where(nu2.notnull()).mean("realization")
    for name, long_name in LONG_NAMES.items():
        if name in result:
            result[name].attrs = described(long_name)
    return result.drop_vars("site", errors="ignore")


LONG_NAMES = {
    "verdict": "verdict",
    "statistic": "statistic at the deepest layer",
    "statistic_low": "lower bound of the 95 % interval of the statistic",
    "statistic_high": "upper bound of the 95 % interval of the statistic",
    "threshold": "threshold of the statistic",
    "onset": "depth from which on the statistic is beyond its threshold",
    "sentence": "the verdict and its evidence in words",
    "overall": "what is wrong, or well-behaved",
    "alive": "fraction of realizations alive at the deepest layer",
}


@dataclass(frozen=True)
class Condition:
    """A statistic in logarithm (realization, layer), with its threshold; several make a verdict."""

    symbol: str
    log_statistic: xr.DataArray
    """Logarithm of the statistic's distance from `origin`."""
    threshold: float
    above: bool
    origin: float = 0.0

    @property
    def log_threshold(self) -> float:
        return float(np.log(self.threshold - self.origin))


def _limit(ds: xr.Dataset, name: str) -> xr.Dataset:
    row = PATHOLOGIES[name]
    above = row.side == "above"
    conditions = []
    lacking = ""
    unscaled = name == "fat_tails" and not architecture(ds).normed
    try:
        symbol = "E_c μ₄/E_c μ₂²" if unscaled else row.symbol
        conditions.append(Condition(symbol, STATISTICS[name](ds), row.threshold, above, row.origin))
    except MissingError as error:
        if name != "pseudo_linearity":
            raise
        lacking = str(error)
    if name == "pseudo_linearity":
        recent = over_deeper_half(curves(increments(ds, "chi", log=True)))
        conditions.append(Condition("mean δχ since half the depth", recent, LINEAR_INCREMENT, above))
    judged = [_judged(condition, ds["layer"].values) for condition in conditions]
    depth = int(ds["layer"].values[-1])

    def words(*numbers: Any) -> tuple[Any, Any]:
        split = [numbers[k : k + 6] for k in range(0, len(numbers), 6)]
        codes = [int(part[3]) for part in split]
        all_present = not lacking and set(codes) == {PRESENT}
        code = ABSENT if ABSENT in codes else PRESENT if all_present else UNDECIDED
        said = [_said(c, part, depth) for c, part in zip(conditions, split, strict=True)]
        undefined = code == UNDECIDED and not np.isfinite([part[0] for part in split]).all()
        text = f"{row.long_name}: " if code == PRESENT else "undecided (not measured): " if undefined else ""
        text += "; ".join(said) + (f"; not measured: {lacking}" if lacking and code == UNDECIDED else "")
        return VERDICTS[code], text

    arguments = [values for part in judged for values in part.data_vars.values()]
    verdict, sentence = xr.apply_ufunc(
        words, *arguments, output_core_dims=[[], []], vectorize=True, dask="parallelized", output_dtypes=[object, object]
    )  # fmt: skip
    first = judged[0]
    return xr.Dataset(
        {
            "verdict": verdict,
            **{key: first[key] for key in ("statistic", "statistic_low", "statistic_high", "onset")},
            "threshold": conditions[0].threshold,
            "sentence": sentence,
        }
    )


def _judged(condition: Condition, layers: NDArray[Any]) -> xr.Dataset:
    rows = curves(condition.log_statistic.drop_vars("site", errors="ignore"))
    outputs = ("statistic", "statistic_low", "statistic_high", "code", "reason", "onset")
    return fitted(
        lambda values: judge(values, layers, condition.log_threshold, condition.above, condition.origin),
        dict.fromkeys(outputs, ""),
        rows,
        core_dims=[["realization", "layer"]],
    )


def judge(
    rows: NDArray[Any], layers: NDArray[Any], log_threshold: float, above: bool, origin: float = 0.0
) -> list[Any]:
    """Whether the mean of curves (realization, layer) has gone, or is going, beyond a threshold at the last layer.

    Returns the statistic and its interval (out of the logarithm), the verdict's code, the reason's, and the onset.
    """
    sign = 1.0 if above else -1.0
    values = sign * (rows[np.isfinite(rows).all(1)] - log_threshold)  # positive is beyond the threshold
    count = len(values)
    if count == 0:
        return [np.nan, np.nan, np.nan, UNDECIDED, FEW, np.nan]
    now, low, high = mean_interval(values[:, -1])
    interval = sorted(origin + np.exp(sign * np.array([low, high]) + log_threshold))
    beyond = values.mean(0) > 0
    onset = layers[len(beyond) - np.argmin(beyond[::-1])] if beyond[-1] and not beyond.all() else layers[0]
    code, reason = UNDECIDED, STRADDLES
    half = int(np.abs(layers - layers[-1] / 2).argmin())
    if count < FEWEST:
        reason = FEW
    elif layers[-1] < SHALLOWEST:
        reason = SHALLOW
    elif half == len(layers) - 1 or len(layers) < 3:
        reason = UNMEASURED_DEPTHS
    elif low > 0:
        code, reason = PRESENT, DECIDED
    elif high < 0:
        settled = _stays(values, layers, half)
        code, reason = (ABSENT, DECIDED) if settled else (UNDECIDED, APPROACHES)
    return [origin + np.exp(sign * now + log_threshold), *interval, code, reason, onset if beyond[-1] else np.nan]


def _stays(values: NDArray[Any], layers: NDArray[Any], half: int) -> bool:
    """Whether curves that are negative will stay so, by how they moved since half, and since a quarter, of the depth."""
    now, moved = values[:, -1], values[:, -1] - values[:, half]
    per_depth = layers[-1] / (layers[-1] - layers[half])
    soon, later = (now + (times - 1) * per_depth * moved for times in (SOON, LATER))
    if max(mean_interval(soon)[2], later.mean()) < 0:
        return True
    quarter = int(np.abs(layers - layers[-1] / 4).argmin())
    before = values[:, half] - values[:, quarter]
    slows = quarter < half and mean_interval(moved - before / 2)[2] < 0
    return bool(slows and mean_interval(now + moved)[2] < 0)  # ½ + ¼ + … of the last movement is still to come


def over_deeper_half(log_increments: xr.DataArray) -> xr.DataArray:
    """Mean of log-increments over the measured layers since half the depth, at each layer: their errors are independent."""
    layers = log_increments["layer"].values
    start = np.searchsorted(layers, layers / 2, side="right").clip(max=np.arange(len(layers)))
    total = log_increments.cumsum("layer", skipna=False)
    before = (total - log_increments).isel(layer=start).assign_coords(layer=layers)
    return (total - before) / xr.DataArray(np.arange(len(layers)) - start + 1, {"layer": layers}, "layer")


def _said(condition: Condition, numbers: tuple[Any, ...], depth: int) -> str:
    value, low, high, _, reason, onset = numbers
    if not np.isfinite(value):
        return f"{condition.symbol} is not defined in any realization down to layer {depth}"
    interval = f" [{low:.4g}, {high:.4g}]" if np.isfinite(low) else ""
    side = "above" if (value > condition.threshold) else "below"
    text = f"{condition.symbol} = {value:.4g}{interval} at layer {depth}, {side} {condition.threshold:g}"
    if np.isfinite(onset):
        text += f" from layer {int(onset)} on"
    return text + (f" ({REASONS[int(reason)]})" if reason else "")


def _exploding(ds: xr.Dataset) -> xr.Dataset:
    row = PATHOLOGIES["exploding_sensitivity"]
    fit = fit_growth(ds)
    whole = fit.sel(range="all")
    judged = ds["layer"].sel(layer=slice(whole["first_layer"].item(), whole["last_layer"].item())).values
    depths = (int(whole["first_layer"]), int(whole["last_layer"]))

    def words(growth: str, status: str, by_range: NDArray[Any], *numbers: float) -> tuple[Any, Any, Any]:
        gamma, low, high, tau, exponent_low, exponent_high = numbers
        where = f"over layers {depths[0]} to {depths[1]}"
        rate = f"γ = {gamma:.4g} [{low:.4g}, {high:.4g}] per layer" if np.isfinite(low) else "γ is not certain"
        if growth == "exponential":
            return "present", f"{row.long_name}: χ grows as exp(γ l), {rate}, {where}", float(depths[0])
        if growth in ("power", "bounded"):
            law = f"grows as a power of depth, l^{tau:.3g}, not exponentially" if growth == "power" else "stays bounded"
            return "absent", f"χ {law}, {where}", np.nan
        if enough(judged) and exponent_low > EXPONENTIAL and "exponential" not in by_range:
            bounded = np.isfinite(exponent_high)
            p = f"from {exponent_low:.2f} to {exponent_high:.2f}" if bounded else f"at least {exponent_low:.2f}"
            slower = f"its rate of growth falls with depth as l^−p, p {p}"
            return "absent", f"χ does not grow exponentially: {slower}, {where}", np.nan
        return "undecided", f"how χ grows is not certain ({status}); {rate}, {where}", np.nan

    by_range = fit["range_growth"]
    by_range = by_range.chunk(range=-1) if by_range.chunks is not None else by_range
    names = ("gamma", "gamma_low", "gamma_high", "tau", "exponent_low", "exponent_high")
    verdict, sentence, onset = xr.apply_ufunc(
        words, fit["growth"], fit["status"], by_range, *(whole[name] for name in names),
        input_core_dims=[[], [], ["range"], *[[]] * len(names)], output_core_dims=[[], [], []], vectorize=True,
        dask="parallelized", output_dtypes=[object, object, "f8"],
    )  # fmt: skip
    return xr.Dataset(
        {
            "verdict": verdict,
            "statistic": whole["gamma"],
            "statistic_low": whole["gamma_low"],
            "statistic_high": whole["gamma_high"],
            "onset": onset,
            "threshold": row.threshold,
            "sentence": sentence,
        }
    ).drop_vars("range", errors="ignore")


def _not_measured(name: str, why: str) -> xr.Dataset:
    nothing = dict.fromkeys(("statistic", "statistic_low", "statistic_high", "onset"), np.nan)
    words = {"verdict": "undecided", "sentence": f"undecided (not measured): {why}"}
    return xr.Dataset(
        {**nothing, "threshold": PATHOLOGIES[name].threshold}
        | {key: ((), np.array(text, dtype=object)) for key, text in words.items()}
    )


def _overall(verdicts: NDArray[Any]) -> str:
    present = [name for name, verdict in zip(PATHOLOGIES, verdicts, strict=True) if verdict == "present"]
    if present:
        return ", ".join(present)
    return "undecided" if "undecided" in set(verdicts) else "well-behaved"


def _log_ratio(ds: xr.Dataset, of: str, to: str, site: str) -> xr.DataArray:
    ratio = log_rescaled(ds, of, site, zero=-np.inf) - log_rescaled(ds, to, site)
    return ratio.clip(min=SMALLEST_LOG)


def _log_dimension(ds: xr.Dataset) -> xr.DataArray:
    return _log_ratio(ds, "mu2_signal", "nu2_signal", architecture(ds).output)


def _log_rank(ds: xr.Dataset) -> xr.DataArray:
    rank = effective_rank(ds, site=architecture(ds).plotted[1])
    return xr.ufuncs.log((rank - PATHOLOGIES["one_dimensional_signal"].origin).clip(min=np.exp(SMALLEST_LOG)))


def _log_one_sidedness(ds: xr.Dataset) -> xr.DataArray:
    activation = str(told(ds, "activation", "relu"))
    if ACTIVATIONS[activation].kinks != (0,):
        raise MissingError(f"a side of the activation, which is {activation} and has no kink at zero")
    return _log_ratio(ds, "nu1_plus_minus_signal", "mu2_signal", architecture(ds).plotted[2])


def _log_kurtosis(ds: xr.Dataset) -> xr.DataArray:
    return log_kurtosis(ds, architecture(ds).plotted[2])


def log_kurtosis(ds: xr.Dataset, site: str = "output") -> xr.DataArray:
    """log of μ₄ where batch norm gives every channel a variance of 1, elsewhere of E_c μ₄,c/E_c μ₂,c², at one site."""
    if site_name(ds, site) == "norm":
        fourth = get(ds, "mu4_signal", log=True, site=site)
        return fourth.where(fourth > -np.inf)
    fourth = log_rescaled(ds, "mu4_signal", site)
    square, spread = (log_rescaled(ds, name, site, zero=-np.inf) for name in ("mu2_signal", "var_mu2_signal"))
    channels = told(ds, "width", np.inf)  # the variance over channels is the unbiased one, of N − 1
    spread = spread + np.log1p(-1 / channels) if channels > 1 else xr.full_like(spread, -np.inf)
    mean_of_square = xr.ufuncs.logaddexp(2 * square, spread)
    return fourth - mean_of_square.where(mean_of_square > -np.inf)


STATISTICS: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "zero_dimensional_signal": _log_dimension,
    "one_dimensional_signal": _log_rank,
    "pseudo_linearity": _log_one_sidedness,
    "fat_tails": _log_kurtosis,
}
