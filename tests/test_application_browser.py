"""The live report in a real browser: its pages, its controls, a running store, a phone, the keyboard."""

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import zarr
from browser import visit
from conftest import make_recipe

import moments_xr as mx
from moments_xr.report.controls import PAGES

pytestmark = pytest.mark.browser

SECONDS = 90_000
"""Milliseconds that a page may take; machines are slow under test."""

QUIET = """() => window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents.every(d => d.is_idle)"""


NET = """() => {
    const column = (source, name) => source?.data?.get?.(name) ?? source?.data?.[name];
    const of = model => [...model.renderers].find(renderer => column(renderer.data_source, 'realization'));
    const plot = [...Bokeh.documents[0]._all_models.values()].find(model => model.type === 'Figure' && of(model));
    const [k, x, y] = ['realization', 'x', 'y'].map(name => [...column(of(plot).data_source, name)]);
    const {frame, canvas_view} = Bokeh.index.find_one(plot), {left, top} = canvas_view.el.getBoundingClientRect();
    return [left + frame.x_scale.compute(x[k.indexOf(3)]), top + frame.y_scale.compute(y[k.indexOf(3)])]; }"""
"""Where the point of realization 3 is in the window."""

WATCH_SCROLLING = """() => {
    window.least = scrollY;
    const look = () => { least = Math.min(least, scrollY); requestAnimationFrame(look); };
    look(); }"""


