"""Phase diagrams and correlations: what is drawn is what theory and the analysis say; the errors; files."""

import holoviews as hv
import numpy as np
import pytest

import moments_xr as mx
from moments_xr.analysis.depth_scale import fit_depth_scale
from moments_xr.plots.correlations import correlation, depth_scale
from moments_xr.plots.phase import phase_diagram
from moments_xr.plots.save import save
from moments_xr.prediction import predict
from moments_xr.recipe import Recipe
from moments_xr.theory import critical_line, fixed_point

WEIGHTS, BIASES = np.linspace(0.25, 3.75, 8), np.linspace(0.05, 0.35, 4)
SMALL = {"realizations": 10, "network.width": 60, "network.depth": 16, "network.activation": "erf"}


@pytest.fixture(scope="module")
def tree():
    sweep = {"network.weights.variance": [0.6, 2.5], "network.bias_variance": [0.05, 0.3]}
    return mx.run(mx.recipe("edge_of_chaos", SMALL | {"sweep": sweep}), progress=False)


@pytest.fixture(scope="module")
def dropped():
    sweep = {"network.dropout": [0, 0.2], "network.weights.variance": [0.6, 1.2]}
    return mx.run(mx.recipe("dropout_depth", SMALL | {"sweep": sweep}), progress=False)


def elements(panel, kind):
    return [element for element in panel.traverse(lambda x: x, [kind]) if type(element) is kind]


def option(panel, name, backend="bokeh"):
    return hv.Store.lookup_options(backend, panel, "plot").kwargs[name]


def test_images_are_the_fixed_points_of_theory():
    panels = phase_diagram("erf", WEIGHTS, BIASES, backend="bokeh")
    point = fixed_point("erf", WEIGHTS[None], BIASES[:, None])
    for panel, expected in zip(panels, (point.c, np.minimum(point.xi_c, 100)), strict=True):
        (image,) = elements(panel, hv.Image)
        np.testing.assert_allclose(image.dimension_values("value", flat=False), expected)
        np.testing.assert_allclose(image.dimension_values("weight", expanded=False), WEIGHTS)
        np.testing.assert_allclose(image.dimension_values("bias", expanded=False), BIASES)
        (edge,) = elements(panel, hv.Curve)
        line = critical_line("erf", edge["bias"])
        np.testing.assert_allclose(edge["weight"], line.weight_variance)
        assert {text.data[2] for text in elements(panel, hv.Text)} == {"ordered", "chaotic"}
    assert option(elements(panels[0, 1], hv.Image)[0], "clim")[1] == 100


def test_where_the_variance_has_no_limit_nothing_is_drawn_and_it_is_said():
    panels = phase_diagram("relu", np.linspace(0.5, 3.5, 7), [0.1, 0.2], backend="bokeh")
    for panel in panels:
        values = elements(panel, hv.Image)[0].dimension_values("value", flat=False)
        assert np.isfinite(values[:, :3]).all() and np.isnan(values[:, 3:]).all()
        assert {text.data[2] for text in elements(panel, hv.Text)} == {"ordered", "variance\ndiverges"}
        (edge,) = elements(panel, hv.Points)
        assert (edge["weight"].tolist(), edge["bias"].tolist()) == ([2.0], [0.0])
    vanishing = phase_diagram("relu", [0.5, 1.0, 1.5], [0.0, 0.1], backend="bokeh")
    assert "variance\nvanishes" in {text.data[2] for text in elements(vanishing[0, 0], hv.Text)}


@pytest.mark.parametrize("activation", ["tanh", "relu", "elu", "gelu", "linear"])
def test_default_ranges_hold_the_edge(activation):
    panels = phase_diagram(activation, bias_variances=[0.1, 0.2], backend="matplotlib")
    low, high = option(panels[0, 0], "xlim", "matplotlib")
    edge = critical_line(activation, 0.2 if activation in ("tanh", "elu", "gelu") else 0.0).weight_variance
    assert abs(low) < 1e-12 and 1.2 * edge < high < 3 * edge


def test_dropout_has_no_edge_and_no_order():
    panels = phase_diagram("erf", WEIGHTS, BIASES, keep=0.8, backend="bokeh")
    assert not elements(panels[0, 0], hv.Curve) and "keep rate 0.8" in option(panels[0, 0], "title")
    assert (elements(panels[0, 0], hv.Image)[0].dimension_values("value") < 1).all()


