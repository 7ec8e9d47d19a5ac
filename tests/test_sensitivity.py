"""First answers: get, chi, increments, effective_rank, alive, summary; on Datasets, selections and sweeps; lazily."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import moments_xr as mx
from moments_xr.quantities import ARCHITECTURES, MOMENTS, STATISTICS, scale_orders

ANSWERS = {
    "get": lambda ds: mx.get(ds, "nu2_signal", log=True),
    "get channels": lambda ds: mx.get(ds, "mu4_noise", channels=True),
    "get statistic": lambda ds: mx.get(ds, "mu2_ratio"),
    "chi": mx.chi,
    "log chi": lambda ds: mx.chi(ds, log=True),
    "increments": mx.increments,
    "steps": lambda ds: mx.increments(ds, by="step", log=True),
    "increments of nu2": lambda ds: mx.increments(ds, "nu2_signal"),
    "effective_rank": lambda ds: mx.effective_rank(ds, "noise"),
    "alive": mx.alive,
    "summary": mx.summary,
}


def refuse(*arguments, **options):
    raise AssertionError("computed")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_chunked_in_lazy_out_and_equal(cubes, architecture, answer):
    ds = cubes[architecture]
    with dask.config.set(scheduler=refuse):
        lazy = ANSWERS[answer](ds.chunk(realization=3, layer=2, site=1))
    assert dask.is_dask_collection(lazy)
    xr.testing.assert_allclose(lazy.compute(), ANSWERS[answer](ds), rtol=1e-12)


@settings(max_examples=15, deadline=None)
@given(
    chunks=st.fixed_dictionaries({d: st.integers(1, 8) for d in ("realization", "layer", "site", "moment", "channel")})
)
@pytest.mark.parametrize("answer", ["get channels", "steps", "summary"])
def test_any_chunking_gives_the_same(cubes, answer, chunks):
    ds = cubes["bn_res"]
    xr.testing.assert_allclose(ANSWERS[answer](ds.chunk(chunks)).compute(), ANSWERS[answer](ds), rtol=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("answer", ANSWERS)
def test_results_say_what_they_are(cubes, architecture, answer):
    result = ANSWERS[answer](cubes[architecture])
    for values in [result] if isinstance(result, xr.DataArray) else result.data_vars.values():
        assert values.attrs["units"] == "1"
        assert values.attrs["long_name"]


@pytest.mark.parametrize("name", [*MOMENTS, *STATISTICS])
def test_get_puts_the_scale_back(cubes, name):
    ds = cubes["vanilla"]
    signal, noise = scale_orders(name)
    stored = ds.pooled_moments.sel(pooled_moment=name)
    expected = stored * np.exp(signal * ds.log_signal_scale + noise * ds.log_noise_scale)
    np.testing.assert_allclose(mx.get(ds, name), expected)
    if not MOMENTS.get(name) or not MOMENTS[name].signed:
        np.testing.assert_allclose(mx.get(ds, name, log=True), np.log(expected), rtol=1e-12, atol=1e-12)


def test_chi_is_the_ratio_of_signal_to_noise_ratios(cubes):
    for ds in cubes.values():
        snr = mx.get(ds, "mu2_signal") / mx.get(ds, "mu2_noise")
        np.testing.assert_allclose(mx.chi(ds), np.sqrt(ds.input_mu2_signal / snr))
        np.testing.assert_allclose(mx.chi(ds, log=True), np.log(mx.chi(ds)))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_steps_multiply_to_the_increment_of_the_layer(cubes, architecture):
    ds = cubes[architecture]
    steps, layer = mx.increments(ds, by="step"), mx.increments(ds)
    parts = {"vanilla": ["conv", "act"], "bn_ff": ["bn", "act"]}.get(architecture, ["sum"])
    np.testing.assert_allclose(steps.sel(step=parts).prod("step"), layer)
    if architecture == "bn_res":
        np.testing.assert_allclose(steps.sel(step=["bn", "act"]).prod("step"), steps.sel(step="unit"))
    chi = mx.chi(ds)
    np.testing.assert_allclose(layer, chi.isel(site=-1) / chi.sel(site="input"))
    assert steps.dims == ("realization", "layer", "step")


def test_short_forms(cubes):
    moments = cubes["bn_ff"].moments
    for short, name in (
        (moments.nu1("signal"), "nu1_signal"), (moments.nu1_abs("signal"), "nu1_abs_signal"), (moments.nu2("signal"), "nu2_signal"),
        (moments.mu2("noise"), "mu2_noise"), (moments.nu2("noise"), "mu2_noise"), (moments.mu4("noise"), "mu4_noise"),
    ):  # fmt: skip
        xr.testing.assert_identical(short, moments.get(name))
    xr.testing.assert_identical(moments.chi(log=True), moments.get("chi", log=True))
    xr.testing.assert_identical(moments.effective_rank("noise"), moments.get("reff_noise"))


def test_selections_work(cubes):
    ds = cubes["bn_ff"]
    chi = mx.chi(ds)
    xr.testing.assert_equal(mx.chi(ds.isel(realization=0)), chi.isel(realization=0))
    xr.testing.assert_equal(mx.chi(ds.sel(site="act")), chi.sel(site="act"))
    xr.testing.assert_equal(mx.increments(ds.sel(layer=slice(4, 6))), mx.increments(ds).sel(layer=slice(4, 6)))
    xr.testing.assert_equal(mx.get(ds.sel(pooled_moment=["mu2_noise"]), "mu2_noise"), mx.get(ds, "mu2_noise"))
    one = mx.summary(ds.isel(realization=0))
    np.testing.assert_allclose(one.chi.sel(statistic="median"), one.chi.sel(statistic="p84"))
    assert "increment_chi" not in mx.summary(ds.sel(site="act"))
    with pytest.raises(LookupError, match="increments by layer need the sites act, input; this cube has act"):
        mx.increments(ds.sel(site="act"))


@pytest.mark.parametrize("name", ["chi", "nu2_signal", "mu2_ratio", "reff_signal"])
def test_one_site_is_what_selecting_it_gives(cubes, name):
    ds = cubes["bn_res"]
    whole = ds.moments.get(name)
    xr.testing.assert_identical(ds.moments.get(name, site="norm"), whole.sel(site="norm"))
    xr.testing.assert_identical(ds.moments.get(name, site="output"), whole.sel(site="sum"))
    xr.testing.assert_identical(ds.sel(site="norm").moments.get(name, site="output"), whole.sel(site="norm"))
    with pytest.raises(LookupError, match="lacks the site 'nrom'; it has input, norm, act, conv, sum"):
        ds.moments.get(name, site="nrom")


@pytest.mark.parametrize(
    "answer",
    [
        mx.chi,
        mx.effective_rank,
        mx.alive,
        mx.fit_growth,
        mx.fit_lognormal,
        lambda ds, site: mx.get(ds, "chi", site=site),
    ],
)
def test_another_site_than_the_selected_one_is_not_taken_for_it(cubes, answer):
    with pytest.raises(LookupError, match="lacks the site 'act'; it has conv"):
        answer(cubes["vanilla"].sel(site="conv"), site="act")


def test_a_cube_without_names_of_sites_is_told_so(cubes):
    for answer in (mx.alive, mx.fit_growth, mx.fit_lognormal):
        with pytest.raises(LookupError, match="the cube lacks the site 'act'"):
            answer(cubes["vanilla"].drop_vars("site"))


def test_answers_share_no_memory_with_the_cube(cubes):
    ds = cubes["vanilla"].drop_vars(["log_signal_scale", "log_noise_scale"])
    ds = ds.assign(reff_signal=ds.reff_signal.astype("f8"), log_chi=mx.chi(ds, log=True))
    before = ds.copy(deep=True)
    for values in (
        mx.get(ds, "nu2_signal"),
        mx.get(ds, "nu2_signal", site="act"),
        mx.effective_rank(ds),
        mx.chi(ds, True),
    ):
        values[:] = -1.0
    xr.testing.assert_identical(ds, before)


def test_increments_between_sites_do_not_know_the_scale(cubes):
    """The scale of a layer is that of all its sites: huge ones cost no digit."""
    ds = cubes["vanilla"]
    scaled = ds.assign(log_signal_scale=ds.log_signal_scale + 1e6, log_noise_scale=ds.log_noise_scale - 1e7)
    for of in ("chi", "nu2_signal", "mu2_ratio"):
        xr.testing.assert_identical(mx.increments(scaled, of, by="step", log=True), mx.increments(ds, of, "step", True))


def test_what_is_missing_or_wrong_is_named(cubes):
    ds = cubes["vanilla"]
    with pytest.raises(ValueError, match="'nu3' is not a quantity; there are nu1_signal"):
        mx.get(ds, "nu3")
    with pytest.raises(ValueError, match="'nu1_signal' may be negative"):
        mx.get(ds, "nu1_signal", log=True)
    with pytest.raises(LookupError, match="no moments of single channels"):
        mx.get(ds.drop_vars("channel_moments"), "nu1_signal", channels=True)
    with pytest.raises(LookupError, match="lacks mu4_signal"):
        mx.get(ds.sel(pooled_moment=["mu2_noise"]), "mu4_signal")
    with pytest.raises(LookupError, match="no reff_noise"):
        mx.effective_rank(ds.drop_vars("reff_noise"), "noise")
    with pytest.raises(ValueError, match="tensor='both'"):
        mx.effective_rank(ds, "both")
    with pytest.raises(ValueError, match="by='net'"):
        mx.increments(ds, by="net")
    with pytest.raises(ValueError, match=r"layers: \[7\] were not measured; there are 2 to 6"):
        mx.summary(ds, [7])


def test_summary_is_the_percentiles_over_realizations(cubes):
    ds = cubes["bn_ff"]
    table = mx.summary(ds)
    chi = mx.chi(ds).sel(site="act")
    for statistic, q in (("median", 0.5), ("p16", 0.16), ("p84", 0.84)):
        np.testing.assert_allclose(
            table.chi.sel(statistic=statistic), chi.quantile(q, "realization").sel(layer=table.layer)
        )
    ratio = (mx.get(ds, "mu2_signal") / mx.get(ds, "nu2_signal")).sel(site="act").median("realization")
    np.testing.assert_allclose(table.mu2_over_nu2_signal.sel(statistic="median"), ratio.sel(layer=table.layer))
    assert set(table.dims) == {"layer", "statistic"}
    assert (table.alive == 1).all()


def test_a_sweep_gives_one_dataset_along_its_keys(small):
    recipe = small(realizations=3, measure__channels="mean", sweep={"network.width": [8, 4], "input.batch": [16, 8]})
    tree = mx.run(recipe, progress=False)
    for answer in ("get", "chi", "steps", "effective_rank", "alive", "summary"):
        joined = ANSWERS[answer](tree)
        assert isinstance(joined, xr.Dataset)
        assert joined["network.width"].values.tolist() == [8, 4]
        assert joined["input.batch"].values.tolist() == [16, 8]
        node = ANSWERS[answer](tree["network.width=4,input.batch=16"].to_dataset())
        part = joined.sel({"network.width": 4, "input.batch": 16})
        expected = node.to_dataset() if isinstance(node, xr.DataArray) else node
        for name in expected.data_vars:
            np.testing.assert_array_equal(part[name].values, expected[name].values)
            assert part[name].attrs == expected[name].attrs
    xr.testing.assert_identical(tree.moments.chi(), mx.chi(tree))


def test_a_sweep_over_depth_leaves_nan_where_a_net_has_ended(small):
    tree = mx.run(
        small(realizations=2, sweep=[{"network.depth": 4, "seed": 1}, {"network.depth": 6, "seed": 2}]), progress=False
    )
    chi = mx.chi(tree).chi
    assert chi.sel({"network.depth": 4, "seed": 1}).sel(layer=6).isnull().all()
    assert chi.sel({"network.depth": 6, "seed": 2}).sel(layer=6).notnull().all()
    assert chi.sel({"network.depth": 4, "seed": 2}).isnull().all(), "there is no such node"


def test_cubes_made_elsewhere_may_hold_log_chi():
    log_chi = xr.DataArray(
        np.full((2, 3, 2), 800.0),
        dims=("realization", "layer", "site"),
        coords={"site": ["input", "act"], "layer": [1, 2, 3]},
    )
    ds = xr.Dataset({"log_chi": log_chi})
    assert (mx.chi(ds, log=True) == 800).all()
    assert np.isposinf(mx.chi(ds)).all()
    assert (mx.increments(ds) == 1).all()
    assert mx.summary(ds).increment_chi.sel(layer=2, statistic="median") == 1
    with pytest.raises(LookupError, match="lacks nu2_signal"):
        mx.alive(ds)


def test_a_node_that_lacks_a_piece_is_nan_and_says_why(small):
    sweep = {"network.architecture": ["bn_res", "vanilla"]}
    tree = mx.run(small(realizations=3, sweep=sweep), progress=False)
    answer = tree.moments.channel_fluctuation()
    by_node = answer.channel_fluctuation.transpose("network.architecture", "realization", "layer")
    assert by_node.sel({"network.architecture": "bn_res"}).isnull().all()
    vanilla = mx.channel_fluctuation(tree["network.architecture=vanilla"].to_dataset())
    np.testing.assert_array_equal(by_node.sel({"network.architecture": "vanilla"}), vanilla)
    assert answer.channel_fluctuation.attrs == vanilla.attrs
    assert answer.attrs["not_available"].startswith("network.architecture=bn_res: channels of a residual net")
    theorems = tree.moments.check_theorems()
    assert theorems.statement.sel({"network.architecture": "vanilla"}, drop=True).isnull().sum() == 2
    with pytest.raises(LookupError, match="no redraws"):
        tree.moments.decompose(method="branches")
