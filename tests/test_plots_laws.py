"""Pictures of laws, theorems and channels: the numbers drawn; odd cubes; the errors."""

import dask
import holoviews as hv
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import moments_xr as mx
from moments_xr.plots.channels import CELLS, even_grid, ordered
from moments_xr.plots.laws import QUANTILES, order_band, thinned

NAMES = ("lognormal", "theorems", "channels")


@pytest.fixture(scope="module")
def nets():
    from conftest import make_recipe

    changes = {"realizations": 24, "measure__every": 1, "compute__block": 12}
    return {name: mx.run(make_recipe(name, **changes), progress=False) for name in ("vanilla", "bn_ff", "bn_res")}


@pytest.fixture(scope="module")
def dying():
    from conftest import make_recipe

    recipe = make_recipe("vanilla", realizations=40, network__width=3, network__depth=20, measure__every=1)
    return mx.run(recipe, progress=False)


def drawn(panel, kind=hv.Curve):
    return {element.label: element for element in panel.traverse(lambda x: x, [kind]) if element.label}


def option(panel, name, backend="bokeh"):
    return hv.Store.lookup_options(backend, panel, "plot").kwargs[name]


@pytest.mark.parametrize("of", ["nu2_signal", "mu2_noise", "chi"])
def test_laws_drawn_are_those_of_fit_lognormal(nets, of):
    ds = nets["vanilla"]
    (histograms, quantiles) = ds.moments.plot.lognormal(of, backend="bokeh")
    fit, values = mx.fit_lognormal(ds, of), mx.get(ds, of, log=True).sel(site="act")
    curves = drawn(histograms)
    assert list(curves) == ["l = 1", "l = 3", "l = 4", "l = 6"]
    for layer in (1, 3, 4, 6):
        law, sample = fit.sel(layer=layer), np.sort(values.sel(layer=layer))
        curve = curves[f"l = {layer}"]
        x = curve.dimension_values(0)
        np.testing.assert_allclose(curve.dimension_values(1), stats.norm.pdf(x, law.mu, law.sigma))
        label = f"l = {layer}, p = {float(law.p_value):.2f}".replace("0.", ".")
        points = drawn(quantiles, hv.Scatter)[label]
        np.testing.assert_allclose(points.dimension_values("log q"), sample)
        np.testing.assert_allclose(points.dimension_values(1), (sample - float(law.mu)) / float(law.sigma))
    for area in histograms.traverse(lambda x: x, [hv.Area]):
        x, density = area.dimension_values(0), area.dimension_values(1)
        assert np.trapezoid(density, x) == pytest.approx(1)


def test_the_band_holds_order_statistics_of_normal_draws():
    rng = np.random.default_rng(0)
    draws = np.sort(rng.normal(size=(4000, 50)), axis=1)
    median, low, high = order_band(50, np.arange(1, 51))
    within = ((draws > low) & (draws < high)).mean(0)
    np.testing.assert_allclose(within, 0.95, atol=0.015)
    np.testing.assert_allclose((draws < median).mean(0), 0.5, atol=0.04)


@given(st.integers(1, 200_000))
def test_thinning_keeps_the_tails(count):
    ranks = thinned(count)
    assert ranks[0] == 1 and ranks[-1] == count
    assert len(ranks) <= QUANTILES
    assert (np.diff(ranks) > 0).all()
    np.testing.assert_array_equal(ranks[: min(8, count)], np.arange(1, min(8, count) + 1))


def test_layers_are_chosen_and_the_dead_counted(dying):
    dead = int((~mx.alive(dying).sel(layer=8)).sum())
    assert 0 < dead < 38
    (histograms, quantiles) = dying.moments.plot.lognormal(layers=[8, 2], backend="bokeh")
    assert list(drawn(histograms)) == ["l = 2", "l = 8"]
    assert option(histograms, "title") == f"(a) {dead} of 40 dead or undefined at the deepest"
    assert [len(points) for points in drawn(quantiles, hv.Scatter).values()][-1] == 40 - dead
    assert option(
        dying.isel(realization=slice(9)).moments.plot.lognormal(layers=[1], backend="bokeh")[0, 0], "title"
    ) == ("(a) only 9 realizations")


def test_what_has_no_law_is_named(nets, cubes):
    ds = nets["vanilla"]
    for few in (ds.isel(realization=0), ds.isel(realization=[0, 1])):
        with pytest.raises(LookupError, match=r"a law over realizations takes 3 .* this cube has [12]"):
            few.moments.plot.lognormal()
    assert len(ds.isel(realization=slice(3)).moments.plot.lognormal()) == 2
    with pytest.raises(ValueError, match=r"layers: \[9\] were not measured; there are 1 to 6"):
        ds.moments.plot.lognormal(layers=[2, 9])
    with pytest.raises(ValueError, match="are not 1 to 4"):
        ds.moments.plot.lognormal(layers=[1, 2, 3, 4, 5])
    with pytest.raises(ValueError, match="may be negative"):
        ds.moments.plot.lognormal("nu1_signal")


