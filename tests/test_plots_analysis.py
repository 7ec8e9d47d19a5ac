"""Figures of the analysis: the numbers drawn are those of decompose and fit_lognormal; the errors."""

import dask
import holoviews as hv
import numpy as np
import pytest

import moments_xr as mx
from moments_xr.plots.analysis import decomposition, diffusion
from moments_xr.plots.theme import layout
from moments_xr.quantities import ARCHITECTURES, DECOMPOSED


@pytest.fixture(scope="module")
def branched():
    from conftest import make_recipe

    changes = {"measure__every": 1, "measure__branches": 4, "realizations": 12, "compute__block": 6}
    return {name: mx.run(make_recipe(name, **changes), progress=False) for name in ARCHITECTURES}


@pytest.fixture(scope="module")
def widths():
    from conftest import make_recipe

    changes = {"realizations": 24, "compute__block": 12, "sweep": {"network.width": [8, 16, 32]}}
    return mx.run(make_recipe("vanilla", **changes), progress=False)


def drawn(panel, kind=hv.Curve):
    return {element.label: element for element in panel.traverse(lambda x: x, [kind]) if element.label}


def option(panel, name, backend="bokeh"):
    return hv.Store.lookup_options(backend, panel, "plot").kwargs[name]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_terms_drawn_are_those_of_decompose(branched, architecture):
    ds = branched[architecture]
    terms = mx.decompose(ds)
    (by_layer, sums) = decomposition(ds, backend="bokeh")
    for panel, prefix in ((by_layer, ""), (sums, "sum_")):
        for name, symbol in (("m_bar", "m̄"), ("m_tilde", "m̃")):
            curve = drawn(panel)[f"{'Σ ' if prefix else ''}{symbol}"]
            values = terms[prefix + name]
            np.testing.assert_allclose(curve.dimension_values("value"), values.mean("realization"), err_msg=name)
            np.testing.assert_array_equal(curve.dimension_values("layer"), ds.layer)
        spread = drawn(panel, hv.Area)["Σ s" if prefix else "s"]
        expected = (terms[f"{prefix}s"] / np.sqrt(1 + 1 / 4)).quantile([0.16, 0.84], "realization")
        for side, row in zip(("low", "high"), expected, strict=True):
            np.testing.assert_allclose(spread.dimension_values(side), row)
    total = drawn(sums)["Σ log δχ"].dimension_values("value")
    chi = mx.chi(ds, log=True)
    evolution = (chi.isel(site=-1) - chi.sel(site="input", layer=1)).mean("realization")
    np.testing.assert_allclose(total, evolution)


def test_bands_of_means_are_two_standard_errors(branched):
    terms = mx.decompose(branched["vanilla"], "nu2_signal")
    (by_layer, _) = decomposition(branched["vanilla"], "nu2_signal", backend="bokeh")
    mean, error = terms.m_tilde.mean("realization"), terms.m_tilde_se
    area = list(by_layer.traverse(lambda x: x, [hv.Area]))[-1]
    np.testing.assert_allclose(area.dimension_values("low"), mean - 2 * error)
    np.testing.assert_allclose(area.dimension_values("high"), mean + 2 * error)


def test_guides_end_where_the_sums_do(branched):
    ds = branched["bn_ff"]
    terms = mx.decompose(ds)
    (_, sums) = decomposition(ds, backend="bokeh")
    depth, line = (drawn(sums)["∝ l"].dimension_values(i) for i in range(2))
    ends = line[depth == 6]
    np.testing.assert_allclose(ends, [terms[f"sum_{name}"].isel(layer=-1).mean() for name in ("m_bar", "m_tilde")])
    np.testing.assert_allclose(line[:101], ends[0] * depth[:101] / 6)
    depth, line = (drawn(sums)["∝ √l"].dimension_values(i) for i in range(2))
    low, high = (terms.sum_s.isel(layer=-1) / np.sqrt(1.25)).quantile([0.16, 0.84])
    np.testing.assert_allclose(line[depth == 6], [(high - low) / 2, -(high - low) / 2])
    np.testing.assert_allclose(line[:101], (high - low).item() / 2 * np.sqrt(depth[:101] / 6))


