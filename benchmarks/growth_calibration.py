"""How often `fit_growth` answers, rightly and wrongly, on curves of log χ whose truth is known, inside and outside its families.

`python benchmarks/growth_calibration.py [simulations]` goes through all settings: depths measured, realizations, size and
kind of the errors along the depth. A false alarm is any answer but those that are right or `undecided`; the settings with most of
them are simulated again, twenty times as often and with other draws, because the worst of thousands is bad by chance too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.signal import lfilter

from moments_xr.analysis.growth import judged_range
from moments_xr.analysis.growth_models import ANSWERS, judge

DEPTHS = ((20, 1), (60, 1), (200, 1), (200, 10), (1000, 10))
"""Deepest layer L and `measure.every`."""

REALIZATIONS = (10, 30, 100)
WALKS = (1e-3, 0.01, 0.04)
"""Standard deviations per layer of the random walk. Measured nets: FC vanilla, N 512, .03; FC bn_ff .01; FC bn_res .006
at layer 5 and .001 at 300."""

ERRORS = ("steady", "fading", "skewed", "t5", "t3", "AR", "level")
"""Steady: normal, of the same size in every layer. Fading: as 1/l^½, with growth that differs by 5 % between nets. Skewed:
each increment is a centred exponential variable, and one net in twenty is dead. t5, t3: increments of these laws. AR: normal
increments with a correlation of .7 between layers. Level: no walk, but correlated errors of log χ itself, four times as large."""

SPREAD = 0.05
"""Standard deviation between nets at the start."""

Curve = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Truth:
    """Mean of log χ at layers l of a net of depth L, and the answers that are right."""

    name: str
    right: tuple[str, ...]
    mean: Curve
    shallowest: int = 0
    """Depth below which the curve's first part hides its end."""
    limit: str = ""
    """The law that it tends to, right too where half the depth has its local exponent within 0.1."""
    ripple: tuple[float, float] = (0.0, 1.0)
    """Amplitude, and period over L, of oscillations with a phase of their own in each simulation."""

    def rights(self, depth: int) -> tuple[str, ...]:
        """The answers that are right at this depth."""
        if not self.limit:
            return self.right
        step = depth / 100
        low, middle, high = self.mean(depth / 2 + np.array([-step, 0.0, step]), depth)
        p = -(high - 2 * middle + low) / (high - low) * depth / step
        return (*self.right, self.limit) if abs(p - LIMITS[self.limit]) < 0.1 else self.right


LIMITS = {"exponential": 0.0, "power": 1.0}


def _grown(curve: Callable[[np.ndarray], np.ndarray], growth: float) -> Curve:
    """The curve with this growth over the range that is judged."""

    def mean(x: np.ndarray, depth: int) -> np.ndarray:
        first, last = curve(np.array([max(2.0, depth / 16), float(depth)]))
        return growth * curve(x) / (last - first)

    return mean


def _oscillating() -> Iterator[Truth]:
    for name, right, curve in (
        ("flat", "bounded", lambda x, _: 0 * x), ("0.02 l", "exponential", lambda x, _: 0.02 * x),
        ("0.3 √l", "between", lambda x, _: 0.3 * np.sqrt(x)), ("0.6 log l", "power", lambda x, _: 0.6 * np.log(x)),
    ):  # fmt: skip
        for amplitude, period in product((0.01, 0.05, 0.3), (1 / 6, 1 / 2)):
            yield Truth(f"{name} + {amplitude:g} sin, L·{period:.2g}", (right,), curve, ripple=(amplitude, period))