@pytest.mark.parametrize("architecture", ["vanilla", "bn_ff", "bn_res"])
def test_theorems_drawn_are_those_of_check_theorems(nets, architecture):
    checked = mx.check_theorems(nets[architecture])
    (residuals, *panels) = nets[architecture].moments.plot.theorems("bokeh")
    scattered = drawn(residuals, hv.Scatter)
    groups = {}
    for name in checked.theorem.values:
        row, (group, _, quantity) = checked.sel(theorem=name), str(name).partition(" of ")
        groups.setdefault(group, []).append((quantity or "measured", row))
        seen = row.residual != 0
        label = f"{group.removeprefix('1 ')} {quantity}".strip() if group.startswith("1 ") else f"Theorem {group}"
        if bool(seen.any()):
            points = scattered[label]
            np.testing.assert_allclose(points.dimension_values("residual"), row.residual[seen])
            np.testing.assert_allclose(points.dimension_values("layer"), row.layer[seen])
        else:
            assert label not in scattered
    (allowed,) = (area for area in residuals.traverse(lambda x: x, [hv.Area]) if area.label == "by chance")
    np.testing.assert_allclose(allowed.dimension_values("high"), stats.t.isf(0.025 / 6, 23))
    assert len(panels) == len(groups)
    for panel, rows in zip(panels, groups.values(), strict=True):
        for label, row in rows:
            elements = drawn(panel, hv.Scatter)
            np.testing.assert_allclose(elements[label].dimension_values("value"), row.measured)
            if (row.predicted_low == row.predicted_high).all():
                np.testing.assert_allclose(drawn(panel)["predicted"].dimension_values("value"), row.predicted_low)


def test_what_fails_is_circled(nets):
    """Noise that is amplified without a reason: theorem 3 does not hold at one layer."""
    ds = nets["bn_ff"]
    wrong = (ds.layer == 4) & (ds.site == "act") & (ds.pooled_moment == "mu2_noise")
    broken = ds.assign(pooled_moments=ds.pooled_moments * xr_where(wrong, 3.0))
    assert mx.check_theorems(broken).holds.sel(theorem="3").values.tolist() == [1, 1, 1, 0, 1, 1]
    for backend in ("bokeh", "matplotlib"):
        figure = broken.moments.plot.theorems(backend)
        assert drawn(figure[0, 0], hv.Scatter)["fails"].dimension_values("layer").tolist() == [4]
    assert "fails" not in drawn(ds.moments.plot.theorems("bokeh")[0, 0], hv.Scatter)


def xr_where(condition, value):
    return condition.astype(float) * (value - 1.0) + 1.0


@pytest.mark.filterwarnings("error:invalid value:RuntimeWarning")
def test_theorems_of_odd_cubes(nets, dying, small):
    one = nets["vanilla"].isel(realization=[0]).moments.plot.theorems("bokeh")
    assert option(one[0, 0], "title") == "(a) below 3 realizations: none"
    assert len(nets["bn_res"].isel(layer=[2], realization=0).moments.plot.theorems("bokeh")) == 3
    hv.render(dying.chunk(realization=20).moments.plot.theorems("bokeh"), "bokeh")
    zero = mx.run(small("vanilla", kernel=3, realizations=2, network__boundary="zero"), progress=False)
    with pytest.raises(LookupError, match="no theorem applies: the boundary is zero"):
        zero.moments.plot.theorems()