@pytest.mark.parametrize("of", DECOMPOSED)
@pytest.mark.parametrize("method", ["theory", "realizations"])
def test_every_quantity_and_method_is_drawn(branched, of, method):
    terms = mx.decompose(branched["vanilla"], of, method)
    (by_layer, sums) = decomposition(branched["vanilla"], of, method, "bokeh")
    m_bar = terms.m_bar.mean("realization") if "realization" in terms.m_bar.dims else terms.m_bar
    np.testing.assert_allclose(drawn(by_layer)["m̄"].dimension_values("value"), m_bar, atol=1e-12)
    low = terms.s.quantile(0.16, "realization")
    np.testing.assert_allclose(drawn(by_layer, hv.Area)["s"].dimension_values("low"), low)
    assert f"Σ log δ{mx.increments(branched['vanilla'], of).attrs['symbol'].removeprefix('δ')}" in drawn(sums)


def test_one_realization_or_one_layer_is_enough(branched):
    ds = branched["bn_ff"]
    for one in (ds.isel(realization=[0]), ds.isel(realization=0), ds.sel(layer=[3]), ds.sel(layer=3)):
        terms = mx.decompose(one)
        (by_layer, _) = decomposition(one, backend="bokeh")
        expected = terms.m_bar.mean("realization") if "realization" in terms.m_bar.dims else terms.m_bar
        np.testing.assert_allclose(drawn(by_layer)["m̄"].dimension_values("value"), np.atleast_1d(expected))


def test_notes_say_what_is_left_out_or_not_summed(branched, cubes, small):
    (by_layer, sums) = decomposition(branched["bn_ff"], backend="bokeh")
    assert option(by_layer, "title") == "(a) batch-normalised feed-forward net"
    assert option(sums, "title") == "(b)"
    (_, sums) = decomposition(cubes["bn_ff"], backend="bokeh")
    assert option(sums, "title") == "(b) sums of the measured layers only"
    net = {"network__width": 3, "network__depth": 8, "measure__every": 1, "measure__branches": 2}
    ds = mx.run(small("vanilla", realizations=60, **net), progress=False)
    dead = int((~mx.alive(ds).sel(layer=8)).sum())
    assert dead > 0
    (_, sums) = decomposition(ds, "nu2_signal", backend="bokeh")
    assert option(sums, "title") == f"(b) {dead} undefined of 60 left out"


def test_diffusion_drawn_is_that_of_fit_lognormal(widths):
    (plain, scaled) = diffusion(widths, "bokeh")
    for panel, factor in ((plain, 1.0), (scaled, np.array([8, 16, 32]))):
        bars = list(panel.traverse(lambda x: x, [hv.ErrorBars]))
        for of, label, bar in zip(("nu2_signal", "mu2_noise"), ("log ν₂(x)", "log μ₂(dx)"), bars, strict=True):
            fit = mx.fit_lognormal(widths, of)
            points = drawn(panel, hv.Scatter)[label]
            np.testing.assert_array_equal(points.dimension_values("x"), [8, 16, 32])
            np.testing.assert_allclose(points.dimension_values("value"), fit.diffusion * factor)
            estimate, below, above = (bar.dimension_values(name) for name in ("value", "below", "above"))
            np.testing.assert_allclose(estimate - below, fit.diffusion_low * factor)
            np.testing.assert_allclose(estimate + above, fit.diffusion_high * factor)
            assert (below > 0).all() and (above > below).all()
        lines = {label: curve.dimension_values("value") for label, curve in drawn(panel).items()}
        for label, name in (("v_min", "bound_low"), ("v_max", "bound_high"), ("5/N", "one_input")):
            np.testing.assert_allclose(lines[label], fit[f"diffusion_{name}"] * factor)
    assert option(plain, "logx") and option(plain, "logy") and option(scaled, "logx")


def test_one_fit_is_drawn_by_itself(widths):
    fit = mx.fit_lognormal(widths, "mu2_noise")
    (plain, _) = diffusion(fit, "bokeh")
    points = drawn(plain, hv.Scatter)
    assert list(points) == ["log μ₂(dx)"]
    np.testing.assert_allclose(points["log μ₂(dx)"].dimension_values("value"), fit.diffusion)


def test_two_nets_are_drawn_without_bars_and_widths_in_order(small):
    tree = mx.run(small("vanilla", realizations=2, sweep={"network.width": [16, 8]}), progress=False)
    figure = diffusion(tree, "bokeh")
    hv.render(figure, "bokeh")
    (plain, _) = figure
    assert drawn(plain, hv.Scatter)["log ν₂(x)"].dimension_values("x").tolist() == [8, 16]
    assert not plain.traverse(lambda x: x, [hv.ErrorBars])


