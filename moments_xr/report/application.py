"""The live report: a Panel application over one or several stores, which may be running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from importlib.resources import files
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
import panel as pn

from moments_xr.errors import RequestError, StoreError
from moments_xr.quantities import DECOMPOSED, MOMENTS
from moments_xr.report import blocks, words
from moments_xr.report.blocks import CSS, Choose, View
from moments_xr.report.figures import FIGURES, GROUPS, SWEEP_FIGURES, Figure
from moments_xr.report.watch import Watched, said

EVERY = 2000
"""Milliseconds after which stores are looked at again."""

PATIENCE = 0.2
"""Seconds without another choice before anything is drawn: a slider moves in steps."""

COMPARE, RECIPE = "Compare", "Recipe"
PAGES = (*GROUPS, COMPARE, RECIPE)
COMPARED = 8
"""Cubes that are compared before a person chooses."""

FITTING = "as it fits"
"""The choice of a control that leaves it to the figure."""

SENSITIVITIES = ("chi", *(name for name in DECOMPOSED if name != "chi"))
AXES = {FITTING: FITTING, "linear": False, "logarithmic": True}
QUANTITIES = {
    "Sensitivity": SENSITIVITIES,
    "Decomposition": SENSITIVITIES,
    "Channels": tuple(name for name, row in MOMENTS.items() if not row.signed),
    COMPARE: (FITTING, "chi", "reff_signal", "reff_noise", *MOMENTS),
}
"""What the control of the quantity offers, by page."""

SIZES = {"width": 230, "margin": (4, 12, 4, 0)}
WRAP = ".bk-btn-group { flex-wrap: wrap; gap: 2px; } .bk-btn { flex: 0 1 auto !important; }"

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
        self.choose = Choose(self._choose_layers, self._choose_realization)
        self.page = pn.widgets.RadioButtonGroup(
            name="page", options=list(PAGES), value=PAGES[0], button_style="outline", button_type="primary",
            sizing_mode="stretch_width", stylesheets=[WRAP], margin=0,
        )  # fmt: skip
        self.cube = pn.widgets.Select(name="cube", **SIZES)
        self.layers = pn.widgets.IntRangeSlider(name="layers", start=0, end=1, **SIZES)
        self.realization = pn.widgets.IntInput(name="realization", value=None, placeholder="all", **SIZES)
        self.controls = {
            "site": pn.widgets.Select(name="site", options=[FITTING], **SIZES),
            "logy": pn.widgets.Select(name="vertical axis", options=AXES, **SIZES),
            "of": pn.widgets.Select(name="quantity", **SIZES),
        }
        self.compared = pn.widgets.CheckBoxGroup(name="cubes", inline=True, margin=(4, 12, 4, 0))
        self.whole = pn.widgets.Button(name="all layers and realizations", margin=(22, 12, 4, 0))
        self.head = pn.Column(sizing_mode="stretch_width")
        self.content = pn.Column(sizing_mode="stretch_width")
        self._list_cubes()
        turning: tuple[pn.widgets.Widget, ...] = (self.page, self.cube)
        drawing: tuple[pn.widgets.Widget, ...] = (self.realization, self.compared, *self.controls.values())
        for widgets, draw in ((turning, self._turn), (drawing, self._redraw)):
            for widget in widgets:
                widget.param.watch(draw, "value")
        self.layers.param.watch(self._redraw, "value_throttled")
        self.whole.on_click(self._choose_whole)

    def template(self) -> pn.Template:
        """The document: head, controls, and the blocks of the chosen page; it looks at the stores from time to time."""
        document = pn.Template(TEMPLATE, location=True)
        document.add_variable("css", CSS)
        document.add_variable("version", metadata.version("moments-xr"))
        row = pn.FlexBox(
            self.cube, self.layers, self.realization, self.whole, *self.controls.values(), self.compared,
            sizing_mode="stretch_width",
        )  # fmt: skip
        for name, part in {"head": self.head, "pages": self.page, "controls": row, "content": self.content}.items():
            document.add_panel(name, part)
        if pn.state.location is not None:
            pn.state.location.sync(self.page, {"value": "page"})
            pn.state.location.sync(self.cube, {"value": "cube"})
        self._turn()
        pn.state.add_periodic_callback(self._look, EVERY)  # type: ignore[arg-type]
        return document

    async def _look(self) -> None:
        """Open again what has changed, and draw again."""
        for store in self.stores:
            await asyncio.to_thread(store.refresh)
        stamps = [store.stamp for store in self.stores]
        if stamps == self.stamps:
            return
        self.stamps = stamps
        self._list_cubes()
        if self.content.objects:
            self._redraw()
        else:
            self._turn()

    # what there is to choose from

    def _views(self) -> dict[str, View]:
        """All cubes that are there, and what of them is chosen."""
        whole = self.layers.value == (self.layers.start, self.layers.end)
        chosen = {"layers": None if whole else self.layers.value, "realization": self.realization.value}
        selection = {name: value for name, value in chosen.items() if value is not None}
        controls = {name: widget.value for name, widget in self.controls.items() if widget.value != FITTING}
        return {label: View(store, label, selection, controls) for store in self.stores for label in store.nodes}

    def _view(self) -> View | None:
        return self._views().get(self.cube.value)

    def _list_cubes(self) -> None:
        labels = list(self._views())
        self.cube.param.update(options=labels, visible=len(labels) > 1)
        self.compared.options = labels
        self.compared.value = [label for label in self.compared.value if label in labels] or labels[:COMPARED]
        if self.cube.value not in labels:
            self.cube.value = labels[0] if labels else None

    def _list_of_cube(self, view: View) -> None:
        """Layers and sites of the cube."""
        ds = view.store.nodes[view.label]
        depths = np.atleast_1d(ds["layer"].values)
        ends = int(depths[0]), max(int(depths[-1]), int(depths[0]) + 1)
        if ends != (self.layers.start, self.layers.end):
            self.layers.param.update(start=ends[0], end=ends[1], value=ends)
        sites = [str(site) for site in np.atleast_1d(ds["site"].values)] if "site" in ds.coords else []
        self.controls["site"].options = [FITTING, *sites]

    def _choose_layers(self, first: float, last: float) -> None:
        ends = max(ceil(first), self.layers.start), min(floor(last), self.layers.end)
        if ends[1] > ends[0]:
            self.layers.value = ends
            self._redraw()

    def _choose_realization(self, label: int) -> None:
        self.realization.value = label

    def _choose_whole(self, *_: Any) -> None:
        self.layers.value = self.layers.start, self.layers.end
        self.realization.value = None
        self._redraw()

    # what is shown of it

    def _turn(self, *_: Any) -> None:
        """Another page, or another cube."""
        if self.page.value not in PAGES:
            self.page.value = PAGES[0]
        page, view = self.page.value, self._view()
        if view is not None:
            self._list_of_cube(view)
        figures = [row for row in FIGURES.values() if row.group == page]
        rows = [*figures, *(SWEEP_FIGURES.values() if page == COMPARE else ())]
        offered = list(QUANTITIES.get(page, ()))
        if offered and self.controls["of"].value not in offered:
            self.controls["of"].param.update(options=offered, value=offered[0])
        self.controls["of"].options = offered or self.controls["of"].options
        for name, control in self.controls.items():
            control.visible = any(name in row.controls for row in rows)
        for widget in (self.layers, self.realization, self.whole):
            widget.visible = page != RECIPE and view is not None
        self.compared.visible = page == COMPARE
        self.blocks = [
            (pn.Column(blocks.html(words.say("waiting")), sizing_mode="stretch_width"), make)
            for make in (self._head, *self._blocks(figures))
        ]
        self.head.objects, self.content.objects = [self.blocks[0][0]], [block for block, _ in self.blocks[1:]]
        self._redraw()

    def _redraw(self, *_: Any) -> None:
        """Make the blocks of the page, one after the other; what was there stays until then."""
        self.drawn += 1
        for block in self.blocks:
            block[0].loading = True
        if pn.state.curdoc is not None:  # somebody looks
            pn.state.onload(partial(self._draw, self.drawn))

    async def _draw(self, drawn: int) -> None:
        await asyncio.sleep(PATIENCE)
        for block, make in list(self.blocks):
            if drawn != self.drawn:  # meanwhile something else was chosen
                return
            made = await asyncio.to_thread(self._made, make)
            if drawn == self.drawn:
                pn.state.execute(partial(_put, block, made), schedule=True)  # with the document's lock

    def _made(self, make: Make) -> Any:
        """A block, or in a line why it could not be made."""
        try:
            return make()
        except Exception as error:  # a damaged chunk, say: the other blocks go on
            return blocks.html(words.say("missing", said(error, "this part")))

    def _blocks(self, figures: Sequence[Figure]) -> list[Make]:
        """What makes each block of the page, of what is chosen when it is made."""
        view = self._view()
        if view is None or not view.started:
            return []
        if self.page.value == RECIPE:
            return [partial(self._of_cube, blocks.provenance), partial(self._of_cube, blocks.numbers)]
        if self.page.value == COMPARE:
            rows = [row for row in SWEEP_FIGURES.values() if row.method == "compare" or view.in_sweep]
            return [self._headlines, *(partial(self._comparison, row) for row in rows)]
        drawn: list[Make] = [partial(self._figure, row) for row in figures]
        return [partial(self._of_cube, blocks.verdicts), *drawn] if self.page.value == GROUPS[0] else drawn

    def _head(self) -> Any:
        return blocks.head(self.stores, self._view())

    def _of_cube(self, block: Callable[[View], Any]) -> Any:
        return block(self._views()[self.cube.value])

    def _figure(self, row: Figure) -> Any:
        cube, controls = self._views()[self.cube.value].of(row)
        return blocks.figure(row, cube, controls, self._depths(), self.choose)

    def _headlines(self) -> Any:
        return blocks.headlines(self._compared())

    def _comparison(self, row: Figure) -> Any:
        view, compared = self._views()[self.cube.value], self._compared()
        whole_sweep = view.in_sweep and compared.keys() == view.store.nodes.keys() and not view.selection
        cubes = {label: each.cube for label, each in compared.items() if each.started}
        cube = view.store.cube if whole_sweep or row.method != "compare" else cubes
        return blocks.figure(row, cube, view.controls, self._depths(), self.choose)

    def _compared(self) -> dict[str, View]:
        return {label: view for label, view in self._views().items() if label in self.compared.value}

    def _depths(self) -> dict[str, Any]:
        """Ranges that plots along the depth share, of what is drawn together."""
        self.depths = self.depths if self.depths[0] == self.drawn else (self.drawn, {})
        return self.depths[1]


def _put(block: pn.Column, made: Any) -> None:
    block.param.update(objects=[made], loading=False)


def serve(stores: Sequence[str | Path], port: int = 5006, address: str = "127.0.0.1", show: bool = False) -> Any:
    """Make the server of the live report of stores.

    Parameters
    ----------
    stores
        Paths of stores; what lands in them while they are shown is shown too.
    port
        Port to listen on; 0 takes one that is free.
    address
        Address to listen on; this machine alone can reach the default.
    show
        Open a browser.

    Returns
    -------
    A bokeh server: `server.port` is its port; `server.start()` and `server.io_loop.start()` serve until it is stopped.

    Raises
    ------
    StoreError
        A path is not there. What is there but cannot be read is said on the page.
    RequestError
        The address and port cannot be listened on.

    Examples
    --------
    >>> from moments_xr.report.application import serve
    >>> server = serve(["stores/quickstart.zarr"])  # doctest: +SKIP
    >>> server.io_loop.start()  # doctest: +SKIP
    """
    for path in stores:
        if not Path(path).exists():
            raise StoreError(f"store '{path}': no such store")
    watched = [Watched(path) for path in stores]
    title = ", ".join(store.name for store in watched)
    everywhere = address not in ("127.0.0.1", "localhost")
    try:
        return pn.serve(
            lambda: Report(watched).template(), port=port, address=address, show=show, start=False, verbose=False,
            title=f"{title} – moments-xr", websocket_origin="*" if everywhere else None,
        )  # fmt: skip
    except OSError as error:
        raise RequestError(f"address {address}, port {port}: {error.strerror or error}; choose another port") from error
