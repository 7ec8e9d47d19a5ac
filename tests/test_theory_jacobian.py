"""Dynamical isometry (THEORY 8): closed forms, the law of singular values, and drawn matrices."""

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.special import comb

from moments_xr.errors import RequestError
from moments_xr.theory import (
    chi_1,
    derivative_moment,
    isometric_point,
    isometry,
    jacobian_moments,
    jacobian_relative_variance,
    least_relative_variance,
    singular_value_density,
    variance_map,
)

SIGMAS = 4.5
"""Tolerance in standard errors: a fair test fails by chance once in 10⁵."""


def squared_moment(law, k, log_scale):
    """Mean of (s²/scale)^k, zeros and the atom included, by quadrature on Chebyshev's points."""
    x = law.log_value
    angle = (np.arange(len(x)) + 0.5) * np.pi / len(x)
    weight = np.sin(angle) * np.pi / len(x) * (x[-1] - x[0]) / np.cos(angle[0]) / 2
    atom = law.atom * np.exp(k * (2 * law.log_atom - log_scale)) if law.atom else 0
    return weight @ (law.density * np.exp(k * (2 * x - log_scale))) + atom + (law.zero if k == 0 else 0)


def orthogonal(rng, width):
    q, r = np.linalg.qr(rng.normal(size=(width, width)))
    return q * np.sign(np.diag(r))


def test_moments_of_the_derivative():
    q = np.array([0.3, 2.0])
    assert derivative_moment("relu", q, 3) == pytest.approx([0.5, 0.5], abs=1e-12)
    erf = [(4 / np.pi) ** k / np.sqrt(1 + 4 * k * q) for k in (1, 2)]
    assert derivative_moment("erf", q, 1) == pytest.approx(erf[0], rel=1e-10)
    assert derivative_moment("erf", q, 2) == pytest.approx(erf[1], rel=1e-10)


def test_moments_of_the_jacobian_and_how_they_add_up():
    q, weight_variance = 0.4, 1.7
    one, all_ = (jacobian_moments("tanh", depth, weight_variance, q, "orthogonal") for depth in (1, 50))
    assert all_.log_mean == pytest.approx(50 * np.log(chi_1("tanh", q, weight_variance)), rel=1e-10)
    assert all_.relative_variance == pytest.approx(50 * one.relative_variance, rel=1e-12)
    gaussian = jacobian_moments("tanh", 50, weight_variance, q, "gaussian")
    assert gaussian.relative_variance - all_.relative_variance == pytest.approx(50, rel=1e-10)
    small = jacobian_moments("tanh", 1000, 1, [1e-4, 1e-5], "orthogonal").relative_variance
    assert small == pytest.approx(8 * 1000 * np.array([1e-8, 1e-10]), rel=2e-3)
    assert jacobian_moments("relu", [1, 2], 2, np.ones((3, 1))).relative_variance.shape == (3, 2)


def test_one_gaussian_layer_is_the_quarter_circle():
    law = singular_value_density("linear", 1, 1, 1)
    s = np.exp(law.log_value)
    np.testing.assert_allclose(law.density, s * np.sqrt(4 - s**2) / np.pi, rtol=1e-5, atol=1e-6)
    assert law.log_largest == pytest.approx(np.log(2), abs=1e-10)
    # ∫ √(4 − s²)/π up to s
    np.testing.assert_allclose(law.cumulative, (s * np.sqrt(4 - s**2) / 2 + 2 * np.arcsin(s / 2)) / np.pi, atol=1e-4)


@pytest.mark.parametrize("depth", [2, 7, 1000])
def test_gaussian_matrices_multiply_to_fuss_and_catalan(depth):
    law = singular_value_density("linear", depth, 1, 1)
    log_edge = (depth + 1) * np.log(depth + 1) - depth * np.log(depth)
    assert 2 * law.log_largest == pytest.approx(log_edge, abs=1e-8)
    for k in (1, 2, 3):
        assert squared_moment(law, k, 0) == pytest.approx(comb((depth + 1) * k, k) / (depth * k + 1), rel=1e-4)
    fine = singular_value_density("linear", depth, 1, 1, points=4000)
    # Known parametrically: log λ and the density of log s at an angle, for angles in (0, π/(L + 1)).
    angle = np.linspace(0.1, 0.7, 20) * np.pi / (depth + 1)
    outer, inner = np.log(np.sin((depth + 1) * angle)), np.log(np.sin(depth * angle))
    log_lambda = (depth + 1) * outer - np.log(np.sin(angle)) - depth * inner
    density = 2 / np.pi * np.exp(log_lambda + 2 * np.log(np.sin(angle)) + (depth - 1) * inner - depth * outer)
    np.testing.assert_allclose(CubicSpline(fine.log_value, fine.density)(log_lambda / 2), density, rtol=1e-4)


