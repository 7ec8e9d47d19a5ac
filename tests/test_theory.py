"""Theory and published numbers (THEORY 5 and 7), with tolerances from the number of realizations."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma, psi

import moments_xr as mx

SIGMAS = 4.5
"""Tolerance in standard errors: a fair test fails by chance once in 10⁵."""


def close(values, expected, relative=0.0):
    """The mean over realizations equals `expected` within the standard error, plus a stated model error."""
    values = np.asarray(values)
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert abs(values.mean() - expected) < SIGMAS * error + relative * abs(expected), (values.mean(), expected, error)


def increment_law(width):
    """Mean and variance of log[(2/N) Σ_c u_c χ²_c(1)], given that it is positive: the exact law of one input (THEORY 5.1)."""
    k = np.arange(1, width + 1)
    p = stats.binom.pmf(k, width, 0.5) / (1 - 0.5**width)
    mean = psi(k / 2) + np.log(2) + np.log(2 / width)
    centre = p @ mean
    return centre, p @ polygamma(1, k / 2) + p @ (mean - centre) ** 2


def test_the_exact_law_of_one_input_is_the_published_one():
    mean, variance = increment_law(128)
    assert 200 * mean == pytest.approx(-3.957, abs=1e-3)
    assert 200 * variance == pytest.approx(8.05, abs=5e-3)
    mean, variance = increment_law(100)
    assert (-mean, variance) == (pytest.approx(2.542e-2, rel=1e-3), pytest.approx(5.194e-2, rel=1e-3))


def test_one_input_diffuses_as_the_exact_law():
    """Fully connected vanilla, one input: mean and variance of log ν₂ and log μ₂(dx), of l layers together."""
    realizations, width, depth = 300, 128, 200
    rng = np.random.default_rng(3)
    signal, noise = rng.normal(size=(2, realizations, 1, 30))
    network = {"architecture": "vanilla", "depth": depth, "width": width, "kernel": 1}
    ds = mx.propagate(network, signal, noise, measure={"every": depth // 4, "effective_rank": []}, seed=5)
    first = mx.propagate(network | {"depth": 1}, signal, noise, measure={"effective_rank": []}, seed=5)
    mean, variance = increment_law(width)
    for quantity in ("nu2_signal", "mu2_noise"):
        start = mx.get(first, quantity, log=True).sel(site="input", layer=1).values
        for layer in ds.layer.values:
            walked = mx.get(ds, quantity, log=True).sel(site="act", layer=layer).values - start
            assert abs(walked.mean() - layer * mean) < SIGMAS * np.sqrt(layer * variance / realizations)
            spread = layer * variance * np.sqrt(2 / (realizations - 1))
            assert abs(walked.var(ddof=1) - layer * variance) < SIGMAS * spread
    assert mx.chi(ds).sel(site="act").isnull().all(), "one input has no variance: χ is not defined"


def test_batch_normed_plateau():
    """THEORY 7, Fig. 4 fully connected, mean over l > 100: the published means, a net's spread as published."""
    nets = 6
    recipe = mx.recipe(
        "fig4_fc", {"input.dataset": "photos", "input.path": None, "realizations": nets, "measure.every": 5}
    )
    ds = mx.run(recipe, progress=False).sel(layer=slice(101, None))
    steps = mx.increments(ds, by="step")
    measured = {
        "delta chi": (mx.increments(ds), 1.2296, 0.0023),
        "delta BN": (steps.sel(step="bn"), 1.0250, 0.0023),
        "rank": (mx.effective_rank(ds).sel(site="act"), 10.2, 1.6),
        "mu4": (mx.get(ds, "mu4_signal").sel(site="norm"), 3.72, 0.22),
        "nu1_abs": (mx.get(ds, "nu1_abs_signal").sel(site="norm"), 0.780, 0.006),
    }
    for name, (values, published, spread) in measured.items():
        nets_mean = values.mean("layer").values
        assert abs(nets_mean.mean() - published) < SIGMAS * spread / np.sqrt(nets) + 0.0005 * published, (
            name,
            nets_mean,
        )