@pytest.mark.parametrize(("architecture", "site"), [("vanilla", "output"), ("bn_res", "output"), ("bn_res", "act")])
def test_channels_drawn_are_the_moments_over_their_mean(nets, architecture, site):
    ds = nets[architecture]
    (bands, image) = ds.moments.plot.channels("mu2_noise", realization=5, site=site, backend="bokeh")
    name = {"output": mx.quantities.ARCHITECTURES[architecture].output}.get(site, site)
    moments = mx.get(ds, "mu2_noise", channels=True).sel(realization=5, site=name).transpose("layer", "channel").values
    ratio = moments / moments.mean(1, keepdims=True)
    expected = ratio[:, np.argsort(ratio[-1])] if (architecture, site) == ("bn_res", "output") else np.sort(ratio, 1)
    (cells,) = image.traverse(lambda x: x, [hv.Image])
    logs = cells.dimension_values("log", flat=False)
    np.testing.assert_allclose(10.0**logs, expected.T, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(cells.dimension_values("layer", expanded=False), ds.layer)
    median = drawn(bands)["median"]
    np.testing.assert_allclose(10 ** median.dimension_values("value"), np.maximum(np.median(ratio, 1), 1e-4))
    low = drawn(bands, hv.Area)["5 to 95 %"].dimension_values("low")
    np.testing.assert_allclose(10**low, np.maximum(np.percentile(ratio, 5, axis=1), 1e-4))
    assert "realization 5" in option(image, "xlabel")


def test_channels_of_a_net_that_dies(dying):
    alive = mx.alive(dying)
    net = int(np.flatnonzero(alive.sel(layer=2) & ~alive.sel(layer=20))[0])
    until = int(alive.sel(realization=net).sum())
    figure = dying.moments.plot.channels(realization=net, backend="bokeh")
    hv.render(figure, "bokeh")
    (bands, image) = figure
    (cells,) = image.traverse(lambda x: x, [hv.Image])
    logs = cells.dimension_values("log", flat=False)
    assert np.isfinite(logs[:, :until]).all() and np.isnan(logs[:, until:]).all()
    assert f"dead from layer {until + 1} on" in option(bands, "title")
    zero = (mx.get(dying, "nu2_signal", channels=True).sel(realization=net, site="act", layer=until) == 0).mean()
    assert (f"zero in {100 * float(zero):.0f} % at layer {until}" in option(bands, "title")) == bool(zero > 0)
    with pytest.raises(LookupError, match="dead at all layers"):
        dying.sel(layer=[20]).moments.plot.channels(realization=net)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=700, unique=True).map(sorted).map(np.array))
def test_the_image_is_small_and_takes_the_nearest_layer(layers):
    grid, nearest = even_grid(layers)
    assert len(grid) <= CELLS
    assert (grid[0] == layers[0] and grid[-1] == layers[-1]) or len(layers) == 1
    distance = np.abs(layers[nearest] - grid)
    assert (distance <= np.abs(layers[None] - grid[:, None]).min(1)).all()
    uniform = np.arange(1, len(layers) + 1) * 3
    if len(layers) <= CELLS:
        np.testing.assert_array_equal(uniform[even_grid(uniform)[1]], uniform)


def test_order_of_channels():
    ratio = np.array([[3.0, 1.0, 2.0], [1.0, 2.0, 3.0], [np.nan] * 3])
    np.testing.assert_array_equal(ordered(ratio, persist=False)[:2], [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(ordered(ratio, persist=True)[:2], [[3, 1, 2], [1, 2, 3]])


def test_wide_nets_are_thinned_and_say_so(nets):
    ds = nets["bn_ff"].isel(realization=[0])
    wide = ds.isel(channel=np.arange(12).repeat(50)).assign_coords(channel=np.arange(600))
    (bands, image) = wide.moments.plot.channels(backend="bokeh")
    (cells,) = image.traverse(lambda x: x, [hv.Image])
    assert cells.dimension_values("log", flat=False).shape == (512, 6)
    assert "image: 512 of 600 channels" in option(bands, "title")


def test_what_channels_miss_is_named(nets, small):
    ds = nets["bn_ff"]
    with pytest.raises(ValueError, match="realization=99 is not in the cube; there are 0 to 23"):
        ds.moments.plot.channels(realization=99)
    with pytest.raises(ValueError, match="realization=1 is not in the cube; there are 3 to 3"):
        ds.isel(realization=3).moments.plot.channels(realization=1)
    assert "realization 3" in option(ds.isel(realization=3).moments.plot.channels(backend="bokeh")[0, 1], "xlabel")
    for of in ("chi", "nu1_signal", "nonsense"):
        with pytest.raises(ValueError, match=f"of='{of}' is not a moment of single channels that is never negative"):
            ds.moments.plot.channels(of)
    with pytest.raises(LookupError, match=r"measure them with measure\.channels: all"):
        ds.drop_vars("channel_moments").moments.plot.channels()
    tree = mx.run(small(realizations=2, sweep={"network.width": [4, 6]}), progress=False)
    for name in NAMES:
        with pytest.raises(ValueError, match=rf'{name} is of one cube.*tree\["network.width=4"\]'):
            getattr(tree.moments.plot, name)()


@pytest.mark.parametrize("name", NAMES)
def test_a_chunked_cube_is_computed_once(nets, name):
    passes = []

    def scheduler(graph, keys, **options):
        passes.append(1)
        return dask.get(graph, keys, **options)

    with dask.config.set(scheduler=scheduler):
        lazy = getattr(nets["vanilla"].chunk(realization=6).moments.plot, name)(backend="bokeh")
    assert passes == [1]
    for one, other in zip(lazy, getattr(nets["vanilla"].moments.plot, name)(backend="bokeh"), strict=True):
        for label, element in drawn(one).items():
            np.testing.assert_allclose(element.dimension_values(1), drawn(other)[label].dimension_values(1), atol=1e-9)
