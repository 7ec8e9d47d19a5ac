"""The live report without a browser: what it watches, what it offers, and what it says when something is wrong."""

import asyncio
import gc
import shutil
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from html import unescape
from weakref import WeakSet

import numpy as np
import panel as pn
import pytest
import zarr
from conftest import make_recipe
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClosedError, websocket_connect

import moments_xr as mx
from moments_xr.errors import RequestError, StoreError
from moments_xr.report import blocks
from moments_xr.report.application import Report
from moments_xr.report.controls import COMPARE, FITTING, PAGES, RECIPE
from moments_xr.report.figures import FIGURES, SWEEP_FIGURES
from moments_xr.report.server import serve
from moments_xr.report.watch import Watched, select, watch
from moments_xr.store import stamp

CHANGES = {"realizations": 12, "compute__block": 4, "measure__every": 1, "network__depth": 20}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "net.zarr"
    mx.run(make_recipe("bn_ff", **CHANGES), path, progress=False)
    return path


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "widths.zarr"
    mx.run(make_recipe("vanilla", realizations=4, sweep={"network.width": [8, 16]}), path, progress=False)
    return path


@pytest.fixture
def store(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "net.zarr")


def set_done(store, count):
    """The first `count` realizations are done, and no others."""
    done = zarr.open_group(store, mode="r+", use_consolidated=False)["done"]
    done[:] = np.arange(done.shape[0]) < count


def test_a_watched_store_is_opened_again_when_a_block_lands(store):
    set_done(store, 4)
    watched = Watched(store)
    assert watched.done == (4, 12)
    opened = watched.cube
    watched.refresh()
    assert watched.cube is opened
    set_done(store, 8)
    watched.refresh()
    assert watched.done == (8, 12)
    assert watched.nodes["net"].sizes["realization"] == 8


def test_the_stamp_changes_with_blocks_and_with_an_extension(tmp_path):
    path = tmp_path / "net.zarr"
    assert stamp(path) == ()
    recipe = make_recipe("vanilla", realizations=4, compute__block=4)
    mx.run(recipe, path, progress=False)
    first = stamp(path)
    assert stamp(path) == first
    mx.run(recipe.replace({"realizations": 8}), path, progress=False)
    assert stamp(path) != first


def test_an_analysis_is_computed_once_until_something_lands(store):
    set_done(store, 8)
    watched = Watched(store)
    found = watched.analysis("net", {"layers": (1, 16)})
    assert watched.analysis("net", {"layers": (1, 16)}) is found
    assert watched.analysis("net", {"layers": (1, 12)}) is not found
    set_done(store, 12)
    watched.refresh()
    again = watched.analysis("net", {"layers": (1, 16)})
    assert again is not found
    expected = mx.classify(mx.open_cube(store).sel(layer=slice(1, 16))).statistic
    np.testing.assert_allclose(again["classify"].statistic, expected)


def test_a_selection_is_of_layers_and_of_one_realization(finished):
    ds = mx.open_cube(finished)
    chosen = select(ds, {"layers": (3, 9), "realization": 5})
    assert chosen.layer.values[[0, -1]].tolist() == [3, 9]
    assert chosen.realization.values.tolist() == [5]
    with pytest.raises(RequestError, match="realization 99 is not there; there are 0 to 11"):
        select(ds, {"realization": 99})


