"""Mean-field maps and their iteration: derivatives, published laws, the library neural-tangents, nets by Monte Carlo."""

import json
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from scipy import special

from moments_xr.activations import ACTIVATIONS, Activation
from moments_xr.errors import RequestError
from moments_xr.theory import (
    chi_1,
    chi_c,
    correlation_map,
    covariance_map,
    fixed_point,
    kernels,
    propagate_correlation,
    propagate_variance,
    variance_map,
)

KERNELS = json.loads((Path(__file__).parent / "data" / "neural_tangents.json").read_text(encoding="utf8"))
OWN = {"abs": np.abs, "sin": np.sin, "sigmoid_like": lambda y: special.erf(y / 2.4020563531719796) / 2 + 0.5}
SLOPES = {"abs": np.sign, "sin": np.cos}


def _central(function, x, step=1e-4):
    """Derivative to about 1e-11 by five points."""
    return (8 * (function(x + step) - function(x - step)) - function(x + 2 * step) + function(x - 2 * step)) / (
        12 * step
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_price(name):
    """∂q_ab/∂q_ab is σ_w² E[φ'φ'], of which χ₁ is the case c = 1."""
    q, c = 1.4, np.array([-0.6, 0.1, 0.8])
    slope = _central(lambda x: covariance_map(name, q, q, x, 1.7, 0.2), c) / q
    np.testing.assert_allclose(slope, chi_c(name, q, c, 1.7), rtol=1e-8)
    np.testing.assert_allclose(chi_c(name, q, 1, 1.7), chi_1(name, q, 1.7), rtol=1e-10)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_of_the_variance_map(name):
    q = np.array([0.2, 1.0, 5.0])
    slope = _central(lambda x: variance_map(name, x, 1.7, 0.2), q)
    np.testing.assert_allclose(slope, 1.7 * kernels(name).square_derivative(q), rtol=1e-8)


def test_maps_by_hand():
    assert variance_map("relu", 3.0, 2.0, 0.5, keep=0.5) == 6.5
    assert covariance_map("linear", 4.0, 9.0, 0.5, 2.0, 0.25) == pytest.approx(6.25, rel=1e-15)
    assert correlation_map("linear", 2.0, 0.5, 1.0, keep=0.8) == pytest.approx(0.4, rel=1e-15)
    assert chi_1("relu", 7.0, 2.0, keep=0.5) == 2.0
    c = np.linspace(-1, 1, 9)
    published = (np.sqrt(1 - c**2) + c * (np.pi - np.arccos(c))) / np.pi
    np.testing.assert_allclose(correlation_map("relu", 5.0, c, 2.0), published, atol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"q": -1.0}, "q is -1.0"),
        ({"weight_variance": -2.0}, "weight_variance is -2.0"),
        ({"bias_variance": -0.1}, "bias_variance is -0.1"),
        ({"keep": 0.0}, "keep is 0.0"),
        ({"keep": 1.5}, "keep is 1.5"),
    ],
)
def test_impossible_parameters_are_refused(arguments, message):
    with pytest.raises(RequestError, match=message):
        variance_map("tanh", **({"q": 1.0, "weight_variance": 1.0} | arguments))


@pytest.mark.parametrize(
    ("name", "rows"), [(name, list(rows)) for name, rows in groupby(KERNELS["rows"], lambda r: r[0])]
)
def test_neural_tangents(name, rows):
    """NNGP and tangent kernels of 1, 3 and 10 layers as neural-tangents 0.6.5 (jax 0.4.35) has them in closed form.

    Made by tests/data/make_neural_tangents.py. The tangent kernel after a layer is q_ab + σ_w² E[φ'φ'] × the one before.
    """
    activation = name
    if name in OWN:
        slope = SLOPES.get(
            name, lambda y: np.exp(-((y / 2.4020563531719796) ** 2)) / np.sqrt(np.pi) / 2.4020563531719796
        )
        activation = Activation(name, name, OWN[name], slope, kinks=(0,) if name == "abs" else ())
    parameters = np.array([row[1:] for row in rows], dtype="f8").T
    weight, bias, depth, q_a, q_b, c, *expected = parameters
    nngp = np.stack([q_a, q_b, np.sqrt(q_a * q_b) * c])
    tangent = nngp.copy()
    for layer in range(1, 11):
        q_a, q_b, q_ab = nngp
        angle = np.arccos(q_ab / np.sqrt(q_a * q_b))
        slopes = kernels(activation).slope_square(nngp[:2]), kernels(activation).slope_product(q_a, q_b, angle)
        nngp = np.stack(
            [
                variance_map(activation, q_a, weight, bias),
                variance_map(activation, q_b, weight, bias),
                covariance_map(activation, q_a, q_b, np.cos(angle), weight, bias),
            ]
        )
        tangent = nngp + weight * np.concatenate([slopes[0], slopes[1][None]]) * tangent
        here = depth == layer
        np.testing.assert_allclose(nngp[:, here], np.array(expected[:3])[:, here], rtol=1e-9)
        np.testing.assert_allclose(tangent[:, here], np.array(expected[3:])[:, here], rtol=1e-9)


