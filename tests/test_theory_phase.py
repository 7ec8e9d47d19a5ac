"""Fixed points, edges of chaos and depth scales: hand-worked, published, and against iterated maps."""

import numpy as np
import pytest

import moments_xr as mx
from moments_xr.activations import ACTIVATIONS, Activation
from moments_xr.errors import RequestError
from moments_xr.theory import (
    chi_1,
    chi_c,
    correlation_map,
    critical_line,
    fixed_point,
    kernels,
    phase_diagram,
    propagate_correlation,
    propagate_variance,
    trainable_depth,
    variance_map,
)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_fixed_points_are_fixed_and_reached(name):
    weight, bias, keep = np.array([0.4, 0.9, 1.2]), 0.15, np.array([1, 1, 0.9])
    point = fixed_point(name, weight, bias, keep)
    on = point.variance == "converges"
    assert on.any()
    weight, keep = weight[on], keep[on]
    q, c = point.q[on], point.c[on]
    np.testing.assert_allclose(variance_map(name, q, weight, bias, keep), q, rtol=1e-10)
    np.testing.assert_allclose(correlation_map(name, q, c, weight, bias, keep), c, rtol=1e-9)
    np.testing.assert_allclose(point.chi_1[on], chi_1(name, q, weight, keep), rtol=1e-12)
    np.testing.assert_allclose(point.chi_c[on], chi_c(name, q, c, weight), rtol=1e-8)
    np.testing.assert_allclose(point.slope_q[on], weight / keep * kernels(name).square_derivative(q), rtol=1e-12)
    np.testing.assert_allclose(propagate_variance(name, 400, weight, bias, keep)[-1], np.log(q), rtol=1e-4, atol=1e-6)
    assert (point.slope_q[on] < 1).all() and (point.chi_c[on] < 1).all()


def test_relu():
    """χ₁ = σ_w²/2 at every variance; q* = σ_b²/(1 − σ_w²/2) below 2, and correlations go to 1 throughout."""
    weight, bias = np.array([1, 1, 2, 2, 3, 3.0]), np.array([0, 0.1] * 3)
    point = fixed_point("relu", weight, bias)
    np.testing.assert_allclose(point.q, [0, 0.2, 2, np.inf, np.inf, np.inf], rtol=1e-12)
    np.testing.assert_allclose(point.chi_1, weight / 2)
    np.testing.assert_array_equal(point.c, 1)
    assert point.phase.tolist() == ["ordered"] * 2 + ["critical"] * 2 + ["unbounded"] * 2
    assert point.variance.tolist() == ["vanishes", "converges", "converges"] + ["diverges"] * 3
    ordered = 1 / np.log(2)
    np.testing.assert_allclose(point.xi_c, [np.inf, ordered, np.inf, np.inf, np.inf, np.inf])
    np.testing.assert_allclose(point.xi_q, [ordered, ordered, np.inf, np.nan, np.nan, np.nan])


def test_every_point_may_start_elsewhere():
    """ReLU at (2, 0) keeps what it starts from; tanh forgets it."""
    np.testing.assert_allclose(fixed_point("relu", 2.0, q=[0.3, 2.0, 7.0]).q, [0.3, 2.0, 7.0], rtol=1e-12)
    np.testing.assert_allclose(fixed_point("tanh", 3.0, 0.1, q=[1e-9, 1.0, 1e9]).q, 1.50759, rtol=1e-4)
    np.testing.assert_allclose(fixed_point("relu", [2.0, 2.0], keep=[0.5, 1.0]).q, [np.inf, 2.0])


def test_linear_keeps_correlations_without_biases():
    point = fixed_point("linear", [0.5, 1.0, 2.0, 0.5], [0, 0, 0, 0.3])
    np.testing.assert_allclose(point.q, [0, 1, np.inf, 0.6], rtol=1e-12)
    np.testing.assert_array_equal(point.c, [np.nan, np.nan, np.nan, 1])
    np.testing.assert_allclose(point.chi_c, [1, 1, 1, 0.5])


def test_tanh_without_biases():
    """Below σ_w = 1 the signal vanishes; above, correlations go to 0."""
    point = fixed_point("tanh", [0.5, 1.0, 1.0001, 2.0])
    assert point.phase.tolist() == ["ordered", "critical", "chaotic", "chaotic"]
    assert point.variance.tolist() == ["vanishes", "vanishes", "converges", "converges"]
    np.testing.assert_array_equal(point.q[:2], 0)
    assert point.q[2] == pytest.approx(0.5e-4, rel=1e-3)  # q = σ_w² (q − 2 q²) to this order
    np.testing.assert_allclose(point.c[2:], 0, atol=1e-9)


def test_selu_has_its_fixed_point():
    """Klambauer et al. 2017: mean 0 and variance 1 of activations, weights of variance 1/fan_in; χ₁ 1.0716."""
    point = fixed_point("selu", 1.0)
    assert point.q == pytest.approx(1, abs=1e-6)
    assert point.c == pytest.approx(0, abs=1e-6)
    assert point.slope_q == pytest.approx(0.7826, abs=1e-4)
    assert point.chi_1 == pytest.approx(1.0716, abs=1e-4)


@pytest.mark.parametrize(("name", "weight"), [("gelu", 4.5), ("elu", 2.5), ("silu", 4.5), ("selu", 2.5)])
def test_diverging_variances_lead_to_the_limit_of_relu(name, weight):
    point = fixed_point(name, weight, 0.1)
    assert point.q == np.inf and point.variance == "diverges" and point.phase == "unbounded"
    assert point.c == 1 and point.xi_c == np.inf and np.isnan(point.xi_q)


