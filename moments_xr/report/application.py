"""The live report: a Panel application over one or several stores, which may be running."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

import panel as pn

from moments_xr.errors import RequestError
from moments_xr.report import blocks, words
from moments_xr.report.blocks import CSS, Choose, View
from moments_xr.report.controls import COMPARE, PAGES, RECIPE, Controls
from moments_xr.report.figures import FIGURES, GROUPS, SWEEP_FIGURES, Figure
from moments_xr.report.watch import Watched, said

EVERY = 2000
"""Milliseconds after which stores are looked at again."""

PATIENCE = 0.2
"""Seconds without another choice before anything is drawn: a slider moves in steps."""

TEMPLATE = files("moments_xr.report").joinpath("application.html").read_text("utf-8")

Make = Callable[[], Any]


class Report:
    """What one visitor looks at: a page, a cube, and what of it."""

    def __init__(self, stores: Sequence[Watched]) -> None:
        self.stores = stores
        self.drawn = 0
        self.blocks: list[tuple[pn.Column, Make]] = []
        self.stamps = [store.stamp for store in stores]
        self.depths: tuple[int, dict[str, Any]] = (0, {})
        self.drawing = asyncio.Lock()
        self.rested = 0.0
        self.controls = Controls(self._turn, self._redraw)
        self.choose = Choose(self.controls.choose_layers, self.controls.choose_realization)
        self.head, self.progress, self.content = (pn.Column(sizing_mode="stretch_width") for _ in range(3))
        self.shown: tuple[str, bool] | None = None
        self.controls.offer_cubes(list(self._views()))

    def template(self) -> pn.Template:
        """The document: head, controls, and the blocks of the chosen page; it looks at the stores from time to time."""
        document = pn.Template(TEMPLATE, location=True)
        document.add_variable("css", CSS)
        document.add_variable("version", metadata.version("moments-xr"))
        controls = self.controls
        document.add_variable("start", "?" + urlencode({"page": controls.page.value, "cube": controls.cube.value}))
        document.add_panel("head", pn.Column(self.head, self.progress, sizing_mode="stretch_width"))
        document.add_panel("pages", controls.page)
        document.add_panel("controls", controls.row)
        document.add_panel("content", self.content)
        if pn.state.location is not None:
            pn.state.location.sync(controls.page, {"value": "page"})
            pn.state.location.sync(controls.cube, {"value": "cube"})
        self._turn()
        if pn.state.curdoc is not None:
            pn.state.on_session_destroyed(self._leave)
        pn.state.add_periodic_callback(self._look, EVERY)  # type: ignore[arg-type]
        return document

    def _leave(self, _: Any) -> None:
        """Draw no more: nobody looks."""
        self.drawn += 1

    async def _look(self) -> None:
        """Open again what has changed, tell the progress, and draw again when nothing is being drawn."""
        for store in self.stores:
            await asyncio.to_thread(store.refresh)
        stamps = [store.stamp for store in self.stores]
        if stamps == self.stamps:
            return
        self.controls.offer_cubes(list(self._views()))
        view = self._view()
        if view is None or self.shown != (view.label, view.started):
            self.stamps = stamps
            self._turn()
            return
        self.progress.objects = blocks.progress(view)
        if not self.drawing.locked() and time.monotonic() > self.rested:
            self.stamps = stamps
            self.controls.offer_parts(view.ds)
            self._redraw(busy=False)

    def _views(self) -> dict[str, View]:
        """All cubes that are there, and what of them is chosen."""
        selection, arguments = self.controls.selection, self.controls.chosen_arguments
        return {label: View(store, label, selection, arguments) for store in self.stores for label in store.nodes}

    def _view(self) -> View | None:
        return self._views().get(self.controls.cube.value)

    def _turn(self, *_: Any) -> None:
        """Another page, or another cube."""
        controls = self.controls
        if controls.page.value not in PAGES:
            controls.page.value = PAGES[0]
        page, view = controls.page.value, self._view()
        if view is not None:
            controls.offer_parts(view.ds)
        figures = [row for row in FIGURES.values() if row.group == page]
        controls.offer_page([*figures, *(SWEEP_FIGURES.values() if page == COMPARE else ())], view is not None)
        shown = (view.label, view.started) if view else None
        if self.shown != shown or not self.head.objects:  # its name at once, its headline when it is known
            self.shown = shown
            self.head.objects = [blocks.head(self.stores, view, "Computing …")]
        self.progress.objects = blocks.progress(view)
        made = [self._waiting(make) for make in self._blocks(figures)]
        self.blocks = [(self.head, self._head), *made]
        self.content.objects = [block for block, _ in made]
        self._redraw()

    def _waiting(self, make: Make) -> tuple[pn.Column, Make]:
        return pn.Column(blocks.html(words.say("waiting")), sizing_mode="stretch_width"), make

    def _redraw(self, *_: Any, busy: bool = True) -> None:
        """Make the blocks of the page, one after the other; what was there stays until then, marked as busy if so told."""
        self.drawn += 1
        for block in self.content.objects:
            block.loading = busy
        if pn.state.curdoc is not None:  # somebody looks
            pn.state.onload(partial(self._draw, self.drawn))

    async def _draw(self, drawn: int) -> None:
        await asyncio.sleep(PATIENCE)
        async with self.drawing:
            begun = time.monotonic()
            for block, make in list(self.blocks):
                if drawn != self.drawn:  # meanwhile something else was chosen
                    return
                made = await asyncio.to_thread(self._made, make)
                if drawn == self.drawn:
                    put: Callable[[], Any] = partial(block.param.update, objects=[made], loading=False)
                    pn.state.execute(put, schedule=True)  # with the document's lock
            self.rested = 2 * time.monotonic() - begun  # a running store leaves half of the time to its run

    def _made(self, make: Make) -> Any:
        """A block, or in a line why it could not be made."""
        try:
            return make()
        except Exception as error:  # a damaged chunk, say: the other blocks go on
            return blocks.html(words.say("missing", said(error, "this part")))

    def _blocks(self, figures: Sequence[Figure]) -> list[Make]:
        """What makes each block of the page, of what is chosen when it is made."""
        view = self._view()
        if view is None:
            return []
        if self.controls.page.value == RECIPE:
            parts = (blocks.provenance, blocks.numbers) if view.started else (blocks.provenance,)
            return [partial(self._of_cube, part) for part in parts]
        if self.controls.page.value == COMPARE:
            rows = [row for row in SWEEP_FIGURES.values() if row.method == "compare" or view.in_sweep]
            return [self._headlines, *(partial(self._comparison, row) for row in rows)]
        if not view.started:
            return []
        drawn: list[Make] = [partial(self._figure, row) for row in figures]
        return [partial(self._of_cube, blocks.verdicts), *drawn] if self.controls.page.value == GROUPS[0] else drawn

    def _chosen(self) -> View:
        """The chosen cube, which is there as long as nobody deletes its store."""
        view = self._view()
        if view is None:
            raise RequestError("the cube is not there any more")
        return view

    def _head(self) -> Any:
        return blocks.head(self.stores, self._view())

    def _of_cube(self, block: Callable[[View], Any]) -> Any:
        return block(self._chosen())

    def _figure(self, row: Figure) -> Any:
        cube, arguments = self._chosen().of(row)
        return blocks.figure(row, cube, arguments, self._depths(), self.choose)

    def _headlines(self) -> Any:
        return blocks.headlines(self._compared())

    def _comparison(self, row: Figure) -> Any:
        view, compared = self._chosen(), self._compared()
        whole_sweep = view.in_sweep and compared.keys() == view.store.nodes.keys() and not view.selection
        cubes = {label: each.cube for label, each in compared.items() if each.started}
        cube = view.store.cube if whole_sweep or row.method != "compare" else cubes
        return blocks.figure(row, cube, view.arguments, self._depths(), self.choose)

    def _compared(self) -> dict[str, View]:
        return {label: view for label, view in self._views().items() if label in self.controls.compared.value}

    def _depths(self) -> dict[str, Any]:
        """Ranges that plots along the depth share, of what is drawn together."""
        self.depths = self.depths if self.depths[0] == self.drawn else (self.drawn, {})
        return self.depths[1]
