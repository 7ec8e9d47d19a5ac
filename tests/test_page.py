"""The page that stands alone: what it says, and that it is whole, small, and the same each time. In a browser: test_page_browser."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import zarr
from conftest import make_recipe
from hypothesis import given
from hypothesis import strategies as st
from test_cli import shell

import moments_xr as mx
from moments_xr.analysis.report import analyse
from moments_xr.quantities import PATHOLOGIES
from moments_xr.report import content, page, panels
from moments_xr.report.figures import CONTROLS, FIGURES, GROUPS, SWEEP_FIGURES

VOID = {"meta", "link", "br", "img", "input", "hr"}
SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


class Outline(HTMLParser):
    """Tags as they open and close, ids, links, and the text outside of scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.outside, self.words = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append((tag, given))
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.outside += [given[key] for key in ("src", "href", "srcset", "action") if tag != "a" and key in given]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "small.zarr"
    mx.run(make_recipe("bn_ff", realizations=8, network__depth=16, measure__branches=4), path, progress=False)
    return path


@pytest.fixture(scope="module")
def whole(store):
    """The whole page of a store, as a fresh process writes it."""
    code = f"import moments_xr as mx; mx.write_report({str(store)!r}, {str(store.with_name('whole.html'))!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
    return store.with_name("whole.html").read_text(encoding="utf-8")


@pytest.fixture
def few(monkeypatch):
    """Pages of two figures, which are quick to draw."""
    monkeypatch.setattr(page, "FIGURES", {name: FIGURES[name] for name in ("effective_rank", "channels")})
    monkeypatch.setattr(page, "SWEEP_FIGURES", {"diffusion": SWEEP_FIGURES["diffusion"]})


def outline(text):
    return Outline(text)


@pytest.mark.parametrize("architecture", ["vanilla", "bn_ff", "bn_res"])
def test_verdicts_are_those_of_classify(cubes, architecture):
    found = mx.classify(cubes[architecture])
    rows = content.verdicts({"classify": found})
    assert [row.name for row in rows] == list(PATHOLOGIES)
    assert [row.verdict for row in rows] == found.verdict.values.tolist()
    assert [row.sentence for row in rows] == found.sentence.values.tolist()
    for key, of in {
        "statistic": "statistic",
        "low": "statistic_low",
        "high": "statistic_high",
        "onset": "onset",
    }.items():
        np.testing.assert_array_equal([getattr(row, key) for row in rows], found[of].values)


def test_the_headline_names_what_is_present(cubes):
    found = mx.classify(cubes["bn_ff"]).load()
    absent = found.assign(verdict=("pathology", ["absent"] * len(PATHOLOGIES)), overall=((), "well-behaved"))
    assert content.headline({"classify": absent}) == "well-behaved"
    several = found.assign(verdict=("pathology", ["absent", "present", "present", *["undecided"] * 4, "present"]))
    assert content.headline({"classify": several}) == ("one-dimensional signal, exploding sensitivity and fat tails")


def test_numbers_are_those_of_the_summary(cubes):
    found = mx.summary(cubes["bn_res"])
    table = content.numbers({"summary": found})
    assert table.layers == tuple(found.layer.values)
    rows = {row.symbol: row for row in table.rows}
    np.testing.assert_array_equal(rows["χ"].cells, found.chi.values)
    assert rows["r_eff(x)"].long_name == "effective rank of the signal"


@given(st.floats(-1e300, 1e300, allow_nan=False))
def test_numbers_are_written_as_people_read_them(value):
    text = content.rounded(value, 4)
    mantissa, _, power = text.replace("−", "-").partition("×10")
    read = float(f"{mantissa}e{power.translate(SUPERSCRIPTS) or 0}")
    assert read == pytest.approx(value, rel=5.1e-4, abs=1e-320)
    assert "e" not in text


