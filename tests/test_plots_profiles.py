"""Profiles with depth: the numbers drawn are those of the analysis; the errors."""

import re

import dask
import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import moments_xr as mx
from moments_xr.analysis.criteria import CRITERIA
from moments_xr.plots import elements, profiles
from moments_xr.plots.panels import ylim
from moments_xr.plots.symbols import SYMBOLS
from moments_xr.plots.theme import _legend_grid
from moments_xr.quantities import MOMENTS, PATHOLOGIES, STATISTICS

METHODS = ("sensitivity", "increments", "effective_rank", "moments")


def curves(panel):
    """By label; an area is a kind of curve to HoloViews."""
    return {
        curve.label: curve
        for curve in panel.traverse(lambda x: x, [hv.Curve])
        if type(curve) is hv.Curve and curve.label
    }


def values(panel, label):
    return curves(panel)[label].dimension_values("value")


def bounds(panel):
    area = panel.traverse(lambda x: x, [hv.Area])[-1]
    return np.array([area.dimension_values("low"), area.dimension_values("high")])


def option(panel, name):
    return hv.Store.lookup_options("bokeh", panel, "plot").kwargs[name]


def synthetic(log_chi, site="act"):
    """log χ (realization, layer) at the output of layers 1, 2, …"""
    dims = ("realization", "layer", "site")
    layers = np.arange(1, log_chi.shape[1] + 1)
    return xr.Dataset({"log_chi": (dims, log_chi[..., None])}, {"layer": layers, "site": [site]})


@pytest.mark.parametrize("law", ["exponential", "power"])
def test_both_laws_are_those_of_fit_growth(law):
    depth = np.arange(1, 65)
    growth = 0.1 * depth if law == "exponential" else 0.7 * np.log(depth)
    walk = np.random.default_rng(0).normal(0, 0.01, (20, 64)).cumsum(1)
    ds = synthetic(0.3 + growth + walk)
    fit = mx.fit_growth(ds)
    assert fit.growth == law
    (linear, logarithmic) = profiles.sensitivity(ds, backend="bokeh")
    assert (option(linear, "logx"), option(logarithmic, "logx")) == (False, True)
    mean = ds.log_chi[..., 0].mean("realization")
    for panel, straight in ((linear, "gamma"), (logarithmic, "tau")):
        np.testing.assert_allclose(values(panel, "χ"), np.exp(mean))
        np.testing.assert_allclose(
            bounds(panel), np.exp(ds.log_chi[..., 0]).quantile([0.16, 0.84], "realization"), rtol=2e-3
        )
        drawn = {name: curve for name, curve in curves(panel).items() if name != "χ"}
        (exponential,) = (name for name in drawn if "exp(" in name)
        (power,) = (name for name in drawn if "l^" in name)
        for name, slope, of in ((exponential, "gamma", np.asarray), (power, "tau", np.log)):
            curve = drawn[name]
            x, y = curve.dimension_values("layer"), np.log(curve.dimension_values("value"))
            first, last = (fit[end].sel(range="all").item() for end in ("first_layer", "last_layer"))
            assert (x[0], x[-1]) == (first, last)
            judged, named = mean.sel(layer=slice(first, last)), law == ("exponential" if slope == "gamma" else "power")
            expected = fit[slope].item() if named else np.polyfit(of(judged.layer), judged, 1)[0]
            assert np.polyfit(of(x), y, 1)[0] == pytest.approx(expected)
            assert np.interp(judged.layer, x, y).mean() == pytest.approx(judged.mean().item(), abs=0.01)
            number = elements.with_interval(*(fit[f"{slope}{end}"].item() for end in ("", "_low", "_high")))
            assert (number in name) == (named and slope == straight)
            assert "nan" not in name
            dashed = hv.Store.lookup_options("bokeh", curve, "style").kwargs["line_dash"] == "dashed"
            assert dashed == named
    assert {"exponential": "exponential growth", "power": "power-law growth"}[law] in option(linear, "title")


