"""How χ grows with depth: contrasts, fits, answers on curves of known truth, Theorem 4's exponents; lazily."""

from collections import Counter
from itertools import pairwise

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
from benchmarks.growth_calibration import TRUTHS, Setting, Truth
from moments_xr.analysis.growth import fit_growth, predicted_power_law
from moments_xr.analysis.growth_models import JUDGED, RANGES, halves, judge, support
from moments_xr.analysis.local_exponent import departure, growth, local_exponent
from moments_xr.analysis.realizations import mean_interval
from moments_xr.terminal import growth_line

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


def law(p, layers=LAYERS, offset=0.0):
    """Growth at the rate (l + offset)^−p."""
    return np.append(0.0, growth(layers + offset, np.array([p])).cumsum())


@given(p=st.floats(-1, 4), a=st.floats(1, 100), ratios=st.tuples(st.floats(1.1, 8), st.floats(1.1, 8)))
@settings(max_examples=40, deadline=None)
def test_growth_from_layer_to_layer_is_the_integral_of_its_rate(p, a, ratios):
    depths = a * np.array([1, ratios[0], ratios[0] * ratios[1]])
    expected = [integrate.quad(lambda x: x**-p, *ends)[0] for ends in pairwise(depths)]
    np.testing.assert_allclose(growth(depths, np.array([p]))[:, 0], expected, rtol=1e-6)