def test_nets_that_died_are_counted(small):
    recipe = small("vanilla", realizations=40, network__depth=10, sweep={"network.width": [3, 12]})
    tree = mx.run(recipe, progress=False)
    dead = int((~mx.alive(tree["network.width=3"].to_dataset()).sel(layer=10)).sum())
    assert dead > 0
    (plain, _) = diffusion(tree, "bokeh")
    assert option(plain, "title") == f"(a) up to {dead} dead at a width left out"


def test_nets_without_a_theorem_have_points_and_no_lines(small):
    recipe = small("vanilla", realizations=8, network__bias_variance=0.1, sweep={"network.width": [8, 16]})
    (plain, _) = diffusion(mx.run(recipe, progress=False), "bokeh")
    assert drawn(plain) == {}
    assert set(drawn(plain, hv.Scatter)) == {"log ν₂(x)", "log μ₂(dx)"}


@pytest.mark.parametrize("name", ["decomposition", "diffusion"])
def test_a_chunked_cube_is_computed_once_and_not_loaded(branched, widths, name):
    """Every chunk is read once, in one pass, and the drawing equals that of the cube in memory."""
    read, passes = [], []

    def watch(block, block_id):
        read.append(block_id)
        return block

    def watched(ds):
        variables = [key for key in ("pooled_moments", "branch_log_increment") if key in ds]
        ds = ds.chunk(realization=6)
        lazy = {key: ds[key].data.map_blocks(watch, dtype=ds[key].dtype, name=False) for key in variables}
        return ds.assign({key: ds[key].copy(data=data) for key, data in lazy.items()})

    def scheduler(graph, keys, **options):
        passes.append(1)
        return dask.get(graph, keys, **options)

    cube = branched["vanilla"] if name == "decomposition" else widths
    lazy = watched(cube) if name == "decomposition" else cube.map_over_datasets(lambda ds: watched(ds) if ds else ds)
    read.clear()
    figure = {"decomposition": decomposition, "diffusion": diffusion}[name]
    with dask.config.set(scheduler=scheduler):
        result = figure(lazy, backend="bokeh")
    assert passes == [1]
    assert len(read) == (4 if name == "decomposition" else 12), "2 chunks of 2 variables; 4 chunks at 3 widths"
    for panel, expected in zip(result, figure(cube, backend="bokeh"), strict=True):
        kind = hv.Curve if name == "decomposition" else hv.Scatter
        for label, element in drawn(panel, kind).items():
            np.testing.assert_allclose(
                element.dimension_values(1), drawn(expected, kind)[label].dimension_values(1), atol=1e-12
            )


def test_what_is_missing_or_wrong_is_named(branched, cubes, widths):
    with pytest.raises(ValueError, match=r'choose a node, as tree\["network.width=8"\]'):
        widths.moments.plot.decomposition()
    with pytest.raises(LookupError, match=r"measure them with measure\.branches"):
        decomposition(cubes["vanilla"], method="branches")
    with pytest.raises(LookupError, match=r"theory does not tell m̃ and s of a residual net.*measure.branches: 8"):
        decomposition(cubes["bn_res"])
    with pytest.raises(ValueError, match="of='mu4_noise' is not one of"):
        decomposition(branched["vanilla"], "mu4_noise")
    with pytest.raises(LookupError, match="no finished realization"):
        decomposition(branched["vanilla"].isel(realization=[]))
    with pytest.raises(ValueError, match=r"a sweep over network\.width .* not of one cube"):
        diffusion(branched["vanilla"])


def test_diffusion_refuses_other_sweeps(small):
    batches = mx.run(small("vanilla", realizations=3, sweep={"input.batch": [4, 6]}), progress=False)
    with pytest.raises(ValueError, match=r"over network.width, and this one is over input.batch"):
        diffusion(batches)
    normed = mx.run(small("bn_ff", realizations=3, sweep={"network.width": [4, 6]}), progress=False)
    with pytest.raises(LookupError, match="diffusion is of vanilla nets"):
        diffusion(normed)


def test_a_layout_of_several_figures_letters_panels_anew(branched):
    pair = [decomposition(branched[name], backend="bokeh") for name in ("vanilla", "bn_res")]
    together = layout([panel for figure in pair for panel in figure], "bokeh")
    titles = [option(panel, "title") for panel in together]
    assert titles == ["(a) vanilla net", "(b)", "(c) batch-normalised residual net", "(d)"]
