"""Dynamical isometry as a picture: drawn nets and predicted densities are what the public functions say."""

import holoviews as hv
import numpy as np
import pytest

import moments_xr as mx
from moments_xr.analysis.realizations import mean_interval
from moments_xr.errors import RequestError
from moments_xr.plots.isometry import LOWEST, _grouped, _net, isometry
from moments_xr.theory import jacobian_moments, propagate_variance, singular_value_density

KINDS = [("relu", "orthogonal", 2.0), ("tanh", "orthogonal", 1.0)]


@pytest.fixture(scope="module")
def recipe():
    keys = ("network.activation", "network.weights.law", "network.weights.variance")
    sweep = [dict(zip(keys, kind, strict=True)) for kind in KINDS]
    return mx.recipe("isometry", {"network.width": 48, "network.depth": 8, "input.shape": [60], "sweep": sweep})


@pytest.fixture(scope="module")
def panels(recipe):
    return list(isometry(recipe, layers=[1, 4, 8], realizations=6, backend="bokeh"))


def find(panel, kind):
    return [one for one in panel.traverse(lambda x: x, [kind]) if type(one) is kind]


def values(recipe, kind):
    return mx.singular_values(list(recipe.nodes().values())[kind], [1, 4, 8], range(6))


def option(panel, name):
    return hv.Store.lookup_options("bokeh", panel, "plot").kwargs[name]


def test_histograms_count_the_singular_values_of_drawn_nets(recipe, panels):
    assert len(panels) == 4
    for k in range(2):
        found = values(recipe, k)
        for fill, layer in zip(find(panels[k], hv.Histogram), (4, 8), strict=True):
            mass = fill["density"] @ np.diff(np.log(fill.edges))
            assert mass == pytest.approx(float((found.sel(layer=layer) > np.log(LOWEST)).mean()), abs=1e-12)


def test_relu_loses_half_of_the_directions(panels):
    assert option(panels[0], "title") == "(a) relu, orthogonal; 50% at 0"
    assert option(panels[1], "title") == "(b) tanh, orthogonal"


def test_predicted_densities(panels):
    for curve, layer in zip(find(panels[0], hv.Curve), (4, 8), strict=True):
        law = singular_value_density("relu", layer, 2.0, 1.0, "orthogonal")
        np.testing.assert_allclose(curve.dimension_values("value"), law.density, rtol=1e-6)
        assert curve.label == f"l = {layer}"


def test_relative_variance_and_largest_value_by_depth(recipe, panels):
    for k, (points, line) in enumerate(zip(find(panels[2], hv.Scatter), find(panels[2], hv.Curve), strict=True)):
        squares = np.exp(2 * values(recipe, k))
        measured = squares.var("index") / squares.mean("index") ** 2
        np.testing.assert_allclose(points["value"], measured.mean("realization"))
        np.testing.assert_allclose(points["high"], mean_interval(measured.transpose("realization", ...).values)[2])
        assert len(line) == 8
    relu, tanh = (curve.dimension_values("value") for curve in find(panels[2], hv.Curve))
    np.testing.assert_allclose(relu, np.arange(1, 9))
    assert tanh[-1] < 1.4
    for k, points in enumerate(find(panels[3], hv.Scatter)):
        largest = values(recipe, k).isel(index=0).mean("realization")
        np.testing.assert_allclose(np.log(points["value"]), largest)


def test_drawn_nets_spread_as_predicted(recipe):
    """Relative variances of 30 nets within 4.5 standard errors and what a width of 48 leaves."""
    for node, slack in zip(recipe.nodes().values(), (0.2, 0.1), strict=True):
        net = _net(node.to_json(), (1, 4, 8), 30)
        squares = np.exp(2 * net.log_values)
        measured = squares.var(-1) / squares.mean(-1) ** 2
        error = measured.std(0, ddof=1) / np.sqrt(30)
        predicted = net.relative_variance[[0, 3, 7]]
        assert (abs(measured.mean(0) - predicted) < 4.5 * error + slack * predicted).all()


def test_layers_that_are_alike_share_their_variance():
    log_q = propagate_variance("tanh", 63, 1.0, q=1.0)
    q = _grouped(log_q)
    assert len(np.unique(q)) < 40
    exact, grouped = (
        jacobian_moments("tanh", 1, 1.0, one, "orthogonal").relative_variance.sum() for one in (np.exp(log_q), q)
    )
    assert grouped == pytest.approx(exact, rel=1e-3)


def test_one_kind_of_net_and_matplotlib(recipe):
    node = next(iter(recipe.nodes().values()))
    figure = isometry(node, layers=[2, 4], realizations=3, backend="matplotlib")
    assert len(figure) == 3
    hv.renderer("matplotlib").get_plot_state(figure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network.architecture": "res"}, "res nets"),
        ({"network.kernel": 3, "input.shape": [8, 2]}, "kernel 3"),
        ({"network.weights.law": "mirrored"}, "mirrored weights"),
    ],
)
def test_what_has_no_predicted_density_is_refused(changes, message):
    with pytest.raises(RequestError, match=message):
        isometry(mx.recipe("isometry", {"sweep": None} | changes))


def test_more_kinds_than_panels_are_refused():
    sweep = {"network.weights.variance": [1.0, 1.5, 2.0, 2.5, 3.0]}
    with pytest.raises(RequestError, match="5 kinds of nets; needs at most 4"):
        isometry(mx.recipe("isometry", {"sweep": sweep}))