@pytest.mark.parametrize("damage", ["truncated", "foreign", "emptied"])
def test_a_damaged_store_is_a_message(store, damage):
    if damage == "truncated":
        (store / "zarr.json").write_text("{")
    elif damage == "foreign":
        (store / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    else:
        shutil.rmtree(store)
        store.mkdir()
    watched = Watched(store)
    assert watched.cube is None
    assert "net.zarr" in watched.problem
    assert "\n" not in watched.problem
    report = Report([watched])
    report.template()
    assert watched.problem in text_of(blocks.head([watched], None))
    assert not report.content.objects


def test_a_damaged_chunk_leaves_the_rest_of_the_page(store, caplog):
    for file in (store / "reff_signal" / "c").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    report = Report([Watched(store)])
    report.controls.page.value = "Signal"
    made = [report._made(make) for make in report._blocks(rows("Signal"))]
    assert "cannot be read" in text_of(made[0])
    assert "cannot be read" not in text_of(made[1])
    assert not caplog.records


def test_an_error_of_the_program_is_called_one_and_is_logged(store, monkeypatch, caplog):
    def broken(*_, **__):
        raise KeyError("no such thing")

    monkeypatch.setattr("moments_xr.plots.profiles.effective_rank", broken)
    monkeypatch.setattr("moments_xr.report.watch.analyse", broken)
    report = Report([Watched(store)])
    report.controls.page.value = "Signal"
    words = text_of(report._made(report._blocks(rows("Signal"))[0]))
    assert "internal error in this part: 'no such thing' (KeyError)" in words
    assert "cannot be read" not in words
    assert "internal error in cube 'net'" in text_of(report._head())
    assert [record.exc_info[0] for record in caplog.records] == [KeyError, KeyError]
    assert "in broken" in caplog.text


def test_a_cube_that_cannot_be_analysed_has_its_name_and_the_reason(store):
    report = Report([Watched(store)])
    report.template()
    report.controls.realization.value = 99
    assert "realization 99 is not there" in text_of(report._head())
    report.controls.realization.value = None
    for file in (store / "pooled_moments" / "c").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    words = text_of(report._head())
    assert ">net<" in words and "cube 'net' cannot be read" in words


def test_a_store_that_is_deleted_while_it_is_shown_is_a_message(store):
    report = Report([Watched(store)])
    report.template()
    assert report.content.objects
    shutil.rmtree(store)
    asyncio.run(report._look())
    assert not report.content.objects
    assert "Nothing to show yet" in text_of(report._head()) and "net.zarr" in text_of(report._head())


def test_blocks_that_land_do_not_interrupt_what_is_being_drawn(store):
    set_done(store, 4)
    report = Report([Watched(store)])
    report.template()

    async def look_while_drawing():
        before = report.drawn
        async with report.drawing:
            set_done(store, 8)
            await report._look()
        assert "8 of 12 realizations" in text_of(report.progress)
        assert report.drawn == before
        await report._look()
        assert report.drawn > before

    asyncio.run(look_while_drawing())


def test_visitors_who_ask_at_once_share_an_analysis(finished, monkeypatch):
    calls = []

    def slow(ds):
        calls.append(ds)
        time.sleep(0.1)
        return {}, {}

    monkeypatch.setattr("moments_xr.report.watch.analyse", slow)
    watched = Watched(finished)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: watched.analysis("net", {}), range(4)))
    assert len(calls) == 1


def test_stores_of_one_name_are_called_by_their_paths(finished, store):
    names = [watched.name for watched in watch([finished, store, finished])]
    assert names == [str(finished), str(store)]
    assert [watched.name for watched in watch([finished])] == ["net"]


def text_of(viewable):
    """All words of a viewable."""
    return unescape(" ".join(str(pane.object) for pane in viewable.select(lambda part: hasattr(part, "object"))))


def rows(page):
    return [row for row in FIGURES.values() if row.group == page]


def test_an_empty_store_says_that_nothing_is_done(store):
    set_done(store, 0)
    watched = Watched(store)
    report = Report([watched])
    report.template()
    assert not report.content.objects
    assert "0 of 12 realizations" in text_of(report.progress)
    set_done(store, 12)
    watched.refresh()
    asyncio.run(report._look())
    assert report.content.objects


def test_the_recipe_of_a_store_that_is_not_started_is_shown(store):
    set_done(store, 0)
    report = Report([Watched(store)])
    report.template()
    report.controls.page.value = RECIPE
    assert "architecture: bn_ff" in text_of(report._made(report._blocks([])[0]))


