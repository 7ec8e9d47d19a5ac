"""Nodes beside each other: the numbers drawn are those of the analysis; the errors."""

import dask
import holoviews as hv
import numpy as np
import pytest
import xarray as xr

import moments_xr as mx
from moments_xr.analysis.realizations import mean_interval
from moments_xr.plots.compare import compare
from moments_xr.plots.nodes import nodes_of, telling
from moments_xr.plots.theme import ramp


@pytest.fixture(scope="module")
def widths():
    from conftest import make_recipe

    sweep = {"network.width": [8, 16, 64]}
    return mx.run(make_recipe("bn_ff", realizations=8, measure__every=1, sweep=sweep), progress=False)


def curves(panel):
    """By label; an area is a kind of curve to HoloViews."""
    return {
        curve.label: curve
        for curve in panel.traverse(lambda x: x, [hv.Curve])
        if type(curve) is hv.Curve and curve.label
    }


def values(panel, label):
    return curves(panel)[label].dimension_values("value")


def option(panel, name, backend="bokeh"):
    return hv.Store.lookup_options(backend, panel, "plot").kwargs[name]


def test_the_overview_draws_means_and_bands_of_every_node(widths):
    figure = compare(widths, backend="bokeh")
    functions = {
        "sensitivity": lambda ds: mx.chi(ds).sel(site="act"),
        "increment of sensitivity": mx.increments,
        "effective rank of the signal": lambda ds: mx.effective_rank(ds).sel(site="act"),
        "kurtosis of z": lambda ds: mx.get(ds, "mu4_signal").sel(site="norm"),
    }
    assert [option(panel, "ylabel") for panel in figure] == list(functions)
    for panel, function in zip(figure, functions.values(), strict=True):
        assert list(curves(panel)) == ["N = 8", "N = 16", "N = 64"]
        areas = panel.traverse(lambda x: x, [hv.Area])
        for name, area in zip(curves(panel), areas, strict=True):
            expected = function(widths[name.replace("N = ", "network.width=")].to_dataset())
            np.testing.assert_allclose(values(panel, name), expected.mean("realization"))
            low = np.log(expected).quantile(0.16, "realization")
            np.testing.assert_allclose(area.dimension_values("low"), np.exp(low))


@pytest.mark.parametrize("of", ["chi", "reff_signal", "nu2_signal", "increment_chi", "nu1_signal"])
def test_one_quantity_against_the_swept_value(widths, of):
    (overlaid, against) = compare(widths, of, backend="bokeh")
    assert option(against, "title") == "(b) at layer 6" and option(against, "xlabel") == "width N"
    assert option(against, "logx") and option(against, "logy") == (of in ("chi", "reff_signal", "nu2_signal"))
    points = against.traverse(lambda x: x, [hv.Scatter])
    bars = against.traverse(lambda x: x, [hv.ErrorBars])
    for width, point, bar in zip((8, 16, 64), points, bars, strict=True):
        ds = widths[f"network.width={width}"].to_dataset()
        q = mx.increments(ds) if of == "increment_chi" else mx.get(ds, of).sel(site="act")
        np.testing.assert_allclose(values(overlaid, f"N = {width}"), q.mean("realization"))
        q = q.sel(layer=6)
        mean, _, high = mean_interval(q.values)
        assert (point["x"][0], point["value"][0]) == (width, pytest.approx(mean))
        above = high - mean if of == "nu1_signal" else mean * np.expm1(high / mean - 1)
        assert bar["above"][0] == pytest.approx(above)


def test_swept_values_label_a_linear_axis_too(small):
    sweep = {"network.width": [8, 16, 32]}
    tree = mx.run(small("bn_ff", sweep=sweep), progress=False)
    axes = hv.renderer("matplotlib").get_plot_state(compare(tree, "chi", backend="matplotlib")).axes[1]
    assert axes.get_xscale() == "linear"
    drawn = dict(zip(axes.get_xticks(), (label.get_text() for label in axes.get_xticklabels()), strict=True))
    assert drawn == {8: "8", 16: "16", 32: "32"}


