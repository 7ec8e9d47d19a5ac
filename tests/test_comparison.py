"""Theory beside experiment: residuals of real nets, constants, the order in 1/N, and what has no theory."""

import dask
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import moments_xr as mx
from moments_xr.analysis.comparison import _order, _row
from moments_xr.errors import MissingError, RequestError
from moments_xr.prediction import predict
from moments_xr.theory import explosion_rate, fixed_point


def recipe(architecture="vanilla", activation="tanh", realizations=40, **network):
    given = {"weights": {"law": "gaussian", "variance": 3.0}, "bias_variance": 0.1, "depth": 6, "width": 256} | network
    return mx.Recipe(
        name="compared", realizations=realizations, input={"dataset": "gaussian", "shape": [60], "batch": 12},
        network={"architecture": architecture, "activation": activation, "kernel": 1} | given,
        measure={"pairs": 6, "effective_rank": []},
    )  # fmt: skip


def refuse(*arguments, **options):
    raise AssertionError("computed")


@pytest.fixture(scope="module")
def tanh():
    return mx.run(recipe(), progress=False)


NETS = [
    ("vanilla", "tanh", {}),
    ("vanilla", "relu", {"weights": "he", "bias_variance": 0.0}),
    ("vanilla", "tanh", {"scale": 0.1}),
    ("vanilla", "hard_tanh", {"weights": {"law": "orthogonal", "variance": 1.5}}),
    ("vanilla", "gelu", {"weights": {"law": "gaussian", "variance": 2.0}, "dropout": 0.1}),
    ("res", "tanh", {"weights": {"law": "gaussian", "variance": 1.0}}),
    ("res", "silu", {"weights": {"law": "gaussian", "variance": 0.7}, "dropout": 0.2}),
]


@pytest.mark.parametrize(("architecture", "activation", "network"), NETS)
def test_wide_nets_do_what_theory_says(architecture, activation, network):
    """Within four and a half standard errors and what a finite width leaves, O(l/N)."""
    scale = network.get("scale", 1.0)
    network = {key: value for key, value in network.items() if key != "scale"}
    ds = mx.run(recipe(architecture, activation, **network).replace({"input.scale": scale}), progress=False)
    compared = ds.moments.compare_theory(batches=40)
    assert compared["quantity"].values.tolist() == list(mx.prediction.PREDICTED)
    slack = 3 * compared.layer / 256
    excess = (abs(compared.difference) - slack) / compared.standard_error
    assert float(excess.max()) < 4.5, excess.max("layer").values


@pytest.mark.parametrize("width", [32, 128])
def test_few_input_features_leave_nothing_that_width_does_not_remove(width):
    """Of 10 features a tenth of the noise is along the signal: left out, log μ₂(dx) would be off by 0.095."""
    few = recipe(realizations=300, width=width).replace({"input.shape": [10], "measure.every": 6})
    last = mx.run(few, progress=False).moments.compare_theory().sel(layer=6)
    for name in ("mu2_noise", "chi"):
        one = last.sel(quantity=name)
        assert abs(float(one.difference)) < 4.5 * float(one.standard_error) + 2 / width, name


def test_what_is_measured_is_what_the_accessors_give(tanh):
    compared = tanh.moments.compare_theory(batches=2)
    chi = tanh.moments.chi(log=True).sel(site="act").mean("realization")
    np.testing.assert_allclose(compared.measured.sel(quantity="chi"), chi)
    c = tanh.pair_correlation.sel(site="conv").mean(["realization", "pair"])
    np.testing.assert_allclose(compared.measured.sel(quantity="correlation"), c, rtol=1e-5)
    np.testing.assert_allclose(compared.residual, compared.difference / compared.standard_error)


def test_nets_are_compared_with_the_prediction_for_their_own_inputs(tanh):
    """With all batches the spread of inputs drops out; one batch tells no spread, and so no error."""
    own, few, one = (tanh.moments.compare_theory(batches=n).sel(layer=1) for n in (40, 8, 1))
    inputs_matter = {"quantity": "correlation"}
    assert float(own.standard_error.sel(inputs_matter)) < 0.7 * float(few.standard_error.sel(inputs_matter))
    own, one = own.sel(quantity="q"), one.sel(quantity="q")
    assert abs(float(own.residual)) < 4.5 and np.isnan(one.residual)
    theory = mx.prediction.predict(recipe(), range(40)).q.sel(layer=1)
    net_by_net = tanh.moments.get("nu2_signal", log=True).sel(site="conv", layer=1) - theory
    wider = stats.t.ppf(0.975, 39) / stats.norm.ppf(0.975)
    assert float(own.standard_error) == pytest.approx(wider * float(net_by_net.std(ddof=1)) / np.sqrt(40))


