"""How χ grows with depth: contrasts, fits, answers on curves of known truth, Theorem 4's exponents; lazily."""

from collections import Counter

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

import moments_xr as mx
from benchmarks.coverage import coverage
from benchmarks.growth_calibration import TRUTHS, Setting
from moments_xr.analysis.growth import fit_growth, predicted_power_law
from moments_xr.analysis.growth_models import (
    JUDGED,
    RANGES,
    exponent,
    fieller,
    growth_ratio,
    judge,
    spread_depths,
    support,
)
from moments_xr.analysis.realizations import mean_interval

BY_NAME = {truth.name: truth for truth in TRUTHS}

CHANCE = 1e-4
"""How often a fair test may fail."""


def make_cube(rows, layers, site="act", **attrs):
    """A cube that holds log χ (realization, layer) at one site."""
    return xr.Dataset(
        {"log_chi": (("realization", "layer", "site"), np.asarray(rows)[..., None])},
        {"layer": layers, "site": [site]},
        {"architecture": "bn_ff"} | attrs,
    )


def walks(mean, realizations, walk=0.01, seed=0):
    rng = np.random.default_rng(seed)
    start = 0.05 * rng.standard_normal((realizations, 1))
    return mean + start + walk * rng.standard_normal((realizations, len(mean))).cumsum(1)


LAYERS = np.arange(2, 101, 2)
EXPONENTIAL = 0.2 * LAYERS


def residual_cube(realizations=40, layers=LAYERS, shift=0.0, seed=0):
    """A cube of residual nets: χ = 2 l^0.6, increments 1.2 inside units but 1.25 in the last, μ₂(x) from 0.34 to 0.36."""
    delta = np.where(layers == layers[-1], 1.25, 1.2)
    end = walks(np.log(2) + 0.6 * np.log(layers), realizations, 1e-3, seed) + shift
    start = end - 0.3 / layers
    mu2 = np.broadcast_to(np.linspace(0.34, 0.36, len(layers)), end.shape)
    chi = np.stack([start, start, start, start + np.log(delta), end], axis=-1)
    moments = np.broadcast_to(mu2[..., None, None], (*chi.shape, 1))
    return xr.Dataset(
        {
            "log_chi": (("realization", "layer", "site"), chi),
            "pooled_moments": (("realization", "layer", "site", "pooled_moment"), moments),
        },
        {"layer": layers, "site": ["input", "norm", "act", "conv", "sum"], "pooled_moment": ["mu2_signal"]},
        {"architecture": "bn_res", "unit_depth": 2},
    )