def test_a_damaged_cube_does_not_hide_the_verdicts_on_others(store, sweep):
    for file in (store / "pooled_moments" / "c").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    report = Report([Watched(store), Watched(sweep)])
    words = text_of(report._headlines())
    assert "net: the cube cannot be read" in words and "network.width=8</th>" in words


def test_controls_are_those_that_the_page_understands(finished):
    report = Report([Watched(finished)])
    report.template()
    for page in PAGES:
        report.controls.page.value = page
        drawn = [*rows(page), *(SWEEP_FIGURES.values() if page == COMPARE else ())]
        for name, control in report.controls.arguments.items():
            assert control.visible == any(name in row.controls for row in drawn), (page, name)
        assert report.controls.layers.visible == (page != RECIPE)


def test_controls_change_what_is_drawn(finished):
    report = Report([Watched(finished)])
    report.template()
    report.controls.page.value = "Sensitivity"
    view = report._view()
    assert view.selection == {} and view.arguments == {"of": "chi"}
    report.choose.layers(3.2, 11.9)
    report.choose.realization(7)
    report.controls.arguments["site"].value = "norm"
    report.controls.arguments["logy"].value = False
    view = report._view()
    assert view.selection == {"layers": (4, 11), "realization": 7}
    assert view.cube.layer.values[[0, -1]].tolist() == [4, 11]
    assert view.arguments == {"of": "chi", "site": "norm", "logy": False}
    before = report.drawn
    report.controls.choose_whole()
    assert report._view().selection == {}
    assert report.drawn > before


def test_a_quantity_chosen_on_one_page_is_not_taken_to_another_that_offers_others(finished):
    report = Report([Watched(finished)])
    report.template()
    report.controls.page.value = "Channels"
    assert report.controls.arguments["of"].value != FITTING
    report.controls.page.value = COMPARE
    assert report.controls.arguments["of"].value == FITTING
    report.controls.page.value = "Sensitivity"
    report.controls.arguments["of"].value = "mu2_noise"
    report.controls.page.value = "Decomposition"
    assert report._view().arguments["of"] == "mu2_noise"


def test_the_figure_that_marks_a_realization_shows_all(finished):
    report = Report([Watched(finished)])
    report.template()
    report.controls.realization.value = 3
    cube, controls = report._view().of(FIGURES["realizations"])
    assert cube.sizes["realization"] == 12 and controls["realization"] == 3
    cube, controls = report._view().of(FIGURES["sensitivity"])
    assert cube.sizes["realization"] == 1 and "realization" not in controls


def test_laws_are_of_all_realizations_whichever_is_chosen(finished):
    report = Report([Watched(finished)])
    report.controls.page.value = "Laws"
    report.choose.realization(5)
    made = [text_of(report._made(make)) for make in report._blocks(rows("Laws"))]
    assert not any("Not shown" in words for words in made)
    assert ["It is of all realizations" in words for words in made] == [True, True, False]


def test_nodes_of_sweeps_and_other_stores_are_beside_each_other(finished, sweep):
    report = Report([Watched(finished), Watched(sweep)])
    report.template()
    assert report.controls.cube.options == ["net", "widths · network.width=8", "widths · network.width=16"]
    report.controls.page.value = COMPARE
    report.controls.cube.value = "widths · network.width=8"
    assert report.controls.compared.value == report.controls.cube.options
    words = text_of(report._headlines())
    assert all(label in words for label in report.controls.cube.options)
    report.controls.compared.value = report.controls.cube.options[1:]
    assert "net</th>" not in text_of(report._headlines())
    assert report.controls.arguments["site"].options[0] == FITTING


