"""Coverage of every printed interval: simulated nets with known parameters, whose values have tails of several kinds.

`python benchmarks/coverage.py [simulations] [case...]` prints, for each interval, law and number of realizations, the share of
simulations whose interval holds the truth (nominal is 95 %) and, where the result has a status of its tails, the share that
it warns of. Intervals that are not printed (NaN) are left out; a dash stands where none is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.signal import lfilter

from moments_xr.analysis.depth_scale import OUTPUTS, depth_scale
from moments_xr.analysis.diffusion import DIFFUSION, diffusion
from moments_xr.analysis.growth_models import JUDGED, judge, predicted_exponent
from moments_xr.analysis.lognormal import LAW, lognormal_law
from moments_xr.analysis.normal_law import heavy_tails, shape
from moments_xr.analysis.realizations import central_moments, log_mean
from moments_xr.analysis.verdicts import Condition
from moments_xr.analysis.verdicts import judge as judge_limit
from moments_xr.theory.finite_width import diffusion_bounds

REALIZATIONS = (5, 10, 30, 100, 400)

Array = NDArray[np.float64]
Size = tuple[int, ...]


def lognormal_values(rng: np.random.Generator, size: Size) -> Array:
    return (np.exp(rng.standard_normal(size)) - np.exp(0.5)) / np.sqrt(np.e * (np.e - 1))


def one_input(rng: np.random.Generator, size: Size) -> Array:
    """Changes of log ν₂ over `LAYERS` in vanilla nets of one input, fully connected: their exact law (THEORY 5.1)."""
    living = rng.binomial(WIDTH, 0.5, (LAYERS, *size))
    change = np.log(2 / WIDTH * rng.chisquare(living)).sum(0)
    return (change + LAYERS * ONE_INPUT.m_max) / np.sqrt(LAYERS * ONE_INPUT.v_max)


WIDTH, LAYERS = 32, 50
ONE_INPUT = diffusion_bounds(WIDTH, WIDTH)

LAWS: dict[str, Callable[[np.random.Generator, Size], Array]] = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "t5": lambda rng, size: rng.standard_t(5, size) / np.sqrt(5 / 3),
    "t3": lambda rng, size: rng.standard_t(3, size) / np.sqrt(3),
    "lognormal": lognormal_values,
}
"""Laws of what differs between nets, of mean 0 and variance 1; the lognormal one's σ is 1, its skewness 6.2."""

ALONG = {"AR": 0.9}
"""Normal nets whose errors along the depth are correlated so between neighbouring layers."""


class Intervals(NamedTuple):
    """Intervals of simulations, the truth, and which of them a status warns of; None if the result has no such status."""

    low: Array
    high: Array
    truth: float
    warned: Array | None = None


Case = Callable[[str, np.random.Generator, int, int], dict[str, Intervals]]
"""Of a law, from a generator and numbers of realizations and simulations, to intervals by name."""


def _moments(values: Array) -> list[Array]:
    rows = central_moments(xr.DataArray(values, dims=("realization", "simulation")), highest=4)
    return [each.values for each in rows.data_vars.values()]


def _warned(count: Array, _: Array, *moments: Array) -> Array:
    return np.array([bool(heavy_tails(*one)) for one in zip(*shape(count, *moments), strict=True)])


def _chosen(rows: list[Array], names: list[str], truth: dict[str, float], *more: Array) -> dict[str, Intervals]:
    result = dict(zip(names, rows, strict=True))
    return {name: Intervals(result[f"{name}_low"], result[f"{name}_high"], at, *more) for name, at in truth.items()}


def lognormal(law: str, rng: np.random.Generator, realizations: int, simulations: int) -> dict[str, Intervals]:
    """μ and σ of log q at a layer."""
    log_q = -1.0 + 1.5 * LAWS[law](rng, (realizations, simulations))
    moments = _moments(log_q)
    mean = log_mean(xr.DataArray(log_q, dims=("realization", "simulation"))).values
    return _chosen(lognormal_law(*moments, mean), list(LAW), {"mu": -1.0, "sigma": 1.5}, _warned(*moments))


def standard_error(law: str, rng: np.random.Generator, realizations: int, simulations: int) -> dict[str, Intervals]:
    """Two standard errors about a mean over realizations, as `decompose` and `compare_theory` have them."""
    count, mean, m2, *_ = _moments(LAWS[law](rng, (realizations, simulations)))
    error = np.sqrt(m2 / (count - 1) / count)
    return {"mean ± 2 se": Intervals(mean - 2 * error, mean + 2 * error, 0.0)}


