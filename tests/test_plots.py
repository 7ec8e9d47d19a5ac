"""The papers' figures: the numbers drawn, the errors."""

import subprocess
import sys
import warnings

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

import moments_xr as mx
from moments_xr.analysis.growth import predicted_power_law
from moments_xr.errors import MissingError
from moments_xr.plots import elements
from moments_xr.plots.papers import figure
from moments_xr.plots.save import save
from moments_xr.plots.theme import Line

KINDS = {"vanilla": ["fig2", "fig3"], "bn_ff": ["fig4"], "bn_res": ["fig5"]}


def curves(panel):
    return {curve.label: curve for curve in panel.traverse(lambda x: x, [hv.Curve])}


def test_bands_are_means_and_percentiles_over_realizations(cubes):
    ds = cubes["bn_ff"]
    panel = next(iter(figure(ds, "fig4", "bokeh")))
    drawn = curves(panel)["δχ"]
    expected = mx.increments(ds).values
    np.testing.assert_allclose(drawn.dimension_values("layer"), ds.layer)
    np.testing.assert_allclose(drawn.dimension_values("value"), expected.mean(0))
    area = list(panel.traverse(lambda x: x, [hv.Area]))[-1]
    np.testing.assert_allclose(area.dimension_values("low"), np.quantile(expected, 0.16, axis=0))
    np.testing.assert_allclose(area.dimension_values("high"), np.quantile(expected, 0.84, axis=0))


def test_figure_4_draws_the_paper_s_quantities(cubes):
    ds = cubes["bn_ff"]
    (a, b, c, d) = figure(ds, "fig4", "bokeh")
    steps = mx.increments(ds, by="step").mean("realization")
    ranks = {
        f"r_eff({s})": mx.effective_rank(ds, t).sel(site="act").mean("realization")
        for s, t in (("x", "signal"), ("dx", "noise"))
    }
    expected = {
        "δ_BN χ": steps.sel(step="bn"),
        "δ_φ χ": steps.sel(step="act"),
        "χ": mx.chi(ds).sel(site="act").mean("realization"),
        "μ₄(z)": mx.get(ds, "mu4_signal").sel(site="norm").mean("realization"),
        "ν₁(|z|)": mx.get(ds, "nu1_abs_signal").sel(site="norm").mean("realization"),
        **ranks,
    }
    drawn = curves(a) | curves(b) | curves(c) | curves(d)
    for label, values in expected.items():
        np.testing.assert_allclose(drawn[label].dimension_values("value"), values, err_msg=label)


def test_histograms_are_densities_on_bins_of_their_own():
    rng = np.random.default_rng(0)
    samples = {"narrow": rng.normal(0, 1, 2000), "wide": rng.normal(-4, 3, 2000)}
    drawn = curves(elements.histograms(samples, ["#000000", "#ffffff"], "bokeh"))
    x = drawn["narrow"].dimension_values("log moment")
    assert np.diff(drawn["wide"].dimension_values("log moment"))[0] > 2 * np.diff(x)[0]
    for label, values in samples.items():
        x = drawn[label].dimension_values("log moment")
        density = drawn[label].dimension_values("density")
        assert density[0] == density[-1] == 0
        assert density.sum() * (x[1] - x[0]) == pytest.approx(1)
        assert (density * x).sum() * (x[1] - x[0]) == pytest.approx(values.mean(), abs=0.1)


def test_figure_2_is_relative_to_the_image_and_counts_the_dead(small):
    recipe = small("vanilla", realizations=60, network__width=3, network__depth=8, input__batch=4)
    ds = mx.run(recipe, progress=False)
    (signal, _) = figure(ds, "fig2", "bokeh")
    dead = int((~mx.alive(ds).sel(layer=8)).sum())
    assert dead > 0
    title = hv.Store.lookup_options("bokeh", signal, "plot").kwargs["title"]
    assert f"{dead} dead of 60 left out" in title
    drawn = curves(signal)["l = 8"]
    x, density = drawn.dimension_values("log moment"), drawn.dimension_values("density")
    expected = mx.get(ds, "nu2_signal", log=True).sel(site="act", layer=8) - np.log(ds.input_mu2_signal)
    mean = expected.where(np.isfinite(expected)).mean().item()
    assert (x * density).sum() / density.sum() == pytest.approx(mean, abs=2 * (x[1] - x[0]))