@pytest.mark.parametrize(
    ("activation", "q", "law", "depth"),
    [
        ("relu", 1, "gaussian", 3),
        ("relu", 1, "orthogonal", 100),
        ("hard_tanh", 1, "gaussian", 1000),
        ("hard_tanh", 0.05, "orthogonal", 100),
        ("tanh", 0.01, "orthogonal", 1000),
        ("tanh", 1, "gaussian", 20),
        ("selu", 1, "gaussian", 10),
        ("gelu", 0.5, "orthogonal", 5),
    ],
)
def test_mass_mean_and_variance_of_the_law(activation, q, law, depth):
    predicted = jacobian_moments(activation, depth, 1.3, q, law)
    spectrum = singular_value_density(activation, depth, 1.3, q, law)
    mean, square = (squared_moment(spectrum, k, predicted.log_mean) for k in (1, 2))
    assert squared_moment(spectrum, 0, 0) == pytest.approx(1, abs=2e-4)
    assert mean == pytest.approx(1, rel=1e-4)
    assert square - 1 == pytest.approx(float(predicted.relative_variance), rel=1e-3)
    assert spectrum.log_largest >= spectrum.log_value[-1]


@pytest.mark.parametrize(
    ("activation", "law"), [("tanh", "orthogonal"), ("hard_tanh", "gaussian"), ("selu", "gaussian")]
)
def test_layers_of_different_variances(activation, law):
    """Means multiply and relative variances add up; in any order; the same variance everywhere is one number."""
    q = np.array([2.0, 0.9, 0.4, 0.4])
    layers = jacobian_moments(activation, 1, 1.3, q, law)
    spectrum = singular_value_density(activation, 4, 1.3, q, law)
    mean, square = (squared_moment(spectrum, k, layers.log_mean.sum()) for k in (1, 2))
    assert squared_moment(spectrum, 0, 0) == pytest.approx(1, abs=2e-4)
    assert mean == pytest.approx(1, rel=1e-4)
    assert square - 1 == pytest.approx(layers.relative_variance.sum(), rel=1e-3)
    turned = singular_value_density(activation, 4, 1.3, q[::-1], law)
    assert turned.log_quantile([0.7, 0.9]) == pytest.approx(spectrum.log_quantile([0.7, 0.9]), rel=1e-12)


def test_zeros_and_atoms():
    relu = singular_value_density("relu", 10, 2, 1)
    assert relu.zero == pytest.approx(0.5, abs=1e-12)
    assert relu.log_quantile([0.4, 0.6])[0] == -np.inf and np.isfinite(relu.log_quantile(0.6))
    straight = singular_value_density("linear", 30, 4, 1, "orthogonal")
    assert straight.atom == pytest.approx(1) and straight.log_quantile(0.5) == pytest.approx(30 * np.log(2))
    hard = singular_value_density("hard_tanh", 100, 1, 0.1, "orthogonal")
    assert hard.atom == pytest.approx(1 - 100 * hard.zero, rel=1e-6)


@pytest.mark.parametrize(
    ("activation", "q", "law"),
    [
        ("tanh", 0.3, "orthogonal"),
        ("tanh", 0.3, "gaussian"),
        ("relu", 1.0, "orthogonal"),
        ("hard_tanh", 0.5, "orthogonal"),
    ],
)
def test_quantiles_of_drawn_matrices(activation, q, law):
    """Products of D, with independent entries, and W: free at large width, to O(1/width)."""
    from moments_xr.activations import activation as row

    width, depth, rng = 300, 5, np.random.default_rng(7)
    product = np.eye(width)
    for _ in range(depth):
        weights = orthogonal(rng, width) if law == "orthogonal" else rng.normal(size=(width, width)) / np.sqrt(width)
        product = row(activation).derivative(np.sqrt(q) * rng.normal(size=(width, 1))) * (weights @ product)
    values = np.sort(np.linalg.svd(product, compute_uv=False))
    spectrum = singular_value_density(activation, depth, 1, q, law)
    for fraction in (0.6, 0.75, 0.9, 0.97):
        expected = min(fraction, 1 - spectrum.atom)
        below = np.mean(values < np.exp(spectrum.log_quantile(fraction) - 1e-9))
        # Each D has a binomial or alike scatter of 1/√width in its mean: what depends on it moves by √depth of that.
        assert abs(below - expected) < SIGMAS * 0.5 * np.sqrt(depth / width) * (1 - expected) + 2 / width
    assert np.log(values[-1]) == pytest.approx(spectrum.log_largest, abs=0.25)


