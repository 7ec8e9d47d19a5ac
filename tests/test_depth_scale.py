"""Depth scales of correlations: curves with a known one, critical decay, and cubes that cannot tell."""

import dask
import numpy as np
import pytest
import xarray as xr

import moments_xr as mx
from moments_xr.analysis.depth_scale import depth_scale, fit_depth_scale
from moments_xr.prediction import predict
from moments_xr.theory import fixed_point


def chains(limit, xi, bend=0.1, nets=128, layers=60, noise=0.02, power=1, seed=0):
    """Correlations of nets whose c-map has this fixed point and slope, with noise as that of finite width."""
    rng, c = np.random.default_rng(seed), np.zeros(nets)
    rows = [c]
    for _ in range(layers - 1):
        distance = limit - c
        distance = np.exp(-1 / xi) * distance / (1 + bend * np.sign(distance) * abs(distance) ** (1 / power)) ** power
        c = np.clip(limit - distance, -1, 1)
        c = np.clip(c + noise * (1 - c**2) * rng.normal(size=nets), -1, 1)
        rows.append(c)
    return np.stack(rows, axis=1)


def cube(rows, activation="tanh", every=1):
    """A cube of these correlations, all pairs alike."""
    dims = ("realization", "layer", "site", "pair")
    values = np.repeat(rows[:, :, None, None], 3, axis=3).astype("f4")
    coords = {"layer": every * np.arange(1, rows.shape[1] + 1), "site": ["conv"], "realization": np.arange(len(rows))}
    attrs = {"architecture": "vanilla", "activation": activation}
    return xr.Dataset({"pair_correlation": (dims, values)}, coords, attrs)


@pytest.mark.parametrize(
    ("limit", "xi", "power"), [(0.4, 3, 1), (0.75, 10, 1), (1, 3, 1), (1, 10, 1), (1, 3, 2), (0.3, 1.2, 1)]
)
def test_known_depth_scales_are_in_the_intervals(limit, xi, power):
    """95 % intervals: of 16 seeds fewer than 12 hold the truth once in 10³."""
    found = np.array([depth_scale(chains(limit, xi, power=power, seed=seed), jumps=power == 2) for seed in range(16)])
    assert (found[:, -1] == 0).all()
    assert ((found[:, 1] < xi) & (xi < found[:, 2])).sum() >= 12
    assert np.median(found[:, 0]) == pytest.approx(xi, rel=0.1)
    assert ((found[:, 4] - 1e-6 <= limit) & (limit <= found[:, 5] + 1e-6)).sum() >= 12


WIDE = [
    ("tanh", 0.8, 0.1, 0), ("relu", 0.8, 0.1, 0), ("relu", 1.4, 0.1, 0), ("relu", 1.8, 0.1, 0), ("elu", 1.2, 0.02, 0),
    ("elu", 1.5, 0.3, 0), ("tanh", 2.2, 0.05, 0), ("tanh", 1.0, 0.05, 0.2),
    *(pytest.param("tanh", *point, marks=pytest.mark.slow)
      for point in ((1.6, 0.1, 0), (2.4, 0.1, 0), (3.2, 0.1, 0), (1.8, 0.05, 0.01))),
]  # fmt: skip


@pytest.mark.parametrize(("activation", "variance", "bias", "dropout"), WIDE)
def test_infinitely_wide_nets_are_fitted_within_what_further_orders_may_change(activation, variance, bias, dropout):
    """The exact c-map over pairs of the recipes' inputs, of both phases and with kinks, to 4.5 %; no noise, so any fit is precise."""
    changes = {"sweep": None, "network.activation": activation, "network.bias_variance": bias}
    changes |= {"network.weights": {"law": "gaussian", "variance": variance}, "network.dropout": dropout}
    rows = predict(mx.recipe("edge_of_chaos", changes), range(16)).correlation.values
    xi, low, high, *_ = depth_scale(rows, jumps=activation == "relu", alike=dropout == 0)
    truth = float(fixed_point(activation, variance, bias, 1 - dropout).xi_c)
    assert xi == pytest.approx(truth, rel=0.045) and 0.05 * xi < high - low < 0.2 * xi