def test_relu_step_of_a_wide_batch_normed_net_near_the_input():
    """Gaussian z gives δ_φ χ = (1 − 1/π)^{−1/2} = 1.2112 (Theorem 3), up to 1/batch and one noise draw an input."""
    recipe = mx.Recipe(
        name="wide", realizations=8, input={"dataset": "gaussian", "shape": [500], "batch": 512},
        network={"architecture": "bn_ff", "depth": 1, "width": 1024, "kernel": 1, "epsilon": 0}, measure={"effective_rank": []},
    )  # fmt: skip
    ds = mx.run(recipe, progress=False)
    close(mx.increments(ds, by="step").sel(step="act", layer=1), (1 - 1 / np.pi) ** -0.5, relative=1 / 512)
    predicted = (1 - 2 * mx.get(ds, "nu1_plus_minus_signal") / mx.get(ds, "mu2_signal")).sel(
        site="norm", layer=1
    ) ** -0.5
    close(predicted, (1 - 1 / np.pi) ** -0.5, relative=1 / 512)


def test_vanilla_collapses_to_one_direction_without_exploding():
    """Fig. 3: r_eff → 1 and δχ → 1."""
    recipe = mx.Recipe(
        name="collapse", realizations=12, input={"dataset": "photos", "batch": 64},
        network={"architecture": "vanilla", "depth": 120, "width": 256, "kernel": 1}, measure={"every": 2},
    )  # fmt: skip
    ds = mx.run(recipe, progress=False)
    rank = mx.effective_rank(ds).sel(site="act").mean("realization")
    assert rank.sel(layer=2) > 3 > 1.05 > rank.sel(layer=120) >= 1
    log_increment = mx.increments(ds, log=True).sel(layer=slice(80, None)).mean("layer")
    theorem = 1 - mx.get(ds, "nu1_plus_minus_signal").sel(site="conv") / mx.get(ds, "mu2_signal").sel(site="input")
    assert mx.increments(ds).sel(layer=2).mean() > 1.1
    close(log_increment + 0.5 * np.log(theorem).sel(layer=slice(80, None)).mean("layer"), 0.0)
    assert theorem.sel(layer=120).mean() > 0.999, "the increment's dominating term (Theorem 2) tends to 1"
    assert mx.chi(ds).sel(site="act", layer=120).median() < 10


def test_residual_nets_grow_as_a_power_of_depth():
    """Theorem 4's sharp form, δχ^l = (1 + ρ/(l + μ₂(y⁰)/μ₂(y^{l,H})))^½, and log χ straight in log l."""
    recipe = mx.Recipe(
        name="power", realizations=10, input={"dataset": "photos", "batch": 64},
        network={"architecture": "bn_res", "depth": 60, "width": 256, "kernel": 1}, measure={"effective_rank": []},
    )  # fmt: skip
    ds = mx.run(recipe, progress=False)
    unit = mx.increments(ds, by="step").sel(step="unit").mean("realization")
    measured = mx.increments(ds).mean("realization")
    embedded = mx.get(ds, "mu2_signal").sel(site="input", layer=1).mean()
    layer = ds.layer
    predicted = np.sqrt(1 + (unit**4 - 1) / (layer + embedded / 0.68))
    np.testing.assert_allclose(measured[3:], predicted[3:], rtol=0.015)  # at first h = 1 and h = 2 differ
    np.testing.assert_allclose(measured.sel(layer=[1, 2, 5, 10]), [1.363, 1.222, 1.110, 1.060], rtol=0.02)
    chi = mx.chi(ds, log=True).sel(site="sum").mean("realization")
    deep = chi.sel(layer=slice(10, None))
    straight = stats.linregress(np.log(deep.layer), deep)
    assert straight.rvalue**2 > 0.9995
    assert stats.linregress(deep.layer, deep).rvalue ** 2 < straight.rvalue**2 - 0.02
    tau = 0.5 * (float(unit.mean()) ** 4 - 1)
    assert 0.85 * tau < straight.slope < tau