def test_a_legend_takes_as_many_columns_as_its_entries_have_room_for():
    long = "∝ exp(γ l), γ = 0.002992 [0.002982, 0.003001]"
    assert _legend_grid(["χ", "∝ l^τ", "κ l^τ, τ = 0.66", long]) == (2, 2)
    assert _legend_grid(["a", "b", "c", "d"]) == (4, 1)
    assert _legend_grid([long, long, long]) == (1, 3)
    assert _legend_grid([]) == (1, 1)


def test_a_range_of_layers_is_fitted_and_all_are_drawn():
    ds = synthetic(0.1 * np.arange(1, 65) + np.zeros((3, 1)))
    (panel, _) = profiles.sensitivity(ds, (8, 32), backend="bokeh")
    (chi, _, exponential) = curves(panel).values()
    assert len(chi.dimension_values("layer")) == 64
    np.testing.assert_allclose(exponential.range("layer"), (8, 32))
    assert option(panel, "title") == "(a) growth undecided, layers 8 to 32"


def test_residual_nets_have_the_predicted_law_too(cubes):
    ds = cubes["bn_res"]
    law = mx.fit_growth(ds)
    (panel, _) = profiles.sensitivity(ds, backend="bokeh")
    (name,) = [label for label in curves(panel) if "κ" in label]
    x = curves(panel)[name].dimension_values("layer")
    np.testing.assert_allclose(values(panel, name), law.kappa.item() * x ** law.tau_predicted.item())


def test_a_quantity_that_does_not_change_has_no_growth_rate():
    log_chi = np.zeros((3, 4, 2))
    ds = xr.Dataset(
        {"log_chi": (("realization", "layer", "site"), log_chi)},
        {"layer": [1, 2, 4, 8], "site": ["input", "act"]},
        {"architecture": "vanilla"},
    )
    (panel,) = profiles.increments(ds, backend="bokeh")
    assert set(values(panel, "δχ")) == {1.0}


@pytest.mark.parametrize(("logy", "expected"), [(None, True), (True, True), (False, False)])
def test_the_axis_of_sensitivity(cubes, logy, expected):
    for panel in profiles.sensitivity(cubes["vanilla"], logy=logy, backend="bokeh"):
        assert option(panel, "logy") == expected


def test_sensitivity_beyond_the_floats_is_drawn_as_a_logarithm():
    ds = synthetic(50.0 * np.arange(1, 31) + np.zeros((8, 1)))
    for panel in profiles.sensitivity(ds, backend="bokeh"):
        np.testing.assert_allclose(values(panel, "log₁₀ χ"), 50 * np.arange(1, 31) / np.log(10))
        assert option(panel, "logy") is False
        assert all(np.isfinite(curve.dimension_values("value")).all() for curve in curves(panel).values())


STEPS = {
    "vanilla": {"conv": "δ_conv %s", "act": "δ_φ %s"},
    "bn_ff": {"bn": "δ_BN %s", "act": "δ_φ %s"},
    "bn_res": {"unit": "δ_unit %s", "bn": "δ_BN %s", "act": "δ_φ %s", "sum": "δ%s"},
}


@pytest.mark.parametrize("of", ["chi", "nu2_signal", "mu2_noise"])
@pytest.mark.parametrize("architecture", STEPS)
def test_increments_drawn_are_those_of_the_analysis(cubes, architecture, of):
    ds = cubes[architecture]
    what = SYMBOLS[f"of_{of}"][1]
    (by_step, _) = profiles.increments(ds, of, "bokeh")
    steps = mx.increments(ds, of, by="step")
    for step, label in STEPS[architecture].items():
        expected = steps.sel(step=step).mean("realization")
        np.testing.assert_allclose(values(by_step, label % what), expected, err_msg=step)
    np.testing.assert_allclose(values(by_step, f"δ{what}"), mx.increments(ds, of).mean("realization"))
    assert len(curves(by_step)) == len(STEPS[architecture]) + (architecture != "bn_res")


