"""What is compared: the cubes of a sweep or several stores, and the quantities that they may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import xarray as xr

from moments_xr.analysis.criteria import log_kurtosis
from moments_xr.analysis.sensitivity import get, increments, select_site
from moments_xr.analysis.sweep import points
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots.panels import at_site
from moments_xr.plots.symbols import SYMBOLS
from moments_xr.plots.theme import Backend, symbol
from moments_xr.quantities import MOMENTS

INCREMENT = "increment_"
PLOTTED = {
    "reff_signal": (1, "of_reff_signal"),
    "reff_noise": (1, "of_reff_noise"),
    "mu4_signal": (2, "z_mu4_signal"),
    "nu1_abs_signal": (2, "z_nu1_abs_signal"),
    "nu1_plus_minus_signal": (2, "of_nu1_plus_minus_signal"),
}
"""Quantities drawn at a site of the papers' figures: its place among these, and their symbols. All others are at the output."""

LETTERS = {
    "network.width": "N", "network.depth": "L", "network.kernel": "K", "network.unit_depth": "H", "network.epsilon": "ε",
}  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A cube, its name, that in the backend's spelling, and its swept values."""

    name: str
    label: str
    ds: xr.Dataset
    point: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Quantity:
    """What is compared: its values (realization, layer) in a cube, by their logarithm unless they may be negative."""

    values: Callable[[xr.Dataset], xr.DataArray]
    ylabel: str
    log10_label: str = ""
    logy: bool = True
    level: float | None = None
    log: bool = True


def nodes_of(tree: xr.DataTree | xr.Dataset | Mapping[str, xr.Dataset], backend: Backend) -> list[Node]:
    """Nodes that have anything to draw, in the order of the sweep."""
    if isinstance(tree, xr.Dataset):
        raise RequestError("compare is of a sweep, or of several cubes by name, and this is one cube")
    if isinstance(tree, xr.DataTree):
        swept = [(name, tree[name].to_dataset(), point) for name, point in points(tree).items()]
    else:
        swept = [(name, ds, {}) for name, ds in tree.items()]
        told = [_point(ds) for ds in tree.values()]
        if told[0] and all(point.keys() == told[0].keys() for point in told) and _differ(told):
            swept = [(name, ds, point) for (name, ds, _), point in zip(swept, told, strict=True)]
    told_apart = telling([point for _, _, point in swept])
    found = [
        Node(name, node_label(shown, name, backend), ds, point)
        for (name, ds, point), shown in zip(swept, told_apart, strict=True)
    ]
    nodes = [node for node in found if node.ds.sizes.get("realization") != 0 and node.ds.sizes.get("layer") != 0]
    if not nodes:
        raise MissingError("compare: no node has a finished realization")
    return nodes


def _point(ds: xr.Dataset) -> dict[str, Any]:
    """The swept values that a node of a sweep has as coordinates."""
    return {str(key): value.item() for key, value in ds.coords.items() if value.ndim == 0 and "." in str(key)}


def _differ(told: list[dict[str, Any]]) -> bool:
    return len({str(point) for point in told}) == len(told)


def telling(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Points by the swept keys that tell them apart: later keys that the others decide are left out."""
    kept = list(points[0]) if points else []
    for key in reversed(kept.copy()) if len(points) > 1 else ():
        fewer = [other for other in kept if other != key]
        if _differ([{other: point.get(other) for other in fewer} for point in points]):
            kept = fewer
    return [{key: value for key, value in point.items() if key in kept} for point in points]


def node_label(point: dict[str, Any], name: str, backend: Backend) -> str:
    """The swept values, as N = 64; text stands alone."""
    said = []
    for key, value in point.items():
        short = LETTERS.get(key, key.rpartition(".")[2])
        short = f"${short}$" if key in LETTERS and backend == "matplotlib" else short
        said.append(f"{short} = {value:g}" if isinstance(value, (int, float)) else str(value))
    return ", ".join(said) or name


def numeric_key(nodes: list[Node]) -> str | None:
    """The swept key, if there is one and its values are numbers."""
    keys = {key for node in nodes for key in node.point}
    numeric = all(isinstance(value, (int, float)) for node in nodes for value in node.point.values())
    return keys.pop() if len(keys) == 1 and numeric and len(nodes) > 1 else None


def key_label(key: str, backend: Backend) -> str:
    """The swept key on an axis, as width N."""
    words, letter = key.rpartition(".")[2].replace("_", " "), LETTERS.get(key, "")
    return f"{words} ${letter}$" if letter and backend == "matplotlib" else f"{words} {letter}".rstrip()


def _values(ds: xr.Dataset, name: str) -> xr.DataArray:
    ds = ds if "layer" in ds.dims else ds.expand_dims("layer")
    if name.startswith(INCREMENT):
        return increments(ds, name.removeprefix(INCREMENT), log=True)
    at = at_site(ds, None, PLOTTED[name][0])[0] if name in PLOTTED else select_site(ds)
    return get(at, name, log=not _signed(name))


def _signed(name: str) -> bool:
    return name in MOMENTS and MOMENTS[name].signed


def _log_kurtosis_of_z(ds: xr.Dataset) -> xr.DataArray:
    return log_kurtosis(at_site(ds if "layer" in ds.dims else ds.expand_dims("layer"), None, 2)[0])


OVERVIEW = {
    "chi": Quantity(partial(_values, name="chi"), "sensitivity", "logarithm of sensitivity"),
    "increment_chi": Quantity(
        partial(_values, name="increment_chi"), "increment of sensitivity", "logarithm of the increment", False, 1.0
    ),
    "reff_signal": Quantity(partial(_values, name="reff_signal"), "effective rank of the signal", level=1.0),
    "kurtosis": Quantity(_log_kurtosis_of_z, "kurtosis of z", level=3.0),
}


def quantity_of(of: str, backend: Backend) -> Quantity:
    """A quantity by its registered name."""
    if of in OVERVIEW and of != "kurtosis":
        return OVERVIEW[of]
    name = of.removeprefix(INCREMENT)
    if f"of_{name}" not in SYMBOLS or (name != of and _signed(name)):
        names = ", ".join(key.removeprefix("of_") for key in SYMBOLS if key.startswith("of_"))
        raise RequestError(f"of='{of}' is not one of {names}, nor {INCREMENT} and one of those that are positive")
    what = symbol(PLOTTED[of][1] if of in PLOTTED else f"of_{name}", backend)
    if name != of:
        what = symbol("step_layer", backend).strip("$") % what
    label, log10_label = (symbol(row, backend) % what for row in ("plain", "log10_of"))
    level = 1.0 if name != of or of.startswith("reff") else None
    logy = name == of and not _signed(of)
    return Quantity(partial(_values, name=of), label, log10_label, logy, level, not _signed(of))
