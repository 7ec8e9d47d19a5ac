"""What a report says of a cube, free of any toolkit: the page and the application show the same words and numbers.

`results` is everywhere the first of what `moments_xr.analysis.report.analyse` returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from moments_xr import terminal
from moments_xr.analysis.sensitivity import architecture
from moments_xr.analysis.summary import STATISTICS
from moments_xr.quantities import PATHOLOGIES
from moments_xr.recipe import Recipe

Results = Mapping[str, xr.Dataset]

VERSIONS = {"moments_xr_version": "moments-xr", "torch_version": "torch", "numpy_version": "numpy"}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Verdict:
    """A row of `classify`, with what the registry says of the pathology; numbers are NaN where not measured."""

    name: str
    title: str
    """The name in plain words."""
    meaning: str
    verdict: str
    """present, absent or undecided"""
    sentence: str
    symbol: str
    statistic: float
    low: float
    high: float
    """95 % interval of the statistic."""
    threshold: float
    side: str
    """On which side of the threshold the pathology is: below or above."""
    onset: float


@dataclass(frozen=True)
class Row:
    """A quantity of the summary; a cell is the median with the 16th and 84th percentiles, or a single number."""

    symbol: str
    long_name: str
    cells: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Numbers:
    """The summary as a table: a column a layer."""

    layers: tuple[int, ...]
    rows: tuple[Row, ...]


def verdicts(results: Results) -> tuple[Verdict, ...]:
    """The verdicts on all pathologies, in the registry's order.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.report.content import verdicts
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 8, "network.depth": 20}), progress=False)
    >>> verdicts({"classify": mx.classify(ds)})[1].title
    'one-dimensional signal'
    """
    rows = []
    for name, known in PATHOLOGIES.items():
        row = results["classify"].sel(pathology=name)
        rows.append(
            Verdict(
                name=name,
                title=in_words(name),
                meaning=known.long_name,
                verdict=str(row["verdict"].item()),
                sentence=str(row["sentence"].item()),
                symbol=str(row["symbol"].item()),
                statistic=float(row["statistic"]),
                low=float(row["statistic_low"]),
                high=float(row["statistic_high"]),
                threshold=float(row["threshold"]),
                side=known.side,
                onset=float(row["onset"]),
            )
        )
    return tuple(rows)


def headline(results: Results) -> str:
    """What is wrong with the net, or that nothing is: `exploding sensitivity and fat tails`, `well-behaved`, or how much was
    judged."""
    present = [row.title for row in verdicts(results) if row.verdict == "present"]
    if not present:
        return in_words(str(results["classify"]["overall"].item()))
    *others, last = present
    return f"{', '.join(others)} and {last}" if others else last


def findings(results: Results) -> tuple[str, ...]:
    """The fits and theorems, a sentence each."""
    said = []
    if "fit_growth" in results:
        said.append(terminal.growth_line(results["fit_growth"]))
    for name in ("nu2_signal", "mu2_noise"):
        if f"fit_lognormal {name}" in results:
            said.append(terminal.law_line(results[f"fit_lognormal {name}"], name))
    if "check_theorems" in results:
        said.append(terminal.theorem_line(results["check_theorems"]))
    return tuple(said)


def completeness(ds: xr.Dataset) -> tuple[int, int]:
    """How many realizations are there, and how many its recipe wants."""
    recipe = recipe_of(ds)
    there = int(ds["done"].sum()) if "done" in ds else ds.sizes.get("realization", 1)
    return there, recipe.realizations if recipe else there


def facts(ds: xr.Dataset, results: Results | None = None) -> dict[str, str]:
    """What the net and its input are, in words: label -> text. With results, also how many nets are alive."""
    recipe, kind = recipe_of(ds), architecture(ds)
    layers = np.atleast_1d(ds["layer"].values)
    said = {"network": kind.long_name}
    measured = f"{len(layers)} measured, {layers[0]} to {layers[-1]}"
    if recipe:
        network, data = recipe.network, recipe.input
        form = "fully connected" if network.kernel == 1 else f"kernel {network.kernel}, {network.boundary} boundary"
        said["network"] += f", {form}"
        unit = f"residual units of {network.unit_depth} layers" if network.unit_depth else "layers"
        said["depth"] = f"{network.depth} {unit}; {measured}"
        said["width"] = f"{network.width} channels"
        weights = f"{network.weights.law}, variance {network.weights.variance:g} / fan-in"
        biases = f"; biases of variance {network.bias_variance:g}" if network.bias_variance else ""
        said["activation"], said["weights"] = network.activation, weights + biases
        if network.dropout:
            said["dropout"] = f"{network.dropout:g} of what enters a layer"
        if kind.normed:
            said["batch norm"] = f"ε = {network.epsilon:g}"
        shape = f" of shape {' × '.join(map(str, data.shape))}" if data.shape else ""
        scale = f", times {data.scale:g}" if data.scale != 1 else ""
        said["input"] = f"{data.dataset}{shape}{scale}, batch of {data.batch}"
    else:
        said["depth"] = measured
        if "channel" in ds.sizes:
            said["width"] = f"{ds.sizes['channel']} channels"
    there, wanted = completeness(ds)
    said["realizations"] = f"{there}" if there == wanted else f"{there} of {wanted}"
    if results and "alive" in results["classify"] and np.isfinite(results["classify"]["alive"]):
        said["alive at the last layer"] = f"{100 * float(results['classify']['alive']):.4g} %"
    return said


def provenance(ds: xr.Dataset) -> dict[str, str]:
    """Where the numbers come from: label -> text. Neither times nor places are in it."""
    attrs = ds.attrs
    said = {}
    if "recipe_identity" in attrs:
        said["recipe identity (SHA-256)"] = str(attrs["recipe_identity"])
    recipe = recipe_of(ds)
    if recipe:
        said["seed"] = f"{recipe.seed}"
    there, wanted = completeness(ds)
    said["realizations"] = f"{there} done of {wanted} wanted"
    said |= {key: str(attrs[key]) for key in ("precision", "block", "source") if key in attrs}
    if "device" in ds:
        drawn = Counter(str(device) for device in np.atleast_1d(ds["device"].values))
        said["device"] = ", ".join(
            f"{name} ({count})" if len(drawn) > 1 else name for name, count in sorted(drawn.items())
        )
    said |= {f"{tool} (made with)": str(attrs[key]) for key, tool in VERSIONS.items() if key in attrs}
    if "schema_version" in attrs:
        said["schema of the cube"] = str(attrs["schema_version"])
    return said


def numbers(results: Results) -> Numbers:
    """The summary as a table; what is NaN everywhere was not measured and has no row."""
    table = results["summary"]
    layers = tuple(int(layer) for layer in np.atleast_1d(table["layer"].values))
    rows = []
    for name, values in table.data_vars.items():
        if bool(values.isnull().all()):
            continue
        if "statistic" in values.dims:
            values = values.sel(statistic=list(STATISTICS))
        cells = values.transpose("layer", ...).values.reshape(len(layers), -1)
        symbol, long_name = (str(values.attrs.get(key, name)) for key in ("symbol", "long_name"))
        rows.append(Row(symbol, long_name, tuple(tuple(map(float, cell)) for cell in cells)))
    return Numbers(layers, tuple(rows))


def recipe_of(ds: xr.Dataset | xr.DataTree) -> Recipe | None:
    """The recipe that a cube or a sweep was made by; None of imported results."""
    return Recipe.from_json(ds.attrs["recipe"]) if "recipe" in ds.attrs else None


def in_words(name: str) -> str:
    """The name of a pathology, or a text with such names, in plain words.

    >>> in_words("zero_dimensional_signal"), in_words("fat_tails")
    ('zero-dimensional signal', 'fat tails')
    """
    return name.replace("_dimensional", "-dimensional").replace("pseudo_", "pseudo-").replace("_", " ")


def rounded(value: float, digits: int = 3) -> str:
    """A number for people.

    >>> rounded(1234567.0), rounded(0.52), rounded(float("nan"))
    ('1.23×10⁶', '0.52', '–')
    """
    if np.isnan(value):
        return "–"
    mantissa, exponent, power = f"{value:.{digits}g}".partition("e")
    text = f"{mantissa}×10{str(int(power)).translate(SUPERSCRIPTS)}" if exponent else mantissa
    return text.replace("-", "−").replace("inf", "∞")
