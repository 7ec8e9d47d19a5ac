"""The page that stands alone, in a real browser without network."""

import pytest
from browser import visit
from conftest import make_recipe

import moments_xr as mx
from moments_xr.report import page as page_module
from moments_xr.report.figures import FIGURES

pytestmark = pytest.mark.browser

IDLE = "window.Bokeh && Bokeh.documents.length && Bokeh.documents.every(document => document.is_idle)"
POINT = """id => {
  const {model, frame} = Bokeh.index.find_one_by_id(id);
  const line = model.renderers.find(renderer => renderer.glyph.type === 'Line');
  const {data} = line.data_source, k = 5;
  const [x, y] = ['x', 'y'].map(axis => data[line.glyph[axis].field][k]);
  return [frame.x_scale.compute(x), frame.y_scale.compute(y), x];
}"""
"""Where the sixth point of a plot's first curve is on its canvas, and its layer."""
ALL = {"realizations": 10, "network__depth": 20, "measure__branches": 4, "measure__every": 1}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a cube that has all there is to draw."""
    cube = mx.run(make_recipe("bn_ff", **ALL), progress=False)
    return mx.write_report(cube, tmp_path_factory.mktemp("page") / "page.html").as_uri()


@pytest.fixture(scope="module", params=["desktop", "phone"])
def opened(request, browser, page):
    with visit(browser, page, request.param, offline=True) as seen:
        seen.page.wait_for_function(IDLE)
        yield seen
        assert seen.problems == []


def test_the_page_opens_from_disk_without_network(opened, page, request):
    opened.keep(f"page_{request.node.callspec.params['opened']}")
    assert opened.problems == []
    assert opened.requests == [page]
    assert len(opened.painted()) > len(FIGURES)
    assert all(opened.painted())
    assert opened.overflow() <= 0
    assert opened.page.locator("text=Not shown").count() == 0


def test_the_keyboard_reaches_contents_and_sections(opened):
    keyboard, focused = opened.page.keyboard, "document.activeElement.getAttribute('href')"
    reached = []
    for _ in range(12):
        keyboard.press("Tab")
        reached.append(opened.page.evaluate(focused))
    links = opened.page.locator("nav a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert reached[0] == "#content"
    assert reached[1 : 1 + len(links)] == links
    opened.page.locator(f"nav a[href='{links[3]}']").focus()
    keyboard.press("Enter")
    top = opened.page.locator(links[3]).evaluate("section => section.getBoundingClientRect().top")
    assert abs(top) < 100


def test_a_curve_tells_its_numbers_when_pointed_at(opened):
    panel = opened.page.locator("#sensitivity figure").first
    panel.scroll_into_view_if_needed()
    box = panel.locator(".bk-Canvas").bounding_box()
    x, y, layer = opened.page.evaluate(POINT, panel.locator("[data-root-id]").get_attribute("data-root-id"))
    opened.page.mouse.move(box["x"] + x + 3, box["y"] + y)
    opened.page.mouse.move(box["x"] + x, box["y"] + y)
    tooltip = opened.page.locator(".bk-tooltip-content").first
    said = tooltip.inner_text(timeout=2000)
    assert "layer" in said
    assert f"{layer}" in said


def test_dragging_zooms_once_the_tool_is_chosen(opened):
    opened.page.locator("#sensitivity figure").first.scroll_into_view_if_needed()
    panel = opened.page.locator("#sensitivity figure").first
    model = panel.locator("[data-root-id]").get_attribute("data-root-id")
    end = f"Bokeh.documents.map(d => d.get_model_by_id('{model}')).find(m => m).x_range.end"
    box, before = panel.locator(".bk-Canvas").bounding_box(), opened.page.evaluate(end)

    def drag():
        opened.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
        opened.page.mouse.down()
        opened.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.7, steps=5)
        opened.page.mouse.up()

    drag()
    assert opened.page.evaluate(end) == before
    panel.get_by_title("Box Zoom").click()
    drag()
    assert opened.page.evaluate(end) < 0.8 * before


def test_nodes_of_a_sweep_open_from_their_link(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "NODE_FIGURES", ("sensitivity",))
    tree = mx.run(make_recipe(realizations=8, network__depth=16, sweep={"network.width": [4, 8]}), progress=False)
    path = mx.write_report(tree, tmp_path / "sweep.html")
    with visit(browser, path.as_uri(), "phone", offline=True) as seen:
        seen.page.wait_for_function("window.Bokeh && Bokeh.documents.length")
        before = len(seen.painted())
        seen.page.get_by_role("link", name="network.width=8").click()
        seen.page.wait_for_function(IDLE.replace("every", "some"))
        seen.page.wait_for_timeout(500)
        seen.keep("page_sweep_phone")
        assert len(seen.painted()) > before
        assert all(seen.painted())
        assert seen.problems == []
        assert seen.overflow() <= 0
