"""Stores that the live report shows: opened lazily, and again when something has landed in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import xarray as xr
from numpy.typing import NDArray

from moments_xr.analysis.report import analyse
from moments_xr.errors import RequestError
from moments_xr.report.content import Results, completeness
from moments_xr.store import open_cube, stamp

REMEMBERED = 16
"""Selections of a store whose analysis is kept."""


class Watched:
    """A store that may be running: its cubes as they are now, or in one line why there are none."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.name = Path(path), Path(path).stem
        self.cube: xr.Dataset | xr.DataTree | None = None
        self.problem = ""
        self.stamp: Any = "not read yet"
        self._analyses: dict[Any, Results] = {}
        self._lock = Lock()
        self.refresh()

    def refresh(self) -> None:
        """Open the store again if something has landed since."""
        with self._lock:
            now = _stamp(self.path)
            if now == self.stamp:
                return
            self._analyses = {}
            try:
                self.cube, self.problem = open_cube(self.path), ""
            except Exception as error:  # a store may be damaged in any way, and the page goes on
                self.cube, self.problem = None, said(error, f"store '{self.path.name}'")
            self.stamp = now

    @property
    def nodes(self) -> dict[str, xr.Dataset]:
        """Cubes by label: the store's name, for a sweep also the node's."""
        if self.cube is None:
            return {}
        if isinstance(self.cube, xr.Dataset):
            return {self.name: self.cube}
        return {f"{self.name} · {name}": node.to_dataset() for name, node in self.cube.children.items()}

    @property
    def done(self) -> tuple[int, int]:
        """Realizations that are done and that are wanted, over all nodes."""
        counts = [completeness(ds) for ds in self.nodes.values()]
        return sum(there for there, _ in counts), sum(wanted for _, wanted in counts)

    def analysis(self, label: str, selection: Mapping[str, Any]) -> Results:
        """All results of a selection of a node, computed once as long as the store stays as it is."""
        key = (self.stamp, label, tuple(sorted(selection.items())))
        found = self._analyses.get(key)
        if found is None:
            found, _ = analyse(select(self.nodes[label], selection))
            with self._lock:
                self._analyses = dict([*self._analyses.items(), (key, found)][-REMEMBERED:])
        return found


def select(ds: xr.Dataset, selection: Mapping[str, Any]) -> xr.Dataset:
    """A cube at a range of `layers` (first, last) and one `realization`, where the selection has them."""
    if selection.get("layers") is not None:
        ds = ds.sel(layer=slice(*selection["layers"]))
    if selection.get("realization") is not None:
        labels = ds["realization"].values
        if selection["realization"] not in labels:
            raise RequestError(f"realization {selection['realization']} is not there; there are {_range(labels)}")
        ds = ds.sel(realization=[selection["realization"]])
    return ds


def said(error: Exception, what: str) -> str:
    """An error in one line, with what it befell unless its own words name it."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line if isinstance(error, RequestError) else f"{what} cannot be read: {line} ({type(error).__name__})"


def _range(labels: NDArray[Any]) -> str:
    return f"{labels[0]} to {labels[-1]}" if len(labels) else "none"


def _stamp(path: Path) -> Any:
    try:
        return stamp(path)
    except OSError:  # something is removed while it is looked at
        return None
