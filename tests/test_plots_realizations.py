"""All nets as points: the numbers drawn are those of the analysis, thinned, one marked; what is missing; the errors."""

import holoviews as hv
import numpy as np
import pytest

import moments_xr as mx
from moments_xr.plots.realizations import SHOWN


def points(panel):
    """By label: the unmarked ones have none."""
    return {scatter.label: scatter for scatter in panel.traverse(lambda x: x, [hv.Scatter])}


def option(panel, name):
    return hv.Store.lookup_options("bokeh", panel, "plot").kwargs[name]


@pytest.mark.parametrize("architecture", ["vanilla", "bn_ff", "bn_res"])
def test_numbers_drawn_are_those_of_the_analysis(cubes, architecture):
    ds = cubes[architecture]
    output, ranked = mx.quantities.ARCHITECTURES[architecture].output, "act"
    (growth, moments) = ds.moments.plot.realizations(backend="bokeh")
    deep = ds.sel(layer=6)
    expected = {
        growth: (mx.effective_rank(deep).sel(site=ranked), mx.chi(deep, log=True).sel(site=output)),
        moments: tuple(mx.get(deep, name, log=True).sel(site=output) for name in ("nu2_signal", "mu2_noise")),
    }
    for panel, (x, y) in expected.items():
        drawn = points(panel)[""]
        np.testing.assert_allclose(drawn.dimension_values("x"), x)
        np.testing.assert_allclose(drawn.dimension_values("y"), y)
        np.testing.assert_array_equal(drawn.dimension_values("realization"), ds.realization)
        low, high = option(panel, "ylim")
        assert low < y.min() and high > y.max()
    assert option(growth, "title") == "(a) l = 6"
    assert (option(moments, "xlabel"), option(moments, "ylabel")) == ("log ν₂(x)", "log μ₂(dx)")


def test_the_pointer_tells_the_net_and_its_numbers(cubes):
    (growth, _) = cubes["bn_ff"].moments.plot.realizations(backend="bokeh")
    tips = hv.Store.lookup_options("bokeh", points(growth)[""], "plot").kwargs["hover_tooltips"]
    assert tips == [("realization", "@realization"), ("r_eff(x)", "@x"), ("log χ", "@y")]


def test_one_is_marked_by_its_label(cubes):
    ds = cubes["bn_ff"].isel(realization=[1, 3, 5])
    for panel in ds.moments.plot.realizations(3, "bokeh"):
        assert points(panel)["realization 3"].dimension_values("realization").tolist() == [3]
        assert points(panel)[""].dimension_values("realization").tolist() == [1, 5]
    with pytest.raises(ValueError, match="realization=2 is not there; there are 1 to 5"):
        ds.moments.plot.realizations(2)


def test_many_nets_are_thinned_evenly_and_the_marked_one_stays(cubes):
    ds = cubes["vanilla"]
    many = ds.isel(realization=np.arange(5001) % 8).assign_coords(realization=np.arange(5001))
    (panel, _) = many.moments.plot.realizations(4, "bokeh")
    drawn = points(panel)
    shown = np.sort(np.concatenate([one.dimension_values("realization") for one in drawn.values()]))
    np.testing.assert_array_equal(shown, np.union1d(np.arange(0, 5001, 3), [4]))
    assert len(shown) <= SHOWN
    assert option(panel, "title") == "(a) l = 6, 1668 of 5001 nets"


def test_the_dead_are_left_out_and_counted(small):
    ds = mx.run(small("vanilla", realizations=30, network__width=3, network__depth=8, input__batch=4), progress=False)
    dead = int((~mx.alive(ds).sel(layer=8)).sum())
    assert 0 < dead < 30
    panel = ds.moments.plot.realizations(backend="bokeh").values()[-1]
    assert len(points(panel)[""]) == 30 - dead
    assert f"{dead} undefined left out" in option(panel, "title")


def test_what_is_missing(cubes, small):
    ds = cubes["bn_ff"]
    (panel,) = ds.drop_vars("reff_signal").moments.plot.realizations(backend="bokeh")
    assert option(panel, "xlabel") == "log ν₂(x)"
    with pytest.raises(LookupError, match="neither χ and r_eff"):
        ds[["done"]].assign_attrs(ds.attrs).moments.plot.realizations()
    for one in (ds.isel(realization=0), ds.isel(realization=[0])):
        with pytest.raises(LookupError, match="the cube has one realization"):
            one.moments.plot.realizations()
    tree = mx.run(small(realizations=2, sweep={"network.width": [4, 6]}), progress=False)
    with pytest.raises(ValueError, match=r'realizations is of one cube.*tree\["network.width=4"\]'):
        tree.moments.plot.realizations()
