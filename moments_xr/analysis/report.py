"""All answers of a cube at once: what `moments-xr analyse` prints and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import xarray as xr
from dask.base import compute
from pydantic import BaseModel, Field

from moments_xr.analysis.decomposition import decompose
from moments_xr.analysis.growth import fit_growth
from moments_xr.analysis.lognormal import fit_lognormal
from moments_xr.analysis.pathology import classify
from moments_xr.analysis.summary import summary
from moments_xr.analysis.theorems import check_theorems
from moments_xr.errors import MissingError
from moments_xr.quantities import PATHOLOGIES, Pathology

ANALYSES: dict[str, Callable[[xr.Dataset], xr.Dataset]] = {
    "classify": classify,
    "summary": summary,
    "fit_growth": fit_growth,
    "fit_lognormal nu2_signal": lambda ds: fit_lognormal(ds, "nu2_signal"),
    "fit_lognormal mu2_noise": lambda ds: fit_lognormal(ds, "mu2_noise"),
    "check_theorems": check_theorems,
    "decompose chi": lambda ds: _means(decompose(ds, "chi")),
}
"""Name of each result in the report, and the function of a cube that makes it."""

SCHEMA_VERSION = 1


class Variable(BaseModel):
    """A variable of a result."""

    dims: list[str]
    attrs: dict[str, Any] = Field(description="units, long_name and, where one exists, symbol")
    data: Any = Field(description="nested lists in the order of dims; null where not defined")


class Result(BaseModel):
    """A result as a dictionary, which `xarray.Dataset.from_dict` reads."""

    dims: dict[str, int]
    coords: dict[str, Variable]
    data_vars: dict[str, Variable]
    attrs: dict[str, Any]


class Node(BaseModel):
    """The answers of one cube: the store's, or a node's of a sweep."""

    realizations: int
    recipe: dict[str, Any] | None = Field(description="what the cube was made by; null for imported results")
    recipe_identity: str | None
    results: dict[str, Result] = Field(description=f"by name: {', '.join(ANALYSES)}")
    not_available: dict[str, str] = Field(description="results that this cube has not the pieces of, and why")


class Report(BaseModel):
    """What `moments-xr analyse --json` writes."""

    schema_version: int = SCHEMA_VERSION
    moments_xr_version: str
    store: str
    pathologies: dict[str, Pathology] = Field(
        PATHOLOGIES, description="what classify judges: by the limit with depth, by the law of growth, or by size"
    )
    nodes: dict[str, Node] = Field(description="by name of the sweep's node; under '' without a sweep")


def analyse(ds: xr.Dataset) -> tuple[dict[str, xr.Dataset], dict[str, str]]:
    """All results of a cube, computed together in one reading; and what could not be answered, with the reason.

    Examples
    --------
    >>> import moments_xr as mx
    >>> from moments_xr.analysis.report import analyse
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 2, "network.depth": 4}), progress=False)
    >>> results, lacking = analyse(ds)
    >>> "classify" in results
    True
    """
    ds = ds if "realization" in ds.dims else ds.expand_dims("realization")
    results, lacking = {}, {}
    for name, function in ANALYSES.items():
        try:
            results[name] = function(ds)
        except MissingError as error:
            lacking[name] = str(error)
    computed = compute(results)[0]
    return computed, lacking


def node(ds: xr.Dataset, results: dict[str, xr.Dataset], lacking: dict[str, str]) -> Node:
    """A cube's results in the report's form."""
    recipe = json.loads(ds.attrs["recipe"]) if "recipe" in ds.attrs else None
    return Node(
        realizations=ds.sizes.get("realization", 1),
        recipe=recipe,
        recipe_identity=ds.attrs.get("recipe_identity"),
        results={name: Result(**_plain(result.to_dict())) for name, result in results.items()},
        not_available=lacking,
    )


def _means(terms: xr.Dataset) -> xr.Dataset:
    """Terms averaged over realizations, under their own names, with their standard errors."""
    means = {str(name): values for name, values in terms.data_vars.items() if str(name).endswith("_mean")}
    terms = terms.drop_vars(list(means))
    known = {(of := name.removesuffix("_mean")): values.assign_attrs(terms[of].attrs) for name, values in means.items()}
    others = terms.drop_vars(list(known)).map(_mean, keep_attrs=True)
    return others.assign(known)


def _mean(values: xr.DataArray) -> xr.DataArray:
    return values.mean("realization") if "realization" in values.dims else values


def _plain(value: Any) -> Any:
    """For JSON: NaN and infinities become null, as JSON has none."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
