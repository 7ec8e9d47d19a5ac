"""Verdicts: which pathologies a net has, with the evidence (THEORY 6)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.criteria import CRITERIA
from moments_xr.analysis.growth import by_depth, growth_rows
from moments_xr.analysis.realizations import curves, described, living
from moments_xr.analysis.sensitivity import architecture, stored_moment
from moments_xr.analysis.sweep import along_sweep
from moments_xr.analysis.verdicts import Verdict, linked, not_measured, on_conditions, on_growth, overall
from moments_xr.errors import MissingError
from moments_xr.quantities import PATHOLOGIES

NUMBERS = Verdict._fields[2:]
"""What a verdict has in numbers."""


class Judged(NamedTuple):
    """What gives a verdict, from curves (realization, layer), and the symbol and threshold of its statistic."""

    verdict: Callable[..., Verdict]
    rows: list[xr.DataArray]
    symbol: str
    threshold: float


@along_sweep
def classify(ds: xr.Dataset) -> xr.Dataset:
    """Which of six pathologies and two symptoms a net has: present, absent or undecided, with the evidence (THEORY 6).

    Zero- and one-dimensional signals, pseudo-linearity and fat tails are limits with depth: a statistic (a geometric mean
    over realizations) is `present` if its interval at the deepest layer is beyond the threshold, and `absent` if it is on
    the safe side and would stay there: going on as it did since half the depth, at twice the depth (within its interval) and
    at eight times (on average); or since it moved less than half as far in the last doubling of depth as in the one before,
    and as far again would not do. High sensitivity, vanishing and exploding gradients are sizes: on which side of the
    threshold the interval is at the deepest layer, whatever becomes of it; gradients are measured by the noise, whose
    growth is theirs, and without batch norm by the signal's scale too, either of which is enough. Exploding sensitivity is
    exponential growth by `fit_growth` that has come to χ above 100. Pseudo-linearity takes increments δχ below 1.05
    too, on average over the deeper half of layers. Dead nets are left out of the statistics, and counted by
    `alive`. All are verdicts on the net as it is drawn: docs/verdicts_and_training.md has what they predict of training.

    Parameters
    ----------
    ds
        A cube (or the DataTree of a sweep).

    Returns
    -------
    Variables (pathology): `verdict`, one of present, absent, undecided; `statistic` with its 95 % interval
    `statistic_low`, `statistic_high` over realizations; its `symbol` and `threshold`; `onset`, the depth from which on the
    mean is beyond it (of exploding sensitivity, from which on χ is above 100); `sentence`, all that in words. Scalars
    `overall` (the list of what is present; `well-behaved` if all is absent; otherwise `No pathology found; 5 of 8
    judged`, with what is not stored and what is undecided, or `undecided` if all is) and `alive`, the fraction of
    realizations alive at the deepest layer, of those whose ν₂ was measured there. What the cube lacks makes a verdict
    `undecided (not measured)` in words.

    Raises
    ------
    MissingError
        The cube has no layer.

    Examples
    --------
    >>> import moments_xr as mx
    >>> ds = mx.run(mx.recipe("quickstart", {"realizations": 8, "network.depth": 20}), progress=False)
    >>> str(mx.classify(ds).verdict.sel(pathology="one_dimensional_signal").values)
    'absent'
    """
    ds = by_depth(ds)
    ds = ds if "realization" in ds.dims else ds.expand_dims("realization")
    judged: dict[str, Judged] = {}
    for name, row in PATHOLOGIES.items():
        try:
            judged[name] = _growth(ds) if row.judged == "law" else _by_conditions(ds, name)
        except MissingError as error:
            judged[name] = Judged(partial(not_measured, str(error)), [], row.symbol, row.threshold)
    rows = [values for each in judged.values() for values in each.rows] or [xr.DataArray(np.nan)]
    functions = {name: (each.verdict, len(each.rows)) for name, each in judged.items()}
    verdict, sentence, numbers, all_together = xr.apply_ufunc(
        partial(_verdicts, functions), *rows,
        input_core_dims=[values.dims for values in rows],
        output_core_dims=[["pathology"], ["pathology"], ["pathology", "number"], []],
        dask="parallelized", output_dtypes=[object, object, "f8", object],
        dask_gufunc_kwargs={"output_sizes": {"pathology": len(PATHOLOGIES), "number": len(NUMBERS)}},
    )  # fmt: skip
    result = xr.Dataset(
        {
            "verdict": verdict,
            **{name: numbers.isel(number=k) for k, name in enumerate(NUMBERS)},
            "symbol": ("pathology", np.array([each.symbol for each in judged.values()], dtype=object)),
            "threshold": ("pathology", [each.threshold for each in judged.values()]),
            "sentence": sentence,
            "overall": all_together,
        },
        {"pathology": list(PATHOLOGIES)},
    )
    with suppress(MissingError):
        nu2 = stored_moment(ds, "nu2_signal", site=architecture(ds).output).isel(layer=-1, drop=True)
        alive, measured = living(nu2)
        result["alive"] = alive / measured.where(measured > 0)
    for name, long_name in LONG_NAMES.items():
        if name in result:
            result[name].attrs = described(long_name)
    return result.drop_vars("site", errors="ignore")


LONG_NAMES = {
    "verdict": "verdict",
    "statistic": "statistic at the deepest layer",
    "statistic_low": "lower bound of the 95 % interval of the statistic",
    "statistic_high": "upper bound of the 95 % interval of the statistic",
    "symbol": "symbol of the statistic",
    "threshold": "threshold of the statistic",
    "onset": "depth from which on the statistic is beyond its threshold",
    "sentence": "the verdict and its evidence in words",
    "overall": "what is wrong, or well-behaved",
    "alive": "fraction of realizations alive at the deepest layer",
}


def _by_conditions(ds: xr.Dataset, name: str) -> Judged:
    found = CRITERIA[name](ds)
    conditions = tuple(one.condition for one in found.statistics)
    verdict = partial(
        on_conditions,
        name=name,
        conditions=conditions,
        layers=ds["layer"].values,
        need=found.need,
        lacking=found.lacking,
    )
    rows = [curves(one.rows.drop_vars("site", errors="ignore")) for one in found.statistics]
    return Judged(verdict, rows, conditions[0].symbol, conditions[0].threshold)


def _growth(ds: xr.Dataset) -> Judged:
    rows, row = growth_rows(ds), PATHOLOGIES["exploding_sensitivity"]
    verdict = partial(on_growth, layers=rows["layer"].values)
    return Judged(verdict, [rows.rename(layer="judged_layer")], row.symbol, row.threshold)


def _verdicts(functions: Mapping[str, tuple[Callable[..., Verdict], int]], *rows: NDArray[Any]) -> tuple[Any, ...]:
    """Verdicts, sentences and numbers of each pathology, and all together, from functions and how many rows each takes."""
    given = iter(rows)
    found = linked({name: function(*islice(given, count)) for name, (function, count) in functions.items()})
    verdicts, sentences, *numbers = zip(*found.values(), strict=True)
    return (
        np.array(verdicts, dtype=object), np.array(sentences, dtype=object), np.array(numbers, dtype="f8").T,
        np.array(overall(found), dtype=object),
    )  # fmt: skip