@contextmanager
def served(*stores):
    """The application as a person starts it; yields its address."""
    command = [
        sys.executable,
        "-c",
        "from moments_xr.cli import main; main()",
        "serve",
        "--port",
        "0",
        *map(str, stores),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            yield re.search(r"http://\S+", line).group()
        finally:
            process.terminate()


def settle(page):
    """Wait until everything is drawn."""
    page.wait_for_function(QUIET, timeout=SECONDS)
    page.get_by_text("Computing").first.wait_for(state="detached", timeout=SECONDS)
    page.get_by_text("moments-xr 0").wait_for(timeout=SECONDS)
    page.wait_for_function(QUIET, timeout=SECONDS)


def turn(page, name):
    page.get_by_role("button", name=name, exact=True).click()
    if name != PAGES[0]:  # the server writes the page's name when it has turned to another
        page.wait_for_function(f"location.search.includes('page={name}')", timeout=SECONDS)
    settle(page)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    changes = {"realizations": 12, "compute__block": 4, "measure__every": 1, "network__depth": 20}
    mx.run(make_recipe("bn_ff", **changes), folder / "net.zarr", progress=False)
    mx.run(
        make_recipe("vanilla", realizations=8, sweep={"network.width": [8, 16]}), folder / "widths.zarr", progress=False
    )
    return folder / "net.zarr", folder / "widths.zarr"


@pytest.fixture(scope="module")
def address(stores):
    with served(*stores) as address:
        yield address


@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_pages_show_plots_and_words_without_errors_or_the_internet(browser, address, size):
    with visit(browser, address, size) as seen:
        settle(seen.page)
        for name in PAGES:
            turn(seen.page, name)
            painted = seen.painted()
            assert all(painted), name
            assert len(painted) >= (0 if name == "Recipe" else 1), name
            assert name == "Laws" or not seen.page.get_by_text("Not shown").count(), name
            assert seen.overflow() <= 0, name
            seen.keep(f"application_{name.lower()}_{size}")
        assert seen.page.get_by_text("architecture: bn_ff").count() == 1
        assert not seen.problems
        assert all(re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", request) for request in seen.requests)


def test_controls_change_the_plots(browser, address):
    with visit(browser, f"{address}?page=Signal") as seen:
        page = seen.page
        settle(page)

        deepest = """() => {
            const column = source => [...(source?.data?.get?.('layer') ?? source?.data?.layer ?? [])];
            return [...Bokeh.documents[0]._all_models.values()]
                .filter(model => model.type === 'Figure' && model.below[0]?.axis_label?.startsWith?.('layer'))
                .map(plot => Math.max(...plot.renderers.flatMap(renderer => column(renderer.data_source)))); }"""
        assert set(page.evaluate(deepest)) == {20}
        handle = page.get_by_role("slider").last
        handle.focus()
        while float(handle.get_attribute("aria-valuetext")) > 12:
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(500)  # a busy server may set back what comes faster
        page.get_by_text("layers 1 to 12").wait_for(timeout=SECONDS)
        page.wait_for_function(f"({deepest})().includes(12)", timeout=SECONDS)
        settle(page)
        page.get_by_role("button", name="all layers and realizations").click()
        page.get_by_text("layers 1 to 12").wait_for(state="detached", timeout=SECONDS)
        page.get_by_label("realization", exact=True).fill("5")
        page.keyboard.press("Enter")
        page.get_by_text("realization 5").first.wait_for(timeout=SECONDS)
        assert not seen.problems


def test_what_is_chosen_has_names_and_headings_have_levels(browser, address):
    with visit(browser, f"{address}?page=Signal") as seen:
        page = seen.page
        settle(page)
        ends = [page.get_by_role("slider", name=name) for name in ("first layer", "last layer")]
        assert [end.get_attribute("aria-valuetext") for end in ends] == ["1.00", "20.00"]
        nav = page.get_by_role("navigation", name="Pages")
        assert nav.locator("[aria-current=page]").all_text_contents() == ["Signal"]
        turn(page, "Recipe")
        assert nav.locator("[aria-current=page]").all_text_contents() == ["Recipe"]
        assert page.get_by_role("heading", level=1).count() == 1
        assert page.get_by_role("heading", level=2).all_text_contents() == ["Provenance", "Recipe", "Numbers"]
        assert not page.get_by_role("heading", level=3).count()


def test_a_tap_on_a_net_leaves_the_page_where_it_is(browser, address):
    with visit(browser, f"{address}?page=Laws") as seen:
        page = seen.page
        settle(page)
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        before = page.evaluate("scrollY")
        assert before > 500
        page.evaluate(WATCH_SCROLLING)
        page.mouse.click(*page.evaluate(NET))
        page.get_by_text("realization 3").first.wait_for(timeout=SECONDS)
        settle(page)
        assert not page.get_by_text("Not shown").count()
        assert page.evaluate("least") >= before - 50
        assert not seen.problems


def test_going_back_turns_to_the_page_before(browser, address):
    with visit(browser, address) as seen:
        settle(seen.page)
        for name in ("Recipe", "Channels"):
            turn(seen.page, name)
        for words in ("Provenance", "Zero-dimensional signal"):
            seen.page.go_back()
            seen.page.get_by_text(words).first.wait_for(timeout=SECONDS)
        assert "page=Verdicts" in seen.page.url
        assert not seen.problems


def test_a_running_store_is_followed(browser, stores, tmp_path):
    path = shutil.copytree(stores[0], tmp_path / "running.zarr")
    done = zarr.open_group(path, mode="r+", use_consolidated=False)["done"]
    done[:] = np.arange(12) < 0
    with served(path) as address, visit(browser, address) as seen:
        page = seen.page
        page.get_by_text("0 of 12 realizations are done").wait_for(timeout=SECONDS)
        done[:] = np.arange(12) < 8
        page.get_by_text("8 of 12 realizations are done").wait_for(timeout=SECONDS)
        settle(page)
        assert all(seen.painted()) and seen.painted()
        seen.keep("application_running")
        done[:] = True
        page.get_by_text("of 12 realizations are done").wait_for(state="detached", timeout=SECONDS)
        assert not seen.problems


def test_a_damaged_store_beside_a_sound_one_is_a_message(browser, stores, tmp_path):
    path = shutil.copytree(stores[0], tmp_path / "damaged.zarr")
    (path / "zarr.json").write_text("{")
    with served(path, stores[0]) as address, visit(browser, address) as seen:
        settle(seen.page)
        assert seen.page.get_by_text("damaged.zarr").count() == 1
        assert seen.page.get_by_text("Traceback").count() == 0
        assert all(seen.painted()) and seen.painted()
        seen.keep("application_damaged")
        assert not seen.problems


def test_the_keyboard_reaches_pages_and_controls(browser, address):
    with visit(browser, address) as seen:
        page = seen.page
        settle(page)
        reached = []
        for _ in range(20):
            page.keyboard.press("Tab")
            reached.append(
                page.evaluate(
                    """() => { let e = document.activeElement; while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
                    return `${e.tagName} ${e.getAttribute('role') ?? ''} ${e.textContent.trim().slice(0, 40)}`; }"""
                )
            )
        words = " | ".join(reached)
        assert "Skip to the content" in words
        assert "BUTTON  Sensitivity" in words and "BUTTON  Recipe" in words
        assert "SELECT" in words and "slider" in words
        page.get_by_role("button", name="Theorems", exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_text("Measured against predicted").wait_for(timeout=SECONDS)
        assert "page=Theorems" in page.url
