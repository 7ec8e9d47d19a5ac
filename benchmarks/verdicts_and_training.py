"""Verdicts and advice on nets, beside what happens when they are trained.

`python benchmarks/verdicts_and_training.py train OUT.csv [NAME ...]` trains each net (or those named) on digits, by plain SGD
at three rates and by Adam, and adds what came of it to OUT.csv; nets that are there already are not trained again. About two
hours of one core. `python benchmarks/verdicts_and_training.py table OUT.csv PAGE.md` judges the same nets untrained, by
`mx.classify` and `mx.advise`, and writes tables of that with the outcomes beside into the page, in minutes: below its line
`<!-- tables -->`, above which its text is left as it is.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import moments_xr as mx
from moments_xr.errors import MissingError
from moments_xr.theory import critical_line, isometric_point

TRIED = (("sgd", 0.1), ("sgd", 0.01), ("sgd", 0.001), ("adam", 0.001))
"""Optimisers and learning rates, of the mean cross-entropy of a batch."""

STEPS, TRAINED, JUDGED = 400, 2, 30
"""Steps of training; nets of each recipe that are trained, and that are judged untrained."""

MARK = "<!-- tables -->"
"""In a page: tables follow."""

TRAINS, FAILS = 0.9, 0.5
"""Accuracy on all digits from which nets are said to train, and below which they are said not to."""

ISOMETRIC = isometric_point("tanh", depth=100, relative_variance=0.1)
SCALED = {"input.scale": round(ISOMETRIC.input_scale, 4)}
ORTHOGONAL = {"network.weights.law": "orthogonal"}


def edge(activation: str, bias_variance: float) -> float:
    """σ_w² of the edge of chaos."""
    return round(float(critical_line(activation, bias_variance).weight_variance), 4)


NETS: tuple[tuple[str, str, float, float, int, dict[str, Any]], ...] = (
    # architecture, activation, σ_w², σ_b², depth, other keys
    ("vanilla", "relu", 2, 0, 10, {}),
    ("vanilla", "relu", 2, 0, 20, {}),
    ("vanilla", "relu", 2, 0, 50, {}),
    ("vanilla", "relu", 2, 0, 60, {}),
    ("vanilla", "relu", 2, 0, 200, {}),
    ("vanilla", "relu", 2, 0, 50, {"network.width": 32}),
    ("vanilla", "relu", 2, 0, 50, {"network.width": 256}),
    ("vanilla", "relu", 2, 0, 50, {"network.width": 512}),
    ("vanilla", "relu", 2, 0, 60, ORTHOGONAL),
    ("vanilla", "relu", 2, 0, 20, {"input.scale": 30.0}),
    ("vanilla", "relu", 2, 0, 20, {"input.scale": 0.01}),
    ("vanilla", "relu", 2, 0.1, 20, {}),
    ("vanilla", "relu", 1, 0, 20, {}),
    ("vanilla", "relu", 1, 0, 60, {}),
    ("vanilla", "relu", 3, 0, 20, {}),
    ("vanilla", "relu", 3, 0, 60, {}),
    ("vanilla", "leaky_relu", 2, 0, 60, {}),
    ("vanilla", "linear", 1, 0, 60, {}),
    ("vanilla", "linear", 1.3, 0, 60, {}),
    ("vanilla", "tanh", 0.5, 0, 60, {}),
    ("vanilla", "tanh", 1, 0, 60, {}),
    ("vanilla", "tanh", 1.2, 0.05, 20, {}),
    ("vanilla", "tanh", 1.2, 0.05, 60, {}),
    ("vanilla", "tanh", edge("tanh", 0.05), 0.05, 20, {}),
    ("vanilla", "tanh", edge("tanh", 0.05), 0.05, 60, {}),
    ("vanilla", "tanh", edge("tanh", 0.05), 0.05, 200, {}),
    ("vanilla", "tanh", edge("tanh", 0.05), 0.05, 60, {"network.width": 32}),
    ("vanilla", "tanh", edge("tanh", 0.05), 0.05, 60, {"network.width": 256}),
    ("vanilla", "tanh", 3, 0.05, 20, {}),
    ("vanilla", "tanh", 3, 0.05, 50, {}),
    ("vanilla", "tanh", 3, 0.05, 100, {}),
    ("vanilla", "tanh", round(ISOMETRIC.weight_variance, 4), round(ISOMETRIC.bias_variance, 9), 100, ORTHOGONAL | SCALED),
    ("vanilla", "tanh", round(ISOMETRIC.weight_variance, 4), round(ISOMETRIC.bias_variance, 9), 100, SCALED),
    ("vanilla", "tanh", round(ISOMETRIC.weight_variance, 4), round(ISOMETRIC.bias_variance, 9), 100, ORTHOGONAL),
    ("vanilla", "hard_tanh", edge("hard_tanh", 0.05), 0.05, 60, {}),
    ("vanilla", "erf", edge("erf", 0.05), 0.05, 60, {}),
    ("vanilla", "erf", 3, 0.05, 50, {}),
    ("vanilla", "selu", 1, 0, 20, {}),
    ("vanilla", "selu", 1, 0, 50, {}),
    ("vanilla", "selu", 1, 0, 100, {}),
    ("vanilla", "elu", edge("elu", 0.05), 0.05, 60, {}),
    ("vanilla", "elu", 2, 0, 60, {}),
    ("vanilla", "gelu", 2, 0, 20, {}),
    ("vanilla", "gelu", 2, 0, 60, {}),
    ("vanilla", "gelu", edge("gelu", 0.05), 0.05, 60, {}),
    ("vanilla", "silu", 2, 0, 20, {}),
    ("vanilla", "silu", edge("silu", 0.05), 0.05, 60, {}),
    ("bn_ff", "relu", 2, 0, 10, {}),
    ("bn_ff", "relu", 2, 0, 20, {}),
    ("bn_ff", "relu", 2, 0, 50, {}),
    ("bn_ff", "relu", 2, 0, 100, {}),
    ("bn_ff", "relu", 2, 0, 20, {"input.batch": 16}),
    ("bn_ff", "linear", 1, 0, 50, {}),
    ("bn_ff", "tanh", 1, 0, 20, {}),
    ("bn_ff", "tanh", 1, 0, 50, {}),
    ("bn_ff", "gelu", 2, 0, 30, {}),
    ("bn_res", "relu", 2, 0, 60, {}),
    ("bn_res", "relu", 2, 0, 200, {}),
    ("bn_res", "relu", 2, 0, 60, {"network.unit_depth": 6}),
    ("bn_res", "tanh", 1, 0, 60, {}),
    ("bn_res", "linear", 1, 0, 60, {}),
    ("res", "relu", 0.2, 0, 60, {}),
    ("res", "relu", 2, 0, 10, {}),
    ("res", "relu", 2, 0, 20, {}),
    ("res", "relu", 2, 0, 60, {}),
    ("res", "tanh", 0.2, 0, 60, {}),
    ("res", "tanh", 1, 0, 100, {}),
    ("res", "tanh", 1, 0, 200, {}),
    ("res", "linear", 0.1, 0, 60, {}),
    ("res", "gelu", 0.3, 0, 60, {}),
    ("res", "elu", 0.3, 0, 60, {}),
    ("res", "silu", 1, 0, 30, {}),
)  # fmt: skip


def recipes() -> Iterator[tuple[str, mx.Recipe]]:
    """Each net's name and recipe."""
    for architecture, activation, variance, bias_variance, depth, more in NETS:
        others = "".join(f", {key.split('.')[-1]} {value}" for key, value in more.items())
        name = f"{architecture} {activation} ({variance:g}, {bias_variance:g}) L {depth}{others}"
        network = {"architecture": architecture, "activation": activation, "depth": depth, "width": 96, "kernel": 1}
        laws = {"weights": {"law": "gaussian", "variance": variance}, "bias_variance": bias_variance}
        recipe = mx.Recipe(name="net", realizations=TRAINED, input={"dataset": "digits"}, network=network | laws)
        yield name, recipe.replace(more)


