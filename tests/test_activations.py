"""Rows of activations: derivatives, symbols, homogeneity, torch beside numpy, names and functions of one's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moments_xr.activations import ACTIVATIONS, ALIASES, Activation, activation
from moments_xr.errors import RequestError

Y = np.concatenate([-np.geomspace(0.01, 30, 40), [-1e-3, 1e-3], np.geomspace(0.01, 30, 40)])
BY_HAND = {
    "linear": (-2.0, 3.0),
    "relu": (0.0, 3.0),
    "leaky_relu": (-0.02, 3.0),
    "tanh": (-0.9640275800758169, 0.9950547536867305),
    "hard_tanh": (-1.0, 1.0),
    "erf": (-0.9953222650189527, 0.9999779095030014),
    "elu": (-0.8646647167633873, 3.0),
    "selu": (-1.5201664685956948, 3.1521029620661414),
    "gelu": (-0.045500263896358, 2.99595030590511),
    "silu": (-0.2384058440442351, 2.8577223804673),
}
"""φ(−2) and φ(3)."""


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values(name):
    np.testing.assert_allclose(ACTIVATIONS[name].phi(np.array([-2.0, 3.0])), BY_HAND[name], rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative_is_the_limit_of_differences_away_from_kinks(name):
    row = ACTIVATIONS[name]
    y = Y[[all(abs(y - kink) > 5e-4 for kink in row.kinks) for y in Y]]
    step = 2e-4
    differences = (8 * (row.phi(y + step) - row.phi(y - step)) - row.phi(y + 2 * step) + row.phi(y - 2 * step)) / (
        12 * step
    )
    np.testing.assert_allclose(row.derivative(y), differences, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_there_are_no_kinks_but_those_listed(name):
    """Second differences of φ are of order step², but within a step of a kink: φ' jumps, or its derivative does."""
    row, step = ACTIVATIONS[name], 1e-3
    y = np.arange(-4, 4, step) + step / 3
    curvature = np.diff(row.derivative(y), 2)
    rough = y[1:-1][abs(curvature) > 10 * step**2]
    assert all(any(abs(y - kink) <= 2 * step for kink in row.kinks) for y in rough)
    assert all((abs(rough - kink) <= 2 * step).any() for kink in row.kinks)


@given(st.sampled_from(list(ACTIVATIONS)), st.floats(1e-3, 1e3))
def test_homogeneous_ones_scale(name, factor):
    row = ACTIVATIONS[name]
    scales = np.allclose(row.phi(factor * Y), factor * row.phi(Y), rtol=1e-12, atol=0)
    assert scales or not row.homogeneous
    assert row.homogeneous or not scales or abs(factor - 1) < 1e-3


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nothing_overflows(name):
    huge = np.array([-1e300, -800.0, 0.0, 800.0, 1e300])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert np.isfinite(ACTIVATIONS[name].phi(huge)).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_are_bounded(name):
    with np.errstate(under="ignore"):
        slopes = ACTIVATIONS[name].derivative(np.array([-1e100, -800.0, -1.0, 0.0, 1.0, 800.0, 1e100]))
    assert (abs(slopes) < 2).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_torch_computes_the_same(name):
    torch = pytest.importorskip("torch")
    y = np.linspace(-6, 6, 101)
    row = ACTIVATIONS[name]
    np.testing.assert_allclose(row.torch(torch.from_numpy(y)).numpy(), row.phi(y), rtol=1e-12, atol=1e-14)


def test_relu_passes_strictly_positive_inputs_only():
    """φ'(0) = 0 (THEORY 1)."""
    assert ACTIVATIONS["relu"].derivative(np.array([-0.0, 0.0, 5e-324])).tolist() == [0, 0, 1]


def test_names_and_symbols_tell_rows_apart():
    assert all(name == row.name for name, row in ACTIVATIONS.items())
    assert len({row.symbol for row in ACTIVATIONS.values()}) == len(ACTIVATIONS)


def test_what_is_asked_for():
    row = ACTIVATIONS["silu"]
    assert activation("swish") is activation("silu") is activation(row) is row
    assert set(ALIASES.values()) <= set(ACTIVATIONS) and not set(ALIASES) & set(ACTIVATIONS)
    with pytest.raises(RequestError, match=r"'thanh' is not an activation; there are linear, relu"):
        activation("thanh")


def test_functions_of_ones_own():
    row = activation(np.sin)
    assert isinstance(row, Activation) and row.name == "sin" and row.torch is None
    np.testing.assert_allclose(row.derivative(Y), np.cos(Y), atol=1e-8)
    given_derivative = activation(np.sin, np.cos)
    np.testing.assert_array_equal(given_derivative.derivative(Y), np.cos(Y))
