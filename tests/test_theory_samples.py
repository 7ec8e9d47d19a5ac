"""A batch of inputs at infinite width: series against quadrature, maps against the pair maps, nets of finite width."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moments_xr.activations import ACTIVATIONS
from moments_xr.theory.gaussian_kernels import quadrature
from moments_xr.theory.hermite import coefficients, distance
from moments_xr.theory.samples import propagate_samples

Q = np.array([0.3, 1.0, 1.2, 3.0])


@pytest.mark.parametrize("name", ["linear", "tanh", "erf", "elu", "gelu", "silu"])
@pytest.mark.parametrize("gap", [1e-8, 1e-3, 0.1, 0.5, 1.0, 1.7])
def test_distances_are_those_of_quadrature(name, gap):
    gaps = np.full((4, 4), gap)
    np.fill_diagonal(gaps, 0)
    kernel = quadrature(name)
    series = distance(ACTIVATIONS[name], kernel, Q, gaps)
    exact = kernel.difference(Q[:, None] + 0 * gaps, Q + 0 * gaps, 2 * np.arcsin(np.sqrt(gaps / 2)))
    np.testing.assert_allclose(series, exact, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("name", ["relu", "hard_tanh", "selu"])
@pytest.mark.parametrize("gap", [1e-8, 1e-3, 0.1, 0.5, 1.0, 1.7])
def test_distances_with_kinks_keep_their_bound(name, gap):
    gaps = np.full((4, 4), gap)
    np.fill_diagonal(gaps, 0)
    row, kernel = ACTIVATIONS[name], quadrature(name)
    series = distance(row, kernel, Q, gaps)
    exact = kernel.difference(Q[:, None] + 0 * gaps, Q + 0 * gaps, 2 * np.arcsin(np.sqrt(gaps / 2)))
    rest = np.maximum(kernel.square(Q) - (coefficients(row.phi, Q, kinks=row.kinks) ** 2).sum(1), 0)
    assert (abs(series - exact) <= 4 * np.sqrt(rest[:, None] * rest) + 1e-9).all()
    same = distance(row, kernel, np.ones(2), gaps[:2, :2])[0, 1]
    assert same == pytest.approx(float(kernel.difference(1.0, 1.0, 2 * np.arcsin(np.sqrt(gap / 2)))), rel=1e-2)


def test_coefficients_of_polynomials():
    """u³ = q^{3/2} (3 h₁ + √6 h₃)."""
    alpha = coefficients(lambda u: u**3, np.array([1.0, 2.0]), 5)
    expected = np.array([0, 3, 0, np.sqrt(6), 0, 0])
    np.testing.assert_allclose(alpha, np.array([1, 2**1.5])[:, None] * expected, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["relu", "leaky_relu", "linear"]),
    st.floats(0.5, 4),
    st.floats(0, 1),
    st.floats(0.5, 1),
    st.integers(0, 1000),
)
def test_homogeneous_nets_follow_the_arc_cosine_maps(name, weight, bias, keep, seed):
    """Written out as maps of a Gram matrix, by the closed form, for a few layers."""
    x = np.random.default_rng(seed).normal(size=(5, 7)) * 2
    slope = {"relu": 0.0, "leaky_relu": 0.01, "linear": 1.0}[name]
    same = np.eye(5, dtype=bool)
    gram, noise = x @ x.T / 7, np.ones(5)
    sites = propagate_samples(name, x, 4, weight, bias, keep)
    for layer in range(4):
        gram = weight * np.where(same, gram / keep, gram) + bias
        root = np.sqrt(np.diag(gram))
        assert sites["conv"].log_nu2[layer] == pytest.approx(np.log(np.diag(gram).mean()), abs=1e-10)
        c = np.clip(gram / np.outer(root, root), -1, 1)
        angle = np.arccos(c)
        kernel = (1 + slope**2) / 2 * c + (1 - slope) ** 2 / (2 * np.pi) * (np.sin(angle) - angle * c)
        gram, noise = np.outer(root, root) * kernel, noise * weight / keep * (1 + slope**2) / 2
        np.fill_diagonal(gram, (1 + slope**2) / 2 * root**2)
        assert np.exp(sites["act"].log_mu2[layer]) == pytest.approx(np.diag(gram).mean() - gram.mean(), rel=1e-7)
        assert np.exp(sites["act"].log_noise[layer]) == pytest.approx(noise.mean(), rel=1e-10)


def test_samples_that_look_alike_keep_their_digits():
    """Deep in the ordered phase μ₂/ν₂ falls below 1e-16 and χ converges; nothing cancels."""
    x = np.random.default_rng(0).normal(size=(6, 50))
    act = propagate_samples("tanh", x, 120, 0.7, 0.3)["act"]
    assert act.log_mu2[-1] - act.log_nu2[-1] < -80
    log_chi = 0.5 * (act.log_noise - act.log_mu2)
    assert np.diff(log_chi)[-10:] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["relu", "elu", "tanh"])
def test_no_depth_overflows(name):
    x = np.random.default_rng(0).normal(size=(4, 20))
    depth = 3000 if name == "relu" else 200
    act = propagate_samples(name, x, depth, 6.0, 0.0)["act"]
    assert np.isfinite(act.log_nu2).all() and np.isfinite(act.log_noise).all()
    if name == "relu":
        assert act.log_nu2[-1] == pytest.approx(np.log((x**2).mean()) + 3000 * np.log(3), rel=1e-12)


@pytest.mark.parametrize(("features", "correction"), [(10, -0.09675), (64, -0.01451)])
def test_noise_along_the_signal_is_squashed_more(features, correction):
    """Against the recursion of ⟨x, x⟩, ⟨x, dx⟩ and ⟨dx, dx⟩ written out (THEORY 8): tanh (3, 0.1), 6 layers."""
    z = np.linspace(-9, 9, 2001)
    weights = np.exp(-(z**2) / 2) / np.exp(-(z**2) / 2).sum()
    xx = xd = dd = product = 1.0
    for _ in range(6):
        q, v = 3 * xx + 0.1, 3 * dd
        rho, x = 3 * xd / np.sqrt(q), np.tanh(np.sqrt(q) * z)
        slope = weights @ (1 - x**2) ** 2
        xx, xd = weights @ x**2, rho * (weights @ (x * (1 - x**2) * z))
        dd = rho**2 * (weights @ ((1 - x**2) * z) ** 2) + (v - rho**2) * slope
        product *= 3 * slope
    act = propagate_samples("tanh", np.ones((3, features)), 6, 3.0, 0.1)["act"]
    share = np.log(1 + (dd / product - 1) / features)
    assert share == pytest.approx(correction, abs=1e-5)
    assert act.log_noise[-1] == pytest.approx(np.log(product) + share, abs=1e-10)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "linear"])
def test_a_homogeneous_activation_takes_noise_of_all_directions_alike(name):
    x = np.random.default_rng(0).normal(size=(4, 3))
    few, many = (propagate_samples(name, one, 5, 1.7, 0.3, 0.9, True)["sum"] for one in (x, np.tile(x, 1000)))
    np.testing.assert_allclose(few.log_noise, many.log_noise, atol=1e-12)


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_mean_of_the_logarithm_is_that_of_a_chi_square(share):
    """μ₂(dx) of a linear net with 2 samples of 3 features: χ² of 6 degrees of freedom; with other weights, nearly."""
    linear = propagate_samples("linear", np.ones((2, 3)), 1, share)["act"]
    assert linear.noise_variance == pytest.approx(2 / 6) and linear.log_noise == pytest.approx(np.log(share))
    draws = share * np.square(np.random.default_rng(0).normal(size=(200_000, 6))).mean(1)
    assert linear.mean_log_noise == pytest.approx(np.log(draws).mean(), abs=4 * np.log(draws).std() / np.sqrt(200_000))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("keep", [1.0, 0.8])
def test_wide_nets_by_simulation(residual, keep):
    """tanh nets of 5 input features in numpy: all moments within four standard errors and O(1/N)."""
    rng = np.random.default_rng(0)
    x, width, depth, nets, draws = rng.normal(size=(6, 5)), 300, 3, 40, 16
    weight, bias = 2.0, 0.2
    last = propagate_samples("tanh", x, depth, weight, bias, keep, residual)["sum" if residual else "act"]
    expected = np.exp([last.log_nu2[-1], last.log_mu2[-1], last.log_noise[-1]])
    seen = []
    for _ in range(nets):
        embedding = rng.normal(size=(5, width)) / np.sqrt(5)
        s, d = x @ embedding, rng.normal(size=(draws, 6, 5)) @ embedding

        def affine(s, d):
            mask = (rng.random(s.shape) < keep) / keep
            w = rng.normal(size=(width, width)) * np.sqrt(weight / width)
            return (mask * s) @ w + rng.normal(size=width) * np.sqrt(bias), (mask * d) @ w

        for _ in range(depth):
            y, dy = affine(s, d)
            a, da = np.tanh(y), (1 - np.tanh(y) ** 2) * dy
            if residual:
                v, dv = affine(a, da)
                s, d = s + v, d + dv
            else:
                s, d = a, da
        seen.append(np.array([(s**2).mean(), s.var(0).mean(), (d**2).mean()]) / expected)
    seen = np.array(seen)
    error = seen.std(0, ddof=1) / np.sqrt(nets)
    assert (abs(seen.mean(0) - 1) < 4 * error + 2 * depth / width).all(), (seen.mean(0) - 1) / error
