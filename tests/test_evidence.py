"""Evidence along the depth: at the deepest layer it is that of classify, and never contradicts its verdict."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import moments_xr as mx
from moments_xr.analysis.evidence import (
    BEYOND,
    FEW,
    GROWING,
    SAFE,
    STRADDLING,
    UNMEASURED,
    growth_rate,
    growth_state,
    seen_from,
)
from moments_xr.analysis.verdicts import Condition
from moments_xr.quantities import PATHOLOGIES

LIMITS = [name for name in PATHOLOGIES if name != "exploding_sensitivity"]
WORDS = ["state", "verdict", "symbol", "sentence"]


@pytest.fixture(scope="module")
def deep():
    from conftest import make_recipe

    changes = {"realizations": 12, "network__depth": 24, "network__width": 24, "measure__channels": "mean"}
    return {name: mx.run(make_recipe(name, **changes), progress=False) for name in ("vanilla", "bn_ff", "bn_res")}


def synthetic(log_chi, reff, layers):
    """A feed-forward net with batch norm: log χ and r_eff(x) of (realization, layer), at all sites alike."""
    sites = ["input", "norm", "act"]
    wide = {
        name: np.repeat(np.asarray(v)[..., None], 3, axis=2)
        for name, v in (("log_chi", log_chi), ("reff_signal", reff))
    }
    variables = {name: (("realization", "layer", "site"), values) for name, values in wide.items()}
    return xr.Dataset(variables, {"layer": layers, "site": sites}, {"architecture": "bn_ff", "activation": "relu"})


@pytest.mark.parametrize("architecture", ["vanilla", "bn_ff", "bn_res"])
def test_the_deepest_layer_is_what_classify_judges(deep, architecture):
    found, verdicts = mx.evidence(deep[architecture]), mx.classify(deep[architecture])
    deepest = found.isel(layer=-1).sel(pathology=LIMITS)
    for name in ("statistic", "statistic_low", "statistic_high"):
        np.testing.assert_allclose(deepest[name], verdicts[name].sel(pathology=LIMITS), err_msg=name)
    for name in ("verdict", "onset", "sentence", "threshold"):
        np.testing.assert_array_equal(found[name], verdicts[name])
    shallower = mx.classify(deep[architecture].sel(layer=slice(None, 20)))
    at_20 = found.sel(layer=20, pathology=LIMITS)
    np.testing.assert_allclose(at_20.statistic, shallower.statistic.sel(pathology=LIMITS), err_msg="at layer 20")


def contradicts(verdict, state):
    return (verdict, state) not in {
        ("present", "beyond"), ("absent", "safe"), ("absent", "growing"),
        *(("undecided", state) for state in ("safe", "straddling", "growing", "beyond", "few", "not measured")),
    }  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(
    exponent=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    rate=st.floats(-0.02, 0.3),
    limit=st.floats(1.0, 3.0),
    noise=st.sampled_from([1e-4, 0.01, 0.2]),
    realizations=st.sampled_from([1, 5, 8, 30]),
    depth=st.sampled_from([2, 12, 40]),
    seed=st.integers(0, 99),
)
def test_states_never_contradict_verdicts(exponent, rate, limit, noise, realizations, depth, seed):
    rng = np.random.default_rng(seed)
    layers = np.arange(1, depth + 1)
    walk = noise * rng.normal(size=(realizations, depth)).cumsum(1)
    log_chi = rate * np.cumsum(layers**-exponent) + walk
    reff = 1 + (limit - 1 + 8 / layers) * np.exp(noise * rng.normal(size=(realizations, depth)))
    found = mx.evidence(synthetic(log_chi, reff, layers))
    for name in PATHOLOGIES:
        one = found.sel(pathology=name)
        assert not contradicts(str(one.verdict.values), str(one.state.values[-1])), (name, one.verdict, one.state)
    assert set(found.state.sel(pathology="fat_tails").values.tolist()) == {"not measured"}


def test_a_power_law_grows_and_an_exponential_is_beyond_from_its_onset_on():
    layers, rng = np.arange(1, 101), np.random.default_rng(0)
    walk = 0.005 * rng.normal(size=(30, 100)).cumsum(1)
    reff = np.full((30, 100), 5.0)
    power = mx.evidence(synthetic(0.7 * np.log(layers + 1) + walk, reff, layers)).sel(pathology="exploding_sensitivity")
    assert str(power.verdict.values) == "absent"
    assert set(power.state.values[:50].tolist()) == {"growing"}
    assert (power.statistic_low > 0).values[:50].all()
    exponential = mx.evidence(synthetic(0.2 * layers + walk, reff, layers)).sel(pathology="exploding_sensitivity")
    onset = int(exponential.onset)
    assert onset > 2
    assert (exponential.state.sel(layer=slice(onset, None)) == "beyond").all()
    assert (exponential.state.sel(layer=slice(None, onset - 1)) == "growing").all()


def test_pseudo_linearity_takes_both_conditions(deep):
    ds = deep["bn_ff"]
    found = mx.evidence(ds).sel(pathology="pseudo_linearity")
    assert (found.state == "safe").all()
    without = mx.evidence(ds.drop_sel(pooled_moment="nu1_plus_minus_signal")).sel(pathology="pseudo_linearity")
    assert without.symbol == "mean δχ since half the depth" and (without.statistic > without.threshold).all()
    assert (without.state == "safe").all(), "increments above 1.05 are enough"
    shrunk = ds.assign(pooled_moments=ds.pooled_moments.where(ds.pooled_moment != "nu1_plus_minus_signal", 1e-9))
    found = mx.evidence(shrunk).sel(pathology="pseudo_linearity")
    assert (found.statistic_high < found.threshold).all()
    assert (found.state == "safe").all()


def test_growth_rate_is_that_since_half_the_depth():
    layers = np.array([2, 4, 6, 8, 20])
    log_chi = np.array([[1.0, 2.0, 4.0, 8.0, 20.0]])
    np.testing.assert_allclose(growth_rate(log_chi, layers), [[1 / 2, 1 / 2, 3 / 4, 6 / 4, 12 / 12]])
    np.testing.assert_allclose(growth_rate(0.3 * layers[None], layers), 0.3)


def test_sides_of_a_threshold():
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(mean, 0.1, 20) for mean in (-1.0, 0.0, 1.0)] + [np.full(20, np.nan)], axis=1)
    above, below = (Condition("", 0.01, above=side, origin=None) for side in (True, False))
    assert seen_from(rows, above)[3].tolist() == [SAFE, STRADDLING, BEYOND, UNMEASURED]
    assert seen_from(rows, below)[3].tolist() == [BEYOND, STRADDLING, SAFE, UNMEASURED]
    assert seen_from(rows[:7], below)[3].tolist() == [FEW, FEW, FEW, UNMEASURED]
    codes, layers = np.array([UNMEASURED, BEYOND, STRADDLING, BEYOND, SAFE]), np.arange(1, 6)
    states = {
        v: growth_state(codes, np.array(v, object), np.array(3.0), layers).tolist()
        for v in ("present", "absent", "undecided")
    }
    assert states["present"] == [UNMEASURED, GROWING, BEYOND, BEYOND, BEYOND]
    assert states["absent"] == [UNMEASURED, GROWING, SAFE, GROWING, SAFE]
    assert states["undecided"] == [UNMEASURED, GROWING, STRADDLING, GROWING, SAFE]


def test_selections_and_few_realizations(deep):
    ds = deep["bn_ff"]
    one = mx.evidence(ds.isel(realization=0))
    assert set(np.unique(one.state.values.astype(str))) == {"few"}
    np.testing.assert_allclose(one.statistic.sel(pathology="fat_tails"), mx.get(ds, "mu4_signal").sel(site="norm")[0])
    assert np.isnan(one.statistic_low).all()
    layer = mx.evidence(ds.sel(layer=24))
    assert layer.sizes == {"pathology": len(PATHOLOGIES), "layer": 1}
    output = mx.evidence(ds.sel(site=["act"]))
    assert (output.state.sel(pathology="fat_tails") == "not measured").all()
    assert (output.state.sel(pathology="one_dimensional_signal") == "safe").all()
    with pytest.raises(LookupError, match="no layer"):
        mx.evidence(ds.isel(layer=[]))


def test_a_sweep_answers_along_its_coordinates(small):
    tree = mx.run(small(realizations=8, sweep={"network.width": [8, 16]}), progress=False)
    found = tree.moments.evidence()
    assert found.statistic.dims == ("network.width", "pathology", "layer")
    node = mx.evidence(tree["network.width=16"].to_dataset())
    np.testing.assert_array_equal(found.state.sel({"network.width": 16}), node.state)


def test_it_is_lazy_and_reads_every_chunk_once(deep):
    read, ds = [], deep["vanilla"].chunk(realization=4)

    def watch(block, block_id):
        read.append(block_id)
        return block

    names = ("pooled_moments", "reff_signal")
    watched = {
        name: ds[name].copy(data=ds[name].data.map_blocks(watch, dtype=ds[name].dtype, name=False)) for name in names
    }
    read.clear()

    def refuse(*arguments, **options):
        raise AssertionError("computed before it was asked")

    with dask.config.set(scheduler=refuse):
        lazy = mx.evidence(ds.assign(watched))
    assert lazy.statistic.chunks is not None and lazy.state.chunks is not None
    with dask.config.set(scheduler="synchronous"):
        found = lazy.compute()
    assert len(read) == 6
    xr.testing.assert_allclose(
        found.drop_vars(WORDS),
        mx.evidence(deep["vanilla"]).drop_vars(WORDS),
    )
    np.testing.assert_array_equal(found.state, mx.evidence(deep["vanilla"]).state)