def train(path: Path, names: list[str]) -> None:
    """Train what is not yet in the file, and add it: a line for each net, realization, optimiser and rate."""
    done = set(pd.read_csv(path).net) if path.exists() else set()
    for name, recipe in recipes():
        if name in done or (names and name not in names):
            continue
        start = time.perf_counter()
        found = [_trained(name, recipe, optimiser, rate) for optimiser, rate in TRIED]
        table = pd.concat(found).round({"accuracy": 4, "loss": 4})
        table.to_csv(path, mode="a", index=False, header=not path.exists())
        best = table.groupby("realization").accuracy.max()
        print(f"{name}: {best.mean():.3f} in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def _trained(name: str, recipe: mx.Recipe, optimiser: str, rate: float) -> pd.DataFrame:
    ds = mx.train(recipe, [STEPS], rate, optimiser, progress=False).isel(step=0)
    told = {"net": name, "recipe": recipe.identity()[:8], "realization": ds.realization}
    tried = {"optimiser": optimiser, "rate": rate}
    return pd.DataFrame(told | tried | {"accuracy": ds.training_accuracy, "loss": ds.loss})


def table(path: Path) -> pd.DataFrame:
    """A row for each net that was trained: outcome, verdicts and advice."""
    outcomes = dict(iter(pd.read_csv(path).groupby("net")))
    rows = {}
    for name, recipe in recipes():
        if name not in outcomes:
            print(f"not trained: {name}", file=sys.stderr)
            continue
        if set(outcomes[name].recipe) != {recipe.identity()[:8]}:
            sys.exit(f"{path}: '{name}' was trained by another recipe; take its lines out and train it again")
        rows[name] = _outcome(outcomes[name]) | _judged(recipe)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("net").reset_index()


def _outcome(lines: pd.DataFrame) -> dict[str, Any]:
    """The best accuracy of each net of a recipe: mean, range, and what reached it most often."""
    tried = lines.assign(by=lines.optimiser + " " + lines.rate.map("{:g}".format))
    best = tried.loc[tried.groupby("realization").accuracy.idxmax()]
    by_optimiser = lines.groupby(["optimiser", "realization"]).accuracy.max().groupby("optimiser").mean()
    return {
        "trained": best.accuracy.mean(),
        "range": f"{best.accuracy.min():.2f}–{best.accuracy.max():.2f}",
        "best by": best.by.mode()[0],
        "SGD": by_optimiser["sgd"],
        "Adam": by_optimiser["adam"],
    }


def _judged(recipe: mx.Recipe) -> dict[str, Any]:
    """The verdicts of nets of the recipe, and what theory warns of."""
    cube = mx.run(recipe.replace({"realizations": JUDGED}), progress=False)
    found = mx.classify(cube).load()
    verdicts = dict(zip(found.pathology.values, found.verdict.values, strict=True))
    try:
        advice = mx.advise(recipe)
    except MissingError:
        phase, said = "", "no theory"
    else:
        phase = {fact.name: str(fact.value) for fact in advice.facts}.get("phase", "")
        said = "; ".join(advice.problems) or "nothing wrong"
    return {"overall": str(found.overall.values), **verdicts, "phase": phase, "advice": said}


def tables(rows: pd.DataFrame) -> str:
    """Markdown: how often verdicts and advice go with training, lines at odds with it, and the whole table."""
    outcome = np.select([rows.trained >= TRAINS, rows.trained < FAILS], ["trains", "fails"], "between")
    headline = rows.overall.where(rows.overall.isin(["well-behaved", "undecided"]), "a pathology")
    warned = rows.advice.where(rows.advice.isin(["nothing wrong", "no theory"]), "wrong")
    at_odds = ((outcome == "trains") & ((headline == "a pathology") | (warned == "wrong"))) | (
        (outcome != "trains") & ((headline == "well-behaved") | (warned == "nothing wrong"))
    )
    shown = rows.rename(columns=lambda name: name.replace("_", " ")).replace(
        {"present": "**yes**", "absent": "no", "undecided": "?"}
    )
    parts = [
        _counts("verdict", headline, outcome),
        _counts("advice", warned, outcome),
        f"## At odds with training ({at_odds.sum()} of {len(rows)})",
        _markdown(rows.loc[at_odds, ["net", "trained", "overall", "advice"]]),
        "## All nets",
        _markdown(shown),
    ]
    return "\n\n".join(parts) + "\n"


def _counts(of: str, said: pd.Series, outcome: np.ndarray) -> str:
    counted = pd.crosstab(said.rename(of), outcome).reindex(columns=["trains", "between", "fails"], fill_value=0)
    return _markdown(counted.reset_index())


def _markdown(rows: pd.DataFrame) -> str:
    cells = rows.map(lambda cell: f"{cell:.3f}" if isinstance(cell, float) else str(cell))
    lines = [list(cells.columns), ["---"] * cells.shape[1], *cells.values.tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training, tabling = commands.add_parser("train"), commands.add_parser("table")
    for command in (training, tabling):
        command.add_argument("outcomes", type=Path, help="CSV")
    training.add_argument("names", nargs="*", help="nets to train; all, if none is named")
    tabling.add_argument("page", type=Path, help="Markdown")
    given = parser.parse_args()
    if given.command == "train":
        train(given.outcomes, given.names)
    else:
        text = given.page.read_text().partition(MARK)[0]
        given.page.write_text(f"{text}{MARK}\n\n{tables(table(given.outcomes))}")


if __name__ == "__main__":
    main()
