"""The lognormal law over realizations: intervals, its test, diffusion and survival against Theorem 1; facts of the network."""

from collections import Counter
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import moments_xr as mx
from moments_xr.analysis.lognormal import anderson_p_value, fit_lognormal
from moments_xr.analysis.network import fact, fan_in, width
from moments_xr.analysis.normal_law import variance_interval
from moments_xr.analysis.realizations import mean_interval
from moments_xr.terminal import law_line
from moments_xr.theory.finite_width import diffusion_bounds, survival_bounds

SIGMAS = 4.5
"""Tolerance in standard errors: a fair test fails by chance once in 10⁵."""

FULLY_CONNECTED = {"architecture": "vanilla", "width": 32, "kernel": 1}


def make_cube(log_q, layers=None, **attrs):
    """A vanilla cube whose log ν₂(x), log μ₂(x) and log μ₂(dx) are all `log_q` (realization, layer)."""
    log_q = np.asarray(log_q, dtype="f8")
    scale = np.where(np.isfinite(log_q), log_q, 0.0) / 2
    moments = np.where(np.isneginf(log_q), 0.0, 1.0)[:, :, None, None] + np.zeros((1, 3))
    names = ["nu2_signal", "mu2_signal", "mu2_noise"]
    return xr.Dataset(
        {
            "pooled_moments": (("realization", "layer", "site", "pooled_moment"), moments),
            "log_signal_scale": (("realization", "layer"), scale),
            "log_noise_scale": (("realization", "layer"), scale),
        },
        {
            "realization": np.arange(len(log_q)),
            "layer": np.arange(1, log_q.shape[1] + 1) if layers is None else layers,
            "site": ["act"],
            "pooled_moment": names,
        },
        FULLY_CONNECTED | attrs,
    )


def walks(realizations, layers, drift=-0.02, diffused=0.04, seed=0):
    steps = np.random.default_rng(seed).normal(drift, np.sqrt(diffused), (realizations, layers))
    return steps.cumsum(1)


@pytest.fixture(scope="module")
def walked():
    """Sixty random walks of twelve layers, five of which die on the way."""
    log_q = walks(60, 12, seed=3)
    for net, layer in enumerate((2, 5, 5, 8, 11)):
        log_q[net, layer:] = -np.inf
    return make_cube(log_q)


def share_within(low, high, truth):
    return float(np.mean((low <= truth) & (truth <= high)))


def binomial_tolerance(simulations, share=0.95, sigmas=4.0):
    return sigmas * np.sqrt(share * (1 - share) / simulations)


def refuse(*arguments, **options):
    raise AssertionError("computed")