def test_measured_points_are_those_of_the_analysis(tree):
    fits = fit_depth_scale(tree)
    panels = phase_diagram("erf", WEIGHTS, BIASES, measured=tree, backend="bokeh")
    (points,) = elements(panels[0, 0], hv.Points)
    assert points.label == "measured, layer 16"
    for weight, bias, value in points.array():
        at = {"network.weights.variance": weight, "network.bias_variance": bias}
        assert value == pytest.approx(fits.correlation.sel(at).item())
    drawn = {points.label: points for points in elements(panels[0, 1], hv.Points)}
    assert sum(len(points) for points in drawn.values()) == 4
    for label, name in (("measured", "xi"), ("at least", "xi_low")):
        for weight, bias, value in drawn[label].array() if label in drawn else ():
            at = {"network.weights.variance": weight, "network.bias_variance": bias}
            assert value == pytest.approx(min(fits[name].sel(at).item(), 100))
    for panel in panels:
        looks = {str(option(element, "clim")) for element in [*elements(panel, hv.Image), *elements(panel, hv.Points)]}
        assert len(looks) == 1
    one = tree["network.weights.variance=0.6,network.bias_variance=0.3"].to_dataset()
    (points,) = elements(phase_diagram("erf", WEIGHTS, BIASES, measured=one, backend="bokeh")[0, 0], hv.Points)
    assert points.array()[0, :2].tolist() == [0.6, 0.3]


def test_correlations_and_their_prediction(tree):
    panels = correlation(tree, backend="bokeh")
    assert [option(panel, "title") for panel in panels] == ["(a) σ_w² = 0.6", "(b) σ_w² = 2.5"]
    for weight, panel in zip((0.6, 2.5), panels, strict=True):
        found = [curve.dimension_values("value") for curve in elements(panel, hv.Curve)]
        curves, dotted = found[:2], found[2:]
        assert [curve.label for curve in elements(panel, hv.Curve)] == ["σ_b² = 0.05", "σ_b² = 0.3", "theory", ""]
        for bias, curve, theory in zip((0.05, 0.3), curves, dotted, strict=True):
            ds = tree[f"network.weights.variance={weight:g},network.bias_variance={bias:g}"].to_dataset()
            expected = ds.pair_correlation.sel(site="conv").astype("f8").mean(("realization", "pair"))
            np.testing.assert_allclose(curve, expected)
            predicted = predict(Recipe.from_json(ds.attrs["recipe"]), range(2)).correlation.mean("realization")
            np.testing.assert_allclose(theory, predicted)
            spread = ds.pair_correlation.sel(site="conv").mean("pair").std("realization", ddof=1) / 10**0.5
            assert (abs(curve - theory) < 6 * spread + 0.03).all()
    (panel,) = correlation(tree.children["network.weights.variance=0.6,network.bias_variance=0.3"].to_dataset())
    assert [curve.label for curve in elements(panel, hv.Curve)][1] == "theory"


def test_depth_scales_of_dropout(dropped):
    fits = fit_depth_scale(dropped)
    (panel,) = depth_scale(dropped, backend="bokeh")
    curves = {curve.label: curve for curve in elements(panel, hv.Curve)}
    assert list(curves) == ["dropout = 0", "dropout = 0.2"]
    for dropout, curve in zip((0, 0.2), curves.values(), strict=True):
        expected = fixed_point("erf", curve["weight"], 0.05, 1 - dropout).xi_c
        np.testing.assert_allclose(curve["xi"], np.minimum(expected, 2000))
    drawn = [point for points in elements(panel, hv.Scatter) for point in points.array()[:, :2].tolist()]
    known = [value for value in fits.xi.values.ravel() if np.isfinite(value)]
    assert len(drawn) == 4 and set(known) <= {value for _, value in drawn}


def test_files_are_written(tree, dropped, tmp_path):
    for backend, suffix in (("matplotlib", "png"), ("bokeh", "html")):
        for name, figure in {
            "phase": phase_diagram("erf", WEIGHTS, BIASES, measured=tree, backend=backend),
            "correlation": correlation(tree, backend=backend),
            "depth": depth_scale(dropped, backend=backend),
        }.items():
            save(figure, tmp_path / f"{name}.{suffix}")
            assert (tmp_path / f"{name}.{suffix}").stat().st_size > 10_000


def test_what_is_wrong_is_named(tree, dropped):
    with pytest.raises(ValueError, match="has the activation erf and keep rate 1; the diagram is of tanh and 1"):
        phase_diagram("tanh", WEIGHTS, BIASES, measured=tree)
    with pytest.raises(ValueError, match=r"keep rate 0\.8; the diagram is of erf and 1"):
        phase_diagram("erf", WEIGHTS, BIASES, measured=dropped)
    with pytest.raises(ValueError, match="even steps"):
        phase_diagram("erf", [0.1, 0.2, 0.4], BIASES)
    with pytest.raises(ValueError, match="not an activation"):
        phase_diagram("tanhh")
    bare = {"a": next(iter(tree.children.values())).to_dataset().drop_vars("pair_correlation")}
    for function in (correlation, depth_scale):
        with pytest.raises(LookupError, match=r"measure\.pairs"):
            function(bare)
    both = {
        f"{k} {name}": node.to_dataset()
        for k, some in enumerate((tree, dropped))
        for name, node in some.children.items()
    }
    with pytest.raises(ValueError, match="differ bias_variance, dropout"):
        depth_scale(both)
