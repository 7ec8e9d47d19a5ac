"""Every picture is drawn by both backends, and some are written: PNG, SVG and PDF by matplotlib, HTML by bokeh."""

import re

import bokeh.plotting
import holoviews as hv
import pytest

import moments_xr as mx
from moments_xr.plots import save as saving
from moments_xr.plots.papers import figure
from moments_xr.plots.save import save

MAGIC = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!DOCTYPE html>"}
PICTURES = {
    "fig2": "vanilla",
    "fig3": "vanilla",
    "fig4": "bn_ff",
    "fig5": "bn_res",
    "sensitivity": "bn_res",
    "increments": "vanilla",
    "effective_rank": "bn_res",
    "moments": "bn_ff",
    "lognormal": "vanilla",
    "realizations": "bn_ff",
    "theorems": "vanilla",
    "channels": "vanilla",
    "verdicts": "bn_ff",
    "decomposition": "bn_ff",
    "compare": "widths",
    "diffusion": "widths",
}
"""Which cube each is of."""
WRITTEN = {
    ".png": ["fig2", "channels"],
    ".svg": ["fig3"],
    ".pdf": ["fig4"],
    ".html": ["fig5", "theorems", "channels", "verdicts"],
}
FILES = [(name, suffix) for suffix, names in WRITTEN.items() for name in names]
BACKENDS = {".png": "matplotlib", ".svg": "matplotlib", ".pdf": "matplotlib", ".html": "bokeh"}
DRAWN = [
    (name, backend)
    for backend in ("matplotlib", "bokeh")
    for name in PICTURES
    if not any(name == one and BACKENDS[suffix] == backend for one, suffix in FILES)
]


@pytest.fixture(scope="module")
def picture(cubes):
    from conftest import make_recipe

    sweep = {"network.width": [8, 16]}
    widths = mx.run(make_recipe("vanilla", realizations=4, sweep=sweep), progress=False)

    def draw(name, backend):
        plots = (cubes | {"widths": widths})[PICTURES[name]].moments.plot
        return plots.figure(name, backend) if name.startswith("fig") else getattr(plots, name)(backend=backend)

    return draw


@pytest.mark.parametrize(("name", "backend"), DRAWN)
def test_every_picture_is_drawn(picture, name, backend):
    panels = picture(name, backend)
    state = hv.renderer(backend).get_plot_state(panels)
    if backend == "matplotlib":
        drawn = [axes for axes in state.axes if axes.get_xlabel() and (axes.lines or axes.collections)]
    else:
        drawn = [
            one for one in state.select({"type": bokeh.plotting.figure}) if one.xaxis[0].axis_label and one.renderers
        ]
    assert len(drawn) == len(panels)


@pytest.mark.parametrize(("name", "suffix"), FILES)
def test_files_are_real(picture, tmp_path, monkeypatch, name, suffix):
    monkeypatch.setattr(saving, "DPI", 40)
    path = tmp_path / "folder" / f"figure{suffix}"
    save(picture(name, BACKENDS[suffix]), path)
    content = path.read_bytes()
    assert content.lstrip().startswith(MAGIC[suffix])
    if suffix == ".html":
        assert not re.search(rb"<(script|link|img)[^>]+(src|href)=", content), "the page stands alone"
    if suffix == ".svg":
        save(picture(name, BACKENDS[suffix]), tmp_path / "again.svg")
        assert (tmp_path / "again.svg").read_bytes() == content


def test_a_figure_made_for_the_other_backend_is_not_saved_unstyled(cubes, tmp_path):
    with pytest.raises(ValueError, match=r"figure\(..., backend=\"matplotlib\"\)"):
        save(figure(cubes["vanilla"], "fig3", "bokeh"), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"figure\(..., backend=\"bokeh\"\)"):
        save(figure(cubes["vanilla"], "fig3", "matplotlib"), tmp_path / "a.html")
    assert not list(tmp_path.iterdir())
