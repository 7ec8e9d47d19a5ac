"""What verdicts are made of at infinite width: Gaussian channels drawn, quadrature, limits, nets of finite width."""

import numpy as np
import pytest

import moments_xr as mx
from moments_xr.activations import ACTIVATIONS
from moments_xr.analysis.criteria import CRITERIA
from moments_xr.errors import RequestError
from moments_xr.inputs import input_batch, load_dataset
from moments_xr.prediction import JUDGED, predict
from moments_xr.quantities import SMALLEST_LOG
from moments_xr.theory import collapse_at_width, propagate_collapse
from moments_xr.theory.collapse import Collapse, collapse, kurtosis, rank_excess
from moments_xr.theory.gaussian import joint_expectation
from moments_xr.theory.samples import State, each_layer
from moments_xr.theory.slopes import slope_distance


def statistics(name, y):
    """The five statistics of pre-activations (channel, sample), as verdicts have them of a layer."""
    row = ACTIVATIONS[name]
    x, slope, centred = row.phi(y), row.derivative(y), y - y.mean(1, keepdims=True)
    away = x - x.mean(1, keepdims=True)
    values = np.linalg.eigvalsh(away.T @ away)
    plus, minus = np.maximum(y, 0).mean(1), np.maximum(-y, 0).mean(1)
    return [
        (away**2).mean() / (x**2).mean(), values[:-1].sum() / values[-1], (plus * minus).mean() / (centred**2).mean(),
        slope.var(1).mean() / slope.var(), (centred**4).mean() / ((centred**2).mean(1) ** 2).mean(),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["relu", "tanh", "hard_tanh", "selu", "gelu"])
def test_expectations_are_those_of_gaussian_channels(name):
    """16 sets of 8000 channels over 10 samples of several norms: within four standard errors."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10, 20)) * rng.uniform(0.5, 1.5, (10, 1))
    *_, sites = each_layer(name, x, 2, 2.0, 0.1)
    state, scale = sites["conv"].state, np.exp(sites["conv"].log_scale)
    covariance = (state.second[:, None] + state.second - state.apart) / 2 * scale
    drawn = rng.normal(size=(16, 8000, 10)) @ np.linalg.cholesky(covariance).T
    seen, expected = np.array([statistics(name, y) for y in drawn]), np.exp(collapse(name)(sites))
    error = seen.std(0, ddof=1) / 4
    assert (abs(seen.mean(0) - expected) < 4 * error + 1e-3 * expected).all(), (seen.mean(0) - expected) / error


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("gap", [1e-10, 1e-4, 0.3, 1.6])
def test_distances_of_slopes_are_those_of_quadrature(name, gap):
    row, q = ACTIVATIONS[name], np.array([0.5, 0.5, 2.0])
    gaps = gap * (1 - np.eye(3))
    found = slope_distance(row)(q, gaps)
    for b in (1, 2):
        angle = 2 * np.arcsin(np.sqrt(gap / 2))
        exact = joint_expectation(
            lambda u, v: (row.derivative(u) - row.derivative(v)) ** 2, q[0], q[b], angle, row.kinks
        )
        assert found[0, b] == pytest.approx(float(exact.value), rel=0.02 if name == "elu" else 6e-3, abs=1e-16)
    assert (np.diagonal(found) == 0).all()


def test_two_samples_have_one_direction():
    """Each channel takes the values ±δ about its mean: a kurtosis of 1, since μ₄ = μ₂² in each."""
    apart = np.array([[0.0, 1.5], [1.5, 0.0]])
    state = State(np.array([1.0, 2.0]), apart, *np.ones((3, 2)))
    assert rank_excess(state) == pytest.approx(0, abs=1e-14) and kurtosis(state) == pytest.approx(1)


def test_samples_that_look_alike_keep_their_digits():
    """Deep in the ordered phase gaps ε fall below 1e-22: sides vanish as ε^½, slopes and the signal's variance as ε."""
    found = propagate_collapse("tanh", np.random.default_rng(0).normal(size=(6, 50)), 60, 0.7, 0.3)
    assert found.variance_share[-1] < -50
    a_layer = np.diff(found.variance_share)[-10:]
    np.testing.assert_allclose(np.diff(found.slope_spread)[-10:], a_layer, rtol=1e-6)
    np.testing.assert_allclose(np.diff(found.one_sidedness)[-10:], a_layer / 2, rtol=1e-6)
    assert np.ptp(found.rank_excess[-10:]) < 1e-6 and np.ptp(found.kurtosis[-10:]) < 1e-6