@pytest.mark.parametrize("shared", [True, False], ids=["own inputs", "other inputs"])
@pytest.mark.parametrize("spread", [0.2, 1.0, 5.0])
@pytest.mark.parametrize(("realizations", "batches"), [(40, 8), (40, 40), (12, 5), (6, 12)])
def test_residuals_are_standard_normal_where_theory_is_exact(realizations, batches, spread, shared):
    """Nets are their own prediction, which differs between inputs, and luck: 4000 residuals, four standard errors."""
    rng = np.random.default_rng(realizations)
    inputs = spread * rng.normal(size=(max(realizations, batches), 4000))
    measured = inputs[:realizations] + rng.normal(size=(realizations, 4000))
    predicted = inputs[:batches] if shared else spread * rng.normal(size=(batches, 4000))
    row = _row(
        "q", *(xr.DataArray(x, {"realization": range(len(x))}, ("realization", "layer")) for x in (measured, predicted))
    )
    residual = row.residual.values
    assert abs(residual.mean()) < 4 / np.sqrt(4000)
    few = 0.1 if min(realizations, batches) < 8 else 0.0  # the law is Student's then, of the right quantile
    assert residual.var() == pytest.approx(1, abs=4 * np.sqrt(2 / 4000) + few)
    assert (abs(residual) < 1.96).mean() == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / 4000) + few / 10)


def test_dead_nets_and_single_batches():
    """A net that died leaves its batch to the predictions; of one batch nothing tells how inputs differ."""
    rng = np.random.default_rng(0)
    measured, predicted = rng.normal(size=(2, 6, 1))
    measured[1] = np.nan
    row = _row(
        "q", *(xr.DataArray(x, {"realization": range(6)}, ("realization", "layer")) for x in (measured, predicted))
    )
    both = np.delete(measured / 5 - predicted / 6, 1)
    variance = np.array([5 * both.var(ddof=1), predicted.var(ddof=1) / 36])
    freedom = variance.sum() ** 2 / (variance**2 / [4, 5]).sum()
    wider = stats.t.ppf(0.975, freedom) / stats.norm.ppf(0.975)
    assert row.standard_error.item() == pytest.approx(wider * np.sqrt(variance.sum()))
    assert row.difference.item() == pytest.approx(np.nanmean(measured) - predicted.mean())
    alone = xr.DataArray(predicted[:1], {"realization": [0]}, ("realization", "layer"))
    assert np.isnan(_row("q", xr.DataArray(predicted, dims=("realization", "layer")), alone).residual).all()


def test_a_wrong_theory_is_seen(tanh):
    """The same nets, said to have another variance: residuals of many standard errors."""
    text = recipe(weights={"law": "gaussian", "variance": 2.5}).to_json()
    wrong = tanh.assign_attrs(recipe=text).moments.compare_theory()
    assert float(abs(wrong.residual.sel(quantity="q", layer=6))) > 20


def test_inputs_may_be_given(tanh):
    from moments_xr.inputs import input_batch, load_dataset

    known = recipe()
    inputs = np.stack([input_batch(known, r, load_dataset(known)) for r in range(3)])
    by_hand, drawn = tanh.moments.compare_theory(inputs=inputs), tanh.moments.compare_theory(batches=3)
    xr.testing.assert_allclose(by_hand, drawn)


def test_constants(tanh):
    deep = mx.run(recipe(depth=30, width=200, realizations=30), progress=False)
    gamma = deep.moments.compare_theory().sel(constant="gamma")
    limit = 0.5 * np.log(float(fixed_point("tanh", 3.0, 0.1).chi_1))
    assert limit < float(gamma.constant_predicted) < 1.25 * limit  # χ grows faster while correlations move
    half = float(gamma.constant_high - gamma.constant_low) / 2
    assert abs(float(gamma.constant_measured - gamma.constant_predicted)) < 2 * half + 1 / 200
    relu = mx.run(recipe(activation="relu", weights="he", bias_variance=0.0, width=64), progress=False)
    walk = relu.moments.compare_theory(batches=1)
    assert walk.constant.values.tolist() == ["drift", "diffusion"]
    np.testing.assert_allclose(walk.constant_predicted, [-2.5 / 64, 5 / 64])