def test_the_fit_is_that_of_plain_numpy_and_scipy():
    log_q = walks(40, 3, diffused=0.1, seed=2)
    fit = fit_lognormal(make_cube(log_q))
    n = len(log_q)
    sigma, kurtosis = log_q.std(0, ddof=1), stats.kurtosis(log_q, bias=False)
    mu, mu_low, mu_high = mean_interval(log_q)
    variance_low, variance_high = variance_interval(sigma**2, np.full(3, n), kurtosis)
    expected = {
        "count": np.full(3, n), "dead": np.zeros(3), "tested": np.full(3, n),
        "mu": mu, "mu_low": mu_low, "mu_high": mu_high,
        "sigma": sigma, "sigma_low": np.sqrt(variance_low), "sigma_high": np.sqrt(variance_high),
        "skewness": stats.skew(log_q, bias=False), "excess_kurtosis": kurtosis,
        "log_mean": np.log(np.exp(log_q).mean(0)), "log_mean_lognormal": mu + sigma**2 / 2,
        "mean_gap": np.log(np.exp(log_q).mean(0)) - mu - sigma**2 / 2,
        "mean_gap_bias": -(np.exp(sigma**2) - 1) / (2 * n),
        "mean_gap_se": np.sqrt((np.exp(sigma**2) - 1 - sigma**2 - sigma**4 / 2) / n),
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(fit[name], values, rtol=1e-9, atol=1e-12, err_msg=name)
    for layer in range(3):
        z = np.sort((log_q[:, layer] - mu[layer]) / sigma[layer])
        odd = 2 * np.arange(1, n + 1) - 1
        a2 = -n - np.mean(odd * (stats.norm.logcdf(z) + stats.norm.logsf(z[::-1])))
        assert fit.anderson[layer] == pytest.approx(a2, rel=1e-9)
    assert (fit.status == "ok").all()
    assert fit.attrs["quantity"] == "nu2_signal"


@pytest.mark.parametrize("realizations", [5, 12, 40])
def test_standard_errors_of_skewness_and_kurtosis_are_exact(realizations):
    simulations = 12_000
    fit = fit_lognormal(make_cube(np.random.default_rng(2).normal(size=(realizations, simulations))))
    for name in ("skewness", "excess_kurtosis"):
        values = fit[name].values
        variance, kurtosis = values.var(), stats.kurtosis(values, fisher=False)
        error = variance * np.sqrt((kurtosis - 1) / simulations)
        assert abs(values.mean()) < SIGMAS * np.sqrt(variance / simulations)
        assert abs(variance - float(fit[f"{name}_se"][0]) ** 2) < SIGMAS * error


def test_log_mean_of_what_would_overflow_and_small_variances():
    log_q = 5000 + 1e-4 * np.random.default_rng(3).normal(size=(50, 1))
    fit = fit_lognormal(make_cube(log_q))
    assert float(fit.log_mean[0]) == pytest.approx(5000, abs=1e-3)
    assert float(fit.mean_gap_se[0]) == pytest.approx(float(fit.sigma[0]) ** 3 / np.sqrt(6 * 50), rel=1e-6)


@pytest.mark.parametrize(("a2", "p"), [(0.561, 0.15), (0.631, 0.10), (0.752, 0.05), (0.873, 0.025), (1.035, 0.01)])
def test_p_values_are_the_published_ones(a2, p):
    """D'Agostino and Stephens 1986, table 4.7."""
    assert float(anderson_p_value(a2, 10**9)) == pytest.approx(p, rel=0.01)


def test_p_values_fall_as_a2_grows():
    p = anderson_p_value(np.geomspace(0.05, 1000, 400), 100)
    assert (np.diff(p) <= 0).all()
    assert 0 < p[-1] < 1e-100 < 0.9998 < p[0] < 1


@pytest.mark.parametrize(("realizations", "simulations"), [(30, 3000), (100, 3000), (400, 2000)])
def test_p_values_are_uniform_under_the_law(realizations, simulations):
    """Each layer is a simulation. A plain normal p-value, parameters taken as given, would be far from uniform."""
    fit = fit_lognormal(make_cube(np.random.default_rng(realizations).normal(size=(realizations, simulations))))
    distance = stats.kstest(fit.p_value.values, "uniform").statistic
    assert distance < stats.kstwo.isf(1e-4, simulations) + 0.005  # 0.005: how exact the p-values are
    for level in (0.01, 0.05):
        share = float((fit.p_value <= level).mean())
        assert abs(share - level) < 4 * np.sqrt(level / simulations)


def test_what_is_not_lognormal_is_rejected():
    """log χ²(1), one layer of a net with one living channel, at R = 100; and E[q] differs from the law's."""
    rng = np.random.default_rng(4)
    fit = fit_lognormal(make_cube(np.log(rng.chisquare(1, (100, 200)))))
    assert float((fit.p_value < 0.01).mean()) > 0.95
    fit = fit_lognormal(make_cube(np.log(rng.chisquare(8, (2000, 20)))))
    z = (fit.mean_gap - fit.mean_gap_bias) / fit.mean_gap_se
    assert (z < -SIGMAS).all()
    assert (fit.skewness < -SIGMAS * fit.skewness_se).all()


@pytest.mark.parametrize("realizations", [5, 30, 100])
def test_intervals_of_mu_and_sigma_cover(realizations):
    simulations = 2000
    fit = fit_lognormal(make_cube(np.random.default_rng(5).normal(-1, 1.5, (realizations, simulations))))
    for name, truth in (("mu", -1.0), ("sigma", 1.5)):
        share = share_within(fit[f"{name}_low"].values, fit[f"{name}_high"].values, truth)
        assert abs(share - 0.95) < binomial_tolerance(simulations)


@pytest.mark.parametrize("realizations", [5, 10, 30, 100])
def test_heavy_tails_are_allowed_for_or_said(realizations):
    """Student's t with 5 degrees of freedom: intervals of χ² alone would hold σ in 91, 87, 83 and 79 %."""
    simulations = 2000
    fit = fit_lognormal(make_cube(np.random.default_rng(10).standard_t(5, (realizations, simulations))))
    for name, truth, least in (("mu", 0.0, 0.95), ("sigma", np.sqrt(5 / 3), 0.93)):
        share = share_within(fit[f"{name}_low"].values, fit[f"{name}_high"].values, truth)
        assert share > least - binomial_tolerance(simulations, least)
    said = fit.status.str.contains("tails are heavy")
    assert said.mean() > {5: -1, 10: 0.03, 30: 0.15, 100: 0.45}[realizations]


def test_a_net_far_from_all_others_widens_the_intervals_and_is_said():
    log_q = np.random.default_rng(11).normal(size=(40, 1)) * [[0.0, 1.0]]
    log_q[0, 1] = 9.0
    fit = fit_lognormal(make_cube(log_q), layers=(1, 2))
    last = fit.sel(layer=2)
    shape = f"excess kurtosis {last.excess_kurtosis:.2g} ± {last.excess_kurtosis_se:.2g}, skewness {last.skewness:.2g}"
    for status, of in ((last.status, "μ and σ"), (fit.drift_status, "drift and diffusion")):
        assert status.item().startswith(f"tails are heavy ({shape}")
        assert f"): the intervals of {of} may hold them in less than 95 %" in status.item()
        assert f"({status.item()})" in law_line(fit, "nu2_signal")
    assert last.sigma_high > 1.5 * last.sigma * np.sqrt(39 / stats.chi2.ppf(0.025, 39))


@pytest.mark.parametrize(("realizations", "variance"), [(30, 0.1), (100, 0.5), (400, 1.0), (1000, 2.0)])
def test_the_gap_of_the_mean_is_as_large_as_it_says(realizations, variance):
    simulations = 1500
    log_q = np.random.default_rng(7).normal(0.3, np.sqrt(variance), (realizations, simulations))
    fit = fit_lognormal(make_cube(log_q)).dropna("layer", subset=["mean_gap_se"])
    assert fit.sizes["layer"] > 0.9 * simulations
    z = (fit.mean_gap - fit.mean_gap_bias) / fit.mean_gap_se
    assert abs(z.mean()) < SIGMAS / np.sqrt(simulations) + 0.03  # the next order of the logarithm's bias
    share = float((abs(z) < 1.96).mean())
    assert 0.95 - binomial_tolerance(simulations) < share < 0.98 + binomial_tolerance(simulations, 0.98)


def test_a_mean_that_too_few_realizations_know_is_not_compared():
    fit = fit_lognormal(make_cube(np.random.default_rng(8).normal(size=(100, 2)) * [0.5, 2.0]))
    assert fit.mean_gap_se.notnull().values.tolist() == [True, False]
    assert fit.mean_gap_bias.notnull().values.tolist() == [True, False]
    assert fit.mean_gap.notnull().all()
    assert fit.status.values[0] == "ok"
    assert "is too large for R = 100 to compare E[q] with the law's" in fit.status.values[1]


def test_too_few_realizations_give_nan_and_a_reason():
    ds = make_cube(walks(20, 4, diffused=1e-4))
    one, two, five = (fit_lognormal(ds.isel(realization=slice(n))) for n in (1, 2, 5))
    xr.testing.assert_identical(fit_lognormal(ds.isel(realization=0)), one)
    for fit, n in ((one, 1), (two, 2)):
        for name in ("mu", "sigma", "drift", "diffusion"):
            assert fit[f"{name}_low"].isnull().all() and fit[f"{name}_high"].isnull().all()
        assert fit.mu.notnull().all() and fit.drift.notnull()
        assert f"too few realizations for intervals (R = {n}, at least 3)" in fit.status.values[0]
        assert f"(R = {n}, at least 3)" in fit.drift_status.item()
    assert one.sigma.isnull().all() and two.sigma.notnull().all()
    assert five.mu_low.notnull().all() and five.p_value.isnull().all()
    assert (five.status == "too few realizations for a goodness-of-fit test (R = 5, at least 8)").all()
    assert fit_lognormal(ds.isel(realization=slice(8))).p_value.notnull().all()
    none = fit_lognormal(ds.isel(realization=slice(0)))
    assert (none["count"] == 0).all() and none.mu.isnull().all() and none.alive.isnull().all()
    equal = fit_lognormal(make_cube(np.zeros((10, 1))))
    assert equal.p_value.isnull().all() and "all realizations are equal" in equal.status.item()


def test_the_dead_are_left_out_and_counted(walked):
    fit = fit_lognormal(walked)
    dead = np.array([0, 0, 1, 1, 1, 3, 3, 3, 4, 4, 4, 5])
    np.testing.assert_array_equal(fit.dead, dead)
    np.testing.assert_array_equal(fit["count"], 60 - dead)
    np.testing.assert_array_equal(fit.tested, 60 - dead)
    np.testing.assert_allclose(fit.alive, 1 - dead / 60)
    log_q = mx.get(walked, "nu2_signal", log=True).sel(site="act").values
    np.testing.assert_allclose(fit.mu[-1], log_q[5:, -1].mean())
    np.testing.assert_allclose(fit.log_mean[-1], np.log(np.exp(log_q[5:, -1]).mean()))


def test_drift_and_diffusion_of_a_range(walked):
    log_q = mx.get(walked, "nu2_signal", log=True).sel(site="act").values
    for layers, net in ((None, slice(5, None)), ((2, 5), slice(1, None))):
        fit = fit_lognormal(walked, "mu2_noise", layers=layers)
        first, last = layers or (6, 12)
        assert (fit.first_layer, fit.last_layer) == (first, last)
        change = (log_q[net, last - 1] - log_q[net, first - 1]) / np.sqrt(last - first)
        assert fit.drift_count == len(change)
        np.testing.assert_allclose(fit.drift, change.mean() / np.sqrt(last - first))
        np.testing.assert_allclose(fit.diffusion, change.var(ddof=1))
        interval = np.array(mean_interval(change)[1:]) / np.sqrt(last - first)
        np.testing.assert_allclose([fit.drift_low, fit.drift_high], interval)
        assert fit.diffusion_low < fit.diffusion < fit.diffusion_high
        assert fit.drift_status == "ok"


@pytest.mark.parametrize(
    ("measured", "first"), [([50, 100, 150, 200], 100), ([1, 2, 3, 4, 5], 2), ([10, 100], 10), ([150, 200], 150)]
)
def test_the_deeper_half_is_the_range_if_none_is_given(measured, first):
    fit = fit_lognormal(make_cube(walks(10, len(measured)), measured))
    assert (fit.first_layer, fit.last_layer) == (first, measured[-1])


@pytest.mark.parametrize("layers", [(2, 13), (5, 5), (8, 2)])
def test_a_range_that_was_not_measured_is_refused(walked, layers):
    with pytest.raises(ValueError, match=r"is not a range \(first, last\) of measured layers; there are 1 to 12"):
        fit_lognormal(walked, layers=layers)


def test_survival_is_compared_exactly_with_the_bounds():
    """Width 3: as theory has it, and with as many dead, or alive, as it does not allow."""
    layers, channels, realizations = np.arange(1, 11), 3, 400
    low, high = survival_bounds(layers, channels, channels)
    p = {}
    for name, law in (("low", low), ("high", high), ("fewer", low**2), ("as it is", (low + high) / 2)):
        life = np.random.default_rng(9).uniform(size=(realizations, 1))
        fit = fit_lognormal(make_cube(np.where(life < law, 0.0, -np.inf), layers, width=channels))
        np.testing.assert_allclose(fit.alive_bound_low, low)
        np.testing.assert_allclose(fit.alive_bound_high, high)
        count = (life < law).sum(0)
        np.testing.assert_allclose(fit.alive_p_low, stats.binom.cdf(count, realizations, low))
        np.testing.assert_allclose(fit.alive_p_high, 1 - stats.binom.cdf(count - 1, realizations, high), atol=1e-12)
        p[name] = fit.isel(layer=-1)
    assert p["low"].alive_p_low > 1e-4 < p["high"].alive_p_high
    assert p["fewer"].alive_p_low < 1e-6
    assert fit_lognormal(make_cube(np.zeros((2000, 10)), width=2)).alive_p_high[-1] < 1e-6
    assert p["as it is"].alive_p_low > 0.5 < p["as it is"].alive_p_high


def test_bounds_are_those_of_the_theorem():
    fit = fit_lognormal(make_cube(walks(10, 4)))
    m_min, m_max, v_min, v_max = diffusion_bounds(32, 32)
    assert (fit.drift_bound_low, fit.drift_bound_high) == (-m_max, -m_min)
    assert (fit.diffusion_bound_low, fit.diffusion_bound_high) == (v_min, v_max)
    assert (fit.drift_one_input, fit.diffusion_one_input) == (-5 / 64, 5 / 32)
    assert fit.bounds_status == "ok"
    convolved = fit_lognormal(make_cube(walks(10, 4), kernel=3, dimensions=2))
    assert convolved.diffusion_bound_low == diffusion_bounds(32, 9 * 32).v_min
    assert convolved.drift_one_input.isnull() and convolved.bounds_status == "ok"


@pytest.mark.parametrize(
    ("attrs", "reason"),
    [
        ({"width": None}, "the cube lacks the attribute 'width' of its network, and it has no recipe"),
        ({"kernel": 3}, "the cube lacks the attribute 'dimensions'"),
        ({"weight_variance": 1.0}, "Theorem 1 is of weights of variance 2/fan_in, and here it is 1/fan_in"),
        ({"bias_variance": 0.1}, "nets without biases"),
        ({"activation": "tanh"}, "ReLU nets, and its activation is tanh"),
        ({"kernel": 3, "dimensions": 2, "boundary": "zero"}, "the boundary is zero"),
    ],
)
def test_without_its_premises_the_theorem_has_no_bounds(attrs, reason):
    ds = make_cube(walks(10, 4), **attrs)
    ds.attrs = {name: value for name, value in ds.attrs.items() if value is not None}
    fit = fit_lognormal(ds)
    assert reason in fit.bounds_status.item()
    for name in fit.data_vars:
        assert ("_bound_" not in name and "_one_input" not in name and "alive_p" not in name) or fit[
            name
        ].isnull().all()
    assert fit.drift.notnull() and fit.alive.notnull().all() and fit.drift_status == "ok"
    assert fit_lognormal(make_cube(walks(10, 4), kernel=1, boundary="zero")).bounds_status == "ok"


def test_other_sites_quantities_and_architectures(cubes):
    vanilla = cubes["vanilla"]
    inside = fit_lognormal(vanilla, site="conv")
    assert inside.bounds_status == "Theorem 1 is of the site 'act', not of 'conv'" and inside.drift.notnull()
    assert (
        "Theorem 1 is of the site 'act', not of 'input'"
        in fit_lognormal(vanilla.sel(site="input")).bounds_status.item()
    )
    assert "drift" not in fit_lognormal(vanilla, "mu2_signal") and "alive" not in fit_lognormal(cubes["bn_ff"])
    rank = fit_lognormal(cubes["bn_res"], "reff_signal", site="act")
    np.testing.assert_allclose(rank.mu, np.log(mx.effective_rank(cubes["bn_res"]).sel(site="act")).mean("realization"))
    with pytest.raises(ValueError, match="may be negative"):
        fit_lognormal(vanilla, "nu1_signal")
    with pytest.raises(LookupError, match="lacks the site 'norm'"):
        fit_lognormal(vanilla, site="norm")
    with pytest.raises(LookupError, match="lacks mu2_noise"):
        fit_lognormal(vanilla.sel(pooled_moment=["nu2_signal"]), "mu2_noise")
    unknown = fit_lognormal(vanilla.sel(pooled_moment=["mu2_noise"]), "mu2_noise")
    assert unknown.dead.isnull().all() and unknown.alive.isnull().all() and unknown.mu.notnull().all()


SELECTIONS = {
    "all": lambda ds: ds,
    "one realization": lambda ds: ds.isel(realization=0),
    "one layer": lambda ds: ds.sel(layer=[8]),
    "at a layer": lambda ds: ds.sel(layer=8),
    "one site": lambda ds: ds.sel(site="act"),
    "one number": lambda ds: ds.sel(site="act", layer=8).isel(realization=3),
}


@pytest.mark.parametrize("of", ["nu2_signal", "mu2_signal", "mu2_noise"])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_selections_are_lazy_and_say_what_they_are(walked, of, selection):
    ds = SELECTIONS[selection](walked)
    expected = fit_lognormal(ds, of)
    with dask.config.set(scheduler=refuse):
        lazy = fit_lognormal(SELECTIONS[selection](walked.chunk(realization=7, layer=5)), of)
    known = ("_layer", "_bound_low", "_bound_high", "_one_input", "bounds_status")
    for name, values in lazy.data_vars.items():
        assert values.chunks is not None or name.endswith(known), name
        assert values.attrs["units"] == "1" and values.attrs["long_name"]
        assert values.dims == expected[name].dims == (("layer",) if values.dims else ())
    xr.testing.assert_allclose(lazy.compute(), expected, rtol=1e-10)
    if "layer" in selection:
        whole = fit_lognormal(walked, of).sel(layer=8)
        np.testing.assert_allclose(expected.mu.squeeze(), whole.mu)
        if of != "mu2_signal":
            assert expected.drift.isnull() and expected.drift_status == "drift and diffusion need two measured layers"
            np.testing.assert_allclose(expected.alive_bound_low.squeeze(), whole.alive_bound_low)


@settings(max_examples=10, deadline=None)
@given(
    realization=st.lists(st.integers(1, 40), min_size=1, max_size=6).map(lambda sizes: [*sizes, 60]),
    layer=st.integers(2, 12),
    of=st.sampled_from(["nu2_signal", "mu2_noise"]),
)
def test_any_chunking_gives_the_same(walked, realization, layer, of):
    edges = np.minimum(np.cumsum(realization), 60)
    sizes = tuple(int(size) for size in np.diff(edges, prepend=0) if size)
    lazy = fit_lognormal(walked.chunk(realization=sizes, layer=layer), of).compute()
    xr.testing.assert_allclose(lazy, fit_lognormal(walked, of), rtol=1e-9)


def test_each_chunk_is_read_once_and_the_test_is_bounded():
    """25 000 realizations: the goodness-of-fit test uses the first 10 000, and nothing is read twice."""
    reads = Counter()

    def draw(block_info=None):
        where = block_info[None]
        reads[where["chunk-location"]] += 1
        size = where["array-location"][0][1] - where["array-location"][0][0]
        rng = np.random.default_rng(where["chunk-location"][0])
        return np.exp(rng.normal(size=(size, 2))[:, :, None, None] + np.zeros((1, 3)))

    moments = da.map_blocks(
        draw, chunks=((1500,) * 16 + (1000,), (2,), (1,), (3,)), dtype="f8", meta=np.empty((0,) * 4)
    )
    ds = make_cube(np.zeros((25_000, 2)))
    ds["pooled_moments"] = ds.pooled_moments.copy(data=moments)
    fit = fit_lognormal(ds)
    assert not reads
    fit = fit.compute(scheduler="synchronous")
    assert set(reads.values()) == {1} and len(reads) == 17
    assert (fit["count"] == 25_000).all() and (fit.tested == 10_000).all()
    first = np.concatenate([np.random.default_rng(k).normal(size=(1500, 2)) for k in range(7)])[:10_000]
    np.testing.assert_allclose(fit.anderson, fit_lognormal(make_cube(first)).anderson, rtol=1e-8)


def test_a_sweep_gives_one_dataset_along_its_key(small):
    recipe = small("vanilla", realizations=9, measure__channels="mean", sweep={"network.width": [8, 4]})
    tree = mx.run(recipe, progress=False)
    joined = fit_lognormal(tree)
    assert joined["network.width"].values.tolist() == [8, 4]
    node = fit_lognormal(tree["network.width=4"].to_dataset())
    for name in node.data_vars:
        np.testing.assert_array_equal(joined[name].sel({"network.width": 4}), node[name])
        assert joined[name].attrs == node[name].attrs
    assert joined.drift_one_input.values.tolist() == [-5 / 16, -5 / 8]


def test_vanilla_nets_diffuse_as_a_single_input_once_they_are_one_dimensional():
    """Width 16: past layer 80 all inputs have merged, and the exact law of one input is that of Theorem 1's far bounds."""
    recipe = mx.Recipe(
        name="diffusing", realizations=400, input={"dataset": "gaussian", "shape": [8], "batch": 2},
        network={"architecture": "vanilla", "depth": 140, "width": 16, "kernel": 1},
        measure={"every": 20, "effective_rank": []}, compute={"block": 200},
    )  # fmt: skip
    ds = mx.run(recipe, progress=False)
    exact = diffusion_bounds(16, 16)
    for of in ("nu2_signal", "mu2_noise"):
        fit = fit_lognormal(ds, of, layers=(80, 140))
        n = int(fit.drift_count)
        assert abs(fit.drift + exact.m_max) < SIGMAS * np.sqrt(exact.v_max / 60 / n)
        assert abs(fit.diffusion - exact.v_max) < SIGMAS * exact.v_max * np.sqrt(2 / n)
        assert fit.diffusion_bound_low < fit.diffusion_low and fit.drift_high < fit.drift_bound_high
        assert fit.alive_p_low.min() > 1e-4 and fit.alive_p_high.min() > 1e-4
        assert fit.bounds_status == "ok"


def test_collapse_of_narrow_nets_is_between_the_bounds():
    """Width 4: many nets die, as often as the theorem allows."""
    recipe = mx.Recipe(
        name="dying", realizations=400, input={"dataset": "gaussian", "shape": [4], "batch": 2},
        network={"architecture": "vanilla", "depth": 30, "width": 4, "kernel": 1},
        measure={"every": 6, "effective_rank": []}, compute={"block": 400},
    )  # fmt: skip
    fit = fit_lognormal(mx.run(recipe, progress=False))
    assert 20 < fit.dead[-1] < 390 and (fit.dead + fit["count"] == 400).all()
    low, high = survival_bounds(fit.layer.values, 4, 4)
    np.testing.assert_allclose(fit.alive_bound_low, low)
    assert (fit.alive_p_low > 1e-4).all() and (fit.alive_p_high > 1e-4).all()
    assert fit.alive[-1] < high[-1], "two inputs that have merged die as one does"


def test_published_moments_of_vanilla_nets():
    """The first 200 of the published 10 000 nets (THEORY 7, Fig. 2 fully connected), N 128: within 4.5 standard errors."""
    ds = mx.open_npz(Path(__file__).parent / "data" / "vanilla_histo_fc.npz", architecture="vanilla")
    published = {
        "nu2_signal": ([-0.858, -1.851, -2.830, -3.820], [1.70, 3.71, 5.83, 7.77]),
        "mu2_noise": ([-0.277, -0.813, -1.462, -2.212], [0.526, 1.420, 2.509, 3.687]),
    }
    for of, (mean, variance) in published.items():
        fit = fit_lognormal(ds, of)
        n = int(fit["count"][0])
        assert (abs(fit.mu - mean) < SIGMAS * np.sqrt(np.array(variance) / n)).all()
        assert (
            abs(fit.sigma**2 / variance - 1) < SIGMAS * np.sqrt(2.3 / n)
        ).all()  # 2.3: its excess kurtosis is up to 0.2
        assert (fit.first_layer, fit.last_layer) == (100, 200)
        assert "'width'" in fit.bounds_status.item()
    fit = fit_lognormal(ds.assign_attrs(width=128, kernel=1))
    assert abs(fit.drift + 0.01969) < SIGMAS * np.sqrt(0.0406 / 100 / 200)
    assert fit.diffusion_low < 0.0406 < fit.diffusion_high
    assert fit.bounds_status == "ok" and fit.drift_bound_low < fit.drift < fit.drift_bound_high


def test_facts_of_the_network(small):
    recipes = {
        ("vanilla", 1): {
            "fan_in": 12,
            "dimensions": 0,
            "boundary": "periodic",
            "weight_variance": 2.0,
            "epsilon": 1e-3,
        },
        ("bn_res", 3): {"fan_in": 108, "dimensions": 2, "unit_depth": 2, "activation": "relu", "bias_variance": 0.0},
    }
    for (architecture, kernel), facts in recipes.items():
        ds = xr.Dataset(attrs={"recipe": small(architecture, kernel).to_json()})
        assert (width(ds), fan_in(ds)) == (12, facts.pop("fan_in"))
        assert {name: fact(ds, name) for name in facts} == facts
        assert width(ds.assign_attrs(width=7)) == 7, "an attribute wins"
    lecun = small("vanilla", 1, network__weights="lecun", network__boundary="zero")
    ds = xr.Dataset(attrs={"recipe": lecun.to_json()})
    assert (fact(ds, "weight_variance"), fact(ds, "boundary")) == (1.0, "zero")


def test_spatial_dimensions_are_the_datas():
    network = {"architecture": "vanilla", "depth": 2, "width": 4, "kernel": 3}
    for input_, expected in (
        ({"dataset": "photos"}, 36), ({"dataset": "digits"}, 36), ({"dataset": "cifar10", "path": "x"}, 36),
        ({"dataset": "gaussian", "shape": [8, 3]}, 12), ({"dataset": "gaussian", "shape": [4, 4, 4, 3]}, 108),
    ):  # fmt: skip
        recipe = mx.Recipe(name="x", realizations=1, input=input_, network=network)
        assert fan_in(xr.Dataset(attrs={"recipe": recipe.to_json()})) == expected
    array = mx.Recipe(name="x", realizations=1, input={"dataset": "array", "path": "x.npy"}, network=network)
    ds = xr.Dataset(attrs={"recipe": array.to_json()})
    with pytest.raises(LookupError, match=r"'dimensions' of its network, and its recipe does not tell: set ds.attrs"):
        fan_in(ds)
    assert fan_in(ds.assign_attrs(dimensions=1)) == 12
    with pytest.raises(LookupError, match="'kernel' of its network, and it has no recipe"):
        fan_in(xr.Dataset(attrs={"width": 4}))