@pytest.mark.parametrize("architecture", ["vanilla", "bn_ff"])
def test_five_thousand_layers_neither_overflow_nor_underflow(architecture):
    """Width 16: log ν₂ falls below float32's range in vanilla, χ passes float64's in bn_ff; float32 follows float64."""
    recipe = mx.Recipe(
        name="deep", realizations=16, input={"dataset": "gaussian", "shape": [16], "batch": 8},
        network={"architecture": architecture, "depth": 5000, "width": 16, "kernel": 1},
        measure={"every": 500, "effective_rank": [], "sites": ["input", (architecture == "vanilla" and "conv") or "norm", "act"]},
    )  # fmt: skip
    single, double = (mx.run(recipe.replace({"compute.precision": p}), progress=False) for p in ("float32", "float64"))
    living = mx.alive(double).sel(layer=5000)
    assert living.any()
    for ds in (single, double):
        assert np.isfinite(ds.pooled_moments.where(living).sel(layer=5000)).where(living).sum() >= 0
        assert np.isfinite(mx.get(ds, "mu2_noise", log=True).sel(site="act").where(living, 0.0)).all()
    if architecture == "vanilla":
        np.testing.assert_array_equal(mx.alive(single), mx.alive(double))
        for quantity in ("nu2_signal", "mu2_noise"):
            one, two = (mx.get(ds, quantity, log=True).sel(site="act").where(living) for ds in (single, double))
            assert float(two.min()) < -500
            np.testing.assert_allclose(one, two, atol=2e-2)
    else:
        growth = [mx.chi(ds, log=True).sel(site="act", layer=5000) / 5000 for ds in (single, double)]
        assert (growth[1] * 5000 > 710).all(), "χ itself would overflow"
        error = np.hypot(*(g.std(ddof=1) / 4 for g in growth))
        assert abs(growth[0].mean() - growth[1].mean()) < SIGMAS * error


def test_a_dead_net_is_recorded_and_disturbs_nothing():
    """Width 3: nets die; ν₂ = 0 from there on, χ NaN, and the living ones are as if they were alone."""
    recipe = mx.Recipe(
        name="dying", realizations=40, input={"dataset": "gaussian", "shape": [4], "batch": 4},
        network={"architecture": "vanilla", "depth": 10, "width": 3, "kernel": 1}, compute={"block": 40},
    )  # fmt: skip
    ds = mx.run(recipe, progress=False)
    living = mx.alive(ds)
    fraction = living.sel(layer=10).mean().item()
    assert 0 < fraction < 1
    assert not (living.astype(int).diff("layer") > 0).any(), "a dead net stays dead"
    nu2 = mx.get(ds, "nu2_signal").sel(site="act")
    assert (nu2.where(~living, 0) == 0).all()
    assert np.isneginf(mx.get(ds, "nu2_signal", log=True).sel(site="act").where(~living, -np.inf)).all()
    assert mx.chi(ds).sel(site="act").where(~living).isnull().all()
    assert mx.summary(ds).alive.sel(layer=10).item() == fraction
    alone = mx.run(recipe.replace({"compute.block": 1}), progress=False)
    np.testing.assert_array_equal(mx.alive(alone), living)
    np.testing.assert_allclose(mx.get(alone, "nu2_signal"), mx.get(ds, "nu2_signal"), rtol=1e-4, atol=0)


def test_one_input_survives_as_often_as_the_exact_probability():
    """For one input with n = 1, P[ν₂(x^l) > 0] = ∏_k (1 − 2^{−N}) (THEORY 5.1)."""
    realizations, width, depth = 2000, 3, 6
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(2, realizations, 1, 5))
    ds = mx.propagate(
        {"architecture": "vanilla", "depth": depth, "width": width, "kernel": 1},
        signal,
        noise,
        measure={"effective_rank": []},
    )
    p = (1 - 2.0**-width) ** depth
    assert abs(mx.alive(ds).sel(layer=depth).mean() - p) < SIGMAS * np.sqrt(p * (1 - p) / realizations)