def test_a_box_along_the_depth_and_a_tap_on_a_net_choose(finished):
    from bokeh.events import SelectionGeometry
    from bokeh.models import Plot

    chosen = []
    choose = blocks.Choose(lambda first, last: chosen.append((first, last)), chosen.append)
    ds, shared = mx.open_cube(finished), {}
    shown = blocks.figure(FIGURES["effective_rank"], ds, {}, shared, choose)
    plots = [pane.object for pane in shown.select(lambda part: isinstance(getattr(part, "object", None), Plot))]
    assert len({id(plot.x_range) for plot in plots}) == len(shared) == 1
    geometry = {"type": "rect", "x0": 2.0, "x1": 9.0, "y0": 0.0, "y1": 1.0}
    plots[0]._trigger_event(SelectionGeometry(plots[0], geometry=geometry, final=True))
    shown = blocks.figure(FIGURES["realizations"], ds, {}, shared, choose)
    plot = next(pane.object for pane in shown.select(lambda part: isinstance(getattr(part, "object", None), Plot)))
    source = next(renderer.data_source for renderer in plot.renderers if "realization" in renderer.data_source.data)
    source.selected.indices = [6]
    assert chosen == [(2.0, 9.0), 6]


def test_serving_says_what_is_wrong_before_it_begins(tmp_path, finished):
    with pytest.raises(StoreError, match="no such store"):
        serve([tmp_path / "missing.zarr"])
    server = serve([finished], port=0)
    try:
        with pytest.raises(RequestError, match=f"port {server.port}.*choose another port"):
            serve([finished], port=server.port)
    finally:
        server.stop()


@pytest.fixture
def reports(monkeypatch):
    """Reports that were made for visitors and are still in memory."""
    alive = WeakSet()

    class Known(Report):
        def __init__(self, stores):
            super().__init__(stores)
            alive.add(self)

    monkeypatch.setattr("moments_xr.report.server.Report", Known)
    return alive


def test_visitors_who_left_are_forgotten(finished, reports):
    server = serve([finished], port=0)
    server.start()

    async def visit():
        await AsyncHTTPClient().fetch(f"http://127.0.0.1:{server.port}/?page=Decomposition")
        [report], [session] = reports, server.get_sessions()
        pn.state._schedule_on_load(session.document, None)  # as a browser does that has opened the page
        while not report.rested:
            await asyncio.sleep(0.02)
        assert all(len(block) for block in report.content.objects)
        await server._tornado.applications["/"]._cleanup_sessions(0)
        assert not server.get_sessions()

    async def come_and_go():
        for _ in range(2):
            await asyncio.wait_for(visit(), 60)
            for _ in range(20):  # what is under way comes to its end
                await asyncio.sleep(0.2)
                gc.collect()
                if not len(reports):
                    break
            assert not len(reports)

    try:
        server.io_loop.run_sync(come_and_go)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("address", "accepted", "refused"),
    [
        ("127.0.0.1", ["127.0.0.1", "localhost"], ["evil.example"]),
        ("0.0.0.0", ["127.0.0.1", "localhost", socket.gethostname()], ["evil.example"]),
    ],
)
def test_only_pages_of_the_server_itself_may_connect_to_it(finished, address, accepted, refused):
    server = serve([finished], port=0, address=address)
    server.start()

    async def status(host):
        headers = {"Origin": f"http://{host}:{server.port}"}
        request = HTTPRequest(f"ws://127.0.0.1:{server.port}/ws", headers=headers)
        try:
            with closing(await websocket_connect(request)):
                return 101
        except HTTPClientError as error:
            return error.code

    async def statuses():
        return {host: await status(host) for host in (*accepted, *refused)}

    try:
        found = server.io_loop.run_sync(statuses)
    finally:
        server.stop()
    assert [host for host, code in found.items() if code == 403] == refused


def test_a_visitor_who_leaves_is_no_error_in_the_log(finished, caplog):
    server = serve([finished], port=0)
    try:
        loop = server.io_loop.asyncio_loop
        loop.call_exception_handler({"message": "left", "exception": WebSocketClosedError()})
        assert not caplog.records
        loop.call_exception_handler({"message": "broken", "exception": ValueError()})
        assert "broken" in caplog.text
    finally:
        server.stop()