def test_batch_norm_explodes_at_its_rate():
    """δχ of deep bn_ff nets against that of others drawn of the same width, and τ of bn_res."""
    net = recipe("bn_ff", "relu", depth=24, weights="he", bias_variance=0.0, width=400).replace({"input.batch": 32})
    compared = mx.run(net, progress=False).moments.compare_theory()
    deep = compared.sel(quantity="increment_chi", layer=slice(8, None))
    assert float(deep.predicted[0]) == pytest.approx(
        0.5 * np.log(1.5817), abs=8e-3
    )  # of 8 nets, ± 0.0013, and N finite
    assert deep.predicted.values.std() < 1e-12
    assert float(abs(deep.difference).max()) < 0.02
    assert compared.constant.values.tolist() == ["gamma"]
    res = mx.run(recipe("bn_res", "relu", weights="he", bias_variance=0.0, width=64), progress=False)
    tau = res.moments.compare_theory()
    assert "measured" not in tau and tau.constant.values.tolist() == ["tau"]
    assert tau.constant_predicted.item() == pytest.approx((explosion_rate("relu", 12) ** 2 - 1) / 2)


def test_the_rate_of_batch_norm_is_that_of_its_width():
    """A batch as large as the width: the rate at infinite width is refuted, and predicted is what nets do."""
    laws = {"weights": "lecun", "bias_variance": 0.0, "epsilon": 1e-12}
    net = recipe("bn_ff", "linear", depth=24, width=48, realizations=24, **laws).replace({"input.batch": 48})
    cube = mx.run(net, progress=False)
    measured = cube.moments.chi(log=True).sel(site="act", layer=24).values / 24
    predicted = predict(net).increment_chi.mean("layer").values
    error = np.sqrt(measured.var(ddof=1) / len(measured) + predicted.var(ddof=1) / len(predicted))
    assert abs(measured.mean() - predicted.mean()) < 4.5 * error
    assert abs(measured.mean() - 0.5 * np.log(explosion_rate("linear", 48))) > 4.5 * error
    gamma = cube.moments.compare_theory().sel(constant="gamma")
    assert float(gamma.constant_predicted) == pytest.approx(predicted.mean())


def test_nets_too_large_to_draw_are_predicted_at_infinite_width(monkeypatch):
    monkeypatch.setattr("moments_xr.prediction.MOST_OPERATIONS", 1e3)
    net = recipe("bn_ff", "relu", depth=3, width=31)
    with pytest.warns(UserWarning, match="at infinite width, from which nets of width 31 differ with batches of 12"):
        predicted = predict(net, range(2)).increment_chi
    np.testing.assert_allclose(predicted, 0.5 * np.log(explosion_rate("relu", 12)))
    assert "infinite width" in predicted.long_name


def test_a_sweep_over_width_has_an_order():
    sweep = recipe(realizations=600, depth=4).replace({"sweep": {"network.width": [8, 16, 32, 64]}})
    compared = mx.run(sweep, progress=False).moments.compare_theory()
    assert compared.difference.dims == ("network.width", "quantity", "layer")
    q = compared.sel(quantity="nu2_signal", layer=4)
    assert float(q.order_low) < 1 < float(q.order_high) and 0.6 < float(q.order) < 1.4, q


def test_a_stored_sweep_over_width_is_lazy(tmp_path):
    sweep = recipe(realizations=12, depth=2).replace({"sweep": {"network.width": [8, 16]}})
    tree = mx.run(sweep, tmp_path / "widths.zarr", progress=False)
    with dask.config.set(scheduler=refuse):
        lazy = tree.moments.compare_theory(batches=2)
    xr.testing.assert_allclose(lazy.compute(), mx.run(sweep, progress=False).moments.compare_theory(batches=2))


def test_the_fitted_order_covers_the_truth():
    """Intervals of simulated differences a/N + noise hold 1 in 95 % of 400, binomial tolerance."""
    rng, widths = np.random.default_rng(0), np.array([16.0, 32, 64, 128])
    error = np.full(4, 0.1)
    inside = 0
    for _ in range(400):
        _, low, high = _order(20 / widths + 0.1 * rng.normal(size=4), error, widths)
        inside += low < 1 < high
    assert abs(inside - 380) < 4 * np.sqrt(400 * 0.95 * 0.05)
    bent = 1 / widths + 20 / widths**2  # no single power: the interval says so
    _, low, high = _order(bent, np.full(4, 1e-5), widths)
    assert high - low > 0.1
    assert np.isnan(_order(0.01 * rng.normal(size=4), error, widths)).all()