def test_critical_line_of_tanh():
    """σ_w = 1 without biases; with σ_b² = 0.05 the σ_w² = 1.76 of Schoenholz et al. 2016 (Fig. 5)."""
    line = critical_line("tanh", [0, 0.05, 0.3])
    assert line.weight_variance[0] == pytest.approx(1, rel=1e-14)
    assert line.q[0] == 0
    assert line.weight_variance[1] == pytest.approx(1.76, abs=2e-3)
    point = fixed_point("tanh", line.weight_variance, [0, 0.05, 0.3])
    assert point.phase.tolist() == ["critical"] * 3
    np.testing.assert_allclose(point.q, line.q, rtol=1e-9)
    np.testing.assert_array_equal(point.xi_c, np.inf)


@pytest.mark.parametrize("name", ["erf", "hard_tanh", "elu", "selu", "gelu", "silu"])
def test_critical_lines(name):
    bias = np.array([0, 1e-4, 0.05, 1.0])
    line = critical_line(name, bias)
    np.testing.assert_allclose(variance_map(name, line.q, line.weight_variance, bias), line.q, rtol=1e-9)
    np.testing.assert_allclose(chi_1(name, line.q[1:], line.weight_variance[1:]), 1, rtol=1e-12)
    unstable = line.slope_q[1:] > 1
    assert unstable.tolist() == ([True, True, False] if name in ("gelu", "silu") else [False] * 3)


def test_relu_has_only_a_critical_point():
    line = critical_line("relu", [0, 0.1])
    np.testing.assert_array_equal(line.weight_variance, [2, np.nan])
    np.testing.assert_array_equal(line.q, [1, np.nan])
    assert critical_line("leaky_relu", 0.0).weight_variance == pytest.approx(2 / (1 + 0.01**2))
    assert critical_line("linear", 0.0).weight_variance == 1


def test_no_critical_line():
    """φ = 1 + max(y, 0): σ_b² = q − E φ²/E φ'² is negative at every q."""
    lifted = Activation("lifted", "1 + max(y, 0)", lambda y: 1 + np.maximum(y, 0), lambda y: (y > 0) * 1.0, kinks=(0,))
    assert np.isnan(critical_line(lifted, [0.0, 0.1])).all()


def test_dropout_limits_depth():
    """Largest ξ_c along σ_w² = linspace(0.8, 4, 101)², σ_b² = 0.05: 116, 14.5, 4.7, 2.9 (THEORY 8).

    The first is infinite at the critical point, σ_w = 1.327, and 116 at 1.312, its neighbour on this grid.
    """
    weights = np.linspace(0.8, 4, 101)
    near = weights[(weights > 1.2) & (weights < 1.5)] ** 2
    largest = phase_diagram("tanh", near, 0.05, keep=[1, 0.99, 0.9, 0.8]).xi_c.max(0)
    np.testing.assert_allclose(largest, [116.4, 14.46, 4.67, 2.94], atol=0.05)


def test_dropout_keeps_correlations_below_one():
    weight, keep = np.array([0.5, 1.0, 3.0]), 0.9
    for name, bias in (("tanh", 0.05), ("relu", 0.0)):
        point = fixed_point(name, weight, bias, keep)
        assert (point.c < 1).all() and np.isfinite(point.xi_c).all()
        c = propagate_correlation(name, 200, weight, bias, keep, c=0.7).c[-1]
        np.testing.assert_allclose(c, point.c, atol=1e-4)


def test_phase_diagram_of_tanh():
    """THEORY 8's point (3, 0.1) is chaotic; phases meet on the critical line, where ξ_c is largest."""
    weights, biases = np.linspace(0.25, 4, 16), np.array([0.0, 0.1, 0.5])
    diagram = phase_diagram("tanh", weights, biases)
    assert diagram.q.shape == (16, 3)
    critical = critical_line("tanh", biases).weight_variance
    np.testing.assert_array_equal(diagram.phase == "chaotic", weights[:, None] > critical + 1e-9)
    with_bias = diagram.xi_c[:, 1:]
    assert (abs(weights[with_bias.argmax(0)] - critical[1:]) <= 0.25).all()
    point = diagram.c[weights == 3, 1]
    assert point == pytest.approx(propagate_correlation("tanh", 100, 3.0, 0.1).c[-1], abs=1e-5)
    np.testing.assert_array_equal(trainable_depth(diagram.xi_c), 6 * diagram.xi_c)


def test_impossible_parameters_are_refused():
    with pytest.raises(RequestError, match=r"keep is 0.0"):
        fixed_point("tanh", 1.0, keep=0.0)
    with pytest.raises(RequestError, match=r"bias_variance is -1.0"):
        critical_line("tanh", [0.1, -1])
    with pytest.raises(RequestError, match=r"'thanh' is not an activation"):
        fixed_point("thanh", 1.0)


def test_the_start_decides_between_several_fixed_points():
    """GELU at (3, 0.001): narrow signals converge to an ordered fixed point, those of variance 3 diverge."""
    narrow, wide = fixed_point("gelu", 3.0, 0.001, q=0.031), fixed_point("gelu", 3.0, 0.001, q=3.001)
    assert (narrow.phase, narrow.variance) == ("ordered", "converges") and wide.variance == "diverges"
    log_q = propagate_variance("gelu", 400, 3.0, 0.001, q=0.031)
    assert np.exp(log_q[-1]) == pytest.approx(float(narrow.q), rel=1e-6)
    advice = mx.advise(
        mx.recipe("isometry", {"sweep": None, "network.activation": "gelu", "network.weights": {"law": "gaussian", "variance": 3.0},
                               "network.bias_variance": 0.001, "input.scale": 0.1})
    )  # fmt: skip
    assert advice.facts[0].value == "ordered"
    with pytest.raises(RequestError, match="q: 0 is the variance"):
        fixed_point("tanh", 1.0, q=0)