def test_facts_and_provenance_are_those_of_the_recipe(store):
    ds = mx.open_cube(store)
    facts = content.facts(ds, analyse(ds)[0])
    assert facts["network"] == "batch-normalised feed-forward net, fully connected"
    assert facts["depth"] == "16 layers; 8 measured, 2 to 16"
    assert facts["realizations"] == "8"
    assert facts["alive at the last layer"] == "100 %"
    scaled = content.recipe_of(ds).replace({"input.scale": 0.25})
    assert ", times 0.25, batch of" in content.facts(ds.assign_attrs(recipe=scaled.to_json()))["input"]
    assert "times" not in facts["input"]
    provenance = content.provenance(ds)
    assert provenance["recipe identity (SHA-256)"] == content.recipe_of(ds).identity()
    assert provenance["moments-xr (made with)"] == mx.__version__
    assert provenance["device"] == "cpu"


def test_each_figure_says_what_can_be_chosen():
    for figure in (*FIGURES.values(), *SWEEP_FIGURES.values()):
        assert set(figure.controls) <= set(CONTROLS)
        assert not set(figure.controls) & set(figure.arguments)
        assert figure.caption.endswith(".")
    assert set(FIGURES["channels"].controls) >= {"of", "site", "realization"}
    assert "of" not in FIGURES["lognormal_noise"].controls
    assert {figure.group for figure in FIGURES.values()} == set(GROUPS)


def test_the_page_is_whole(whole):
    read = outline(whole)
    assert len(read.ids) == len(set(read.ids))
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)
    assert read.outside == []
    tags = [tag for tag, _ in read.tags]
    assert tags.count("h1") == tags.count("title") == tags.count("main") == 1
    levels = [int(tag[1]) for tag in tags if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert ("html", {"lang": "en"}) in read.tags
    assert any(attrs.get("name") == "viewport" for _, attrs in read.tags)
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in read.tags if tag == "th")
    assert "Not shown" not in read.text
    for figure in FIGURES.values():
        assert figure.title in read.text


def test_the_page_has_verdicts_numbers_recipe_and_versions(whole, store):
    ds, text = mx.open_cube(store), outline(whole).text
    found = mx.classify(ds).compute()
    for name, verdict, sentence in zip(PATHOLOGIES, found.verdict.values, found.sentence.values, strict=True):
        assert sentence in text
        assert re.search(rf"{content.in_words(name)} \S {verdict}", text)
    median = float(mx.summary(ds).chi.sel(layer=16, statistic="median"))
    assert content.rounded(median, 4) in text
    assert ds.attrs["recipe_identity"] in text
    assert "architecture: bn_ff" in text
    assert ds.attrs["torch_version"] in text


def test_the_page_asks_nothing_of_a_network(whole):
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in whole
    assert "static/" not in whole
    said = whole.replace(panels.runtime(), "")
    assert not re.search(r"url\(\s*[\"']?(?!data:|#)", said)
    assert not re.search(r"https?://(?!www\.w3\.org/)", said)


def test_the_same_store_gives_the_same_bytes_in_any_process(whole, store):
    """Here others have drawn before, and hashes are different."""
    assert page.html(mx.open_cube(store), "small") == whole


def test_neither_times_nor_places_are_on_the_page(whole, store):
    said = whole.replace(panels.runtime(), "")
    assert str(store.parent) not in said
    assert str(Path(mx.__file__).parent) not in said
    assert not re.search(r"\b20\d\d-\d\d-\d\d|\d\d:\d\d:\d\d", said)


def test_the_folder_of_the_data_is_not_on_the_page(cubes, few):
    ds = cubes["bn_ff"]
    recipe = json.loads(ds.attrs["recipe"])
    recipe["input"] = {"dataset": "cifar10", "path": "/home/someone/data/cifar10", "batch": 8}
    text = page.html(ds.assign_attrs(recipe=json.dumps(recipe)))
    assert "someone" not in text
    assert "path: cifar10" in text


def test_pages_are_small(whole, cubes, few, monkeypatch):
    assert len(whole.encode()) < 3_000_000
    monkeypatch.setattr(page, "LARGEST", page.WORDS + len(panels.runtime()) + 1000)
    text = page.html(cubes["bn_ff"])
    assert len(text.encode()) < page.LARGEST
    assert outline(text).text.count("Not shown: it would make this page larger") == 2


