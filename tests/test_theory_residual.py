"""Mean field of residual nets: closed forms, asymptotics, and drawn nets."""

import numpy as np
import pytest

from moments_xr.activations import activation
from moments_xr.errors import RequestError
from moments_xr.theory import best_variance, residual_asymptotics, residual_correlation, residual_growth

SIGMAS = 4.5
"""Tolerance in standard errors: a fair test fails by chance once in 10⁵."""


def test_relu_in_closed_form():
    inner, outer, bias, output_bias, depth, p = 2.0, 0.3, 0.4, 0.2, 12, 1.5
    log_p, log_gain = residual_growth("relu", depth, inner, outer, bias, output_bias, p)
    growth, added = 1 + inner * outer / 2, outer * bias / 2 + output_bias
    layers = np.arange(depth + 1)
    np.testing.assert_allclose(
        np.exp(log_p), p * growth**layers + added * (growth**layers - 1) / (growth - 1), rtol=1e-12
    )
    np.testing.assert_allclose(log_gain, layers * np.log(growth), rtol=1e-12, atol=1e-12)


def test_nothing_overflows():
    deep = residual_growth("relu", 3000, 2, [1, 2])
    np.testing.assert_allclose(deep.log_p[-1], 3000 * np.log([2, 3]), rtol=1e-12)
    gelu = residual_growth("gelu", 2000, 2, 1)
    assert np.diff(gelu.log_p)[-1] == pytest.approx(np.log(2), rel=1e-6)
    assert residual_asymptotics("gelu", 2, 1).rate == pytest.approx(np.log(2), rel=1e-9)


def test_linear_branches_keep_correlations():
    c, log_chi = residual_correlation("linear", 40, 1.5, 0.5, p=2, c=[-0.4, 0.7])
    np.testing.assert_allclose(c, np.broadcast_to([-0.4, 0.7], c.shape), atol=1e-12)
    np.testing.assert_allclose(log_chi, 0, atol=1e-12)


def test_sensitivity_of_relu_grows_as_a_power():
    """1 − c falls as 1/l², by its law near 1, while gains cancel: χ grows in proportion to l."""
    log_chi = residual_correlation("relu", 4000, 1, 1, c=0.3).log_chi
    slope = (log_chi[4000] - log_chi[2000]) / np.log(2)
    assert slope == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(
    ("activation_name", "square", "integral"), [("tanh", 1, 4 / 3), ("erf", 1, 4 / np.sqrt(2 * np.pi))]
)
def test_bounded_activations_grow_as_roots(activation_name, square, integral):
    """p ≈ slope · l and log gain ≈ root · √l, with ∫φ'² known."""
    inner, outer, output_bias = 0.7, 1.3, 0.4
    rate, slope, root = residual_asymptotics(activation_name, inner, outer, output_bias)
    assert rate == 0 and slope == pytest.approx(outer * square + output_bias, rel=1e-5)
    expected = 2 * outer * inner * integral / np.sqrt(2 * np.pi * inner * (outer * square + output_bias))
    assert root == pytest.approx(expected, rel=1e-5)
    log_p, log_gain = residual_growth(activation_name, 3000, inner, outer, output_bias_variance=output_bias)
    assert np.exp(log_p[3000]) - np.exp(log_p[1500]) == pytest.approx(1500 * slope, rel=0.02)
    local = (log_gain[3000] - log_gain[1500]) / (np.sqrt(3000) - np.sqrt(1500))
    assert local == pytest.approx(root, rel=0.02)


@pytest.mark.parametrize(("name", "width"), [("tanh", 400), ("relu", 400)])
def test_drawn_nets(name, width):
    """Mean over 12 nets of log p, log gain, c and log χ of two inputs, after 10 units with biases, within standard errors."""
    nets, depth, inner, outer, bias, output_bias, start = 12, 10, 1.5, 0.4, 0.3, 0.1, 0.25
    row, rng, found = activation(name), np.random.default_rng(5), []
    for _ in range(nets):
        basis = rng.normal(size=(2, width))
        basis[1] = start * basis[0] + np.sqrt(1 - start**2) * basis[1]
        x, dx = basis, rng.normal(size=(2, width))
        for _ in range(depth):
            w, v = (rng.normal(size=(width, width)) * np.sqrt(variance / width) for variance in (inner, outer))
            y = x @ w + np.sqrt(bias) * rng.normal(size=width)
            dx = dx + (row.derivative(y) * (dx @ w)) @ v
            x = x + row.phi(y) @ v + np.sqrt(output_bias) * rng.normal(size=width)
        p, gain = (x**2).mean(), (dx**2).mean()
        distance = ((x[0] - x[1]) ** 2).mean() / 2
        found.append([np.log(p), np.log(gain), 1 - distance / p, 0.5 * np.log(gain / distance * (1 - start))])
    arguments = (name, depth, inner, outer, bias, output_bias)
    growth, pair = residual_growth(*arguments), residual_correlation(*arguments, c=start)
    predicted = [growth.log_p[-1], growth.log_gain[-1], pair.c[-1], pair.log_chi[-1]]
    error = np.std(found, axis=0, ddof=1) / np.sqrt(nets)
    assert (error < 0.05).all()
    # The log of a mean over channels is biased by half its variance, which is 12 squared standard errors of the mean.
    assert (abs(np.mean(found, axis=0) - predicted) < SIGMAS * error + nets * error**2).all(), (found, predicted)


def test_best_variance_meets_the_budget_and_falls_as_one_over_depth():
    for name in ("relu", "tanh"):
        chosen = [best_variance(name, depth, weight_variance=1.5, budget=0.7) for depth in (50, 200)]
        assert residual_growth(name, 200, 1.5, chosen[1]).log_gain[-1] == pytest.approx(0.7, rel=1e-8)
        assert 50 * chosen[0] == pytest.approx(200 * chosen[1], rel=0.02)
    assert best_variance("relu", 30, 2, 1.2) == pytest.approx(np.expm1(1.2 / 30), rel=1e-9)
    assert best_variance("tanh", 50, 1, 1) > best_variance("tanh", 50, 2, 1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_variance("relu", 10, budget=0), "budget: 0 is the log of a growth"),
        (lambda: residual_growth("relu", 10, 0, 1), "weight_variance and p need to be positive"),
        (lambda: residual_growth("relu", 10, 1, -1), "output_variance"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(RequestError, match=message):
        call()