@given(p=st.floats(-0.3, 1.3), corrections=st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_the_local_exponent_of_a_law_is_its_own(p, corrections):
    rows = np.broadcast_to(law(p), (8, len(LAYERS)))
    assert local_exponent(rows, LAYERS, corrections).value == pytest.approx(p, abs=0.005)


@pytest.mark.parametrize(("p", "offset"), [(1.0, 1.5), (1.0, 3.0), (0.5, 3.0)])
def test_a_correction_takes_the_offset_of_a_law_away(p, offset):
    layers = np.arange(13, 201)
    rows = np.broadcast_to(law(p, layers, offset), (8, len(layers)))
    assert local_exponent(rows, layers).value < p - 0.02
    assert local_exponent(rows, layers, 1).value == pytest.approx(p, abs=0.015)


def test_an_interval_of_the_exponent_holds_what_rows_do_not_refute():
    """At its bounds, the coefficient of log l in the rate l^−p (a + b log l), by least squares, is zero at 95 %."""
    rows = walks(law(0.4), 12, walk=0.2)
    p, low, high = local_exponent(rows, LAYERS)
    assert low < p < high
    for at, inside in ((low, 2), (high, 1), (p, 0)):
        rate = growth(LAYERS, np.array([at]))
        logs = 0.5 * np.log(LAYERS[1:] * LAYERS[:-1])[:, None]
        design = np.concatenate([rate, rate * logs], axis=1)
        b = np.linalg.lstsq(design, np.diff(rows, axis=1).T, rcond=None)[0][1]
        bounds = mean_interval(b)
        assert bounds[inside] == pytest.approx(0, abs=2e-2 * (bounds[2] - bounds[1]))
    assert np.isnan(local_exponent(rows[:7], LAYERS)[1:]).all()
    assert np.isnan(local_exponent(walks(0 * LAYERS, 12), LAYERS)[1:]).any(), "of what does not grow it is unbounded"
    assert np.isnan(local_exponent(rows[:, :2], LAYERS[:2])).all()


def test_departures_from_a_law_are_sure_ones_as_shares_of_the_growth():
    ripple = 0.05 * EXPONENTIAL[-1] * np.sin(LAYERS / 5)
    assert departure(walks(EXPONENTIAL + ripple, 20, 1e-3), LAYERS, 0.0) == pytest.approx(0.05, rel=0.2)
    assert departure(walks(0.5 * law(1.0), 20, 1e-3), LAYERS, 1.0) < 0.002
    assert departure(walks(EXPONENTIAL + ripple, 20, walk=2.0), LAYERS, 0.0) < 0.05, "not sure"
    for rows, p in ((walks(EXPONENTIAL, 20), np.nan), (walks(-EXPONENTIAL, 20), 0.0)):
        assert departure(rows, LAYERS, p) == np.inf


def test_the_range_is_halved_in_the_logarithm_of_depth():
    assert [LAYERS[within][[0, -1]].tolist() for within in halves(LAYERS)] == [[2, 100], [2, 14], [14, 100]]
    assert [np.arange(1)[within].tolist() for within in halves(np.array([7.0]))] == [[0]] * 3


def test_slopes_are_those_of_each_realization_over_the_deeper_half():
    rows = walks(EXPONENTIAL, 9, walk=0.02)
    deep = halves(LAYERS)[-1]
    for name, x, mean in (("gamma", LAYERS, EXPONENTIAL), ("tau", np.log(LAYERS), 3 * np.log(LAYERS))):
        result = dict(zip(JUDGED, judge(rows - EXPONENTIAL + mean, LAYERS), strict=True))
        slopes = np.polyfit(x[deep], (rows - EXPONENTIAL + mean).T[deep], 1)[0]
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


OUTSIDE = {
    truth.name: truth
    for truth in (
        Truth("l^0.7", ("between",), lambda x, L: x**0.7),
        Truth("l^0.3", ("between",), lambda x, L: x**0.3),
        Truth("log² l", ("between",), lambda x, L: np.log(x) ** 2),
    )
}

FALSE_ALARMS = [
    Setting((BY_NAME | OUTSIDE)[name], depth, every, realizations, walk, errors)
    for name, depth, every, realizations, walk, errors in (
        ("l^0.7", 200, 1, 30, 0.01, "steady"),
        ("bounded, ξ = 2 L", 200, 1, 30, 0.01, "steady"),
        ("l^0.3", 200, 1, 30, 0.01, "steady"),
        ("log² l", 200, 1, 30, 0.01, "steady"),
        ("0.6 log l + 0.005 l", 50, 1, 30, 0.01, "steady"),
        ("0.6 log l + 0.005 l", 20, 1, 30, 0.001, "AR"),
        ("l^0.9, grown by 8", 60, 1, 10, 0.04, "t3"),
        ("(log l)^1.5, grown by 1.5", 200, 1, 100, 0.01, "AR"),
        ("(log l)^0.5, grown by 8", 20, 1, 30, 0.01, "steady"),
        ("0.6 log l + 0.05 sin, L·0.17", 60, 1, 30, 0.001, "steady"),
        ("0.02 l + 0.3 sin, L·0.5", 20, 1, 30, 0.01, "skewed"),
        ("γ = 0.003", 20, 1, 100, 0.04, "AR"),
        ("γ = 0.02, thrice that at first", 50, 5, 30, 0.04, "skewed"),
        ("γ = 0.02 after a rise of 0.5", 50, 1, 30, 0.01, "steady"),
        ("τ = 0.3, log(l + 3.0)", 20, 1, 30, 0.001, "steady"),
        ("τ = 0.6, log(l + 1.5)", 50, 5, 10, 0.04, "fading"),
        ("bounded, ξ = L/4", 200, 2, 30, 0.04, "steady"),
        ("bounded, ξ = L/2.5", 200, 2, 100, 0.01, "steady"),
        ("bounded, ξ = 1 L", 50, 1, 100, 0.01, "steady"),
        ("flat", 50, 5, 10, 0.04, "skewed"),
    )
]


@pytest.mark.parametrize("setting", FALSE_ALARMS, ids=str)
def test_false_alarms_are_rare(setting):
    simulations = 60
    alarms = round(setting.false_alarms(setting.answers(simulations, seed=2)) * simulations)
    assert alarms <= stats.binom.isf(CHANCE, simulations, 0.02)


@pytest.mark.parametrize(
    ("name", "depth", "every", "realizations", "walk"),
    [
        ("γ = 0.2", 20, 1, 30, 0.01),
        ("γ = 0.02, thrice that at first", 200, 2, 30, 0.01),
        ("γ = 0.02 after a rise of 0.5", 200, 2, 10, 0.001),
        ("τ = 0.6, log(l + 1.5)", 20, 1, 100, 0.001),
        ("τ = 0.6, log(l + 1.5)", 1000, 10, 30, 0.001),
        ("bounded, ξ = L/8", 200, 2, 100, 0.001),
        ("flat", 50, 5, 100, 0.01),
        ("l^0.5, grown by 8", 60, 1, 10, 0.01),
        ("l^0.7, grown by 8", 200, 1, 30, 0.01),
        ("(log l)^0.5, grown by 8", 200, 1, 30, 0.001),
    ],
)
def test_clear_growth_is_told(name, depth, every, realizations, walk):
    setting = Setting(BY_NAME[name], depth, every, realizations, walk, "steady")
    assert setting.correct(setting.answers(30, seed=3)) >= 0.9


@pytest.mark.parametrize("name", ["growth", "units"])
@pytest.mark.parametrize("law", ["normal", "AR"])
def test_intervals_hold_the_truth(name, law):
    """γ and τ where theirs is the law that is named, which errors as large as these hide of a power law in half the cases."""
    for of, share in coverage(name, law, 30, 60).items():
        printed = round(60 * share.printed)
        low, high = stats.binom.ppf([CHANCE / 2, 1 - CHANCE / 2], printed, 0.95) / printed
        assert printed >= 20 and low <= share.held <= high, of


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
    rise = np.where(LAYERS <= 28, 3 * np.log(LAYERS), 3 * np.log(28) + 0.06 * (LAYERS - 28))
    ds = make_cube(walks(rise, 30, walk=1e-3), LAYERS)
    assert fit_growth(ds, (2, 28)).growth.item() == "power"
    fit = fit_growth(ds, (30, 100))
    assert fit.growth.item() == "exponential" and fit.first_layer.values[0] == 30
    whole = fit_growth(ds, (8, 100))
    assert whole.changes_with_range and whole.growth.item() == "undecided"
    assert whole.range_growth.values.tolist()[1:] == ["power", "exponential"]
    assert "no law fits" in whole.status.item() and "power over layers 8 to 28" in whole.status.item()
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
    assert fit.growth.item() == "bounded"
    assert fit_growth(make_cube(walks(-0.01 * LAYERS, 20, walk=1e-3), LAYERS)).growth.item() == "bounded"


def test_curves_without_errors_are_judged():
    """All realizations alike: intervals of no width."""
    for mean, expected in (
        (EXPONENTIAL, "exponential"), (0.6 * np.log(LAYERS), "power"), (0 * LAYERS, "bounded"),
        (np.sqrt(LAYERS), "between"),
    ):  # fmt: skip
        fit = fit_growth(make_cube(np.broadcast_to(mean, (10, len(LAYERS))), LAYERS))
        assert fit.growth.item() == expected
        assert expected == "bounded" or fit.exponent_high - fit.exponent_low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("mean", "growth", "words"),
    [
        (EXPONENTIAL, "exponential", "exponential over layers 8 to 100, exponential over layers 8 to 28, "),
        (np.log(LAYERS), "power", "power over layers 8 to 100, "),
        (
            2 * LAYERS**0.6,
            "between",
            "grows like exp(c l^0.60), neither exponentially nor as a power: local exponent 0.4",
        ),
        (3 * np.sqrt(np.log(LAYERS)), "between", "grows more slowly than every power of depth, neither"),
        (
            0.3 * np.sqrt(LAYERS) + 0.05 * np.sin(LAYERS / 4),
            "undecided",
            "realizations differ too much, or no law fits: ",
        ),
    ],
)
def test_rates_are_given_of_the_law_that_is_found_and_of_no_other(mean, growth, words):
    fit = fit_growth(make_cube(walks(mean, 30, 1e-3), LAYERS))
    assert fit.growth.item() == growth
    assert fit.status.item().startswith(words)
    for name, law in (("gamma", "exponential"), ("tau", "power")):
        assert np.isfinite([fit[f"{name}{end}"] for end in ("", "_low", "_high")]).all() == (growth == law)
    assert growth_line(fit).startswith(f"growth of χ: {growth}")
    assert ("p " in growth_line(fit)) == (growth == "between")


