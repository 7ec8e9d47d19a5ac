"""Moments over realizations merge as a tree whatever the chunking; rows and intervals are what they say."""

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from moments_xr.analysis import realizations
from moments_xr.analysis.realizations import central_moments, curves, log_mean, mean_interval


def walks(count=40, layers=6, missing=()):
    values = np.random.default_rng(count).gamma(2.0, 1.0, (count, layers)).cumsum(1) + 1e3
    for where in missing:
        values[where] = np.nan
    return xr.DataArray(values, {"layer": np.arange(layers)}, ("realization", "layer"), name="walk")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 6), st.sets(st.tuples(st.integers(0, 39), st.integers(0, 5)), max_size=30))
def test_central_moments_merge_as_a_tree(chunk, layers, missing):
    values = walks(missing=missing)
    merged = central_moments(values.chunk(realization=chunk, layer=layers), highest=4).compute()
    defined = [column[np.isfinite(column)] for column in values.values.T]
    np.testing.assert_array_equal(merged["count"], [len(column) for column in defined])
    for k, column in enumerate(defined):
        if len(column):
            deviation = column - column.mean()
            expected = [column.mean(), *((deviation**p).sum() for p in (2, 3, 4))]
            scale = [1e3, *((np.abs(deviation) ** p).sum() for p in (2, 3, 4))]
            for name, truth, size in zip(("mean", "m2", "m3", "m4"), expected, scale, strict=True):
                assert abs(float(merged[name][k]) - truth) <= 1e-9 * size + 1e-12
    xr.testing.assert_allclose(merged, central_moments(values, highest=4), rtol=1e-8, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.floats(-2000, 2000))
def test_log_mean_never_overflows(chunk, level):
    values = walks() * 0.3 + level
    values[3, 2], values[5, 2] = -np.inf, np.nan
    expected = [
        special.logsumexp(column[~np.isnan(column)]) - np.log((~np.isnan(column)).sum()) for column in values.values.T
    ]
    np.testing.assert_allclose(log_mean(values), expected, rtol=1e-12)
    np.testing.assert_allclose(log_mean(values.chunk(realization=chunk)), expected, rtol=1e-12)
    assert np.isnan(log_mean(values.where(False))).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 300))
def test_rows_of_many_realizations_are_means_of_equal_groups(chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(realizations, "GROUPS", 20)
        values = walks(200, missing=[(7, 3)])
        rows = curves(values)
        assert rows.shape == (20, 6)
        np.testing.assert_allclose(rows[1], values[10:20].mean("realization"))
        np.testing.assert_allclose(rows[0], np.delete(values.values[:10], 7, 0).mean(0))
        lazy = curves(values.chunk(realization=chunk))
        assert lazy.chunks == ((20,), (6,))
        np.testing.assert_allclose(lazy, rows)
        few = curves(walks(39, missing=[(7, 3)]))
        assert few.shape == (39, 6) and np.isnan(few[7]).all() and few.notnull().sum() == 38 * 6


def test_grouping_keeps_the_mean_and_its_interval():
    values = walks(5000)
    grouped, single = curves(values), values
    assert len(grouped) == 1000
    for one, other in zip(mean_interval(grouped.values), mean_interval(single.values), strict=True):
        np.testing.assert_allclose(one - 1e3, other - 1e3, rtol=0.02)


def test_the_interval_of_a_mean_is_that_of_t_and_on_the_side_of_the_longer_tail_that_of_hall():
    """Hall (1992): T + γ T²/3 + γ² T³/27 + γ/6n is normal, T the distance of the mean in standard deviations."""
    values = np.random.default_rng(0).lognormal(size=12)
    mean, low, high = mean_interval(values)
    t_low, t_high = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (mean, low) == pytest.approx((values.mean(), t_low), rel=1e-12)
    skewness, distance = stats.skew(values), (mean - high) / values.std(ddof=1)
    transformed = distance + skewness * distance**2 / 3 + skewness**2 * distance**3 / 27 + skewness / (6 * 12)
    assert transformed == pytest.approx(-stats.t.ppf(0.975, 11) / np.sqrt(12), rel=1e-9)
    assert high > t_high
    np.testing.assert_allclose(mean_interval(-values), [-mean, -high, -low], rtol=1e-12)
    symmetric = np.concatenate([values, -values])
    expected = stats.t.interval(0.95, 23, 0, stats.sem(symmetric))
    np.testing.assert_allclose(mean_interval(symmetric)[1:], expected, rtol=1e-9)
    np.testing.assert_array_equal(mean_interval(np.full(5, 2.0)), [2, 2, 2])
    assert np.isnan(mean_interval(values[:2])[1:]).all()


def test_undefined_rows_are_left_out_column_by_column():
    values = np.random.default_rng(1).gamma(1.0, size=(20, 3))
    values[:4, 1], values[:, 2] = np.nan, np.nan
    found = np.stack(mean_interval(values))
    np.testing.assert_allclose(found[:, 1], mean_interval(values[4:, 1]))
    assert np.isnan(found[:, 2]).all()
    np.testing.assert_allclose(np.stack(mean_interval(values.T, axis=1)), found)


def refuse(*arguments, **options):
    raise AssertionError("computed")


@pytest.mark.parametrize("function", [central_moments, log_mean, curves])
def test_nothing_is_computed_until_asked(function):
    with dask.config.set(scheduler=refuse):
        lazy = function(walks(5000, 3).chunk(realization=77))
    assert dask.is_dask_collection(lazy)


def test_moments_are_summed_in_double_precision_and_empty_chunks_count_nothing():
    values = (1000 + np.random.default_rng(0).normal(size=(50, 3))).astype("f4")
    single, double = (
        realizations.central_moments(xr.DataArray(x, dims=("realization", "layer")), highest=4)
        for x in (values, values.astype("f8"))
    )
    xr.testing.assert_identical(single, double)
    chunked = xr.DataArray(
        dask.array.from_array(values.astype("f8"), chunks=((20, 0, 30), (3,))), dims=("realization", "layer")
    )
    xr.testing.assert_allclose(realizations.central_moments(chunked, highest=4).compute(), double)
    nothing = realizations.central_moments(chunked.isel(realization=slice(0, 0)).compute())
    assert not nothing["count"].any() and not nothing["mean"].isnull().any()