def test_growth_rates_are_means_of_logs_with_standard_errors(cubes):
    ds = cubes["bn_ff"]
    (_, rates) = profiles.increments(ds, backend="bokeh")
    expected = mx.increments(ds, log=True)
    np.testing.assert_allclose(values(rates, "log δχ"), expected.mean("realization"))
    error = expected.std("realization", ddof=1) / np.sqrt(8)
    np.testing.assert_allclose(bounds(rates)[1], expected.mean("realization") + 2 * error)
    x, guide = (curves(rates)["∝ 1/l"].dimension_values(i) for i in range(2))
    np.testing.assert_allclose(x * guide, (x * guide)[0])


def test_growth_rates_are_averaged_over_ranges_of_depth(small):
    ds = mx.run(small("bn_ff", network__depth=60, measure__every=1, realizations=3), progress=False)
    (_, rates) = profiles.increments(ds, backend="bokeh")
    curve = curves(rates)["log δχ"]
    depth, rate = curve.dimension_values("layer"), curve.dimension_values("value")
    assert len(depth) <= 20 and (np.diff(depth) > 0).all()
    expected = mx.increments(ds, log=True).mean("realization")
    np.testing.assert_allclose(rate[:2], expected[:2])
    np.testing.assert_allclose(rate[-1], expected.sel(layer=slice(60 ** (19 / 20), None)).mean())


def test_rates_of_the_other_sign_are_left_out_and_counted():
    dims = ("realization", "layer", "site")
    log_increment = np.array([0.2, -0.1, 0.1, 0.05])
    log_chi = np.stack([np.zeros(4), log_increment], -1)[None].repeat(3, 0)
    ds = xr.Dataset(
        {"log_chi": (dims, log_chi)},
        {"layer": [1, 2, 4, 8], "site": ["input", "act"]},
        {"architecture": "vanilla"},
    )
    (_, rates) = profiles.increments(ds, backend="bokeh")
    np.testing.assert_allclose(values(rates, "log δχ"), [0.2, 0.1, 0.05])
    assert option(rates, "title") == "(b) 1 of 4 means left out, of the other sign"
    (_, rates) = profiles.increments(ds.assign(log_chi=-ds.log_chi), backend="bokeh")
    np.testing.assert_allclose(values(rates, "−log δχ"), [0.2, 0.1, 0.05])


def test_ranks_of_both_tensors_and_at_all_sites(cubes):
    ds = cubes["bn_ff"]
    (pair, by_site) = profiles.effective_rank(ds, backend="bokeh")
    for label, tensor in (("r_eff(x)", "signal"), ("r_eff(dx)", "noise")):
        np.testing.assert_allclose(
            values(pair, label), mx.effective_rank(ds, tensor).sel(site="act").mean("realization")
        )
    for site in ("input", "conv", "norm", "act"):
        np.testing.assert_allclose(
            values(by_site, site), mx.effective_rank(ds).sel(site=site).mean("realization"), err_msg=site
        )
    assert "after the activation" in option(pair, "title")
    assert option(pair, "logy") and not option(
        next(iter(profiles.effective_rank(ds, logy=False, backend="bokeh"))), "logy"
    )


def test_a_site_may_be_chosen_or_already_selected(cubes):
    ds = cubes["bn_res"]
    expected = mx.effective_rank(ds).sel(site="norm").mean("realization")
    np.testing.assert_allclose(
        values(profiles.effective_rank(ds, "norm", backend="bokeh").values()[0], "r_eff(x)"), expected
    )
    selected = profiles.effective_rank(ds.sel(site="norm"), backend="bokeh")
    assert len(selected) == 1
    np.testing.assert_allclose(values(selected.values()[0], "r_eff(x)"), expected)
    with pytest.raises(LookupError, match="lacks the site 'act'; it has norm"):
        profiles.effective_rank(ds.sel(site="norm"), "act")


