"""check_theorems: the theorems hold on real nets, and fail on nets that break them."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import moments_xr as mx
from moments_xr.quantities import ARCHITECTURES
from moments_xr.theory.finite_width import diffusion_bounds, survival_bounds

THEOREMS = {
    "vanilla": ["1 drift of ν₂(x)", "1 diffusion of ν₂(x)", "1 drift of μ₂(dx)", "1 diffusion of μ₂(dx)", "2"],
    "bn_ff": ["3"],
    "bn_res": ["4", "4 sharp"],
}


@pytest.fixture(scope="module")
def nets():
    from conftest import make_recipe

    changes = {"measure__every": 1, "measure__channels": "mean", "network__width": 64, "network__depth": 15}
    return {
        name: mx.run(make_recipe(name, realizations=60, input__batch=32, compute__block=30, **changes), progress=False)
        for name in ARCHITECTURES
    }


@pytest.mark.parametrize("architecture", ARCHITECTURES)
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


@pytest.mark.parametrize("architecture", ARCHITECTURES)
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


def test_one_realization_cannot_tell(nets):
    result = mx.check_theorems(nets["bn_ff"].isel(realization=0))
    assert result.holds.isnull().all() and result.measured.notnull().all()


def refuse(*arguments, **options):
    raise AssertionError("computed")


@settings(max_examples=3, deadline=None)
@given(chunks=st.fixed_dictionaries({d: st.integers(2, 30) for d in ("realization", "layer", "site")}))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_lazy_and_equal_for_any_chunking(nets, architecture, chunks):
    ds = nets[architecture].isel(realization=slice(9), layer=slice(6))
    with dask.config.set(scheduler=refuse):
        lazy = mx.check_theorems(ds.chunk(chunks))
    assert dask.is_dask_collection(lazy)
    xr.testing.assert_allclose(lazy.compute(), mx.check_theorems(ds), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
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
    assert other.theorem.values.tolist() == ["2"] and "Theorem 1 is of He's weights" in other.attrs["comment"]
    part = mx.check_theorems(nets["vanilla"].sel(site=["input", "act"]))
    assert "2" not in part.theorem.values and "lacks the site 'conv'" in part.attrs["comment"]
    with pytest.raises(LookupError, match="no theorem can be checked"):
        mx.check_theorems(nets["bn_ff"].sel(site="act"))