@given(
    p=st.floats(-1, 4), a=st.floats(1, 100), ratios=st.tuples(st.floats(1.1, 8), st.floats(1.1, 8))
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_growth_ratio_is_that_of_the_integrals_and_the_exponent_its_inverse(p, a, ratios):
    m, b = a * ratios[0], a * ratios[0] * ratios[1]
    early, late = (integrate.quad(lambda x: x**-p, *ends)[0] for ends in ((a, m), (m, b)))
    ratio = growth_ratio(a, m, b, p)
    assert ratio == pytest.approx(late / early, rel=1e-6)
    assert exponent(ratio, a, m, b) == pytest.approx(p, abs=1e-5)


def test_closed_forms_of_the_growth_ratio():
    """Between depths 1, 4 and 16: 4 for exponentials, 2 for √l, 1 for power laws, ½ for −l^−½; p of what does not grow: none."""
    assert [growth_ratio(1, 4, 16, p) for p in (0, 0.5, 1, 1.5)] == pytest.approx([4, 2, 1, 0.5])
    assert np.isnan([exponent(ratio, 1, 4, 16) for ratio in (0.0, -1.0, np.nan)]).all()


def test_fieller_holds_the_ratios_that_a_t_test_does_not_reject():
    rng = np.random.default_rng(0)
    lower = rng.normal(1, 0.6, 20)
    upper = 0.5 * lower + rng.normal(0.2, 0.5, 20)
    ratio, low, high = fieller(upper, lower)
    assert low < ratio < high
    assert ratio == pytest.approx(upper.mean() / lower.mean())
    for bound in (low, high):
        assert stats.ttest_1samp(upper - bound * lower, 0).pvalue == pytest.approx(0.05, rel=1e-6)
    assert np.isnan(fieller(upper, lower - 1.2)[1:]).all(), "the lower mean is not surely positive: unbounded"
    assert np.isnan(fieller(upper[:7], lower[:7])[1:]).all()


def test_three_depths_in_geometric_progression_are_chosen_in_the_range_and_its_halves():
    assert spread_depths(np.arange(2.0, 33.0)) == [(0, 6, 30), (0, 2, 6), (6, 14, 30)]
    (_, _, last), _, deeper = spread_depths(np.array([1.0, 2.0, 1000.0]))
    assert last == 2
    assert not deeper[0] < deeper[1] < deeper[2], "a half without three depths"


def test_slopes_are_those_of_each_realization_with_intervals_of_their_mean():
    rows = walks(EXPONENTIAL, 9, walk=0.3)
    result = dict(zip(JUDGED, judge(rows, LAYERS), strict=True))
    for name, x in (("gamma", LAYERS), ("tau", np.log(LAYERS))):
        slopes = np.polyfit(x, rows.T, 1)[0]
        np.testing.assert_allclose([result[f"{name}{end}"] for end in ("", "_low", "_high")], mean_interval(slopes))


def test_delta_aic_is_that_of_generalised_least_squares():
    """Of the mean curve with the covariance of a random walk, the variances taken from the rows."""
    rows = walks(0.6 * np.log(LAYERS), 50, walk=0.2)
    steps = np.diff(rows, axis=1)
    variance = np.cumsum(np.concatenate([[1e6], steps.var(axis=0, ddof=1) / len(rows)]))
    covariance = np.minimum.outer(variance, variance)
    misfit = []
    for x in (LAYERS, np.log(LAYERS)):
        design = np.stack([np.ones(len(x)), x], axis=1)
        weight = np.linalg.solve(covariance, design)
        fitted = np.linalg.solve(design.T @ weight, weight.T @ rows.mean(axis=0))
        left = rows.mean(axis=0) - design @ fitted
        misfit.append(left @ np.linalg.solve(covariance, left))
    difference, share = support(rows, LAYERS.astype(float))
    assert difference == pytest.approx(misfit[1] - misfit[0], rel=1e-4)
    assert difference < 0 and share < 0.5


FALSE_ALARMS = [
    Setting(BY_NAME[name], depth, every, realizations, walk, errors)
    for name, depth, every, realizations, walk, errors in (
        ("γ = 0.003, thrice that at first", 50, 1, 30, 0.01, "steady"),
        ("γ = 0.02, thrice that at first", 50, 5, 30, 0.04, "skewed"),
        ("γ = 0.02 after a rise of 0.5", 50, 1, 30, 0.01, "steady"),
        ("τ = 0.3, log(l + 3.0)", 16, 1, 30, 0.001, "steady"),
        ("τ = 0.6, log(l + 1.5)", 50, 5, 10, 0.04, "fading"),
        ("bounded, ξ = L/5", 50, 1, 30, 0.01, "steady"),
        ("bounded, ξ = L/4", 200, 2, 30, 0.04, "steady"),
        ("bounded, ξ = L/2.5", 200, 2, 100, 0.01, "steady"),
        ("bounded, ξ = L/1", 50, 1, 100, 0.01, "steady"),
        ("bounded, −l^−½", 50, 1, 100, 0.01, "skewed"),
        ("flat", 50, 5, 10, 0.04, "skewed"),
        ("√l", 50, 1, 30, 0.01, "steady"),
        ("√l", 16, 1, 100, 0.01, "fading"),
    )
]


@pytest.mark.parametrize("setting", FALSE_ALARMS, ids=str)
def test_false_alarms_are_rare(setting):
    simulations = 60
    alarms = round(setting.false_alarms(setting.answers(simulations, seed=2)) * simulations)
    assert alarms <= stats.binom.isf(CHANCE, simulations, 0.05)


@pytest.mark.parametrize(
    ("name", "depth", "every", "realizations", "walk"),
    [
        ("γ = 0.2, thrice that at first", 16, 1, 10, 0.01),
        ("γ = 0.02, thrice that at first", 200, 2, 30, 0.01),
        ("γ = 0.02 after a rise of 0.5", 200, 2, 10, 0.001),
        ("τ = 0.6, log(l + 1.5)", 16, 1, 100, 0.01),
        ("τ = 0.6, log(l + 1.5)", 1000, 10, 30, 0.001),
        ("bounded, ξ = L/8", 200, 2, 100, 0.01),
        ("flat", 50, 5, 100, 0.01),
    ],
)
def test_clear_growth_is_told(name, depth, every, realizations, walk):
    setting = Setting(BY_NAME[name], depth, every, realizations, walk, "steady")
    assert setting.answers(30, seed=3)[setting.truth.right] >= 0.9


@pytest.mark.parametrize("name", ["growth", "units"])
@pytest.mark.parametrize("law", ["normal", "AR"])
def test_intervals_hold_the_truth(name, law):
    low, high = stats.binom.ppf([CHANCE / 2, 1 - CHANCE / 2], 60, 0.95) / 60
    for of, share in coverage(name, law, 30, 60).items():
        assert share.printed == 1 and low <= share.held <= high, of


def test_a_cube_is_judged_over_its_ranges():
    fit = fit_growth(make_cube(walks(EXPONENTIAL, 12), LAYERS))
    assert fit.growth.item() == "exponential"
    assert fit.range.values.tolist() == list(RANGES)
    assert fit.range_growth.values.tolist() == ["exponential"] * 3
    assert fit.first_layer.values.tolist() == [8, 8, 28] and fit.last_layer.values.tolist() == [100, 28, 100]
    assert not fit.changes_with_range
    assert fit.gamma == pytest.approx(0.2, abs=0.0015) and fit.gamma_low < fit.gamma < fit.gamma_high
    assert fit.exponent_low < fit.exponent < fit.exponent_high < 0.05
    assert fit.support == 1 and fit.delta_aic > 0
    assert "exponential over layers 8 to 100" in fit.status.item()
    assert "tau_predicted" not in fit and "tau_min" not in fit
    assert set(fit.gamma.coords) == set()


def test_a_range_of_layers_can_be_chosen():
    rise = np.where(LAYERS <= 40, 3 * np.log(LAYERS), 3 * np.log(40) + 0.06 * (LAYERS - 40))
    ds = make_cube(walks(rise, 30, walk=1e-3), LAYERS)
    assert fit_growth(ds, (2, 40)).growth.item() == "power"
    fit = fit_growth(ds, (42, 100))
    assert fit.growth.item() == "exponential" and fit.first_layer.values[0] == 42
    whole = fit_growth(ds, (8, 100))
    assert whole.changes_with_range and whole.growth.item() == "undecided"
    assert whole.range_growth.values.tolist()[1:] == ["power", "exponential"]
    assert "ranges disagree" in whole.status.item() and "power over layers 8 to 28" in whole.status.item()
    for wrong in ((3, 40), (40, 2), (2, 102), (2, 2)):
        with pytest.raises(ValueError, match=r"not a range \(first, last\) of measured layers; there are 2 to 100"):
            fit_growth(ds, wrong)


def test_layers_in_any_order():
    ds = make_cube(walks(EXPONENTIAL, 12), LAYERS)
    back = ds.isel(layer=slice(None, None, -1))
    xr.testing.assert_identical(fit_growth(back), fit_growth(ds))
    xr.testing.assert_identical(fit_growth(back, (8, 40)), fit_growth(ds, (8, 40)))
    with pytest.raises(LookupError, match="the cube has no layer"):
        fit_growth(ds.isel(layer=slice(0)))


def test_bounded_growth_after_a_rise():
    fit = fit_growth(make_cube(walks(1.5 * (1 - np.exp(-LAYERS / 12)), 100, walk=1e-3), LAYERS))
    assert fit.growth.item() == "bounded" and fit.changes_with_range
    assert fit_growth(make_cube(walks(-0.01 * LAYERS, 20, walk=1e-3), LAYERS)).growth.item() == "bounded"


def test_curves_without_errors_are_judged():
    """All realizations alike: intervals of no width."""
    for mean, expected in ((EXPONENTIAL, "exponential"), (0.6 * np.log(LAYERS), "power"), (0 * LAYERS, "bounded")):
        fit = fit_growth(make_cube(np.broadcast_to(mean, (10, len(LAYERS))), LAYERS))
        assert fit.growth.item() == expected
        assert fit.gamma_high - fit.gamma_low == pytest.approx(0, abs=1e-12)


def test_too_few_realizations_are_not_judged_and_the_status_says_so():
    rows = walks(EXPONENTIAL, 10)
    rows[:3, 30:] = np.nan
    fit = fit_growth(make_cube(rows, LAYERS))
    assert fit["count"] == 7 and fit.growth.item() == "undecided"
    assert fit.status.item() == "too few realizations (χ is defined down to layer 100 in 7, at least 8)"
    assert np.isfinite([fit.gamma_low, fit.support]).all() and np.isnan(fit.exponent_high)
    assert fit_growth(make_cube(rows, LAYERS), (2, 60)).growth.item() == "exponential", "all are alive there"
    one = fit_growth(make_cube(rows, LAYERS).isel(realization=5))
    assert "in 1, at least 8" in one.status.item()
    assert one.gamma == pytest.approx(np.polyfit(LAYERS[3:], rows[5, 3:], 1)[0])
    assert np.isnan([one.gamma_low, one.gamma_high, one.tau_low, one.exponent_low, one.support]).all()
    for nobody in (rows * np.nan, rows[:0]):
        fit = fit_growth(make_cube(nobody, LAYERS))
        assert "in 0, at least 8" in fit.status.item() and np.isnan(fit.gamma)


def test_too_few_layers_are_not_judged_and_the_status_says_so(cubes):
    rows = walks(EXPONENTIAL, 10)
    for depths in (slice(0, 7), slice(0, 50, 10), slice(49, 50)):
        fit = fit_growth(make_cube(rows[:, depths], LAYERS[depths]))
        assert fit.growth.item() == "undecided" and "too few layers" in fit.status.item()
    assert "too few layers" in fit_growth(make_cube(rows, LAYERS).isel(layer=-1)).status.item()
    for ds in cubes.values():
        assert "too few layers" in fit_growth(ds).status.item()


def test_a_missing_site_is_named():
    with pytest.raises(LookupError, match="the cube lacks the site 'norm'; it has act"):
        fit_growth(make_cube(walks(EXPONENTIAL, 8), LAYERS), site="norm")


def test_exponents_of_theorem_4_in_closed_form():
    """χ(conv)/χ(input) is 1.2 and, in one unit of fifty, 1.25; μ₂(x) lies within a factor 0.36/0.34."""
    ds = residual_cube()
    fit = fit_growth(ds)
    average = (49 * 1.2 + 1.25) / 50
    tau = 0.5 * (average**4 - 1)
    assert fit.growth.item() == "power"
    assert fit.tau_predicted == pytest.approx(tau)
    assert fit.tau_predicted_low == pytest.approx(tau), "increments are the same in every net"
    law = predicted_power_law(ds)
    assert fit.tau_predicted == pytest.approx(law.tau.item()) and fit.kappa == law.kappa
    chi = np.exp(ds.log_chi.sel(site="sum")).mean("realization")
    power = ds.layer**tau
    assert law.kappa == pytest.approx((chi * power).sum().item() / (power**2).sum().item())
    assert fit.tau_min == pytest.approx(0.5 * (1.2**4 * 0.34 / 0.36 - 1))
    assert fit.tau_max == pytest.approx(0.5 * (1.25**4 * 0.36 / 0.34 - 1))
    assert fit_growth(ds.assign_attrs(unit_depth=3)).tau_predicted == pytest.approx(0.5 * (average**6 - 1))
    assert fit_growth(ds, (2, 98)).tau_predicted == pytest.approx(0.5 * (1.2**4 - 1)), "of the units in the range"
    assert "tau_min" not in fit_growth(ds.drop_vars("pooled_moments"))
    assert "tau_predicted" not in fit_growth(ds.sel(site=["sum"]))
    with pytest.raises(LookupError, match="needs the sites input, conv, sum"):
        predicted_power_law(ds.sel(site=["sum"]))


def test_nothing_overflows():
    """χ beyond 1e308 changes no exponent; κ is then infinite, not undefined."""
    near, far = fit_growth(residual_cube()), fit_growth(residual_cube(shift=5000.0))
    for name in ("tau", "tau_predicted", "tau_predicted_high", "tau_max", "exponent"):
        assert far[name] == pytest.approx(near[name].item(), rel=1e-6)
    assert far.growth.item() == "power" and np.isposinf(far.kappa)


def test_the_predicted_exponent_of_real_nets(small):
    recipe = small("bn_res", realizations=12, measure__channels="mean", network__depth=20)
    fit = fit_growth(mx.run(recipe, progress=False))
    assert fit.tau_predicted_low < fit.tau_predicted < fit.tau_predicted_high
    assert fit.tau_min < fit.tau_predicted < fit.tau_max
    assert fit.growth.item() in ("power", "undecided")


def refuse(*arguments, **options):
    raise AssertionError("computed")


@pytest.mark.parametrize("architecture", ["vanilla", "bn_res"])
def test_chunked_in_lazy_out_and_equal(cubes, architecture):
    ds = cubes[architecture]
    with dask.config.set(scheduler=refuse):
        lazy = fit_growth(ds.chunk(realization=3, layer=2, site=1))
    known = {"first_layer", "last_layer"}
    assert all(dask.is_dask_collection(lazy[name]) for name in set(lazy.data_vars) - known)
    xr.testing.assert_allclose(lazy.compute(), fit_growth(ds), rtol=1e-9)


@settings(max_examples=8, deadline=None)
@given(chunks=st.fixed_dictionaries({d: st.integers(1, 9) for d in ("realization", "layer", "site")}))
def test_any_chunking_gives_the_same(chunks):
    ds = residual_cube(9, np.arange(2, 19, 2))
    lazy = fit_growth(ds.chunk(chunks)).compute(scheduler="synchronous")
    xr.testing.assert_allclose(lazy, fit_growth(ds), rtol=1e-9)


def test_many_realizations_are_averaged_in_groups_and_each_chunk_is_read_once():
    """Five thousand realizations make a thousand rows; the mean over a group of χ is not that of log χ."""
    count, layers = 5000, np.arange(2, 20)
    reads = Counter()

    def draw(block_info=None):
        where = block_info[None]
        reads[where["chunk-location"]] += 1
        return residual_cube(700, layers, seed=where["chunk-location"][0]).log_chi.values

    chunks = ((700,) * 8, (len(layers),), (5,))
    log_chi = da.map_blocks(draw, chunks=chunks, dtype="f8", meta=np.empty((0,) * 3))[:count]
    ds = residual_cube(2, layers).drop_vars(["log_chi", "pooled_moments"])
    ds["log_chi"] = (("realization", "layer", "site"), log_chi)
    fit = fit_growth(ds)
    assert not reads
    fit = fit.compute(scheduler="synchronous")
    assert set(reads.values()) == {1} and len(reads) == 8
    assert fit["count"] == 1000
    whole = ds.compute()
    xr.testing.assert_allclose(fit, fit_growth(whole), rtol=1e-9)
    assert fit.tau_predicted == pytest.approx(predicted_power_law(whole).tau.item(), rel=1e-9)
    slopes = np.polyfit(np.log(layers), whole.log_chi.sel(site="sum").T, 1)[0]
    assert fit.tau == pytest.approx(slopes.mean())
    half = stats.norm.isf(0.025) * slopes.std() / np.sqrt(count)
    assert fit.tau_high - fit.tau == pytest.approx(half, rel=4.5 / np.sqrt(2 * 1000))


@pytest.mark.parametrize("architecture", ["vanilla", "bn_res"])
def test_results_say_what_they_are(cubes, architecture):
    fit = fit_growth(cubes[architecture])
    for values in (*fit.data_vars.values(), *predicted_power_law(cubes["bn_res"]).data_vars.values()):
        assert values.attrs["units"] == "1"
        assert values.attrs["long_name"]
        assert set(values.attrs) <= {"units", "long_name", "symbol"}
    assert fit.gamma.attrs["symbol"] == "γ" and "symbol" not in fit.gamma_low.attrs


def test_a_sweep_gives_one_dataset_along_its_key(small):
    recipe = small(realizations=9, measure__channels="mean", network__depth=18, sweep={"network.width": [12, 8]})
    tree = mx.run(recipe, progress=False)
    joined = fit_growth(tree)
    for width in (12, 8):
        node = fit_growth(tree[f"network.width={width}"].to_dataset())
        for name in node.data_vars:
            np.testing.assert_array_equal(joined[name].sel({"network.width": width}), node[name])
            assert joined[name].attrs == node[name].attrs


def test_no_power_law_is_predicted_without_batch_norm(small):
    """The skip alone does not make the papers' law: `res` nets have its sites, and not its reasons."""
    res = mx.run(small("res", realizations=8, network__depth=20, measure__every=1), progress=False)
    assert "tau_predicted" not in mx.fit_growth(res)
    foreign = res.drop_attrs()
    assert mx.analysis.sensitivity.architecture(foreign).name == "res"
    assert mx.analysis.sensitivity.architecture(foreign.isel(site=[-1])).name == "bn_res"
