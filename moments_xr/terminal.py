"""Results as tables that fit a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

if TYPE_CHECKING:
    from moments_xr.activations import Activation
    from moments_xr.advice import Advice

WIDEST = 11
"""Characters of a cell, so that five depths fit a terminal of 80."""

BIASES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Bias variances at which the edge of chaos is told."""

COLOURS = {"present": "red", "absent": "green", "undecided": "yellow"}


def summary_table(table: xr.Dataset, realizations: int, title: str = "") -> Table:
    """A summary: a row a quantity, a column a depth."""
    shown = Table(
        "layer",
        *(Column(str(layer), overflow="fold") for layer in table["layer"].values),
        title=title or None,
        caption=f"median, and 16 to 84 % of {realizations} realizations",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for variable, values in table.data_vars.items():
        if values.isnull().all():
            continue  # not measured
        cells = [_cell(values.sel(layer=layer)) for layer in table["layer"].values]
        shown.add_row(values.attrs.get("symbol", str(variable)), *cells)
    return shown


def print_analysis(out: Console, results: Mapping[str, xr.Dataset], realizations: int, title: str = "") -> None:
    """Verdicts, growth, laws, theorems and summary of a cube."""
    verdicts = results["classify"]
    fraction = float(verdicts["alive"]) if "alive" in verdicts else np.nan
    alive = f"; {100 * fraction:.0f} % alive at the last layer" if np.isfinite(fraction) else ""
    overall = str(verdicts["overall"].values).replace("_", " ")
    out.print(f"[bold]{title + ': ' if title else ''}{overall}[/bold] ({realizations} realizations{alive})")
    out.print(_verdict_table(verdicts))
    if "fit_growth" in results:
        out.print(growth_line(results["fit_growth"]), highlight=False)
    for name in ("nu2_signal", "mu2_noise"):
        if f"fit_lognormal {name}" in results:
            out.print(law_line(results[f"fit_lognormal {name}"], name), highlight=False)
    if "check_theorems" in results:
        out.print(theorem_line(results["check_theorems"]), highlight=False)
    if "summary" in results:
        out.print(summary_table(results["summary"], realizations))


def _verdict_table(verdicts: xr.Dataset) -> Table:
    table = Table("pathology", "verdict", "evidence", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in verdicts["pathology"].values:
        row = verdicts.sel(pathology=name)
        verdict = str(row["verdict"].values)
        table.add_row(str(name).replace("_", " "), f"[{COLOURS[verdict]}]{verdict}[/]", str(row["sentence"].values))
    return table


def print_advice(out: Console, advice: Advice) -> None:
    """What theory predicts, what is wrong with that, and what would mend it."""
    from moments_xr.advice import keys_said, said

    out.print(f"[bold]{escape(advice.name)}[/bold]", highlight=False)
    table = Table("", Column("predicted", justify="right"), "", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for fact in advice.facts:
        table.add_row(fact.symbol, said(fact.value), fact.meaning)
    out.print(table)
    for problem in advice.problems:
        out.print(f"[red]wrong:[/red] {problem}", highlight=False)
    if not advice.problems:
        out.print("[green]nothing wrong that theory knows of[/green]", highlight=False)
    for change in advice.changes:
        out.print(f"[green]{escape(keys_said(change.keys))}[/green]\n    {change.effect}", highlight=False)
    for remark in advice.remarks:
        out.print(f"[dim]{escape(remark)}[/dim]", highlight=False)


def print_fixed_point(
    out: Console, activation: Activation, weight_variance: float, bias_variance: float, keep: float
) -> None:
    """Fixed points and depth scales at one point of the phase diagram."""
    from moments_xr.advice import said
    from moments_xr.theory import fixed_point, trainable_depth

    point = fixed_point(activation, weight_variance, bias_variance, keep)
    where = f"{activation.name}, σ_w² = {weight_variance:g}, σ_b² = {bias_variance:g}"
    out.print(f"[bold]{where}{f', keep {keep:g}' if keep < 1 else ''}: {point.phase}[/bold]", highlight=False)
    table = Table("", Column("predicted", justify="right"), "", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for symbol, value, meaning in (
        ("q*", point.q, f"variance of pre-activations, from inputs of variance 1: {point.variance} with depth"),
        ("c*", point.c, "correlation of any two inputs that it converges to"),
        ("χ₁", point.chi_1, "growth of squared gradients and noise, per layer"),
        ("χ_c*", point.chi_c, "slope of the correlation map at c*"),
        ("ξ_q", point.xi_q, "layers over which variances converge"),
        ("ξ_c", point.xi_c, "layers over which correlations converge"),
        ("6 ξ_c", trainable_depth(point.xi_c), "trainable depth, in layers (empirical)"),
    ):
        table.add_row(symbol, said(float(value)), meaning)
    out.print(table)


def print_critical_line(out: Console, activation: Activation, bias_variance: float) -> None:
    """The edge of chaos at a few bias variances, the given one among them."""
    from moments_xr.theory import critical_line

    biases = np.unique([*BIASES, bias_variance])
    line = critical_line(activation, biases)
    table = Table(
        *(Column(name, justify="right") for name in ("σ_b²", "σ_w²", "q*")), "variance there",
        title=f"edge of chaos of {activation.name}: χ₁ = 1", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for bias, weight, q, slope in zip(biases, *line, strict=True):
        if np.isnan(weight):
            table.add_row(f"{bias:g}", "none", "", "")
        else:
            stays = "stays" if slope <= 1 + 1e-6 else f"does not stay: slope {slope:.3g}"
            table.add_row(f"{bias:g}", f"{weight:.6g}", f"{q:.4g}", stays)
    out.print(table)


def growth_line(growth: xr.Dataset) -> str:
    whole = growth.sel(range="all")
    told = {"gamma": "γ", "tau": "τ"} | ({"exponent": "p"} if growth["growth"] == "between" else {})
    parts = [f"{symbol} {_interval(whole, name)}" for name, symbol in told.items() if np.isfinite(whole[name])]
    if "tau_predicted" in growth and np.isfinite(growth["tau_predicted"]):
        parts.append(f"τ predicted {float(growth['tau_predicted']):.3g}")
    return f"growth of χ: {growth['growth'].values}" + (f"; {', '.join(parts)}" if parts else "")


def law_line(law: xr.Dataset, name: str) -> str:
    last = law.isel(layer=-1)
    symbol = {"nu2_signal": "ν₂(x)", "mu2_noise": "μ₂(dx)"}[name]
    text = f"log {symbol} at layer {int(last['layer'])}: μ {_interval(last, 'mu')}, σ {_interval(last, 'sigma')}"
    text += f", lognormal p = {float(last['p_value']):.2g}" if np.isfinite(last["p_value"]) else ""
    text += _remark(last["status"])
    if "drift" in law and np.isfinite(law["drift"]):
        text += f"; per layer drift {_interval(law, 'drift')}, diffusion {_interval(law, 'diffusion')}"
        text += _remark(law["drift_status"])
    return text


def _remark(status: xr.DataArray) -> str:
    return "" if status == "ok" else f" ({status.item()})"


def theorem_line(theorems: xr.Dataset) -> str:
    words = {1.0: "holds", 0.0: "FAILS"}
    said = [
        f"theorem {name} {words.get(float(holds), 'cannot be told')}"
        for name, holds in zip(theorems["theorem"].values, theorems["holds_everywhere"].values, strict=True)
    ]
    return "; ".join(said)


def _interval(table: xr.Dataset, name: str) -> str:
    value, low, high = (float(table[key]) for key in (name, f"{name}_low", f"{name}_high"))
    return f"{value:.3g} [{low:.3g}, {high:.3g}]" if np.isfinite(low) else f"{value:.3g}"


def _cell(values: xr.DataArray) -> str:
    if values.ndim == 0:
        return f"{float(values):.3g}"
    median, low, high = (float(value) for value in values)
    band = f"{low:.3g}–{high:.3g}"
    band = band if len(band) <= WIDEST else band.replace("–", "–\n")
    return f"{median:.4g}\n[dim]{band}[/dim]"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(45), duration(600), duration(7200), duration(200000)
    ('45 s', '10 min', '2 h', '2.3 d')
    """
    for unit, length, limit in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172800)):
        if seconds < limit:
            return f"{seconds / length:.2g} {unit}" if seconds / length < 10 else f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.2g} d" if seconds < 8640000 else f"{seconds / 86400:.0f} d"


def size(count: float) -> str:
    """Bytes for people.

    >>> size(15e6), size(20), size(2.5e10)
    ('15 MB', '20 B', '25 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
