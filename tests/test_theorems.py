"""check_theorems: the theorems hold on real nets, and fail on nets that break them."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import moments_xr as mx
from moments_xr.analysis.report import analyse, node
from moments_xr.analysis.theorems import judge
from moments_xr.theory.finite_width import diffusion_bounds, survival_bounds

THEOREMS = {
    "vanilla": [
        "1 survival",
        "1 drift of ν₂(x)",
        "1 diffusion of ν₂(x)",
        "1 drift of μ₂(dx)",
        "1 diffusion of μ₂(dx)",
        "2",
    ],
    "bn_ff": ["3"],
    "bn_res": ["4", "4 sharp"],
}


@pytest.fixture(scope="module")
def nets():
    from conftest import make_recipe

    changes = {"measure__every": 1, "measure__channels": "mean", "network__width": 64, "network__depth": 15}
    return {
        name: mx.run(make_recipe(name, realizations=60, input__batch=32, compute__block=30, **changes), progress=False)
        for name in THEOREMS
    }


@pytest.mark.parametrize("architecture", THEOREMS)
def test_theorems_hold_on_real_nets(nets, architecture):
    result = mx.check_theorems(nets[architecture])
    assert result.theorem.values.tolist() == THEOREMS[architecture]
    assert (result.holds_everywhere == 1).all(), result.residual.max("layer").values
    assert (abs(result.residual).max("layer") < 8).all()
    assert (result.predicted_low <= result.predicted_high).all()


@pytest.mark.parametrize("kernel", [3])
@pytest.mark.parametrize("architecture", ["vanilla", "bn_ff"])
def test_theorems_hold_on_convolutional_nets(small, architecture, kernel):
    changes = {"measure__every": 1, "measure__channels": "mean", "network__width": 48, "network__depth": 8}
    recipe = small(architecture, kernel, realizations=30, input__batch=16, compute__block=10, **changes)
    assert (mx.check_theorems(mx.run(recipe, progress=False)).holds_everywhere == 1).all()


@pytest.mark.parametrize("architecture", THEOREMS)
def test_a_net_that_breaks_a_theorem_fails_it(nets, architecture):
    """Ten per cent more noise after each layer is no such net."""
    ds = nets[architecture].copy(deep=True)
    output = {"vanilla": "act", "bn_ff": "act", "bn_res": "sum"}[architecture]
    ds.pooled_moments.loc[{"site": output, "pooled_moment": "mu2_noise"}] *= 1.1**2
    broken = mx.check_theorems(ds).set_index(theorem="theorem")
    for theorem in {"vanilla": ["2", "1 drift of μ₂(dx)"], "bn_ff": ["3"], "bn_res": ["4", "4 sharp"]}[architecture]:
        assert broken.holds_everywhere.sel(theorem=theorem) == 0


def test_closed_forms_of_the_bounds():
    bounds = diffusion_bounds(100, 100)
    np.testing.assert_allclose(bounds, [1.000e-4, 2.542e-2, 2.000e-4, 5.194e-2], rtol=2e-4)
    rng = np.random.default_rng(0)
    draws = rng.chisquare(np.maximum(rng.binomial(20, 0.5, 400_000), 1)) * 2 / 20
    estimate = diffusion_bounds(20, 20)
    assert -np.log(draws).mean() == pytest.approx(estimate.m_max, abs=4 * np.sqrt(estimate.v_max / 400_000) + 1e-5)
    assert np.log(draws).var() == pytest.approx(estimate.v_max, rel=0.02)
    low, high = survival_bounds(np.array([1, 3]), 2, 4)
    np.testing.assert_allclose(low, [0.75, 0.75**3])
    np.testing.assert_allclose(high, [1, (1 - 2.0**-8) ** 2])


def make_survival(realizations, death, layers=12, seed=0, **attrs):
    """A cube of ν₂ alone: nets that die in each layer with a given chance, and stay dead."""
    living = (np.random.default_rng(seed).random((realizations, layers)) > death).cumprod(1).astype("f8")
    dims = ("realization", "layer", "site", "pooled_moment")
    coords = {"layer": np.arange(1, layers + 1), "site": ["act"], "pooled_moment": ["nu2_signal"]}
    facts = {"architecture": "vanilla", "width": 3, "kernel": 1} | attrs
    return xr.Dataset({"pooled_moments": (dims, living[..., None, None])}, coords, facts)


def survival(ds):
    return mx.check_theorems(ds).sel(theorem="1 survival")


@pytest.fixture(scope="module")
def dying():
    from conftest import make_recipe

    changes = {"network__width": 4, "network__depth": 12, "measure__every": 1, "measure__channels": "mean"}
    recipe = make_recipe("vanilla", realizations=200, input__batch=4, compute__block=200, **changes)
    return mx.run(recipe, progress=False)


def test_narrow_nets_die_as_theorem_1_allows(dying):
    result = survival(dying)
    living = (dying.pooled_moments.sel(site="act", pooled_moment="nu2_signal") > 0).mean("realization")
    np.testing.assert_allclose(result.measured, living)
    assert 0.2 < living[-1] < 0.9
    low, high = survival_bounds(np.arange(1, 13), 4, 4)
    np.testing.assert_allclose(result.predicted_low, low)
    np.testing.assert_allclose(result.predicted_high, high)
    assert result.holds_everywhere == 1 and abs(result.residual).max() < 3


@pytest.mark.parametrize(("width", "side"), [(8, -1), (1, 1)])
def test_a_false_claim_on_survival_fails(dying, width, side):
    """Too many die for nets of width 8, and too few for those of width 1."""
    result = survival(dying.assign_attrs(width=width))
    assert result.holds_everywhere == 0 and np.sign(result.residual[-1]) == side


@pytest.mark.parametrize("realizations", [3, 10, 100])
def test_survival_at_its_lower_bound_holds(realizations):
    """One input, fully connected, dies by 2^−N a layer: the bound is an equality."""
    failed = [survival(make_survival(realizations, 1 / 8, seed=k)).holds_everywhere == 0 for k in range(30)]
    assert sum(failed) <= 7, "more than 7 of 30 at 5 % each happen once in 10⁴"


def test_survival_is_counted_where_it_was_measured():
    ds = make_survival(40, 1 / 8)
    living = ds.pooled_moments[:20, :, 0, 0].mean("realization")
    ds.pooled_moments[20:] = np.nan
    result = survival(ds)
    np.testing.assert_allclose(result.measured, living)
    low = 0.875**ds.layer
    below = living < low
    np.testing.assert_allclose(result.standard_error[below], np.sqrt(low * (1 - low) / 20)[below])
    assert survival(ds.isel(realization=slice(18, None))).holds.isnull().all(), "two of them"


@pytest.mark.parametrize("dead", [0, 1])
def test_survival_of_wide_nets(dead):
    """Their bounds are 1 in floats: all alive is as predicted, and one dead net is not."""
    ds = make_survival(50, 0.0, width=512)
    ds.pooled_moments[:dead, 6:] = 0.0
    result = survival(ds)
    assert result.holds_everywhere == 1 - dead
    assert (result.residual[:6] == 0).all() and (result.standard_error == 0).all()
    assert (result.residual[6:] == (-np.inf if dead else 0)).all()
    results, _ = analyse(ds)
    written = node(ds, {"check_theorems": results["check_theorems"]}, {}).model_dump()["results"]["check_theorems"]
    assert written["data_vars"]["residual"]["data"][0] == [0.0] * 6 + [None if dead else 0.0] * 6
    assert written["data_vars"]["holds"]["data"][0] == [1.0] * 6 + [1.0 - dead] * 6


def test_survival_is_of_the_output():
    ds = make_survival(20, 0.1).assign_coords(site=["conv"])
    with pytest.raises(LookupError, match="lacks the site 'act'"):
        mx.check_theorems(ds)
    with pytest.raises(LookupError, match="Theorem 1 is of the site 'act', not of 'conv'"):
        mx.check_theorems(ds.sel(site="conv"))
    assert survival(ds.assign_coords(site=["act"]).isel(site=0, realization=0)).holds.isnull().all()


def make_diffusion(scale, realizations, layers=30, width=32, seed=0):
    """A cube of ν₂(x) and μ₂(dx) whose log-increments are normal, of the least drift and `scale` times the least variance."""
    least = diffusion_bounds(width, width)
    shape = (realizations, layers, 2)
    steps = -1.01 * least.m_min + np.sqrt(scale * least.v_min) * np.random.default_rng(seed).standard_normal(shape)
    values = np.stack([np.ones(shape), np.exp(steps)], axis=2)
    dims = ("realization", "layer", "site", "pooled_moment")
    coords = {"layer": np.arange(layers), "site": ["input", "act"], "pooled_moment": ["nu2_signal", "mu2_noise"]}
    return xr.Dataset(
        {"pooled_moments": (dims, values)}, coords, {"architecture": "vanilla", "width": width, "kernel": 1}
    )


@pytest.mark.parametrize("realizations", [3, 10, 100])
def test_a_variance_at_its_lower_bound_holds(realizations):
    """A variance that is estimated too low has an error that is estimated too low, too."""
    rows = [f"1 diffusion of {name}" for name in ("ν₂(x)", "μ₂(dx)")]
    found = [mx.check_theorems(make_diffusion(1.0, realizations, seed=k)).sel(theorem=rows) for k in range(15)]
    assert sum(int((one.holds_everywhere == 0).sum()) for one in found) <= 7, "of 30"
    low = mx.check_theorems(make_diffusion(0.1, 400)).sel(theorem=rows)
    assert (low.holds_everywhere == 0).all(), "a tenth of it is too low"


def test_what_has_no_errors_is_judged():
    """All realizations alike: inside the tolerance it holds, with residual 0 where it is as predicted."""
    measured = np.array([1.0, 1.1, 1.3, np.nan])
    residual, chance = judge(measured, np.ones(4), np.ones(4), np.zeros(4), np.full(4, 0.2), np.full(4, 9.0))
    assert residual[0] == 0 and np.isposinf(residual[1:3]).all() and np.isnan(residual[3])
    assert chance[:3].tolist() == [1, 1, 0] and np.isnan(chance[3])


def test_layers_in_any_order(nets):
    ds = nets["bn_ff"].isel(layer=slice(4))
    xr.testing.assert_allclose(mx.check_theorems(ds.isel(layer=[2, 0, 3, 1])), mx.check_theorems(ds))
    with pytest.raises(LookupError, match="the cube has no layer"):
        mx.check_theorems(ds.isel(layer=slice(0)))


def test_tolerances_are_not_negative(nets):
    ds = nets["bn_res"].copy(deep=True)
    ds.pooled_moments.loc[{"site": "sum", "pooled_moment": "mu2_noise"}] *= 0.5
    result = mx.check_theorems(ds)
    assert (result.measured < 0).any() and (result.tolerance >= 0).all()


def test_one_realization_cannot_tell(nets):
    result = mx.check_theorems(nets["bn_ff"].isel(realization=0))
    assert result.holds.isnull().all() and result.measured.notnull().all()


def refuse(*arguments, **options):
    raise AssertionError("computed")


@settings(max_examples=3, deadline=None)
@given(chunks=st.fixed_dictionaries({d: st.integers(2, 30) for d in ("realization", "layer", "site")}))
@pytest.mark.parametrize("architecture", THEOREMS)
def test_lazy_and_equal_for_any_chunking(nets, architecture, chunks):
    ds = nets[architecture].isel(realization=slice(9), layer=slice(6))
    with dask.config.set(scheduler=refuse):
        lazy = mx.check_theorems(ds.chunk(chunks))
    assert dask.is_dask_collection(lazy)
    xr.testing.assert_allclose(lazy.compute(), mx.check_theorems(ds), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("architecture", THEOREMS)
def test_results_say_what_they_are(nets, architecture):
    for values in mx.check_theorems(nets[architecture]).data_vars.values():
        assert values.attrs["units"] == "1" and values.attrs["long_name"]


def test_what_does_not_apply_is_said(nets, small):
    zero = mx.run(small("vanilla", kernel=3, realizations=2, network__boundary="zero"), progress=False)
    with pytest.raises(LookupError, match="no theorem applies: the boundary is zero"):
        mx.check_theorems(zero)
    biased = nets["vanilla"].assign_attrs(bias_variance=0.1)
    with pytest.raises(LookupError, match="nets without biases"):
        mx.check_theorems(biased)
    other = mx.check_theorems(nets["vanilla"].assign_attrs(weight_variance=1.0))
    assert other.theorem.values.tolist() == ["2"]
    why = "Theorem 1 is of weights of variance 2/fan_in, and here it is 1/fan_in"
    assert other.attrs["comment"] == f"not checked: {why}"
    part = mx.check_theorems(nets["vanilla"].sel(site=["input", "act"]))
    assert "2" not in part.theorem.values and "lacks the site 'conv'" in part.attrs["comment"]
    with pytest.raises(LookupError, match="no theorem can be checked"):
        mx.check_theorems(nets["bn_ff"].sel(site="act"))
