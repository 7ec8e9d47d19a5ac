"""Progress of a run: a bar on a terminal or in a notebook, plain lines when there is neither."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from moments_xr.recipe import Recipe

PLAIN_SECONDS = 10.0


def notice(message: str) -> None:
    """A line for the person who runs this, on standard error."""
    print(message, file=sys.stderr)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{rate(task.completed, task.elapsed or 0)}")


def rate(realizations: float, seconds: float) -> str:
    """Realizations a second, or seconds a realization."""
    if realizations <= 0 or seconds <= 0:
        return "-"
    per_second = realizations / seconds
    return f"{per_second:.3g} realizations/s" if per_second >= 1 else f"{1 / per_second:.3g} s a realization"


class Progress:
    """Counts layers of blocks, shown as realizations; a context manager."""

    def __init__(self, work: Iterable[tuple[Recipe, range]], show: bool) -> None:
        """`work` has the recipe and the realizations of each block to compute, in order."""
        self.work = list(work)
        self.total = sum(len(part) for _, part in self.work)
        self.blocks = self.finished = 0
        self.show, self.console = show and bool(self.work), Console(stderr=True)
        self.start = self.spoke = time.monotonic()
        self.bar: Bar | None = None

    def __enter__(self) -> Self:
        widgets = self.console.is_jupyter and find_spec("ipywidgets") is not None  # rich draws its bar with these
        if self.show and (self.console.is_terminal or widgets):
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total} realizations"),
            )
            self.bar = Bar(
                *columns, _Rate(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self.console
            )
            self.bar.add_task(self._description(), total=self.total)
            self.bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def layer(self, layer: int) -> None:
        """A layer of the current block is finished."""
        recipe, part = self.work[self.blocks]
        self._tell(self.finished + len(part) * layer / recipe.network.depth)

    def block_done(self) -> None:
        """The current block is finished, and written if there is a store."""
        self.finished += len(self.work[self.blocks][1])
        self.blocks += 1
        self._tell(self.finished, last=self.blocks == len(self.work))

    def _description(self) -> str:
        return f"block {min(self.blocks + 1, len(self.work))}/{len(self.work)}"

    def _tell(self, realizations: float, last: bool = False) -> None:
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=realizations, description=self._description())
        elif self.show and (last or time.monotonic() - self.spoke > PLAIN_SECONDS):
            self.spoke = time.monotonic()
            elapsed = self.spoke - self.start
            left = elapsed * (self.total / max(realizations, 1e-9) - 1)
            notice(
                f"{self._description()}: {realizations:.0f}/{self.total} realizations, {rate(realizations, elapsed)}, "
                f"{elapsed:.0f} s gone, {left:.0f} s left"
            )