def test_lazy_and_equal_for_any_chunking(tanh):
    with dask.config.set(scheduler=refuse):
        lazy = mx.compare_theory(tanh.chunk(realization=7, layer=2), batches=2)
    assert dask.is_dask_collection(lazy.residual)
    xr.testing.assert_allclose(lazy.compute(), mx.compare_theory(tanh, batches=2))


def test_results_say_what_they_are(tanh):
    for values in mx.compare_theory(tanh, batches=1).data_vars.values():
        assert values.attrs["units"] == "1" and values.attrs["long_name"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weights": {"law": "mirrored", "variance": 2.0}}, "mirrored ones are not"),
        ({"architecture": "bn_ff", "dropout": 0.1, "bias_variance": 0.0}, "nets without dropout"),
    ],
)
def test_what_has_no_theory_is_said(changes, why):
    ds = mx.run(recipe(realizations=2, **changes), progress=False)
    with pytest.raises(MissingError, match=why):
        ds.moments.compare_theory()


def test_convolutions_and_foreign_cubes_are_refused(small, tanh):
    conv = mx.run(small("vanilla", kernel=3, realizations=2), progress=False)
    with pytest.raises(MissingError, match=r"network\.kernel is 3"):
        conv.moments.compare_theory()
    with pytest.raises(MissingError, match="has no recipe"):
        tanh.drop_attrs().moments.compare_theory()


def test_inputs_that_cannot_be_drawn_again_may_be_given():
    data = np.random.default_rng(0).normal(size=(30, 60))
    known = recipe(realizations=3, depth=2, width=16)
    on_disk = known.replace({"input.dataset": "array", "input.path": "nowhere.npy", "input.shape": None})
    ds = mx.run(known, data=data, progress=False)
    with pytest.raises(MissingError, match="give them as inputs="):
        ds.assign_attrs(recipe=on_disk.to_json()).moments.compare_theory()
    batches = np.random.default_rng(0).normal(size=(2, 12, 60))
    assert ds.moments.compare_theory(inputs=batches).sizes["layer"] == 2


@pytest.mark.parametrize("site", ["input", "act", "conv"])
def test_a_cube_selected_to_a_site_is_compared_there_or_not_at_all(tanh, site):
    """What was selected is never taken for another site."""
    whole = tanh.moments.compare_theory(batches=2)
    if site == "input":
        with_none = tanh.sel(site=site).moments.compare_theory(batches=2)
        assert "measured" not in with_none and "lacks the site" in with_none.attrs["comment"]
        return
    one = tanh.sel(site=site).moments.compare_theory(batches=2)
    assert set(one["quantity"].values) < set(whole["quantity"].values)
    xr.testing.assert_allclose(one.measured, whole.measured.sel(quantity=one["quantity"]))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"batches": 0}, "batches=0"),
        ({"inputs": np.ones((2, 3))}, "inputs: shape"),
        ({"inputs": np.full((1, 4, 60), np.nan)}, "finite"),
    ],
)
def test_bad_arguments_are_named(tanh, arguments, why):
    with pytest.raises(RequestError, match=why):
        tanh.moments.compare_theory(**arguments)


def test_a_batch_too_small_for_batch_norm_leaves_the_other_nodes():
    net = recipe("bn_ff", "relu", realizations=4, depth=4, width=16, weights="he", bias_variance=0.0)
    tree = mx.run(net.replace({"measure.pairs": 0, "sweep": {"input.batch": [3, 12]}}), progress=False)
    compared = tree.moments.compare_theory()
    assert compared.measured.notnull().any() and "input.batch=3" in compared.attrs["not_available"]


def test_a_selection_is_compared(tanh):
    compared = tanh.isel(realization=slice(3, 9)).sel(layer=[2, 5]).moments.compare_theory(batches=2)
    assert compared.layer.values.tolist() == [2, 5]
    one = tanh.isel(layer=3).moments.compare_theory(batches=1)
    assert one.layer.values.tolist() == [4] and one.measured.dims == ("quantity", "layer")
    without = tanh.drop_vars("pair_correlation").moments.compare_theory(batches=1)
    assert "correlation" not in without["quantity"] and "measure.pairs" in without.attrs["comment"]
