"""Stores that the live report shows: opened lazily, and again when something has landed in them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping
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

LOG = logging.getLogger(__name__)


class Watched:
    """A store that may be running: its cubes as they are now, or in one line why there are none."""

    def __init__(self, path: str | Path, name: str = "") -> None:
        self.path, self.name = Path(path), name or Path(path).stem
        self.cube: xr.Dataset | xr.DataTree | None = None
        self.nodes: dict[str, xr.Dataset] = {}
        """Cubes by label: the store's name, for a sweep also the node's."""
        self.problem = ""
        self.stamp: Any = "not read yet"
        self._analyses: dict[Any, Results] = {}
        self._opening, self._analysing = Lock(), Lock()
        self.refresh()

    def refresh(self) -> None:
        """Open the store again if something has landed since."""
        with self._opening:
            now = _stamp(self.path)
            if now == self.stamp:
                return
            try:
                self.cube, self.problem = open_cube(self.path), ""
                self.nodes = self._opened(self.cube)
            except Exception as error:  # a store may be damaged in any way, and the page goes on
                self.cube, self.nodes, self.problem = None, {}, said(error, f"store '{self.path.name}'")
            self._analyses, self.stamp = {}, now

    def _opened(self, cube: xr.Dataset | xr.DataTree) -> dict[str, xr.Dataset]:
        if isinstance(cube, xr.Dataset):
            return {self.name: cube}
        return {f"{self.name} · {name}": node.to_dataset() for name, node in cube.children.items()}

    @property
    def done(self) -> tuple[int, int]:
        """Realizations that are done and that are wanted, over all nodes."""
        counts = [completeness(ds) for ds in self.nodes.values()]
        return sum(there for there, _ in counts), sum(wanted for _, wanted in counts)

    def analysis(self, label: str, selection: Mapping[str, Any]) -> Results:
        """All results of a selection of a node, computed once as long as the store stays as it is."""
        key = (self.stamp, label, tuple(sorted(selection.items())))
        with self._analysing:  # who asks for the same meanwhile waits for it
            found = self._analyses.get(key)
            if found is None:
                found, _ = analyse(select(self.nodes[label], selection))
                self._analyses = dict([*self._analyses.items(), (key, found)][-REMEMBERED:])
        return found


def watch(paths: Iterable[str | Path]) -> list[Watched]:
    """Stores by their paths, once each; those whose names are alike are called by their paths."""
    distinct = list(dict.fromkeys(map(Path, paths)))
    stems = [path.stem for path in distinct]
    return [Watched(path, path.stem if stems.count(path.stem) == 1 else str(path)) for path in distinct]


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
    """An error in one line, with what it befell unless its own words name it; one that is not of the store is logged."""
    line = next(iter(str(error).splitlines()), "no message")
    if isinstance(error, RequestError):
        return line
    if _of_reading(error):
        return f"{what} cannot be read: {line} ({type(error).__name__})"
    LOG.error("internal error in %s", what, exc_info=error)
    return f"internal error in {what}: {line} ({type(error).__name__}); more of it is on the server's standard error"


def _of_reading(error: Exception) -> bool:
    """Whether it arose where files are read: in zarr, or below it."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, OSError) or any(module.partition(".")[0] == "zarr" for module in modules)


def _range(labels: NDArray[Any]) -> str:
    return f"{labels[0]} to {labels[-1]}" if len(labels) else "none"


def _stamp(path: Path) -> Any:
    try:
        return stamp(path)
    except OSError:  # something is removed while it is looked at
        return None
