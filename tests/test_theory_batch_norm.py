"""Explosion under batch norm (THEORY 8), statistics frozen or not: closed forms, one layer drawn at infinite width, whole nets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from moments_xr.activations import ACTIVATIONS, activation
from moments_xr.errors import RequestError
from moments_xr.theory import batch_norm, explosion_at_width, explosion_depth, explosion_rate

BOTH = ("frozen", "full")

SIGMAS = 4.5
"""Tolerance in standard errors: a fair test fails by chance once in 10⁵."""


def test_relu_in_closed_form():
    assert explosion_rate("relu") == pytest.approx(np.pi / (np.pi - 1), rel=1e-12)
    c = -1 / 63
    kernel = (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi
    assert explosion_rate("relu", 64) == pytest.approx(64 / (61 * (1 - kernel)), rel=1e-12)
    # Through the statistics: THEORY 8, by simulation.
    assert explosion_rate("relu", 32, derivative="full") == pytest.approx(1.518, abs=2 * 0.002)
    assert explosion_rate("relu", 64, derivative="full") == pytest.approx(1.493, abs=0.002)


@pytest.mark.parametrize("batch", [4, 8, 64, 1000])
def test_a_straight_line_in_closed_form(batch):
    """Frozen, what dividing by the deviation of B − 1 values costs; full, Yang et al. 2019."""
    assert explosion_rate("linear", batch) == pytest.approx((batch - 1) / (batch - 3), rel=1e-12)
    assert explosion_rate("linear", batch, 0.3, 5.0, "full") == pytest.approx((batch - 2) / (batch - 3), rel=1e-9)
    assert explosion_rate("linear", batch, derivative="full") == pytest.approx((batch - 2) / (batch - 3), rel=1e-12)


@pytest.mark.parametrize("derivative", BOTH)
@pytest.mark.parametrize("batch", [4, 5, 33, 5000])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "linear"])
def test_the_integral_over_the_sphere_agrees_with_the_closed_form(name, batch, derivative):
    closed = explosion_rate(name, batch, derivative=derivative)
    for gain in (1.0, 3.0):
        assert batch_norm._few(ACTIVATIONS[name], batch, gain, 0.0, derivative) == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize("batch", [8, 16])
def test_the_integral_over_the_sphere_agrees_with_its_series(batch):
    """Full: Σ_k w_k k(k + B − 3)/(B − 3) over Σ_k w_k, w_k = f_k² (1 − C_k(−1/n)/C_k(1)), in Gegenbauer's polynomials."""
    n, orders = batch - 1, np.arange(1, 60)
    index = (n - 2) / 2
    node, weight = special.roots_gegenbauer(400, index)
    phi = np.tanh(0.9 * np.sqrt(n) * node + 0.4)
    polynomial = special.eval_gegenbauer(orders[:, None], index, node)
    part = (polynomial * phi) @ weight
    square = part**2 / (polynomial**2 @ weight)
    apart = square * (1 - special.eval_gegenbauer(orders, index, -1 / n) / special.eval_gegenbauer(orders, index, 1))
    series = (apart * orders * (orders + batch - 3)).sum() / (batch - 3) / apart.sum()
    assert explosion_rate("tanh", batch, 0.9, 0.4, "full") == pytest.approx(series, rel=1e-9)


@pytest.mark.parametrize("derivative", BOTH)
@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "elu", "gelu"])
def test_large_batches_tend_to_the_gaussian_limit(name, derivative):
    limit = explosion_rate(name, gain=0.8, shift=0.3, derivative=derivative)
    far = [explosion_rate(name, batch, 0.8, 0.3, derivative) / limit - 1 for batch in (1000, 4000)]
    assert abs(far[0]) < 4e-3 and far[1] == pytest.approx(far[0] / 4, abs=2e-5)


@given(st.sampled_from(sorted(ACTIVATIONS)), st.floats(0.05, 5), st.floats(-3, 3))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_poincares_inequality(name, gain, shift):
    """The shift in units of the gain: no activation is constant within three standard deviations."""
    assert explosion_rate(name, gain=gain, shift=shift * gain) >= 1 - 1e-9


