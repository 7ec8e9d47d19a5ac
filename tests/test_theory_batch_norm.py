"""Explosion under batch norm (THEORY 8): closed forms, one layer drawn at infinite width, whole nets at finite width."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moments_xr.activations import ACTIVATIONS, activation
from moments_xr.errors import RequestError
from moments_xr.theory import batch_norm, explosion_depth, explosion_rate

SIGMAS = 4.5
"""Tolerance in standard errors: a fair test fails by chance once in 10⁵."""


def test_relu_in_closed_form():
    assert explosion_rate("relu") == pytest.approx(np.pi / (np.pi - 1), rel=1e-12)
    c = -1 / 63
    kernel = (np.sqrt(1 - c * c) + c * (np.pi - np.arccos(c))) / np.pi
    assert explosion_rate("relu", 64) == pytest.approx(64 / (61 * (1 - kernel)), rel=1e-12)
    # The published plateau of δχ at batch 64 and width 512 (THEORY 7), of which finite width takes a little.
    assert np.sqrt(explosion_rate("relu", 64)) == pytest.approx(1.2296, rel=5e-3)


@pytest.mark.parametrize("batch", [4, 5, 8, 33, 200, 5000])
@pytest.mark.parametrize("name", ["relu", "leaky_relu", "linear"])
def test_the_integral_over_the_sphere_agrees_with_the_closed_form(name, batch):
    closed = explosion_rate(name, batch)
    assert batch_norm._few(ACTIVATIONS[name], batch, 1.0, 0.0) == pytest.approx(closed, rel=2e-6)
    assert batch_norm._few(ACTIVATIONS[name], batch, 3.0, 0.0) == pytest.approx(closed, rel=2e-6)


@pytest.mark.parametrize("name", ["tanh", "hard_tanh", "elu", "gelu"])
def test_large_batches_tend_to_the_gaussian_limit(name):
    limit = explosion_rate(name, gain=0.8, shift=0.3)
    far = [explosion_rate(name, batch, 0.8, 0.3) / limit - 1 for batch in (1000, 4000)]
    assert abs(far[0]) < 4e-3 and far[1] == pytest.approx(far[0] / 4, abs=2e-5)


@given(st.sampled_from(sorted(ACTIVATIONS)), st.floats(0.05, 5), st.floats(-3, 3))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_poincares_inequality(name, gain, shift):
    """The shift in units of the gain: no activation is constant within three standard deviations."""
    assert explosion_rate(name, gain=gain, shift=shift * gain) >= 1 - 1e-9


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


def test_a_net_of_finite_width():
    """ReLU, batch 32, width 400: mean growth over 20 layers, the first of which forget the data."""
    batch, width, layers, rng = 32, 400, 30, np.random.default_rng(2)
    x, dx, logs = *rng.normal(size=(2, batch, width)), []
    for _ in range(layers):
        weights = rng.normal(size=(width, width)) / np.sqrt(width)
        y, dy, before = x @ weights, dx @ weights, (dx**2).mean() / x.var(0).mean()
        z, dz = (y - y.mean(0)) / y.std(0), dy / y.std(0)
        x, dx = np.maximum(z, 0), (z > 0) * dz
        logs.append(np.log((dx**2).mean() / x.var(0).mean() / before))
    late = np.array(logs[10:])
    assert abs(late.mean() - np.log(explosion_rate("relu", batch))) < SIGMAS * late.std() / np.sqrt(len(late)) + 0.005


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("relu", 3), "batch: 3 samples; with fewer than 4"),
        (("tanh", 64, 0), "gain: 0 leaves nothing"),
        (("relu", np.inf, 1, -50), "relu is constant there"),
        (("hard_tanh", np.inf, 0.06, 2), "hard_tanh is constant there"),
    ],
)
def test_errors_say_what_is_wrong(arguments, message):
    with pytest.raises(RequestError, match=message):
        explosion_rate(*arguments)