TRUTHS = (
    *(Truth(f"γ = {g}", ("exponential",), lambda x, L, g=g: g * x) for g in (0.003, 0.02, 0.2)),
    *(Truth(f"γ = {g}, thrice that at first", ("exponential",), lambda x, L, g=g: g * (x + 6 * (1 - np.exp(-x / 3))))
      for g in (0.003, 0.02, 0.2)),
    Truth("γ = 0.02, slower at first", ("exponential",), lambda x, L: 0.02 * (x - 3 * (1 - np.exp(-x / 3)))),
    Truth("γ = 0.02 after a rise of 0.5", ("exponential",), lambda x, L: 0.02 * x + 0.5 * (1 - np.exp(-x / 3)), 50),
    *(Truth(f"τ = {t}, log(l + {c})", ("power",), lambda x, L, t=t, c=c: t * np.log(x + c))
      for t, c in product((0.3, 0.6, 1.0), (0.0, 1.5, 3.0))),
    *(Truth(f"bounded, ξ = L/{k:g}", ("bounded", "between"), lambda x, L, k=k: 1.5 * (1 - np.exp(-x * k / L)))
      for k in (20, 8, 5, 4, 2.5)),
    *(Truth(f"bounded, ξ = {k:g} L", ("bounded",), lambda x, L, k=k: 3 * k * (1 - np.exp(-x / k / L))) for k in (1, 2)),
    Truth("bounded, −l^−½", ("bounded", "between"), lambda x, L: -(x**-0.5)),
    Truth("flat", ("bounded",), lambda x, L: 0 * x),
    *(Truth(f"l^{a:g}, grown by {g}", ("between",), _grown(lambda x, a=a: x**a, g))
      for a, g in product((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), (1.5, 8))),
    *(Truth(f"(log l)^{k:g}, grown by {g}", ("between",), _grown(lambda x, k=k: np.log(x) ** k, g), limit="power")
      for k, g in product((0.5, 1.5, 2, 3), (1.5, 8))),
    *(Truth(f"{t:g} log l + {b:g} l", ("between",), lambda x, L, t=t, b=b: t * np.log(x) + b * x, limit="exponential")
      for t, b in ((0.6, 0.005), (0.6, 0.02), (2, 0.02))),
    *(Truth(f"{c:g} √l + {b:g} l", ("between",), lambda x, L, c=c, b=b: c * np.sqrt(x) + b * x, limit="exponential")
      for c, b in ((0.3, 0.02), (0.3, 0.005), (0.1, 0.05))),
    *_oscillating(),
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
        growth = 1 + (0.05 * rng.standard_normal((self.realizations, 1)) if self.errors == "fading" else 0.0)
        amplitude, period = self.truth.ripple
        mean = self.truth.mean(layers.astype("f8"), self.depth)
        mean = mean + amplitude * np.sin(2 * np.pi * (layers / self.depth / period + rng.random()))
        rows = growth * mean + self.walk * self._errors(rng, layers)
        rows += SPREAD * rng.standard_normal((self.realizations, 1))
        if self.errors == "skewed":
            rows[: self.realizations // 20] = np.nan
        deep = layers >= judged_range(layers, None)[0]
        return rows[:, deep], layers[deep]

    def _errors(self, rng: np.random.Generator, layers: np.ndarray) -> np.ndarray:
        size = (self.realizations, len(layers))
        if self.errors == "level":
            return 4 * _correlated(rng, size, 0.8)
        if self.errors == "AR":
            steps = _correlated(rng, size, 0.7)
        elif self.errors == "skewed":
            steps = rng.exponential(size=size) - 1
        elif self.errors in ("t3", "t5"):
            degrees = int(self.errors[1:])
            steps = rng.standard_t(degrees, size) / np.sqrt(degrees / (degrees - 2))
        else:
            steps = rng.standard_normal(size)
        fading = layers**-0.5 if self.errors == "fading" else 1.0
        return np.asarray(np.cumsum(np.sqrt(self.every) * fading * steps, axis=1))

    def answers(self, simulations: int, seed: int) -> dict[str, float]:
        """Share of simulations with each answer."""
        rng = np.random.default_rng([seed, self.depth, self.every, self.realizations, int(1e5 * self.walk)])
        codes = [int(judge(*self.rows(rng))[3]) for _ in range(simulations)]
        return {answer: codes.count(code) / simulations for code, answer in enumerate(ANSWERS)}

    def correct(self, shares: dict[str, float]) -> float:
        return sum(shares[answer] for answer in self.truth.rights(self.depth))

    def false_alarms(self, shares: dict[str, float]) -> float:
        return 1 - shares["undecided"] - self.correct(shares)

    def __str__(self) -> str:
        where = f"L = {self.depth} by {self.every}, R = {self.realizations}"
        return f"{self.truth.name:<33}{where:<27}{self.walk:<7g}{self.errors:<8}"


def _correlated(rng: np.random.Generator, size: tuple[int, int], share: float) -> np.ndarray:
    """Normal errors of variance 1 with this correlation between neighbouring layers."""
    drawn = rng.standard_normal((size[0], size[1] + 30))
    return np.asarray(lfilter([np.sqrt(1 - share**2)], [1, -share], drawn, axis=1)[:, 30:])


def settings() -> list[Setting]:
    return [
        Setting(truth, depth, every, count, walk, errors)
        for truth, (depth, every), count, walk, errors in product(TRUTHS, DEPTHS, REALIZATIONS, WALKS, ERRORS)
    ]


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def calibrate(simulations: int) -> None:
    table = {setting: setting.answers(simulations, seed=0) for setting in settings()}
    alarms = {s: s.false_alarms(shares) for s, shares in table.items() if s.depth >= s.truth.shallowest}
    print(f"{len(table)} settings, {simulations} simulations of each")
    print(
        f"\nFalse alarms: the mean over settings is {percent(float(np.mean(list(alarms.values()))))}; the worst, again:"
    )
    for setting in sorted(alarms, key=alarms.__getitem__, reverse=True)[:30]:
        again = setting.answers(20 * simulations, seed=1)
        said = ", ".join(f"{answer} {percent(share)}" for answer, share in again.items() if share)
        print(f"{setting}{percent(alarms[setting]):>7} -> {percent(setting.false_alarms(again)):>6}   {said}")
    print("\nFalse alarms in %: mean over sizes and kinds of errors, for R " + ", ".join(map(str, REALIZATIONS)))
    _print_table(
        lambda truth, at: [
            float(np.mean([alarms.get(Setting(truth, *at, count, *kind), np.nan) for kind in product(WALKS, ERRORS)]))
            for count in REALIZATIONS
        ]
    )
    for count in REALIZATIONS:
        print(
            f"\nRight answers in %, steady errors, R = {count}, for walks " + ", ".join(f"{walk:g}" for walk in WALKS)
        )
        simulated = {
            (s.truth, s.depth, s.every, s.walk): s for s in table if (s.realizations, s.errors) == (count, "steady")
        }
        _print_table(
            lambda truth, at, simulated=simulated: [
                setting.correct(table[setting]) for setting in (simulated[truth, *at, walk] for walk in WALKS)
            ]
        )


def _print_table(cells: Callable[[Truth, tuple[int, int]], list[float]]) -> None:
    print(f"{'':<33}" + "".join(f"{f'L = {depth} by {every}':>19}" for depth, every in DEPTHS))
    for truth in TRUTHS:
        texts = ["/".join(f"{100 * share:.3g}" for share in cells(truth, at)) for at in DEPTHS]
        print(f"{truth.name:<33}" + "".join(f"{text:>19}" for text in texts))


if __name__ == "__main__":
    calibrate(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