@given(st.sampled_from(sorted(ACTIVATIONS)), st.sampled_from([4, 7, 32]), st.floats(0.1, 4), st.floats(-1.5, 1.5))
@settings(max_examples=15, derandomize=True, deadline=None)
def test_poincares_inequality_on_the_sphere(name, batch, gain, shift):
    """No activation explodes less than a straight line; and the statistics take growth away."""
    full, frozen = (explosion_rate(name, batch, gain, shift * gain, one) for one in ("full", "frozen"))
    assert (batch - 2) / (batch - 3) * (1 - 1e-6) <= full < frozen


def test_only_straight_lines_do_not_explode():
    assert explosion_rate("linear", gain=2, shift=1) == pytest.approx(1, abs=1e-12)
    assert explosion_depth("linear") == np.inf
    shifted = [explosion_rate("relu", shift=shift) for shift in (0, 1, 2, 3)]
    narrow = [explosion_rate("tanh", gain=gain) for gain in (1, 0.3, 0.1)]
    assert (np.diff(shifted) < 0).all() and shifted[-1] < 1.002
    assert (np.diff(narrow) < 0).all() and narrow[-1] < 1.0002


def test_depth_at_which_chi_reaches_a_value():
    depth = explosion_depth("tanh", 500, 64, 0.7)
    assert 0.5 * depth * np.log(explosion_rate("tanh", 64, 0.7)) == pytest.approx(np.log(500))
    slower = explosion_depth("linear", 500, 64, derivative="full")
    assert 0.5 * slower * np.log(62 / 61) == pytest.approx(np.log(500))


@pytest.mark.parametrize(
    ("name", "batch", "gain", "shift"),
    [("relu", 8, 1, 0), ("relu", 16, 1, 1.5), ("hard_tanh", 12, 0.7, 0.4), ("tanh", 32, 2, 0), ("selu", 10, 1, 0)],
)
def test_one_layer_drawn_at_infinite_width(name, batch, gain, shift):
    """Channels are independent there: pre-activations of samples alike to each other, and noise that knows nothing of them."""
    channels, row, rng = 200_000, activation(name), np.random.default_rng(4)
    y, dy = rng.normal(size=(2, channels, batch))
    centred = y - y.mean(-1, keepdims=True)
    deviation = y.std(-1, keepdims=True)
    x = row.phi(gain * centred / deviation + shift)
    noise = ((gain * row.derivative(gain * centred / deviation + shift) * dy / deviation) ** 2).mean(-1)
    signal = x.var(-1) / (1 - 1 / batch)  # of y before: variance 1 − 1/batch over the batch
    growth = noise.mean() / signal.mean()
    error = np.hypot(noise.std() / noise.mean(), signal.std() / signal.mean()) / np.sqrt(channels)
    assert growth == pytest.approx(explosion_rate(name, batch, gain, shift), rel=SIGMAS * error)


@pytest.mark.parametrize(
    ("name", "batch", "gain", "shift"),
    [("relu", 8, 1, 0), ("linear", 8, 2, 0), ("hard_tanh", 6, 0.7, 0.4), ("tanh", 16, 2, 0)],
)
def test_gradients_of_one_layer_drawn_at_infinite_width(name, batch, gain, shift):
    """By torch's own derivative through mean and variance: cotangents with the second moment 1 − 11ᵀ/B, which is kept."""
    torch.manual_seed(3)
    y, cotangent = torch.randn(2, 60_000, batch, dtype=torch.float64)
    y.requires_grad_()
    z = (y - y.mean(1, keepdim=True)) / y.var(1, keepdim=True, unbiased=False).sqrt()
    x = activation(name).torch(gain * z + shift)
    (x * (cotangent - cotangent.mean(1, keepdim=True))).sum().backward()
    gradient = (y.grad**2).sum(1).numpy() / (batch - 1)
    signal = x.detach().var(1).numpy()
    growth = gradient.mean() / signal.mean()
    error = np.hypot(gradient.std() / gradient.mean(), signal.std() / signal.mean()) / np.sqrt(len(signal))
    assert growth == pytest.approx(explosion_rate(name, batch, gain, shift, "full"), rel=SIGMAS * error)


def net(name, batch, width, layers, derivative, rng):
    """log δχ² of each layer of one net, its weights drawn."""
    row, logs = activation(name), []
    x, dx = rng.normal(size=(2, batch, width))
    for _ in range(layers):
        weights = rng.normal(size=(width, width)) / np.sqrt(width)
        y, dy, before = x @ weights, dx @ weights, (dx**2).mean() / x.var(0).mean()
        z = (y - y.mean(0)) / y.std(0)
        if derivative == "full":
            dy = dy - dy.mean(0) - z * (z * dy).mean(0)
        x, dx = row.phi(z), row.derivative(z) * dy / y.std(0)
        logs.append(np.log((dx**2).mean() / x.var(0).mean() / before))
        dx = dx / dx.std()
    return np.array(logs)


