"""At which change of squared gradients over the depth nets stop learning: where the threshold of `classify` comes from.

`python benchmarks/gradient_decades.py FILE.csv [family…]` trains nets on digits for 400 steps, by plain SGD of three rates and by
Adam, at weight variances that change squared gradients by so many decades, and adds a row for each to the file; it takes
five to twenty minutes a family. `python benchmarks/gradient_decades.py FILE.csv table` prints where accuracy falls through one half.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import brentq

import moments_xr as mx
from moments_xr.forecast import growth

RATES = {"sgd": (0.1, 0.01, 0.001), "adam": (0.001,)}
SEEDS, WIDTH, STEPS = 2, 96, 400
MEASURED = 24
"""Nets over which the change of gradients is averaged."""

DECADES = (-20, -16, -12, -10, -8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20)
LOG_VARIANCES = np.linspace(-6, 8, 60)


def nets(architecture: str, activation: str, depth: int, bias: float = 0.0) -> mx.Recipe:
    return mx.Recipe(
        name="decades", realizations=SEEDS, input={"dataset": "digits", "batch": 64},
        network={"architecture": architecture, "activation": activation, "depth": depth, "width": WIDTH, "kernel": 1,
                 "weights": {"law": "gaussian", "variance": 1.0}, "bias_variance": bias},
    )  # fmt: skip


FAMILIES = {
    "vanilla relu 20": nets("vanilla", "relu", 20),
    "vanilla relu 60": nets("vanilla", "relu", 60),
    "vanilla tanh b.05 30": nets("vanilla", "tanh", 30, 0.05),
    "vanilla tanh b.05 60": nets("vanilla", "tanh", 60, 0.05),
    "vanilla linear 20": nets("vanilla", "linear", 20),
    "res relu 20": nets("res", "relu", 20),
    "res tanh 20": nets("res", "tanh", 20),
}


def variance(recipe: mx.Recipe, decades: float) -> float | None:
    """σ_w² at which theory changes squared gradients by so many decades; None if none does."""

    def excess(log_variance: float) -> float:
        changed = recipe.replace({"network.weights.variance": float(np.exp(log_variance))})
        return growth(changed)[1] / np.log(10) - decades

    values = np.array([excess(x) for x in LOG_VARIANCES])
    rises = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    return float(np.exp(brentq(excess, *LOG_VARIANCES[rises[0] : rises[0] + 2]))) if rises.size else None


def measured(recipe: mx.Recipe) -> dict[str, float]:
    """Decades by which the depth changes gradients and signal, and of χ, means over nets that `run` draws."""
    depth = recipe.network.depth
    ds = mx.run(recipe.replace({"realizations": MEASURED, "measure": {"every": depth}}), progress=False)
    names = {"decades_gradient": "mu2_noise", "decades_signal": "nu2_signal", "log10_chi": "chi"}
    found = {key: mx.get(ds, name, log=True, site="output").isel(layer=-1) for key, name in names.items()}
    return {key: float(values.mean()) / np.log(10) for key, values in found.items()}


def train(name: str, file: Path) -> None:
    """One family: nets of all these variances at once."""
    recipe = FAMILIES[name]
    swept = [v for v in (variance(recipe, decades) for decades in DECADES) if v]
    sweep = recipe.replace({"sweep": {"network.weights.variance": swept}})
    trained = {
        f"{optimiser}_{rate:g}": mx.train(sweep, [STEPS], rate, optimiser).training_accuracy.isel(step=-1)
        for optimiser, rates in RATES.items()
        for rate in rates
    }
    rows = []
    for v in swept:
        at = {key: values.sel({"network.weights.variance": v}).values for key, values in trained.items()}
        best = {
            optimiser: np.max([at[f"{optimiser}_{rate:g}"] for rate in rates], 0).mean()
            for optimiser, rates in RATES.items()
        }
        means = {key: float(values.mean()) for key, values in at.items()}
        node = recipe.replace({"network.weights.variance": v})
        rows.append({"family": name, "weight_variance": v, **measured(node), **means, **best})
    pd.DataFrame(rows).to_csv(file, mode="a", index=False, header=not file.exists(), float_format="%.4g")


def table(file: Path) -> None:
    """The last decades, away from none, at which accuracy is above one half, and the first at which it is below."""
    for name, rows in pd.read_csv(file).groupby("family", sort=False):
        for side in (-1, 1):
            part = rows[side * rows.decades_gradient > 0].sort_values("decades_gradient", key=abs)
            for optimiser in RATES:
                learns = part[optimiser].to_numpy() > 0.5
                fails = int(np.argmin(learns)) if not learns.all() else None
                places = [None if fails in (None, 0) else fails - 1, fails]
                said = ", ".join("–" if k is None else f"{part.decades_gradient.iloc[k]:.1f}" for k in places)
                print(f"{name:<24}{'exploding' if side > 0 else 'vanishing':<12}{optimiser:<6}{said}")


if __name__ == "__main__":
    target, *chosen = sys.argv[1:]
    if chosen == ["table"]:
        table(Path(target))
    else:
        for family in chosen or FAMILIES:
            train(family, Path(target))
