"""What is drawn of theory beside experiment: a comparison, taken apart into its nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from moments_xr.analysis.realizations import LEVEL
from moments_xr.plots import elements
from moments_xr.plots.compare import LABELLED, SOME
from moments_xr.plots.nodes import node_label, telling
from moments_xr.plots.theme import BLUE, Backend, Line, ramp

Array = NDArray[Any]

OWN = ("quantity", "layer", "constant")
"""Dimensions of a comparison of one cube; all others are swept."""

PREDICTED = Line("#1a1a1a", "dashed", 0.6)

SIGMAS = float(stats.norm.ppf(0.5 + LEVEL / 2))


@dataclass(frozen=True)
class Compared:
    """The comparison of one cube, of a sweep's or by itself."""

    label: str
    color: str
    found: xr.Dataset
    point: dict[str, Any] = field(default_factory=dict)

    def values(self, name: str, quantity: str) -> Array:
        """By layer."""
        return np.atleast_1d(self.found[name].sel(quantity=quantity).values)

    def has(self, quantity: str) -> bool:
        return "quantity" in self.found.dims and quantity in self.found["quantity"] and bool(
            np.isfinite(self.values("measured", quantity)).any()
        )  # fmt: skip


def compared(found: xr.Dataset, backend: Backend) -> list[Compared]:
    """The nodes of a comparison that have anything to draw, with their labels and colours; one of a single cube."""
    keys = [str(dim) for dim in found.dims if dim not in OWN]
    points = [dict(zip(keys, point, strict=True)) for point in product(*(found[key].values.tolist() for key in keys))]
    there = [(point, found.sel(point)) for point in points]
    drawn = [(point, one) for point, one in there if measured(one, "measured") or measured(one, "constant_measured")]
    colours = ramp(len(drawn)) if keys else [BLUE] * len(drawn)
    told_apart = telling([point for point, _ in drawn])
    labelled = np.linspace(0, len(drawn) - 1, len(drawn) if len(drawn) <= LABELLED else SOME).round()
    return [
        Compared(node_label(shown, "", backend) if k in labelled else "", colour, one, point)
        for k, ((point, one), colour, shown) in enumerate(zip(drawn, colours, told_apart, strict=True))
    ]


def measured(found: xr.Dataset, name: str) -> bool:
    """Whether a variable is there and known anywhere."""
    return name in found and bool(found[name].notnull().any())


def interval_band(node: Compared, name: str) -> elements.Band:
    """Mean over realizations with its interval, by layer; logs but for the correlation."""
    mean, half = node.values("measured", name), SIGMAS * node.values("standard_error", name)
    return elements.Band(node.found["layer"].values, mean, mean - half, mean + half)