def test_isometry_in_numbers():
    found = isometry("tanh", 30, 1.1, 0.05, "orthogonal")
    moments = jacobian_moments("tanh", 30, 1.1, 0.05, "orthogonal")
    assert (found.log_mean, found.relative_variance) == pytest.approx(tuple(map(float, moments)))
    assert found.log_lowest_tenth < 0.5 * found.log_mean < found.log_largest and found.least == found.zero == 0
    relu = isometry("relu", 30, 2, 1)
    assert relu.zero == pytest.approx(0.5) and relu.log_lowest_tenth == -np.inf and relu.least == pytest.approx(60)


def test_finite_width_exactly():
    """ReLU and linear nets of 12 channels: mean square of tr (JJᵀ)² over drawn nets."""
    width, depth, nets, rng = 12, 4, 6000, np.random.default_rng(1)
    for kurtosis in (1, 2):
        product, x = np.broadcast_to(np.eye(width), (nets, width, width)), rng.normal(size=(nets, width, 1))
        predicted = jacobian_relative_variance(depth, width, kurtosis)
        for layer in range(depth):
            weights = rng.normal(size=(nets, width, width)) * np.sqrt(kurtosis / width)
            y = weights @ x
            mask = y > 0 if kurtosis == 2 else np.ones_like(y)
            product, x = mask * (weights @ product), mask * y
            gram = product @ product.mT
            square = (gram**2).sum((1, 2)) / width
            assert abs(square.mean() - 1 - predicted[layer]) < SIGMAS * square.std() / np.sqrt(nets)
    np.testing.assert_allclose(jacobian_relative_variance(10, 10**9), 2 * np.arange(1, 11), rtol=1e-6)
    k, layers, wide = 3.0, 10, 10**6
    first_order = k * (3 * k - 2) * layers**2 / 2 / wide
    assert jacobian_relative_variance(layers, wide, k)[-1] - k * layers == pytest.approx(first_order, rel=0.15)


@pytest.mark.parametrize("activation", ["tanh", "erf", "hard_tanh", "gelu", "silu", "elu"])
def test_isometric_point_is_on_the_edge_of_chaos(activation):
    depth, spread = 100, 0.05
    point = isometric_point(activation, depth, spread)
    assert chi_1(activation, point.q, point.weight_variance) == pytest.approx(1, rel=1e-9)
    assert variance_map(activation, point.q, point.weight_variance, point.bias_variance) == pytest.approx(point.q)
    assert point.relative_variance == pytest.approx(spread, rel=1e-6) and point.bias_variance > 0
    wider = jacobian_moments(activation, depth, 1, 1.05 * point.q, "orthogonal")
    assert wider.relative_variance > spread


def test_where_isometry_is_possible():
    assert least_relative_variance("tanh", 10) == 0 == least_relative_variance("hard_tanh", 10)
    assert least_relative_variance("relu", 10) == pytest.approx(10)
    assert least_relative_variance("tanh", 10, "gaussian") == pytest.approx(10, rel=1e-6)
    point = isometric_point("tanh", 1000, 0.01)
    assert point.q == pytest.approx(np.sqrt(0.01 / 8000), rel=1e-2)
    assert point.bias_variance == pytest.approx(4 / 3 * point.q**3, rel=0.02)
    with pytest.raises(RequestError, match="it is 100 even at small variances; needs orthogonal weights"):
        isometric_point("relu", 100)
    with pytest.raises(RequestError, match="any will do"):
        isometric_point("linear", 100)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 1, 1, "haar"), "'haar' is not one of gaussian, orthogonal"),
        ((0, 1, 1), "depth: 0 needs"),
        ((10, 0, 1), "weight_variance: 0 needs"),
        ((10, 1, 0), "q: 0 is the variance"),
        ((1, 1, 1, "orthogonal"), "needs at least 2 layers"),
        ((3, 1, [1, 2]), "needs to be one number, or one for each of 3 layers"),
    ],
)
def test_errors_say_what_would_be_right(arguments, message):
    with pytest.raises(RequestError, match=message):
        singular_value_density("tanh", *arguments)
