"""False alarms and power of the verdicts on curves whose truth is known, with random-walk errors along the depth.

`python benchmarks/verdict_calibration.py [simulations]` prints, for each kind of curve, how often each verdict is given.
Growth of χ has its own table in `growth_calibration.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from moments_xr.analysis.verdicts import VERDICTS, Condition, judge
from moments_xr.quantities import PATHOLOGIES

REALIZATIONS = (8, 30, 200)
DEPTHS = (20, 50, 200)


@dataclass(frozen=True)
class Curve:
    """A statistic's mean over depth, what is true of its limit, and the errors that its nets have."""

    pathology: str
    says: str
    truth: str
    mean: Callable[[np.ndarray], np.ndarray]
    walk: float
    """Standard deviation per layer of the random walk of its logarithm."""
    spread: float
    """Standard deviation between nets of its logarithm."""


CURVES = (
    Curve("one_dimensional_signal", "→ 1 in 20 layers", "present", lambda x: 1 + 4 * np.exp(-x / 20), 0.05, 0.3),
    Curve("one_dimensional_signal", "→ 1 as 1 + 20/l", "present", lambda x: 1 + 20 / x, 0.05, 0.3),
    Curve("one_dimensional_signal", "→ 1 as 1 + 8/√l", "present", lambda x: 1 + 8 / np.sqrt(x), 0.02, 0.2),
    Curve("one_dimensional_signal", "→ 1.75 (zero boundary)", "absent", lambda x: 1.75 + 2 * np.exp(-x / 8), 0.03, 0.3),
    Curve("one_dimensional_signal", "→ 1.25", "absent", lambda x: 1.25 + 4 * np.exp(-x / 10), 0.02, 0.2),
    Curve("one_dimensional_signal", "10, slowly falling", "absent", lambda x: 1 + 12 * x**-0.05, 0.02, 0.15),
    Curve("zero_dimensional_signal", "→ 0 in 30 layers", "present", lambda x: 0.6 * np.exp(-x / 30), 0.02, 0.2),
    Curve("zero_dimensional_signal", "→ 0 as 1/l", "present", lambda x: 1 / x, 0.02, 0.2),
    Curve("zero_dimensional_signal", "→ 0.09", "absent", lambda x: 0.09 + 0.5 * np.exp(-x / 10), 0.02, 0.2),
    Curve("zero_dimensional_signal", "→ 0.012", "absent", lambda x: 0.012 + 0.5 * np.exp(-x / 6), 0.01, 0.1),
    Curve("pseudo_linearity", "→ 0 in 15 layers", "present", lambda x: 0.15 * np.exp(-x / 15), 0.05, 0.3),
    Curve("pseudo_linearity", "stays Gaussian", "absent", lambda x: 0.159 + 0 * x, 0.002, 0.02),
    Curve("fat_tails", "→ 126 in 40 layers", "present", lambda x: 3.5 + 125 * (1 - np.exp(-x / 40)), 0.02, 0.2),
    Curve("fat_tails", "→ 5", "absent", lambda x: 3 + 2 * (1 - np.exp(-x / 10)), 0.01, 0.1),
    Curve("fat_tails", "stays 3.7", "absent", lambda x: 3.7 + 0 * x, 0.003, 0.06),
)  # fmt: skip


def simulate(curve: Curve, depth: int, realizations: int, rng: np.random.Generator) -> str:
    """The verdict on one simulated cube."""
    layers = np.arange(2, depth + 1, 2)
    walk = rng.normal(0, curve.walk * np.sqrt(2), (realizations, len(layers))).cumsum(1)
    row = PATHOLOGIES[curve.pathology]
    condition = Condition(row.symbol, row.threshold, row.side == "above", row.origin)
    mean = np.log(curve.mean(layers.astype("f8")) - (row.origin or 0.0))
    rows = mean + walk + rng.normal(0, curve.spread, (realizations, 1))
    return VERDICTS[judge(rows, layers, condition).code]


def shares(curve: Curve, depth: int, realizations: int, simulations: int, seed: int = 0) -> dict[str, float]:
    """How often each verdict is given."""
    rng = np.random.default_rng(seed)
    given = [simulate(curve, depth, realizations, rng) for _ in range(simulations)]
    return {verdict: given.count(verdict) / simulations for verdict in VERDICTS}


def main() -> None:
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{simulations} simulations; right / undecided / wrong, in per cent")
    columns = [(depth, count) for depth in DEPTHS for count in REALIZATIONS]
    print(f"{'curve':<50}{'truth':<9}" + "".join(f"{f'L {depth} R {count}':>15}" for depth, count in columns))
    for curve in CURVES:
        cells = []
        for depth, count in columns:
            share = shares(curve, depth, count, simulations)
            right, unsure = share[curve.truth], share["undecided"]
            cells.append(f"{100 * right:.0f}/{100 * unsure:.0f}/{100 * max(0, 1 - right - unsure):.1f}")
        print(f"{curve.pathology + ': ' + curve.says:<50}{curve.truth:<9}" + "".join(f"{cell:>15}" for cell in cells))


if __name__ == "__main__":
    main()
