"""Theory beside experiment as pictures: what is drawn is what the comparison says; explosions; what can't be drawn."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

import moments_xr as mx
from moments_xr.errors import MissingError, RequestError
from moments_xr.plots import elements
from moments_xr.plots.beside import SIGMAS
from moments_xr.plots.explosion import explosion, residual
from moments_xr.plots.theory import theory
from moments_xr.theory import explosion_at_width, explosion_rate, fixed_point


def recipe(realizations=12, **changes):
    tanh = {"weights": {"law": "gaussian", "variance": 3.0}, "bias_variance": 0.1}
    known = mx.Recipe(
        name="drawn",
        realizations=realizations,
        input={"dataset": "gaussian", "shape": [40], "batch": 8},
        network={"architecture": "vanilla", "activation": "tanh", "depth": 6, "width": 32, "kernel": 1} | tanh,
        measure={"pairs": 4, "effective_rank": []},
    )
    return known.replace({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def tanh():
    return mx.run(recipe(), progress=False)


@pytest.fixture(scope="module")
def widths():
    """In the order 64, 8, 16, to see that curves and points keep to their widths."""
    return mx.run(recipe(200, network__depth=4, sweep={"network.width": [64, 8, 16]}), progress=False)


@pytest.fixture(scope="module")
def compared_widths(widths):
    return widths.moments.compare_theory()


@pytest.fixture(scope="module")
def explosive():
    changes = {"realizations": 8, "network.width": 40, "network.depth": 8, "input.batch": 16, "input.shape": [60]}
    sweep = {"network.activation": ["relu", "tanh"], "network.weights.variance": [0.5, 4.0]}
    return mx.run(mx.recipe("batch_norm_explodes", changes | {"sweep": sweep}), progress=False)


def curves(panel):
    """Labels and values of its lines; an area is a kind of curve to HoloViews."""
    found = [curve for curve in panel.traverse(lambda x: x, [hv.Curve]) if type(curve) is hv.Curve]
    return [(curve.label, curve.dimension_values("value")) for curve in found]


def points(panel):
    return panel.traverse(lambda x: x, [hv.Scatter])


def option(panel, name, backend="bokeh"):
    return hv.Store.lookup_options(backend, panel, "plot").kwargs[name]


def test_a_cube_over_its_prediction(tanh):
    compared = tanh.moments.compare_theory()
    panels = list(tanh.moments.plot.theory(backend="bokeh"))
    assert len(panels) == 6
    quantities = ["q", "correlation", "chi", "increment_chi"]
    for panel, name in zip(panels, quantities, strict=False):
        at = compared.sel(quantity=name)
        scale = np.asarray if name == "correlation" else np.exp
        (first, measured), (second, predicted) = curves(panel)
        assert (first, second) == ("measured", "theory")
        np.testing.assert_allclose(measured, scale(at.measured))
        np.testing.assert_allclose(predicted, scale(at.predicted))
        (area,) = panel.traverse(lambda x: x, [hv.Area])
        np.testing.assert_allclose(area["low"], scale(at.measured - SIGMAS * at.standard_error))
    assert [option(panel, "logy") for panel in panels[:4]] == [False, False, True, False]
    lines = curves(panels[4])
    assert [label for label, _ in lines] == ["q", "c", "χ", "δχ"]
    for (_, values), name in zip(lines, quantities, strict=True):
        np.testing.assert_allclose(values, compared.residual.sel(quantity=name))
    (rate,) = points(panels[5])
    gamma = compared.sel(constant="gamma")
    assert rate["value"][0] == pytest.approx(float(gamma.constant_measured / gamma.constant_predicted))
    assert option(panels[5], "ylabel") == "rate γ: measured / predicted"


def test_widths_converge_to_the_one_prediction(widths, compared_widths):
    compared = compared_widths
    panels = list(theory(widths, backend="bokeh"))
    assert len(panels) == 6
    assert [label for label, _ in curves(panels[2])] == ["N = 64", "N = 8", "N = 16", "N = ∞"]
    for (_, values), width in zip(curves(panels[2]), (64, 8, 16), strict=False):
        expected = compared.measured.sel({"quantity": "chi", "network.width": width})
        np.testing.assert_allclose(values, np.exp(expected))
    for panel, name in zip(panels[4:], ("mu2_signal", "q"), strict=True):
        at = compared.sel(quantity=name).sortby("network.width")
        drawn = points(panel)
        assert option(panel, "logx") and option(panel, "logy")
        for layer, depth in zip((2, 3, 4), drawn, strict=True):
            assert depth.label.startswith(f"l = {layer}")
            distance = abs(at.difference.sel(layer=layer))
            seen = distance > 0.25 * SIGMAS * at.standard_error.min()
            assert depth["x"].tolist() == [8, 16, 64]
            np.testing.assert_allclose(depth["value"][seen], distance[seen])
            order = float(at.order.sel(layer=layer))
            if np.isfinite(order):
                bounds = (float(at[f"order_{end}"].sel(layer=layer)) for end in ("low", "high"))
                assert depth.label.endswith(f"p = {elements.with_interval(order, *bounds)}")


def test_the_guide_falls_as_one_over_the_width(compared_widths):
    panel = list(theory(compared_widths, backend="bokeh"))[4]
    _, guide = curves(panel)[0]
    assert guide[0] / guide[1] == pytest.approx(64 / 8)
    assert option(panel, "title").endswith("dotted: ∝ 1/N")


def test_a_comparison_is_drawn_as_its_cube(tanh):
    drawn = [[curves(panel) for panel in theory(one, backend="bokeh")] for one in (tanh, tanh.moments.compare_theory())]
    for first, second in zip(*drawn, strict=True):
        for (_, one), (_, other) in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, other)


def test_only_what_was_measured_is_drawn():
    ds = mx.run(recipe(3, measure__pairs=0, network__depth=3), progress=False)
    labels = [option(panel, "ylabel") for panel in theory(ds, backend="bokeh")]
    assert "correlation of two inputs" not in labels and "sensitivity" in labels


def test_batch_norm_has_increments_and_a_rate(explosive):
    panels = list(theory(explosive, backend="bokeh"))
    labels = [option(panel, "ylabel") for panel in panels]
    assert labels == ["increment of sensitivity", "δχ: distance / standard error", "rate γ: measured / predicted"]
    assert [label for label, _ in curves(panels[0])].count("theory") == 1
    assert len(points(panels[2])) == 4


@pytest.mark.parametrize("selection", [{"layer": 3}, {"realization": 0}, {"layer": [1, 4], "realization": slice(5)}])
def test_any_selection_is_drawn(tanh, selection):
    panels = list(theory(tanh.isel(selection), backend="bokeh"))
    assert [option(panel, "ylabel") for panel in panels[:3]][-1] == "sensitivity"
    assert len(curves(panels[2])[1][1]) == np.size(tanh.layer.isel(layer=selection.get("layer", slice(None))))


def test_widths_of_several_activations_have_residuals():
    sweep = {"network.width": [8, 16], "network.activation": ["relu", "tanh"]}
    tree = mx.run(recipe(5, measure__pairs=0, network__depth=3, sweep=sweep), progress=False)
    panels = list(theory(tree, backend="bokeh"))
    assert option(panels[3], "ylabel") == "χ: distance / standard error"
    labels = [label for label, _ in curves(panels[3])]
    assert labels == ["N = 8, relu", "N = 8, tanh", "N = 16, relu", "N = 16, tanh"]
    # The prediction of each activation is drawn once.
    assert len(curves(panels[1])) == 4 + 2


def test_what_theory_does_not_know_is_said(tanh):
    mirrored = mx.run(recipe(3, network__weights={"law": "mirrored", "variance": 2.0}), progress=False)
    with pytest.raises(MissingError, match="mirrored ones are not"):
        theory(mirrored)
    bare = tanh[["done"]].assign_attrs(tanh.attrs)
    with pytest.raises(MissingError):
        theory(bare.assign_coords(layer=tanh.layer))


@pytest.mark.parametrize("backend", ["matplotlib", "bokeh"])
def test_both_backends_draw_all_of_it(compared_widths, explosive, backend, recwarn):
    for figure in (theory(compared_widths, backend), theory(explosive, backend)):
        hv.renderer(backend).get_plot_state(figure)
    assert not [str(one.message) for one in recwarn if "moments_xr" in str(one.filename)]


def test_rates_at_every_variance(explosive):
    compared = explosive.moments.compare_theory()
    rates, increments, gains, shifts = explosion(explosive, backend="bokeh")
    for points_, name in zip(points(rates), ("relu", "tanh"), strict=True):
        at = compared.sel({"network.activation": name}).sel(constant="gamma")
        assert points_.label == name and points_["x"].tolist() == [0.5, 4.0]
        np.testing.assert_allclose(points_["value"], at.constant_measured)
        # ε is as good as 0, and draws are the same: so is the rate.
        assert points_["value"][0] == pytest.approx(points_["value"][1], rel=1e-4)
    vanilla, *predicted = (values for _, values in curves(rates))
    assert vanilla[0] == 0 and vanilla[-1] == pytest.approx(0.5 * np.log(fixed_point("tanh", 4.0 * 1.3).chi_1))
    for line, name in zip(predicted, ("relu", "tanh"), strict=True):
        np.testing.assert_allclose(line, 0.5 * np.log(explosion_at_width(name, 16, 40, depth=8).rate))
    assert [label for label, _ in curves(increments)] == ["relu", "", "tanh", ""]
    for panel, key, value in ((gains, "gain", 3.0), (shifts, "shift", 3.0)):
        for label, line in curves(panel):
            assert line[-1] == pytest.approx(0.5 * np.log(explosion_rate(label, 16, **{key: value})))


def test_residual_nets_beside_feed_forward_ones():
    changes = {"realizations": 4, "network.width": 24, "network.depth": 6, "measure.every": 1, "input.shape": [40]}
    tree = mx.run(mx.recipe("residual", changes), progress=False)
    compared = tree.moments.compare_theory()
    panels = list(residual(tree, backend="bokeh"))
    for k, panel in enumerate(panels):
        name = ("chi", "mu2_noise")[k // 2]
        lines = curves(panel)
        assert [label for label, _ in lines] == ["vanilla", "res", "theory", ""]
        for (_, values), kind in zip(lines, ("measured", "measured", "predicted", "predicted"), strict=True):
            assert any(np.allclose(values, np.exp(compared[kind].sel(quantity=name)[n])) for n in range(2))
        depth = panel.traverse(lambda x: x, [hv.Curve])[-1].dimension_values("layer")
        np.testing.assert_allclose(depth, np.sqrt(np.arange(1, 7)) if k % 2 else np.arange(1, 7))


def test_figures_of_other_sweeps_are_refused(tanh, widths, explosive):
    with pytest.raises(RequestError, match="this is one cube"):
        explosion(tanh)
    with pytest.raises(RequestError, match=r"over network\.activation and network\.weights\.variance alone"):
        explosion(widths)
    with pytest.raises(RequestError, match=r"over network\.architecture alone"):
        residual(explosive)


@pytest.mark.parametrize("name", ["theory_widths", "batch_norm_explodes", "residual", "isometry"])
def test_recipes_have_a_theory(name):
    from moments_xr.prediction import why_no_prediction

    shipped = mx.recipe(name)
    assert "minute" in shipped.description
    assert len(shipped.nodes()) > 1 and not any(why_no_prediction(node) for node in shipped.nodes().values())


def test_a_selection_of_a_sweep_is_drawn(widths):
    one = xr.DataTree(children={"network.width=8": xr.DataTree(widths["network.width=8"].to_dataset())})
    assert len(theory(one, backend="bokeh")) >= 5