def test_moments_of_normed_z(cubes):
    ds = cubes["bn_ff"]
    (kurtosis, absolute, one_sided, activation) = profiles.moments(ds, backend="bokeh")
    z = ds.sel(site="norm")
    np.testing.assert_allclose(values(kurtosis, "μ₄(z)"), mx.get(z, "mu4_signal").mean("realization"))
    np.testing.assert_allclose(values(absolute, "ν₁(|z|)"), mx.get(z, "nu1_abs_signal").mean("realization"))
    ratio = mx.get(z, "nu1_plus_minus_signal", log=True) - mx.get(z, "mu2_signal", log=True)
    np.testing.assert_allclose(values(one_sided, "ν₁⁺ν₁⁻/μ₂"), np.exp(ratio.mean("realization")))
    np.testing.assert_allclose(
        values(activation, "δ_φ χ"), mx.increments(ds, by="step").sel(step="act").mean("realization")
    )
    assert set(values(kurtosis, "Gaussian")) == {3.0}
    assert set(values(absolute, "Gaussian")) == {np.sqrt(2 / np.pi)}
    assert set(values(one_sided, "threshold")) == {PATHOLOGIES["pseudo_linearity"].threshold}


def test_moments_of_z_that_is_not_normed_are_relative_to_its_scale(cubes):
    (kurtosis, absolute, *_) = profiles.moments(cubes["vanilla"], backend="bokeh")
    z = cubes["vanilla"].sel(site="conv")
    expected = np.exp(CRITERIA["fat_tails"](cubes["vanilla"]).statistics[0].rows).mean("realization")
    np.testing.assert_allclose(values(kurtosis, "μ₄/μ₂²"), expected)
    relative = mx.get(z, "nu1_abs_signal") / np.sqrt(mx.get(z, "nu2_signal"))
    np.testing.assert_allclose(values(absolute, "ν₁(|·|)/√ν₂"), relative.mean("realization"))


def test_what_the_cube_has_is_drawn(cubes):
    ds = cubes["vanilla"]
    some = ds.sel(pooled_moment=["nu1_abs_signal", "nu2_signal", "mu2_signal"])
    assert [option(panel, "ylabel") for panel in profiles.moments(some, backend="bokeh")] == [
        "mean absolute value of z"
    ]
    (panel, _) = profiles.effective_rank(ds.drop_vars("reff_noise"), backend="bokeh")
    assert set(curves(panel)) == {"r_eff(x)"}
    assert [option(panel, "ylabel") for panel in profiles.moments(ds, "act", backend="bokeh")] == [
        "kurtosis at act", "mean absolute value at act",
    ]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_any_selection_is_drawn(cubes, method):
    vanilla, residual = cubes["vanilla"], cubes["bn_res"]
    for selection in (vanilla.isel(realization=0), residual.isel(layer=slice(1, 3)), residual.isel(layer=0)):
        figure = getattr(selection.moments.plot, method)(backend="bokeh")
        assert all(curves(panel) for panel in figure)
    hv.render(figure, backend="bokeh")


def test_one_layer_of_one_net_is_drawn_as_points(cubes):
    ds = cubes["bn_ff"].isel(layer=0)
    for one in (ds, ds.isel(realization=0)):
        figure = profiles.increments(one, backend="matplotlib")
        points = figure.values()[0].traverse(lambda x: x, [hv.Scatter])
        drawn = {point["value"][0] for point in points}
        assert mx.increments(one).mean().item() in [pytest.approx(value) for value in drawn]
    hv.renderer("matplotlib").get_plot_state(figure)