def test_a_net_of_finite_width():
    """ReLU, batch 32, width 400: mean growth over 20 layers, the first of which forget the data."""
    late = net("relu", 32, 400, 30, "frozen", np.random.default_rng(2))[10:]
    assert abs(late.mean() - np.log(explosion_rate("relu", 32))) < SIGMAS * late.std() / np.sqrt(len(late)) + 0.005


@pytest.mark.parametrize("derivative", BOTH)
@pytest.mark.parametrize(("name", "batch", "width"), [("relu", 8, 40), ("tanh", 32, 32), ("linear", 8, 20)])
def test_nets_as_wide_as_the_batch(name, batch, width, derivative):
    """Drawn by their second moments (where that is less) or their weights, they do what nets do, and infinite ones don't."""
    layers = 30
    drawn = explosion_at_width(name, batch, width, layers, derivative=derivative, nets=30)
    rng = np.random.default_rng(7)
    nets = np.array([net(name, batch, width, layers, derivative, rng).mean() for _ in range(30)])
    error = np.hypot(nets.std(ddof=1), drawn.log_rates.std(ddof=1)) / np.sqrt(30)
    assert abs(nets.mean() - np.log(drawn.rate)) < SIGMAS * error
    if width < 40:
        assert not drawn.low < explosion_rate(name, batch, derivative=derivative) < drawn.high


@pytest.mark.slow
def test_the_published_plateau():
    """δχ = 1.2296 at batch 64 and width 512 (THEORY 7, 200 nets): what drawn nets do, and infinite ones don't."""
    drawn = explosion_at_width("relu", 64, 512)
    error = drawn.log_rates.std(ddof=1) / np.sqrt(len(drawn.log_rates))
    assert abs(np.log(drawn.rate) - 2 * np.log(1.2296)) < SIGMAS * error
    assert explosion_rate("relu", 64) > drawn.high


def test_streams_of_drawn_nets():
    few, more = (explosion_at_width("tanh", 8, 16, 10, nets=nets, seed=5) for nets in (3, 5))
    np.testing.assert_array_equal(few.log_rates, more.log_rates[:3])
    assert few.low < few.rate < few.high and np.log(few.rate) == pytest.approx(few.log_rates.mean())
    assert few.log_rates[0] != explosion_at_width("tanh", 8, 16, 10, nets=3, seed=6).log_rates[0]
    tuned = explosion_at_width("tanh", 8, 16, 10, gain=0.01, shift=0.02, derivative="full")
    assert tuned.rate == pytest.approx(explosion_at_width("linear", 8, 16, 10, derivative="full").rate, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("relu", 3), "batch: 3 samples; with fewer than 4"),
        (("relu", np.nan), "batch: nan samples"),
        (("relu", 16.5), "batch: 16.5 is no number of samples"),
        (("relu", 16, 1, 0, "both"), "derivative: 'both' is not one of frozen, full"),
        (("tanh", 64, 0), "gain: 0 leaves nothing"),
        (("relu", np.inf, 1, -50), "relu is constant there"),
        (("hard_tanh", np.inf, 0.06, 2), "hard_tanh is constant there"),
    ],
)
def test_errors_say_what_is_wrong(arguments, message):
    with pytest.raises(RequestError, match=message):
        explosion_rate(*arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width: 0 needs to be a whole number of at least 1"),
        ({"width": np.inf}, "width: inf needs"),
        ({"batch": np.inf}, "batch: inf needs"),
        ({"batch": 3}, "batch: 3 samples"),
        ({"depth": 2.5}, "depth: 2.5 needs"),
        ({"nets": 1}, "nets: 1 needs to be a whole number of at least 2"),
        ({"derivative": "Full"}, "derivative: 'Full' is not one of"),
        ({"shift": 40}, "hard_tanh is constant there"),
    ],
)
def test_errors_of_drawn_nets(changes, message):
    with pytest.raises(RequestError, match=message):
        explosion_at_width(**{"of": "hard_tanh", "batch": 8, "width": 16} | changes)