def test_too_few_realizations_are_not_judged_and_the_status_says_so():
    rows = walks(EXPONENTIAL, 10)
    rows[:3, 30:] = np.nan
    fit = fit_growth(make_cube(rows, LAYERS))
    assert fit["count"] == 7 and fit.growth.item() == "undecided"
    assert fit.status.item() == "too few realizations (χ is defined down to layer 100 in 7, at least 8)"
    assert np.isfinite([fit.exponent, fit.support]).all() and np.isnan([fit.exponent_high, fit.gamma, fit.tau]).all()
    assert fit_growth(make_cube(rows, LAYERS), (2, 60)).growth.item() == "exponential", "all are alive there"
    one = fit_growth(make_cube(rows, LAYERS).isel(realization=5))
    assert "in 1, at least 8" in one.status.item()
    assert np.isfinite(one.exponent) and np.isnan([one.gamma, one.tau, one.exponent_low, one.support]).all()
    for nobody in (rows * np.nan, rows[:0]):
        fit = fit_growth(make_cube(nobody, LAYERS))
        assert "in 0, at least 8" in fit.status.item() and np.isnan(fit.exponent)


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
    deep = halves(layers)[-1]
    slopes = np.polyfit(np.log(layers)[deep], whole.log_chi.sel(site="sum").T[deep], 1)[0]
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