def synthetic(log_chi, architecture, layers):
    sites = {"bn_ff": ["input", "norm", "act"], "bn_res": ["input", "norm", "conv", "sum"]}[architecture]
    return xr.Dataset(
        {
            "log_chi": (("realization", "layer", "site"), log_chi),
            "reff_signal": (("realization", "layer", "site"), np.full(log_chi.shape, 2.0)),
            "reff_noise": (("realization", "layer", "site"), np.full(log_chi.shape, 3.0)),
            "pooled_moments": (("realization", "layer", "site", "pooled_moment"), np.ones((*log_chi.shape, 2))),
        },
        {"layer": layers, "site": sites, "pooled_moment": ["nu1_abs_signal", "mu4_signal"]},
        {"architecture": architecture},
    )


def test_predicted_power_law_recovers_a_synthetic_one():
    """Inside-unit increments of δ give τ = ½(δ⁴ − 1); χ = 3 l^τ gives κ = 3."""
    layers, delta = np.arange(1, 51), 1.2
    tau = 0.5 * (delta**4 - 1)
    output = np.log(3) + tau * np.log(layers)
    start = np.concatenate([[0.0], output[:-1]])
    ds = synthetic(np.stack([start, start, start + np.log(delta), output], -1)[None], "bn_res", layers)
    law = predicted_power_law(ds)
    assert float(law.tau) == pytest.approx(tau)
    assert float(law.kappa) == pytest.approx(3)


def test_sensitivity_beyond_the_floats_is_drawn_as_a_logarithm():
    layers = np.arange(1, 11) * 100
    log_chi = np.broadcast_to(layers[:, None] * 1.5, (3, 10, 3)).astype(float)
    ds = synthetic(log_chi, "bn_ff", layers)
    drawn = curves(list(figure(ds, "fig4", "bokeh"))[1])["log₁₀ χ"]
    np.testing.assert_allclose(drawn.dimension_values("value"), layers * 1.5 / np.log(10))


def test_sensitivity_beyond_the_floats_is_the_log_of_the_mean():
    """Not the mean of the logs, which lies far below where realizations differ."""
    layers = np.arange(1, 11) * 100
    log_chi = np.stack([np.repeat(layers[:, None] * rate, 3, axis=1) for rate in (1.0, 1.5)])
    drawn = curves(list(figure(synthetic(log_chi, "bn_ff", layers), "fig4", "bokeh"))[1])["log₁₀ χ"]
    expected = np.logaddexp(layers * 1.0, layers * 1.5) - np.log(2)
    np.testing.assert_allclose(drawn.dimension_values("value"), expected / np.log(10))


def test_a_residual_net_beyond_the_floats_is_drawn_without_the_law(cubes):
    ds = cubes["bn_res"]
    log_chi = mx.chi(ds, log=True) + 800
    with np.errstate(all="ignore"):
        drawn = curves(list(figure(ds.assign(log_chi=log_chi), "fig5", "bokeh"))[1])
    assert np.isfinite(drawn["log₁₀ χ"].dimension_values("value")).all()
    assert not any("κ" in label for label in drawn)


