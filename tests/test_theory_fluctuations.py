"""Variances of log-moments over nets, against Theorem 1's one input, simulation and a hand-worked linear net."""

import numpy as np
import pytest

from moments_xr.activations import ACTIVATIONS
from moments_xr.errors import RequestError
from moments_xr.theory import log_moment_variance


def test_relu_walks():
    found = log_moment_variance("relu", 50, 200, 2.0)
    np.testing.assert_allclose(found.nu2_signal, 5 / 200 * np.arange(1, 51), rtol=1e-6)
    np.testing.assert_allclose(found.mu2_noise, 5 / 200 * np.arange(1, 51), rtol=1e-6)


def test_linear_nets_walk_at_two_over_the_width():
    found = log_moment_variance("linear", 10, 100, 1.3)
    np.testing.assert_allclose(found.nu2_signal, 2 / 100 * np.arange(1, 11), rtol=1e-6)
    np.testing.assert_allclose(found.mu2_noise, 2 / 100 * np.arange(1, 11), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "weight", "bias"), [("tanh", 3.0, 0.1), ("elu", 1.6, 0.2), ("gelu", 2.0, 0.0), ("erf", 1.0, 0.3)]
)
def test_nets_by_simulation(name, weight, bias):
    """One input, 3000 nets of width 150 in their exact law given the layer before; χ² errors of a variance."""
    rng, row, nets, width, depth = np.random.default_rng(0), ACTIVATIONS[name], 3000, 150, 8
    nu2, mu2 = np.ones(nets), np.ones(nets)
    seen = []
    for _ in range(depth):
        y = rng.normal(size=(nets, width)) * np.sqrt(weight * nu2 + bias)[:, None]
        dy = rng.normal(size=(nets, width)) * np.sqrt(weight * mu2)[:, None]
        nu2, mu2 = (row.phi(y) ** 2).mean(1), ((row.derivative(y) * dy) ** 2).mean(1)
        seen.append((np.log(nu2).var(ddof=1), np.log(mu2).var(ddof=1)))
    found = log_moment_variance(name, depth, width, weight, bias)
    tolerance = 5 * np.sqrt(2 / nets) + 2 * np.arange(1, depth + 1) / width  # and the next order in l/N
    for measured, predicted in zip(np.transpose(seen), found, strict=True):
        assert (abs(measured / predicted - 1) < tolerance).all(), measured / predicted


def test_nets_with_dropout_by_simulation():
    """Masks of one layer are seen from the next on: ReLU takes (6/ρ − 1)/N a layer."""
    rng, nets, width, depth, keep, weight = np.random.default_rng(0), 4000, 200, 6, 0.5, 1.0
    nu2, mu2, seen = np.full(nets, 1 / keep), np.full(nets, 1 / keep), []
    for _ in range(depth):
        y = rng.normal(size=(nets, width)) * np.sqrt(weight * nu2)[:, None]
        dy = rng.normal(size=(nets, width)) * np.sqrt(weight * mu2)[:, None]
        x, dx = np.maximum(y, 0), (y > 0) * dy
        seen.append((np.log((x**2).mean(1)).var(ddof=1), np.log((dx**2).mean(1)).var(ddof=1)))
        mask = (rng.random(size=x.shape) < keep) / keep
        nu2, mu2 = ((mask * x) ** 2).mean(1), ((mask * dx) ** 2).mean(1)
    found = log_moment_variance("relu", depth, width, weight, keep=keep)
    np.testing.assert_allclose(found.nu2_signal, (11 * np.arange(depth) + 5) / width, rtol=1e-6)
    tolerance = 5 * np.sqrt(2 / nets) + 4 * np.arange(1, depth + 1) / width
    for measured, predicted in zip(np.transpose(seen), found, strict=True):
        assert (abs(measured / predicted - 1) < tolerance).all(), measured / predicted


def test_bad_arguments_are_named():
    for wrong in ({"width": -1}, {"depth": 0}, {"keep": 2.0}, {"weight_variance": np.nan}):
        with pytest.raises(RequestError):
            log_moment_variance(**{"of": "tanh", "depth": 3, "width": 10, "weight_variance": 1.0} | wrong)


def test_stable_variance_forgets():
    """Where the variance map is stable, Var log ν₂ settles, while the noise's goes on growing."""
    found = log_moment_variance("tanh", 200, 100, 3.0, 0.1)
    assert found.nu2_signal[-1] == pytest.approx(found.nu2_signal[50], rel=1e-6)
    assert found.mu2_noise[-1] > 3 * found.mu2_noise[50]


def test_no_depth_overflows():
    assert np.isfinite(log_moment_variance("elu", 2000, 100, 6.0).mu2_noise).all()