def test_relu_nets_become_one_dimensional_and_pseudo_linear():
    """With weights of He samples of different norms end on a line (Theorem 2), whose origin the signal doesn't reach."""
    x = np.random.default_rng(0).normal(size=(20, 60)) * np.linspace(0.3, 2, 20)[:, None]
    found = np.exp(propagate_collapse("relu", x, 400, 2.0))
    assert found[1, -1] < 0.02 < 1 < found[1, 0]
    assert found[2, -1] < 1e-4 and found[3, -1] < 0.02 and found[0, -1] > 0.1
    scaled = propagate_collapse("relu", 1e9 * x, 10, 4.0, keep=1.0)
    np.testing.assert_allclose(scaled, propagate_collapse("relu", x, 10, 2.0), atol=1e-9)


@pytest.mark.parametrize(("architecture", "activation", "variance"), [("vanilla", "relu", 2.0), ("res", "tanh", 1.0)])
def test_wide_nets_have_what_is_predicted(architecture, activation, variance):
    """Digits, net by net: within four and a half standard errors and what a finite width leaves, O(l M/N)."""
    given = {"weights": {"law": "gaussian", "variance": variance}, "depth": 4, "width": 256, "kernel": 1}
    recipe = mx.Recipe(
        name="wide", realizations=24, input={"dataset": "digits", "batch": 8},
        network={"architecture": architecture, "activation": activation} | given,
        measure={"every": 4, "effective_rank": ["signal"]},
    )  # fmt: skip
    ds, predicted = mx.run(recipe, progress=False), predict(recipe, range(24), verdicts=True)
    named = {
        "variance_share": "zero_dimensional_signal",
        "rank_excess": "one_dimensional_signal",
        "kurtosis": "fat_tails",
    }
    named["one_sidedness" if activation == "relu" else "slope_spread"] = "pseudo_linearity"
    for name, pathology in named.items():
        left = (CRITERIA[pathology](ds).statistics[0].rows - predicted[name]).transpose("realization", "layer").values
        error = left.std(0, ddof=1) / np.sqrt(24)
        slack = 2 * predicted.layer.values * 8 / 256
        assert (abs(left.mean(0)) < 4.5 * error + slack).all(), (name, left.mean(0), error)


def test_predictions_say_what_they_are():
    recipe = mx.recipe("quickstart", {"network.architecture": "vanilla", "network.depth": 4, "measure.every": 2})
    plain, judged = predict(recipe, range(1)), predict(recipe, range(1), verdicts=True)
    assert list(JUDGED) == list(Collapse._fields) and set(judged) == set(plain) | set(JUDGED)
    for name in JUDGED:
        assert judged[name].dims == ("realization", "layer") and judged[name].attrs["symbol"] == JUDGED[name][0]
    normed = predict(mx.recipe("quickstart", {"network.depth": 4}), range(1), verdicts=True)
    assert list(normed) == ["increment_chi"]


@pytest.mark.parametrize(
    ("architecture", "activation"), [("vanilla", "relu"), ("res", "tanh"), ("bn_ff", "relu"), ("bn_res", "gelu")]
)
def test_drawn_nets_have_the_law_of_nets(architecture, activation):
    """Nets of 24 channels, 20 layers: what 60 drawn ones and 60 that `run` propagates have, within four standard errors."""
    recipe = mx.Recipe(
        name="narrow", realizations=60, input={"dataset": "gaussian", "shape": [30], "batch": 10},
        network={"architecture": architecture, "activation": activation, "depth": 20, "width": 24, "kernel": 1,
                 "weights": {"law": "gaussian", "variance": 1.5}, "bias_variance": 0.1},
        measure={"every": 20, "effective_rank": ["signal"]},
    )  # fmt: skip
    ds = mx.run(recipe, progress=False)
    n, inputs = recipe.network, [input_batch(recipe, r, load_dataset(recipe)) for r in range(60)]
    laws = (n.activation, 20, 24, 1.5, 0.1)
    drawn = [
        collapse_at_width(laws[0], x, *laws[1:], architecture=architecture, unit_depth=n.unit_depth or 1, layers=[20],
                          nets=1, seed=r)
        for r, x in enumerate(inputs)
    ]  # fmt: skip
    named = {
        "variance_share": "zero_dimensional_signal",
        "rank_excess": "one_dimensional_signal",
        "kurtosis": "fat_tails",
        "one_sidedness" if activation == "relu" else "slope_spread": "pseudo_linearity",
    }
    for name, pathology in named.items():
        measured = CRITERIA[pathology](ds).statistics[0].rows.values.ravel()
        predicted = np.maximum([getattr(one, name)[0, 0] for one in drawn], SMALLEST_LOG)
        error = np.sqrt((measured.var(ddof=1) + predicted.var(ddof=1)) / 60)
        assert abs(measured.mean() - predicted.mean()) < 4 * error, (name, measured.mean(), predicted.mean(), error)


def test_what_is_drawn_is_checked():
    x = np.ones((4, 3))
    for wrong in ({"architecture": "lstm"}, {"keep": 0.0}, {"nets": 0}):
        with pytest.raises(RequestError, match=next(iter(wrong))):
            collapse_at_width("relu", x, 3, 8, 2.0, **wrong)