def test_what_a_cube_lacks_is_said(cubes, few):
    ds = cubes["bn_ff"].drop_vars(["reff_signal", "reff_noise", "channel_moments"])
    text = outline(page.html(ds)).text
    assert "Not shown: the cube has no effective ranks" in text
    assert "Not shown: the cube keeps no moments of single channels" in text
    assert "undecided (not measured): the cube has no reff_signal" in text


def test_any_selection_has_a_page(cubes, few):
    ds = cubes["bn_res"]
    for selection in (ds.isel(realization=0), ds.isel(realization=[0]), ds.isel(layer=-1), ds.sel(site="sum")):
        read = outline(page.html(selection))
        assert "Recipe and versions" in read.text
        assert f"{np.atleast_1d(selection['layer'])[-1]}" in read.text


def test_published_results_have_a_page(few):
    ds = mx.open_npz(Path(__file__).parent / "data" / "bn_ff_fc_64.npz", "bn_ff")
    read = outline(page.html(ds, "published"))
    assert "published" in read.text
    assert "Recipe and versions" in read.text
    assert "bn_ff_fc_64" in read.text


def test_a_sweep_has_all_verdicts_and_its_first_nodes(few, monkeypatch):
    sweep = {"network.width": [4, 8, 6]}
    tree = mx.run(make_recipe("vanilla", realizations=8, network__depth=16, sweep=sweep), progress=False)
    monkeypatch.setattr(page, "NODES", 2)
    read = outline(page.html(tree))
    assert all(link[1:] in read.ids for link in read.links)
    assert [attrs["id"] for tag, attrs in read.tags if tag == "details" and "id" in attrs] == ["node-1", "node-2"]
    assert "The first 2 of 3 nodes" in read.text
    positions = [read.text.index(f"network.width={width} ") for width in sweep["network.width"]]
    assert positions == sorted(positions)
    assert "Diffusion of log moments by width" in read.text


def undo(store, realizations):
    """Make the ledger say that these realizations are not done."""
    done = zarr.open_group(store, mode="r+")["done"]
    done[realizations] = False


def test_half_done_and_empty_stores(tmp_path, few, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mx.run(make_recipe(realizations=8), "half.zarr", progress=False)
    undo("half.zarr", slice(4, 8))
    status, out, err = shell("report", "half.zarr")
    assert (status, err) == (0, "")
    assert "reports/half.html (" in out
    text = outline(Path("reports/half.html").read_text(encoding="utf-8")).text
    assert "Not complete: 4 of 8 realizations are done" in text
    undo("half.zarr", slice(0, 8))
    status, _, err = shell("report", "half.zarr", "-o", "empty.html")
    assert (status, err) == (2, "moments-xr: 'half': no realization is done yet; `moments-xr run` finishes it\n")
    assert not Path("empty.html").exists()


def test_what_cannot_be_is_said_in_a_line(tmp_path, store):
    for arguments, said in {
        (tmp_path / "none.zarr",): "none.zarr",
        (store, "-o", tmp_path / "page.pdf"): "a report is an .html file",
    }.items():
        status, _, err = shell("report", *arguments)
        assert status == 2
        assert said in err
        assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_damaged_store_is_said_in_a_line(tmp_path):
    mx.run(make_recipe(realizations=8), tmp_path / "s.zarr", progress=False)
    [chunk] = [file for file in (tmp_path / "s.zarr" / "pooled_moments" / "c").rglob("0") if file.is_file()][:1]
    chunk.write_bytes(chunk.read_bytes()[:100])
    status, _, err = shell("report", tmp_path / "s.zarr", "-o", tmp_path / "s.html")
    assert status in (1, 2)
    assert err.startswith("moments-xr: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "s.html").exists()


def test_words_and_figures_are_known_without_the_toolkit():
    code = "import sys, moments_xr.report.content, moments_xr.report.figures; sys.exit('holoviews' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
