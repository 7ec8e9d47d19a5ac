"""How often `fit_growth` answers, rightly and wrongly, on curves of log χ whose truth is known.

`python benchmarks/growth_calibration.py [simulations]` goes through all settings: depths measured, realizations, size and
kind of the random-walk errors along the depth. A false alarm is any answer but the truth or `undecided`; the settings with
most of them are simulated again, twenty times as often and with other draws, because the worst of thousands of settings is
bad by chance too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from moments_xr.analysis.growth import judged_range
from moments_xr.analysis.growth_models import ANSWERS, judge

DEPTHS = ((16, 1), (50, 5), (50, 1), (200, 2), (1000, 10))
"""Deepest layer L and `measure.every`."""

REALIZATIONS = (10, 30, 100, 400)
WALKS = (1e-4, 1e-3, 0.01, 0.04, 0.3)
"""Standard deviations per layer of the random walk. Measured nets: FC vanilla, N 512, .03; FC bn_ff .01; FC bn_res .006
at layer 5 and .001 at 300."""

ERRORS = ("steady", "fading", "skewed")
"""Steady: normal, of the same size in every layer. Fading: as 1/l^½, with growth that differs by 5 % between nets. Skewed:
each increment is a centred exponential variable, and one net in twenty is dead."""

SPREAD = 0.05
"""Standard deviation between nets at the start."""


@dataclass(frozen=True)
class Truth:
    """Mean of log χ at layers l of a net of depth L, and the answers that are right."""

    name: str
    right: str | None
    mean: Callable[[np.ndarray, int], np.ndarray]
    shallowest: int = 0
    """Depth below which the curve's first part hides its end."""


TRUTHS = (
    *(Truth(f"γ = {g}, thrice that at first", "exponential", lambda x, L, g=g: g * (x + 6 * (1 - np.exp(-x / 3))))
      for g in (0.003, 0.02, 0.2)),
    Truth("γ = 0.02 after a rise of 0.5", "exponential", lambda x, L: 0.02 * x + 0.5 * (1 - np.exp(-x / 3)), 50),
    *(Truth(f"τ = {t}, log(l + {c})", "power", lambda x, L, t=t, c=c: t * np.log(x + c))
      for t, c in product((0.3, 0.6, 1.0), (0.0, 1.5, 3.0))),
    *(Truth(f"bounded, ξ = L/{k:g}", "bounded", lambda x, L, k=k: 1.5 * (1 - np.exp(-x * k / L)))
      for k in (20, 8, 5, 4, 2.5, 1)),
    Truth("bounded, −l^−½", "bounded", lambda x, L: -(x**-0.5)),
    Truth("flat", "bounded", lambda x, L: 0 * x),
    Truth("√l", None, lambda x, L: 0.1 * np.sqrt(x)),
)  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """What is simulated."""

    truth: Truth
    depth: int
    every: int
    realizations: int
    walk: float
    errors: str

    def rows(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Curves of log χ (realization, layer) over the default range of `fit_growth`, and its layers."""
        layers = np.arange(self.every, self.depth + 1, self.every)
        size = (self.realizations, len(layers))
        sigma = self.walk * np.sqrt(self.every) * (layers**-0.5 if self.errors == "fading" else 1.0)
        steps = rng.exponential(size=size) - 1 if self.errors == "skewed" else rng.standard_normal(size)
        growth = 1 + (0.05 * rng.standard_normal((self.realizations, 1)) if self.errors == "fading" else 0.0)
        rows = growth * self.truth.mean(layers.astype("f8"), self.depth) + np.cumsum(sigma * steps, axis=1)
        rows += SPREAD * rng.standard_normal((self.realizations, 1))
        if self.errors == "skewed":
            rows[: self.realizations // 20] = np.nan
        deep = layers >= judged_range(layers, None)[0]
        return rows[:, deep], layers[deep]

    def answers(self, simulations: int, seed: int) -> dict[str, float]:
        """Share of simulations with each answer."""
        rng = np.random.default_rng([seed, self.depth, self.every, self.realizations, int(1e5 * self.walk)])
        codes = [int(judge(*self.rows(rng))[3]) for _ in range(simulations)]
        return {answer: codes.count(code) / simulations for code, answer in enumerate(ANSWERS)}

    def false_alarms(self, shares: dict[str, float]) -> float:
        return 1 - shares["undecided"] - (shares[self.truth.right] if self.truth.right else 0.0)

    def __str__(self) -> str:
        where = f"L = {self.depth} by {self.every}, R = {self.realizations}"
        return f"{self.truth.name:<33}{where:<26}{self.walk:<7g}{self.errors:<8}"


def settings() -> list[Setting]:
    return [
        Setting(truth, depth, every, count, walk, errors)
        for truth, (depth, every), count, walk, errors in product(TRUTHS, DEPTHS, REALIZATIONS, WALKS, ERRORS)
    ]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def calibrate(simulations: int) -> None:
    table = {setting: setting.answers(simulations, seed=0) for setting in settings()}
    alarms = {setting: setting.false_alarms(shares) for setting, shares in table.items()}
    tellable = [setting for setting in table if setting.depth >= setting.truth.shallowest]
    print(f"{len(table)} settings, {simulations} simulations of each")
    print(
        f"\nFalse alarms: the mean over settings is {percent(float(np.mean([alarms[s] for s in tellable])))}; the worst, again:"
    )
    for setting in sorted(tellable, key=alarms.__getitem__, reverse=True)[:20]:
        again = setting.answers(20 * simulations, seed=1)
        said = ", ".join(f"{answer} {percent(share)}" for answer, share in again.items() if share)
        print(f"{setting}{percent(alarms[setting]):>7} -> {percent(setting.false_alarms(again)):>6}   {said}")
    wrong = {s: sum(table[s][a] for a in ("exponential", "power") if a != s.truth.right) for s in tellable}
    worst = max(wrong, key=wrong.__getitem__)
    again = worst.answers(20 * simulations, seed=1)
    repeated = sum(again[answer] for answer in ("exponential", "power") if answer != worst.truth.right)
    print(f"Most false `exponential` or `power`: {percent(wrong[worst])} -> {percent(repeated)} in {worst}")
    print("\nAnswers where the curve's first part hides its end (largest share over realizations and errors):")
    for truth in TRUTHS:
        for depth, every in DEPTHS:
            hidden = [
                shares for s, shares in table.items() if s.truth is truth and (s.depth, s.every) == (depth, every)
            ]
            if depth < truth.shallowest:
                print(
                    f"{truth.name:<33}L = {depth:<6}"
                    + ", ".join(f"{a} {percent(max(h[a] for h in hidden))}" for a in ANSWERS)
                )
    print("\nRight answers in %, steady errors; for each depth the walks " + ", ".join(f"{walk:g}" for walk in WALKS))
    for count in REALIZATIONS:
        print(f"R = {count:<29}" + "".join(f"{f'L = {depth} by {every}':>22}" for depth, every in DEPTHS))
        for truth in TRUTHS:
            cells = [
                " ".join(
                    f"{100 * table[Setting(truth, *depth, count, walk, 'steady')][truth.right or 'undecided']:3.0f}"
                    for walk in WALKS
                )
                for depth in DEPTHS
            ]
            print(f"{truth.name:<33}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    calibrate(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