def test_drawing_leaves_the_current_backend_alone():
    """In a fresh process, whichever backend is used first."""
    script = """
import os, holoviews as hv, numpy as np, panel
from moments_xr.plots import elements, theme
before, x = hv.Store.current_backend, np.arange(4.0)
first = ("bokeh", "matplotlib")[os.fork() > 0]
for backend in (first, None, "bokeh", "matplotlib"):
    chosen = theme.chosen_backend(backend)
    theme.layout([theme.panel(elements.plain(x, x, "a", theme.Line(theme.BLUE), chosen), chosen)], chosen)
    assert hv.Store.current_backend == before, (first, backend, hv.Store.current_backend)
if first == "matplotlib":
    assert os.wait()[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_nets_that_a_mean_leaves_out_are_counted(small):
    ds = mx.run(small("vanilla", realizations=60, network__width=3, network__depth=8, input__batch=4), progress=False)
    undefined = int(mx.increments(ds).sel(layer=8).isnull().sum())
    assert undefined > 0
    (increments, _) = figure(ds, "fig3", "bokeh")
    title = hv.Store.lookup_options("bokeh", increments, "plot").kwargs["title"]
    assert f"{undefined} undefined of 60 left out" in title


def test_depths_at_which_all_nets_are_dead_are_left_out(small):
    ds = mx.run(small("vanilla", realizations=8, network__width=2, network__depth=60, input__batch=4), progress=False)
    assert not mx.alive(ds).sel(layer=60).any()
    assert mx.alive(ds).sel(layer=2).any()
    (signal, _) = figure(ds.sel(layer=[2, 60]), "fig2", "bokeh")
    assert set(curves(signal)) == {"l = 2"}


def test_a_selection_of_one_layer_is_drawn(cubes):
    for architecture, kinds in KINDS.items():
        for kind in kinds:
            panels = list(figure(cubes[architecture].isel(layer=0), kind, "bokeh"))
            assert all(curves(panel) for panel in panels)


def test_one_realization_is_enough(cubes):
    ds = cubes["bn_res"]
    for one in (ds.isel(realization=[0]), ds.isel(realization=0)):
        drawn = curves(list(figure(one, "fig5", "bokeh"))[1])["χ"]
        np.testing.assert_allclose(drawn.dimension_values("value"), mx.chi(ds).isel(realization=0).sel(site="sum"))


def test_what_is_missing_is_named(cubes):
    ds = cubes["bn_ff"]
    with pytest.raises(LookupError, match="fig4: the cube has no reff_noise"):
        figure(ds.drop_vars("reff_noise"), "fig4")
    with pytest.raises(LookupError, match="fig5: needs the increments of the steps unit"):
        figure(ds, "fig5")
    with pytest.raises(LookupError, match="fig4: needs the increments of the steps bn; this vanilla net"):
        figure(cubes["vanilla"], "fig4")
    with pytest.raises(ValueError, match=r"fig4 is of feed-forward nets.*draw fig5"):
        figure(cubes["bn_res"], "fig4")
    with pytest.raises(LookupError, match="fig4: the cube has no finished realization"):
        figure(ds.isel(realization=[]), "fig4")
    with pytest.raises(ValueError, match="'fig9' is not one of fig2, fig3, fig4, fig5"):
        figure(ds, "fig9")
    with pytest.raises(ValueError, match=r"\.bmp.*\.png, \.svg, \.pdf, \.html"):
        save(hv.Layout([]), "figure.bmp")


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("fig3", "vanilla"),
        ("fig4", "bn_ff"),
        ("fig5", "bn_res"),
        ("theorems", "vanilla"),
        ("theorems", "bn_res"),
        ("decomposition", "vanilla"),
    ],
)
def test_a_cube_in_which_nothing_is_defined_is_said_in_a_line(cubes, name, architecture):
    nowhere = cubes[architecture].map(lambda values: values * np.nan if values.dtype.kind == "f" else values)
    plots = nowhere.assign_attrs(cubes[architecture].attrs).moments.plot
    with pytest.raises(MissingError, match="is defined in any realization, at any layer") as raised:
        plots.figure(name) if name.startswith("fig") else getattr(plots, name)()
    assert "\n" not in str(raised.value)


def test_the_expectation_of_very_narrow_nets_warns_of_nothing(small):
    """The mean over two channels stands for the expectation so badly that it may be negative."""
    recipe = small("vanilla", realizations=40, network__width=2, network__depth=10, measure__every=1, input__batch=4)
    ds = mx.run(recipe, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = mx.decompose(ds, "chi", "theory").m_bar.compute()
    assert np.isfinite(found).any() and not np.isinf(found).any()


def test_a_sweep_says_to_choose_a_node(small):
    tree = mx.run(small(realizations=2, sweep={"network.width": [4, 6]}), progress=False)
    with pytest.raises(ValueError, match=r'choose a node, as tree\["network.width=4"\], tree\["network.width=6"\]'):
        tree.moments.plot.figure("fig4")
    assert len(tree["network.width=4"].to_dataset().moments.plot.figure("fig4")) == 4


def test_the_cube_is_reduced_by_dask_not_loaded(cubes):
    """Every chunk is touched once, one at a time: the cube itself is never concatenated."""
    largest = []
    ds = cubes["bn_ff"].chunk(realization=2)

    def watch(block):
        largest.append(block.nbytes)
        return block

    watched = ds.assign(
        {
            name: ds[name].copy(data=ds[name].data.map_blocks(watch, dtype=ds[name].dtype))
            for name in ("pooled_moments", "channel_moments")
        }
    )
    figure(watched, "fig4", "bokeh")
    assert max(largest) <= ds.pooled_moments.isel(realization=slice(2)).nbytes
    assert ds.channel_moments.isel(realization=slice(2)).nbytes not in largest, "channels are not needed"


def test_lines_have_the_same_look_in_both_backends():
    line = Line("#0072B2", "dotted")
    assert line.curve("matplotlib")["color"] == line.curve("bokeh")["color"]