def test_nodes_of_different_depths_are_compared_at_the_deepest_common_layer(small):
    tree = mx.run(small(realizations=3, sweep={"network.depth": [8, 6, 4]}), progress=False)
    (overlaid, against) = compare(tree, "chi", backend="bokeh")
    assert [curve.range("layer")[1] for curve in curves(overlaid).values()] == [8, 6, 4]
    assert option(against, "title") == "(b) at layer 4"
    assert option(overlaid, "xlim") == (0, 8)


def test_two_swept_keys_label_the_curves(small):
    sweep = {"network.width": [4, 6], "input.batch": [4, 8]}
    tree = mx.run(small(realizations=2, sweep=sweep), progress=False)
    (panel,) = compare(tree, "chi", backend="bokeh")
    assert list(curves(panel)) == [f"N = {width}, batch = {batch}" for width in (4, 6) for batch in (4, 8)]


def test_keys_that_others_decide_are_not_in_labels(cubes):
    """Activation and law of the weights tell the nets apart; each activation has its variance."""
    points = [
        {"network.activation": activation, "network.weights.law": law, "network.weights.variance": variance}
        for activation, variance in (("relu", 2.0), ("tanh", 1.0))
        for law in ("gaussian", "orthogonal")
    ]
    nodes = {str(k): cubes["vanilla"].assign_coords(point) for k, point in enumerate(points)}
    labels = [node.label for node in nodes_of(nodes, "bokeh")]
    assert labels == ["relu, gaussian", "relu, orthogonal", "tanh, gaussian", "tanh, orthogonal"]
    product = [{"a.b": 1, "c.d": 2}, {"a.b": 1, "c.d": 3}, {"a.b": 4, "c.d": 2}]
    assert telling(product) == product and telling(product[:1]) == product[:1]


def test_cubes_by_name_and_text_values(cubes, small):
    (panel,) = compare(cubes, "chi", backend="bokeh")
    assert list(curves(panel)) == list(cubes)
    np.testing.assert_allclose(values(panel, "bn_res"), mx.chi(cubes["bn_res"]).sel(site="sum").mean("realization"))
    tree = mx.run(small(realizations=2, sweep={"network.architecture": ["vanilla", "bn_ff"]}), progress=False)
    (panel,) = compare(tree, "chi", backend="bokeh")
    assert list(curves(panel)) == ["vanilla", "bn_ff"]


def test_nodes_of_a_sweep_given_by_name_are_labelled_by_their_values(widths):
    named = {f"mine · {name}": node.to_dataset() for name, node in widths.children.items()}
    (overlaid, against) = compare(named, "chi", backend="bokeh")
    assert list(curves(overlaid)) == ["N = 8", "N = 16", "N = 64"]
    assert option(against, "xlabel") == "width N"
    hovered = [
        hv.Store.lookup_options("bokeh", curve, "plot").kwargs["hover_tooltips"][1][0]
        for curve in curves(overlaid).values()
    ]
    assert hovered == list(named)
    one = named["mine · network.width=8"]
    twice = {"first": one, "second": one.isel(realization=slice(4))}
    assert list(curves(compare(twice, "chi", backend="bokeh")[0, 0])) == ["first", "second"]


def test_many_nodes_have_a_few_labels_and_no_bands(cubes):
    ds = cubes["bn_ff"]
    many = {f"net {k}": ds.isel(realization=[k % 8]) for k in range(12)}
    (panel,) = compare(many, "chi", backend="bokeh")
    drawn = [curve for curve in panel.traverse(lambda x: x, [hv.Curve]) if type(curve) is hv.Curve]
    assert len(drawn) == 12
    assert [curve.label for curve in drawn if curve.label] == ["net 0", "net 3", "net 6", "net 8", "net 11"]
    assert not panel.traverse(lambda x: x, [hv.Area])
    hovered = [hv.Store.lookup_options("bokeh", curve, "plot").kwargs["hover_tooltips"][1][0] for curve in drawn]
    assert hovered == list(many)