def walk(law: str, rng: np.random.Generator, realizations: int, simulations: int) -> dict[str, Intervals]:
    """Drift and diffusion from changes of log q."""
    draw = one_input if law == "one input" else LAWS[law]
    truth = {"drift": -ONE_INPUT.m_max, "diffusion": ONE_INPUT.v_max}
    change = draw(rng, (realizations, simulations)) * np.sqrt(LAYERS * truth["diffusion"]) + LAYERS * truth["drift"]
    moments = _moments(change)
    return _chosen(diffusion(*moments, LAYERS), list(DIFFUSION), truth, _warned(*moments))


def _nets(law: str, rng: np.random.Generator, realizations: int) -> Array:
    """What differs between nets at all depths, (realization, 1)."""
    return LAWS.get(law, LAWS["normal"])(rng, (realizations, 1))


def _along(law: str, rng: np.random.Generator, realizations: int, layers: int) -> Array:
    """What differs along the depth, (realization, layer): a walk of variance 1 at the last layer, or AR errors of variance 1."""
    if law not in ALONG:
        return rng.standard_normal((realizations, layers)).cumsum(1) / np.sqrt(layers)
    steps = rng.standard_normal((realizations, layers)) * np.sqrt(1 - ALONG[law] ** 2)
    steps[:, 0] /= np.sqrt(1 - ALONG[law] ** 2)
    return np.asarray(lfilter([1.0], [1.0, -ALONG[law]], steps, axis=1))


def _each(simulate: Callable[[], dict[str, tuple[float, float, float]]], simulations: int) -> dict[str, Intervals]:
    """Intervals of simulations one by one, of which each gives (low, high, truth) by name."""
    found = [simulate() for _ in range(simulations)]
    rows = {name: np.array([each[name] for each in found], dtype="f8").T for name in found[0]}
    return {name: Intervals(low, high, float(truth[0])) for name, (low, high, truth) in rows.items()}


def growth(law: str, rng: np.random.Generator, realizations: int, simulations: int) -> dict[str, Intervals]:
    """γ, τ and the local exponent of curves of a law, of which some grow more and some longer."""

    def simulate() -> dict[str, tuple[float, float, float]]:
        found = {}
        for name, (mean, longer, errors) in GROWING.items():
            more, later = (_nets(law, rng, realizations) for _ in range(2))
            rows = mean * (1 + 0.1 * more) + longer * later * DEPTHS / DEPTHS[-1]
            rows += errors * _along(law, rng, realizations, len(DEPTHS))
            result = dict(zip(JUDGED, judge(rows, DEPTHS), strict=True))
            found[name] = result[f"{name}_low"], result[f"{name}_high"], GROWTH[name]
        return found

    return _each(simulate, simulations)


def units(law: str, rng: np.random.Generator, realizations: int, simulations: int) -> dict[str, Intervals]:
    """The predicted τ, where increments inside units are larger in nets whose χ is larger already."""
    truth = 0.5 * (INSIDE.mean() ** 4 - 1)

    def simulate() -> dict[str, tuple[float, float, float]]:
        nets, along = _nets(law, rng, realizations), _along(law, rng, realizations, len(DEPTHS))
        before, after = (
            1 + share * nets + 0.02 * along for share in (0.05, 0.08)
        )  # positive but once in 10⁴ nets (t3)
        rows = np.log(np.maximum(np.stack([before, after], axis=-1), 0.01)) + np.stack(
            [GROWN, GROWN + np.log(INSIDE)], axis=-1
        )
        _, low, high = predicted_exponent(rows, unit_depth=2)
        return {"tau_predicted": (float(low), float(high), truth)}

    return _each(simulate, simulations)


def verdict(law: str, rng: np.random.Generator, realizations: int, simulations: int) -> dict[str, Intervals]:
    """The statistic of a verdict (and of `evidence` at each layer), a geometric mean over nets."""

    def simulate() -> dict[str, tuple[float, float, float]]:
        differing = 0.3 * _nets(law, rng, realizations) + 0.1 * _along(law, rng, realizations, len(DEPTHS))
        _, low, high, *_ = judge_limit(
            np.log(9.0) + differing, DEPTHS, Condition("r_eff(x)", 1.2, above=False, origin=1.0)
        )
        return {"statistic": (low, high, 10.0)}

    return _each(simulate, simulations)


