"""Coverage of every printed interval: simulated processes with known parameters, at 30, 100 and 400 realizations.

`python benchmarks/coverage.py [simulations] [name...]` prints the share of simulations whose interval holds the truth;
nominal is 95 %. Where an interval is not printed (NaN) the simulation is left out, and counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr

from moments_xr.analysis.diffusion import DIFFUSION, diffusion
from moments_xr.analysis.growth_models import JUDGED, judge, predicted_exponent
from moments_xr.analysis.lognormal import LAW, lognormal_law
from moments_xr.analysis.realizations import central_moments, log_mean
from moments_xr.analysis.verdicts import Condition
from moments_xr.analysis.verdicts import judge as judge_limit
from moments_xr.theory.finite_width import diffusion_bounds

REALIZATIONS = (30, 100, 400)

Case = Callable[[np.random.Generator, int], tuple[float, float, float]]
"""From a generator and a number of realizations to an interval and the truth: (low, high, truth)."""

CASES: dict[str, Case] = {}


def lognormal(name: str, truth: float, rng: np.random.Generator, realizations: int) -> tuple[float, float, float]:
    """μ or σ of a lognormal law."""
    log_q = xr.DataArray(rng.normal(LOGNORMAL["mu"], LOGNORMAL["sigma"], realizations), dims="realization")
    moments = [values.values for values in central_moments(log_q, highest=4).data_vars.values()]
    result = dict(zip(LAW, lognormal_law(*moments, log_mean(log_q).values), strict=True))
    return float(result[f"{name}_low"]), float(result[f"{name}_high"]), truth


def walk(name: str, truth: float, rng: np.random.Generator, realizations: int) -> tuple[float, float, float]:
    """Drift or diffusion of vanilla nets: the exact law of a single input, fully connected (THEORY 5.1)."""
    living = rng.binomial(WIDTH, 0.5, (realizations, LAYERS))
    change = np.log(2 / WIDTH * rng.chisquare(living)).sum(1)
    moments = central_moments(xr.DataArray(change, dims="realization"))
    rows = diffusion(*(moments[name].values for name in ("count", "mean", "m2")), LAYERS)
    result = dict(zip(DIFFUSION, rows, strict=True))
    return float(result[f"{name}_low"]), float(result[f"{name}_high"]), truth


LOGNORMAL = {"mu": -1.0, "sigma": 1.5}
WIDTH, LAYERS = 32, 50
STEP = diffusion_bounds(WIDTH, WIDTH)
WALK = {"drift": -STEP.m_max, "diffusion": STEP.v_max}

CASES |= {f"lognormal {name}": partial(lognormal, name, truth) for name, truth in LOGNORMAL.items()}
CASES |= {name: partial(walk, name, truth) for name, truth in WALK.items()}


def growth(name: str, rng: np.random.Generator, realizations: int) -> tuple[float, float, float]:
    """γ, τ or the local exponent of curves that are random walks about a law: τ log(l + c), as those of residual nets, or γ l."""
    steps = (
        WALK_OF_GROWTH[name] * np.sqrt(np.diff(DEPTHS, prepend=0)) * rng.standard_normal((realizations, len(DEPTHS)))
    )
    rows = CURVE[name] + 0.05 * rng.standard_normal((realizations, 1)) + steps.cumsum(1)
    result = dict(zip(JUDGED, judge(rows, DEPTHS), strict=True))
    return result[f"{name}_low"], result[f"{name}_high"], GROWTH[name]


def units(rng: np.random.Generator, realizations: int) -> tuple[float, float, float]:
    """The predicted τ of lognormal χ, where increments inside units are larger in nets whose χ is larger already."""
    walked = (0.02 * rng.standard_normal((realizations, len(DEPTHS)))).cumsum(1)
    noise = 0.01 * rng.standard_normal(walked.shape)
    before = GROWN + walked
    after = before + np.log(INSIDE) + 0.1 * walked + noise
    _, low, high = predicted_exponent(np.stack([before, after], axis=-1), unit_depth=2)
    variance = 0.02**2 * np.arange(1, len(DEPTHS) + 1)
    ratio = INSIDE * np.exp((1.1**2 - 1) * variance / 2 + 0.01**2 / 2)
    return float(low), float(high), 0.5 * (ratio.mean() ** 4 - 1)


DEPTHS = np.arange(14.0, 201.0, 2.0)
GROWN = 0.6 * np.log(DEPTHS + 1.5)
CURVE = {"gamma": 0.05 * DEPTHS, "tau": GROWN, "exponent": GROWN}
WALK_OF_GROWTH = {"gamma": 0.01, "tau": 0.002, "exponent": 0.01}
GROWTH = {
    name: dict(zip(JUDGED, judge(np.broadcast_to(mean, (8, len(mean))), DEPTHS), strict=True))[name]
    for name, mean in CURVE.items()
}
INSIDE = 1.23 + 0.1 / DEPTHS

CASES |= {f"growth {name}": partial(growth, name) for name in ("gamma", "tau", "exponent")}
CASES["growth tau_predicted"] = units


def verdict(rng: np.random.Generator, realizations: int) -> tuple[float, float, float]:
    """The statistic of a verdict, a geometric mean over nets, at the last layer of a random walk."""
    steps = 0.02 * rng.standard_normal((realizations, len(DEPTHS)))
    rows = np.log(9.0) + 0.15 * rng.standard_normal((realizations, 1)) + steps.cumsum(1)
    _, low, high, *_ = judge_limit(rows, DEPTHS, Condition("r_eff(x)", 1.2, above=False, origin=1.0))
    return low, high, 10.0


CASES["verdict statistic"] = verdict


def coverage(case: Case, realizations: int, simulations: int, seed: int = 0) -> tuple[float, int]:
    """Share of simulations whose interval holds the truth, and how many printed one."""
    rng = np.random.default_rng(seed)
    results = np.array([case(rng, realizations) for _ in range(simulations)], dtype="f8")
    low, high, truth = results[np.isfinite(results).all(1)].T
    return float(np.mean((low <= truth) & (truth <= high))) if len(low) else np.nan, len(low)


def main() -> None:
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    chosen = sys.argv[2:] or list(CASES)
    print(
        f"{simulations} simulations; nominal 95 %, one standard error {100 * np.sqrt(0.95 * 0.05 / simulations):.1f} %"
    )
    print(f"{'interval':<40}" + "".join(f"{f'R = {count}':>12}" for count in REALIZATIONS))
    for name in chosen:
        shares = [coverage(CASES[name], count, simulations) for count in REALIZATIONS]
        cells = [f"{100 * share:.1f} %" if printed else "not printed" for share, printed in shares]
        print(f"{name:<40}" + "".join(f"{cell:>12}" for cell in cells))


if __name__ == "__main__":
    main()