def test_colours_go_from_light_to_dark():
    def lightness(colour):
        red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
        return 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2

    for count in range(1, 30):
        steps = np.diff([lightness(colour) for colour in ramp(count)])
        assert len(set(ramp(count))) == count and (steps < 0).all()


def test_what_a_node_lacks_is_left_out_and_said(cubes):
    ds = cubes["bn_ff"]
    parts = {
        "whole": ds,
        "no ranks": ds.drop_vars("reff_signal"),
        "not measured": ds.assign(reff_signal=ds.reff_signal * np.nan),
        "unfinished": ds.isel(realization=[]),
    }
    panels = {option(panel, "ylabel"): panel for panel in compare(parts, backend="bokeh")}
    ranks = panels["effective rank of the signal"]
    assert list(curves(ranks)) == ["whole"] and "not measured in 2 of 3" in option(ranks, "title")
    assert list(curves(panels["sensitivity"])) == ["whole", "no ranks", "not measured"]
    few = {name: part.drop_vars("reff_signal") for name, part in parts.items() if "reff_signal" in part}
    assert len(compare(few, backend="bokeh")) == 3


def test_any_selection_is_drawn(widths):
    for select in (
        lambda ds: ds.isel(realization=0, layer=2),
        lambda ds: ds.sel(site="act"),
    ):
        tree = xr.DataTree(
            children={name: xr.DataTree(select(node.to_dataset())) for name, node in widths.children.items()}
        )
        for of in (None, "chi"):
            figure = compare(tree, of, backend="bokeh")
            assert all(panel.traverse(lambda x: x, [hv.Scatter, hv.Curve]) for panel in figure)
    hv.render(figure, backend="bokeh")


@pytest.mark.parametrize(("logy", "expected"), [(None, True), (True, True), (False, False)])
def test_the_axis_may_be_chosen(widths, logy, expected):
    assert [option(panel, "logy") for panel in compare(widths, "chi", logy, "bokeh")] == [expected, expected]


def test_beyond_the_floats_logarithms_are_drawn(cubes):
    ds = cubes["bn_ff"]
    far = ds.assign(log_chi=mx.chi(ds, log=True) + 1000)
    (panel,) = compare({"near": ds, "far": far}, "chi", backend="bokeh")
    assert option(panel, "ylabel") == "logarithm of sensitivity" and not option(panel, "logy")
    np.testing.assert_allclose(values(panel, "far") - values(panel, "near"), 1000 / np.log(10))


def test_what_is_missing_or_wrong_is_named(cubes, widths):
    ds = cubes["bn_ff"]
    with pytest.raises(ValueError, match="this is one cube"):
        ds.moments.plot.compare()
    with pytest.raises(LookupError, match="no node has a finished realization"):
        compare({"a": ds.isel(realization=[])})
    with pytest.raises(LookupError, match="no reff_signal"):
        compare({"a": ds.drop_vars("reff_signal")}, "reff_signal")
    with pytest.raises(LookupError, match="reff_signal is defined in no realization"):
        compare({"a": ds.assign(reff_signal=ds.reff_signal * np.nan)}, "reff_signal")
    for name in ("speed", "increment_nu1_signal", "kurtosis"):
        with pytest.raises(ValueError, match=f"of='{name}' is not one of .*mu4_signal"):
            compare(widths, name)


def test_a_sweep_is_computed_in_one_pass(widths):
    passes = []

    def scheduler(graph, keys, **options):
        passes.append(1)
        return dask.get(graph, keys, **options)

    lazy = widths.map_over_datasets(lambda ds: ds.chunk(realization=4) if ds else ds)
    with dask.config.set(scheduler=scheduler):
        figure = compare(lazy, backend="bokeh")
    assert passes == [1]
    for panel, expected in zip(figure, compare(widths, backend="bokeh"), strict=True):
        for label, curve in curves(panel).items():
            np.testing.assert_allclose(curve.dimension_values("value"), values(expected, label))