def test_without_noise_the_law_is_recovered():
    xi, *_ = depth_scale(chains(0.6, 6, noise=1e-5))
    assert xi == pytest.approx(6, rel=1e-3)


def test_measured_layers_may_be_apart():
    rows = chains(0.6, 8, noise=0.005)
    whole, some = fit_depth_scale(cube(rows)), fit_depth_scale(cube(rows[:, ::3], every=3))
    assert some.xi_low < 8 < some.xi_high and whole.xi_low < 8 < whole.xi_high
    with pytest.raises(ValueError, match="evenly spaced"):
        fit_depth_scale(cube(rows).isel(layer=[0, 1, 3, 4, 5, 6, 7, 8, 9]))


@pytest.mark.parametrize("power", [1, 2])
def test_critical_decay_has_no_depth_scale(power):
    rows = chains(1, np.inf, bend=0.5, noise=0.01, power=power)
    found = fit_depth_scale(cube(rows, "tanh" if power == 1 else "relu"))
    assert np.isnan(found.xi) and np.isnan(found.limit) and np.isposinf(found.xi_high) and 15 < found.xi_low < 60
    assert found.status.item().startswith(("no exponential decay", "too shallow"))


def test_what_cannot_be_told_is_said():
    rows = chains(0.5, 5)
    flat = 0.5 + 0.01 * np.random.default_rng(1).normal(size=(64, 30))
    for values, words in (
        (rows[:5], "fewer than 8 realizations"),
        (rows[:, :6], "fewer than 8 layers"),
        (flat, "no decay seen"),
        (chains(0.9, 50, layers=30, noise=0.001), "too shallow"),
    ):
        found = fit_depth_scale(cube(values))
        assert found.status.item().startswith(words) and np.isnan(found.xi)
        assert found.correlation == pytest.approx(values[:, -1].mean(), abs=1e-6)
    with pytest.raises(LookupError, match=r"measure\.pairs"):
        fit_depth_scale(cube(rows).drop_vars("pair_correlation"))


def test_dead_nets_are_left_out():
    rows = chains(0.5, 5)
    dead = rows.copy()
    dead[::2, 10:] = np.nan
    xr.testing.assert_allclose(fit_depth_scale(cube(dead)), fit_depth_scale(cube(rows[1::2])))


def test_chunked_cubes_are_fitted_lazily():
    ds = cube(chains(0.5, 5))

    def refuse(*_, **__):
        raise AssertionError("computed")

    with dask.config.set(scheduler=refuse):
        lazy = fit_depth_scale(ds.chunk(realization=16))
    assert lazy.xi.chunks is not None and lazy.status.chunks is not None
    xr.testing.assert_allclose(lazy.compute(), fit_depth_scale(ds))
    assert lazy.xi.attrs["units"] == "layer" and lazy.xi.attrs["symbol"] == "ξ_c"


def test_nets_have_the_depth_scale_of_theory():
    """tanh at (0.8, 0.3), ordered: ξ_c = 1.31."""
    changes = {"network.activation": "tanh", "network.bias_variance": 0.3, "network.depth": 20, "network.width": 64}
    recipe = mx.recipe("edge_of_chaos", changes | {"realizations": 16, "sweep": {"network.weights.variance": [0.8]}})
    found = fit_depth_scale(mx.run(recipe, progress=False))
    assert found.xi.squeeze() == pytest.approx(1.313, rel=0.1)
    assert found.sizes == {"network.weights.variance": 1}


@pytest.mark.parametrize(("xi", "spacing"), [(1, 10), (1, 20), (2, 20), (0.1, 1)])
def test_what_is_over_within_a_step_has_no_depth_scale(xi, spacing):
    """A rate of which only a step or two is seen is not told from a faster one."""
    start = 0.5 + 0.02 * np.random.default_rng(0).normal(size=(24, 1))
    rows = 1 - start * np.exp(-spacing * np.arange(12) / xi)
    found = depth_scale(rows, spacing=spacing)
    assert np.isnan(found[:6]).all() and found[-1] == 6