@pytest.mark.parametrize("name", ["tanh", "gelu", "relu"])
def test_a_wide_random_net(name):
    """q and q_ab of one layer of 100 000 units over 20 draws, within 4 standard errors of their mean."""
    rng = np.random.default_rng(1)
    row, (q_a, q_b, c) = ACTIVATIONS[name], (1.2, 0.7, 0.6)
    weight, bias, keep = 1.6, 0.3, 0.8
    z = rng.standard_normal((2, 20, 100_000))
    x_a = row.phi(np.sqrt(q_a) * z[0])
    x_b = row.phi(np.sqrt(q_b) * (c * z[0] + np.sqrt(1 - c**2) * z[1]))
    mask_a, mask_b = (rng.random(z.shape) < keep) / keep
    for sample, expected in (
        (weight * (mask_a * x_a) ** 2 + bias, variance_map(name, q_a, weight, bias, keep)),
        (weight * mask_a * x_a * mask_b * x_b + bias, covariance_map(name, q_a, q_b, c, weight, bias)),
    ):
        means = sample.mean(-1)
        assert abs(means.mean() - expected) < 4.5 * sample.std() / np.sqrt(sample.size)


@pytest.mark.parametrize("name", ["tanh", "relu", "selu", "erf"])
def test_propagation_iterates_the_maps(name):
    q_a, q_b, c, keep = 0.8, 2.5, 0.3, 0.9
    result = propagate_correlation(name, 4, 1.3, [0.0, 0.2], keep, q_a, q_b, c)
    bias = np.array([0.0, 0.2])
    for layer in range(1, 5):
        q_ab = covariance_map(name, q_a, q_b, c, 1.3, bias)
        q_a, q_b = variance_map(name, q_a, 1.3, bias, keep), variance_map(name, q_b, 1.3, bias, keep)
        c = q_ab / np.sqrt(q_a * q_b)
        np.testing.assert_allclose(np.exp(result.log_q_a[layer]), q_a, rtol=1e-11)
        np.testing.assert_allclose(np.exp(result.log_q_b[layer]), q_b, rtol=1e-11)
        np.testing.assert_allclose(result.c[layer], c, rtol=1e-10)
    np.testing.assert_allclose(result.gap, 1 - result.c, rtol=1e-14)


def test_relu_at_any_depth():
    """log q is exact where q would overflow, and c doesn't depend on it: 1 − c^l → 9π²/(2l²)."""
    result = propagate_correlation("relu", 10_000, [2.0, 3.0, 1.0], c=0.2, q_b=5.0)
    np.testing.assert_allclose(result.log_q_a[-1], 10_000 * np.log([1, 1.5, 0.5]), atol=1e-8)
    np.testing.assert_allclose(result.gap[1000, 1:], result.gap[1000, 0], rtol=1e-6)
    law = result.gap[[1000, 10_000], 0] * np.array([1e3, 1e4]) ** 2 / (9 * np.pi**2 / 2)
    assert 0.96 < law[0] < 0.98
    assert 0.99 < law[1] < 1


def test_correlations_converge_at_the_rate_of_chi_c():
    for weight, bias in ((0.5, 0.1), (3.0, 0.1)):
        point = fixed_point("tanh", weight, bias)
        gap = propagate_correlation("tanh", 60, weight, bias, q_a=point.q, q_b=point.q, c=0.3).gap
        distance = abs(gap - (1 - point.c))
        assert np.log(distance[40] / distance[30]) / 10 == pytest.approx(np.log(point.chi_c), rel=2e-2)
    gap = propagate_correlation("tanh", 46, 0.5, 0.1).gap
    assert 1e-20 < gap[-1] < 1e-18
    assert gap[-1] / gap[-2] == pytest.approx(fixed_point("tanh", 0.5, 0.1).chi_c, rel=1e-6)


@pytest.mark.parametrize("name", ["gelu", "tanh", "elu"])
def test_variances_that_vanish_or_explode_stay_finite_in_log(name):
    log_q = propagate_variance(name, 3000, 0.2, q=[1.0, 1e-100])
    assert np.isfinite(log_q).all()
    slope = ACTIVATIONS[name].derivative(np.zeros(1))[0] ** 2
    np.testing.assert_allclose(np.diff(log_q[-2:], axis=0)[0], np.log(0.2 * slope), rtol=1e-9)
    if name != "tanh":
        log_q = propagate_variance(name, 1000, 4.5)
        assert log_q[-1] - log_q[-2] == pytest.approx(np.log(2.25), rel=1e-9)