def correlations(law: str, rng: np.random.Generator, realizations: int, simulations: int) -> dict[str, Intervals]:
    """ξ_c and its limit, from correlations that begin elsewhere in each net; one simulation in `SLOW`."""

    def simulate() -> dict[str, tuple[float, float, float]]:
        first = LIMIT - 0.4 + 0.05 * _nets(law, rng, realizations)
        rows = LIMIT + (first - LIMIT) * DECAY + 0.01 * _along(law, rng, realizations, len(DECAY))
        found = dict(zip(OUTPUTS, depth_scale(rows), strict=True))
        truth = {"xi": XI, "limit": LIMIT, "correlation": LIMIT - 0.4 * DECAY[-1]}
        return {name: (found[f"{name}_low"], found[f"{name}_high"], at) for name, at in truth.items()}

    return _each(simulate, max(1, simulations // SLOW))


DEPTHS = np.arange(14.0, 201.0, 2.0)
GROWN = 0.6 * np.log(DEPTHS + 1.5)
GROWING = {"gamma": (0.05 * DEPTHS, 0.05, 0.1), "tau": (GROWN, 0.05, 0.03), "exponent": (GROWN, 0.2, 0.1)}
"""The mean curve of each, how nets differ in their growth with depth, and errors along it."""
GROWTH = {
    name: dict(zip(JUDGED, judge(np.broadcast_to(mean, (8, len(mean))), DEPTHS), strict=True))[name]
    for name, (mean, *_) in GROWING.items()
}
INSIDE = 1.23 + 0.1 / DEPTHS
XI, LIMIT = 6.0, 0.8
DECAY = np.exp(-np.arange(40) / XI)
SLOW = 10

CASES: dict[str, tuple[Case, tuple[str, ...]]] = {
    "lognormal": (lognormal, tuple(LAWS)),
    "walk": (walk, (*LAWS, "one input")),
    "standard_error": (standard_error, tuple(LAWS)),
    "growth": (growth, (*LAWS, *ALONG)),
    "units": (units, (*LAWS, *ALONG)),
    "verdict": (verdict, (*LAWS, *ALONG)),
    "correlations": (correlations, (*LAWS, *ALONG)),
}
"""Cases with the laws they are simulated with: errors along the depth do not matter where one number a net is used."""


class Share(NamedTuple):
    """Of simulations: the share whose interval holds the truth, of those that print one; that print one; that are warned of."""

    held: float
    printed: float
    warned: float


def coverage(name: str, law: str, realizations: int, simulations: int, seed: int = 0) -> dict[str, Share]:
    """Shares by interval of a case; of none NaN."""
    table = {}
    for of, found in CASES[name][0](law, np.random.default_rng(seed), realizations, simulations).items():
        printed = np.isfinite(found.low + found.high)
        held = ((found.low <= found.truth) & (found.truth <= found.high))[printed]
        warned = np.nan if found.warned is None else float(found.warned.mean())
        table[of] = Share(float(held.mean()) if held.size else np.nan, float(printed.mean()), warned)
    return table


def main() -> None:
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{simulations} simulations; per cent that hold the truth, / per cent whose status warns of tails")
    print("(per cent that print an interval, if not all)")
    print(f"nominal 95 %, one standard error {100 * np.sqrt(0.95 * 0.05 / simulations):.1f} %")
    print(f"{'interval':<15}{'law':<12}" + "".join(f"{f'R = {count}':>14}" for count in REALIZATIONS))
    for name in sys.argv[2:] or CASES:
        for law in CASES[name][1]:
            columns = [coverage(name, law, count, simulations) for count in REALIZATIONS]
            for of in columns[0]:
                cells = "".join(f"{_cell(column[of]):>14}" for column in columns)
                print(f"{of:<15}{law:<12}{cells}", flush=True)


def _cell(share: Share) -> str:
    if not share.printed:
        return "–"
    text = f"{100 * share.held:.1f}"
    text += f" ({100 * share.printed:.0f})" if share.printed < 1 else ""
    return text + (f" / {100 * share.warned:.0f}" if np.isfinite(share.warned) else "")


if __name__ == "__main__":
    main()