@pytest.mark.parametrize("method", METHODS)
def test_dead_nets_are_left_out_and_counted(small, method):
    net = {"network__width": 3, "network__depth": 8, "input__batch": 4}
    ds = mx.run(small("vanilla", realizations=60, **net), progress=False)
    assert not mx.alive(ds).sel(layer=8).all()
    titles = [option(panel, "title") for panel in getattr(ds.moments.plot, method)(backend="bokeh")]
    assert any(re.search(r"\d+ undefined of 60 left out", title) for title in titles)


def test_what_is_missing_or_wrong_is_named(cubes, small):
    ds = cubes["bn_ff"]
    tree = mx.run(small(realizations=2, sweep={"network.width": [4, 6]}), progress=False)
    for method in METHODS:
        with pytest.raises(ValueError, match=rf'{method} is of one cube.*tree\["network.width=4"\]'):
            getattr(tree.moments.plot, method)()
        with pytest.raises(LookupError, match="no finished realization"):
            getattr(ds.isel(realization=[]).moments.plot, method)()
    with pytest.raises(LookupError, match=r"measure\.effective_rank"):
        profiles.effective_rank(ds.drop_vars(["reff_signal", "reff_noise"]))
    with pytest.raises(LookupError, match="none was measured at the site 'act'"):
        profiles.effective_rank(ds.assign(reff_signal=ds.reff_signal * np.nan, reff_noise=ds.reff_noise * np.nan))
    with pytest.raises(LookupError, match=r"increments by .* need the sites"):
        profiles.increments(ds.sel(site=["act"]))
    with pytest.raises(ValueError, match="may be negative"):
        profiles.increments(ds, "nu1_signal")
    with pytest.raises(ValueError, match="'speed' is not a quantity"):
        profiles.increments(ds, "speed")
    with pytest.raises(LookupError, match="lacks the site 'sum'"):
        profiles.moments(ds, "sum")
    with pytest.raises(LookupError, match=r"lacks the site 'norm'; it has input, act: measure it with measure\.sites"):
        profiles.moments(ds.sel(site=["input", "act"]))
    with pytest.raises(ValueError, match=r"\(3, 4\) is not a range"):
        profiles.sensitivity(ds, (3, 4))


@pytest.mark.parametrize("method", METHODS)
def test_a_chunked_cube_is_computed_once(cubes, method):
    """In one pass, and the drawing equals that of the cube in memory."""
    passes = []

    def scheduler(graph, keys, **options):
        passes.append(1)
        return dask.get(graph, keys, **options)

    ds = cubes["bn_res"]
    with dask.config.set(scheduler=scheduler):
        figure = getattr(ds.chunk(realization=4).moments.plot, method)(backend="bokeh")
    assert passes == [1]
    for panel, expected in zip(figure, getattr(ds.moments.plot, method)(backend="bokeh"), strict=True):
        for label, curve in curves(panel).items():
            np.testing.assert_allclose(curve.dimension_values("value"), values(expected, label), rtol=1e-9)


def test_every_quantity_has_a_symbol():
    names = [*MOMENTS, *STATISTICS, "chi", "reff_signal", "reff_noise"]
    assert not [name for name in names if f"of_{name}" not in SYMBOLS]


@given(st.floats(-100, 100), st.floats(1e-6, 10))
def test_intervals_are_told_to_the_digits_that_differ(value, half):
    said = elements.with_interval(value, value - half, value + half)
    centre, low, high = map(float, re.findall(r"-?[\d.]+", said))
    assert low < high and abs(high - low - 2 * half) <= half
    assert abs(centre - value) <= half
    assert elements.with_interval(value, np.nan, np.nan) == f"{value:.3g}"


@given(st.lists(st.floats(1e-12, 1e12), min_size=1), st.booleans())
def test_limits_hold_all_that_is_drawn(drawn, logy):
    array = np.array(drawn)
    band = elements.Band(np.arange(len(array)), array, array, array)
    low, high = ylim([(profiles.Part(band, "", None))], logy)
    assert low < min(array.min(), 1.0) and high > max(array.max(), 1.0)
    assert low > 0 or not logy
