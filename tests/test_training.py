"""Training: what is trained is what `run` propagates, by the steps of a net of torch.nn; depth theory beside accuracy."""

import holoviews as hv
import numpy as np
import pytest
import torch

import moments_xr as mx
from moments_xr.errors import MissingError, RecipeError, RequestError
from moments_xr.inputs import input_batch, load_dataset
from moments_xr.plots.save import save
from moments_xr.plots.trainability import trainability
from moments_xr.propagation import training
from moments_xr.quantities import ARCHITECTURES
from moments_xr.theory import fixed_point
from moments_xr.training import _blocks, check, labelled


def recipe(realizations=1, sweep=None, batch=16, **network):
    return mx.Recipe(
        name="training",
        seed=5,
        realizations=realizations,
        input={"dataset": "digits", "batch": batch},
        network={"architecture": "vanilla", "depth": 3, "width": 24, "kernel": 1, "activation": "tanh"} | network,
        compute={"precision": "float64", "device": "cpu"},
        sweep=sweep,
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nets_are_those_that_run_propagates(architecture):
    of = recipe(2, architecture=architecture, weights={"law": "orthogonal", "variance": 1.5}, bias_variance=0.2)
    nu2 = mx.get(mx.run(of, progress=False), "nu2_signal").sel(layer=3).isel(site=-1)
    dataset = load_dataset(of)
    batches = torch.from_numpy(np.stack([input_batch(of, realization, dataset) for realization in (0, 1)])).double()
    *layers, readout, bias = training.draw_nets([(of, 0), (of, 1)], 64, 10)
    assert readout.shape == (2, 10, 24) and readout.square().mean().item() == pytest.approx(1 / 24, rel=0.3)
    assert not bias.any()
    identity = [torch.eye(24, dtype=torch.float64).expand(2, -1, -1), torch.zeros(2, 1, 24, dtype=torch.float64)]
    output = training.logits(of.network, [*layers, *identity], batches)
    np.testing.assert_allclose(output.square().mean((1, 2)), nu2, rtol=1e-10)


@pytest.mark.parametrize(("optimiser", "rate"), [("sgd", 0.05), ("adam", 0.002)])
def test_steps_are_those_of_a_net_of_torch(optimiser, rate):
    """Two nets trained at once against nn.Sequential and torch.optim, on the same batches, from the same weights."""
    sweep = {"network.weights.variance": [1.0, 3.0]}
    ds = mx.train(recipe(sweep=sweep, bias_variance=0.1), [0, 1, 5], rate, optimiser, progress=False)
    assert (ds.attrs["optimiser"], ds.attrs["learning_rate"]) == (optimiser, rate)
    x, y = (torch.from_numpy(array) for array in labelled("digits"))
    x = x.double()
    for variance in (1.0, 3.0):
        of = recipe(weights={"law": "gaussian", "variance": variance}, bias_variance=0.1)
        parameters = training.draw_nets([(of, 0)], 64, 10)
        linear = [torch.nn.Linear(k.shape[2], k.shape[1], dtype=torch.float64) for k in parameters[::2]]
        for layer, kernel, bias in zip(linear, parameters[::2], parameters[1::2], strict=True):
            layer.weight.data, layer.bias.data = kernel[0].clone(), bias[0, 0].clone()
        inner = [part for layer in linear[1:-1] for part in (layer, torch.nn.Tanh())]
        net = torch.nn.Sequential(linear[0], *inner, linear[-1])
        mover = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimiser](net.parameters(), lr=rate)
        rng = training.sampler(of.seed, 0)
        here = ds.sel({"network.weights.variance": variance}, drop=True).isel(realization=0)
        for step in range(6):
            if step in ds.step:
                loss = torch.nn.functional.cross_entropy(net(x), y)
                assert float(here.loss.sel(step=step)) == pytest.approx(loss.item(), rel=1e-9)
                right = (net(x).argmax(1) == y).double().mean()
                assert float(here.training_accuracy.sel(step=step)) == pytest.approx(right.item())
            rows = torch.from_numpy(rng.choice(len(x), 16, replace=False))
            mover.zero_grad()
            torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            if step == 0:
                of_nets = [tensor.requires_grad_() for tensor in parameters]
                training.losses(training.logits(of.network, of_nets, x[rows][None]), y[rows][None]).sum().backward()
                for layer, kernel, bias in zip(linear, of_nets[::2], of_nets[1::2], strict=True):
                    torch.testing.assert_close(kernel.grad[0], layer.weight.grad, rtol=1e-9, atol=1e-14)
                    torch.testing.assert_close(bias.grad[0, 0], layer.bias.grad, rtol=1e-9, atol=1e-14)
            mover.step()


def test_nets_are_trained_on_scaled_inputs():
    """Before the first step, the loss of nets that see three times the standardised digits."""
    sweep = {"input.scale": [1.0, 3.0]}
    found = mx.train(recipe(sweep=sweep), steps=[0], progress=False)
    x, y = (torch.from_numpy(array) for array in labelled("digits"))
    parameters = training.draw_nets([(recipe(), 0)], 64, 10)
    for scale in sweep["input.scale"]:
        logits = training.logits(recipe().network, parameters, scale * x.double()[None])[0]
        loss = torch.nn.functional.cross_entropy(logits, y)
        # the product is rounded to float32 in training
        assert float(found.loss.sel({"input.scale": scale}).squeeze()) == pytest.approx(loss.item(), rel=1e-7)


@pytest.mark.parametrize(("optimiser", "rate"), [("sgd", 0.1), ("adam", 0.003)])
def test_nets_do_not_feel_those_trained_beside_them(optimiser, rate):
    sweep = {"network.depth": [2, 3], "network.weights.variance": [1.0, 2.0]}
    together = mx.train(recipe(2, sweep), [0, 4], rate, optimiser, progress=False)
    assert together.training_accuracy.dims == ("network.depth", "network.weights.variance", "realization", "step")
    again = mx.train(recipe(2, sweep), [0, 4], rate, optimiser, progress=False)
    assert together.identical(again)
    alone = recipe(2, depth=3, weights={"law": "gaussian", "variance": 2.0})
    alone = mx.train(alone, [0, 4], rate, optimiser, progress=False)
    here = together.sel({"network.depth": 3, "network.weights.variance": 2.0})
    np.testing.assert_allclose(here.loss, alone.loss, rtol=1e-12)
    assert (together.loss.std("realization") > 0).all()
    other = mx.train(recipe(2, sweep).replace({"seed": 6}), [0, 4], rate, optimiser, progress=False)
    assert (abs(other.loss - together.loss) > 1e-6).all()


@pytest.mark.parametrize(("optimiser", "rate"), [("sgd", 0.5), ("adam", 0.05)])
def test_nets_do_not_feel_those_that_diverge_beside_them(optimiser, rate):
    """A net that overflows single precision, between two that learn: these train as they do alone."""
    single = recipe(2, activation="relu", batch=32).replace({"compute.precision": "float32"})
    sweep = {"network.weights.variance": [1.0, 1e28, 2.0]}
    together = mx.train(single.replace({"sweep": sweep}), [0, 30], rate, optimiser, progress=False)
    for variance in (1.0, 2.0):
        alone = mx.train(
            single.replace({"network.weights.variance": variance}), [0, 30], rate, optimiser, progress=False
        )
        beside = together.sel({"network.weights.variance": variance})
        np.testing.assert_allclose(beside.loss, alone.loss, rtol=1e-6)
        np.testing.assert_array_equal(beside.training_accuracy, alone.training_accuracy)
    assert not np.isfinite(together.loss.sel({"network.weights.variance": 1e28})).any()


def test_too_many_nets_are_trained_in_turns(monkeypatch):
    of = recipe(3, {"network.depth": [2, 3], "network.weights.variance": [1.0, 2.0]})
    expected = mx.train(of, steps=[0, 3], progress=False)
    assert [len(block) for block in _blocks(of.nodes(), 1797, 64)] == [6, 6]
    monkeypatch.setattr("moments_xr.training.TOGETHER", 4 * (8 * 24 * (64 + 24 * 3) + 4 * 3 * 24 * 1797))
    assert [len(block) for block in _blocks(of.nodes(), 1797, 64)] == [4, 2, 4, 2]
    np.testing.assert_allclose(mx.train(of, steps=[0, 3], progress=False).loss, expected.loss, rtol=1e-12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shallow_nets_learn_from_chance(architecture):
    of = recipe(4, architecture=architecture, activation="relu", width=32, batch=64)
    accuracy = mx.train(of, steps=[0, 150], rate=0.05, progress=False).training_accuracy
    # An untrained net's answers have nothing to do with the classes, but are far from independent from digit to digit.
    assert abs(accuracy.sel(step=0).mean() - 0.1) < 0.08
    assert (accuracy.sel(step=150) > 0.85).all()


def test_depth_beyond_six_scales_does_not_train():
    """In the ordered and in the chaotic phase, and a depth at the edge of chaos at which neither does."""
    sweep = {"network.depth": [4, 45], "network.weights.variance": [1.0, 1.75, 4.0]}
    of = recipe(2, sweep, batch=32, width=64, bias_variance=0.05).replace({"compute.precision": "float32"})
    reach = 6 * fixed_point("tanh", [1.0, 1.75, 4.0], 0.05).xi_c
    assert reach[0] < 45 / 2 and reach[1] > 10 * 45 and reach[2] < 45
    accuracy = mx.train(of, steps=[0, 200], rate=0.01, progress=False).training_accuracy.sel(step=200)
    shallow, deep = (accuracy.sel({"network.depth": depth}).mean("realization") for depth in (4, 45))
    assert (shallow > 0.7).all()
    assert deep[1] > 0.6 and deep[0] < 0.25 and deep[2] < 0.4


def test_what_is_not_for_training_is_named():
    for changes, words in (
        ({"input.dataset": "photos"}, r"input\.dataset: 'photos' has no labels to train on; needs digits"),
        ({"network.kernel": 3}, r"network\.kernel: 3 .* need 1"),
        ({"network.dropout": 0.1}, r"network\.dropout: 0\.1 .* need 0"),
        ({"input.batch": 2000}, r"input\.batch: 2000 is more than the 1797 samples"),
    ):
        with pytest.raises(RecipeError, match=words):
            check(recipe().replace(changes))
    with pytest.raises(RecipeError, match=r"network\.dropout"):
        mx.train(recipe(sweep={"network.dropout": [0.0, 0.5]}), progress=False)
    for steps in ([], [3, 2], [-1, 4], [2, 2]):
        with pytest.raises(RequestError, match="steps"):
            mx.train(recipe(), steps=steps, progress=False)
    for rate in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(RequestError, match="rate"):
            mx.train(recipe(), rate=rate, progress=False)
    with pytest.raises(RequestError, match="optimiser: 'SGD' is not one of sgd, adam"):
        mx.train(recipe(), optimiser="SGD", progress=False)


def test_progress_counts_nets(capsys):
    mx.train(recipe(2, {"network.depth": [1, 2]}), steps=[2])
    assert "block 2/2: 4/4 realizations" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained():
    sweep = {"network.depth": [2, 4, 10], "network.weights.variance": [1.0, 1.5, 3.0, 4.0]}
    return mx.train(recipe(2, sweep, bias_variance=0.05), steps=[0, 5, 20], progress=False)


@pytest.mark.parametrize("backend", ["matplotlib", "bokeh"])
def test_picture_has_the_accuracy_and_the_theory(trained, backend, tmp_path):
    figure = trainability(trained, backend=backend)
    assert len(figure) == 2
    for panel, step in zip(figure, (5, 20), strict=True):
        [image], [curve] = (list(panel.traverse(lambda x: x, [kind])) for kind in (hv.QuadMesh, hv.Curve))
        expected = trained.training_accuracy.sel(step=step).mean("realization")
        np.testing.assert_allclose(image.dimension_values("accuracy", flat=False), expected)
        np.testing.assert_allclose(image.interface.coords(image, "depth", edges=True), [1, 3, 7, 13])
        np.testing.assert_allclose(image.interface.coords(image, "variance", edges=True), [0.75, 1.25, 2.25, 3.5, 4.5])
        variance, depth = curve.dimension_values(0), curve.dimension_values(1)
        assert (variance[0], variance[-1]) == (0.75, 4.5)
        np.testing.assert_allclose(depth, 6 * fixed_point("tanh", variance, 0.05).xi_c)
    save(figure, tmp_path / ("f.png" if backend == "matplotlib" else "f.html"))


def test_picture_of_chosen_steps_and_of_nets_without_theory(trained):
    assert len(trainability(trained, steps=[20], backend="bokeh")) == 1
    residual = trained.assign_attrs(recipe=recipe(architecture="res").to_json())
    assert not trainability(residual, backend="bokeh").traverse(lambda x: x, [hv.Curve])
    with pytest.raises(MissingError, match=r"steps \[7\] are not all among those looked at, \[0, 5, 20\]"):
        trainability(trained, steps=[7])
    with pytest.raises(MissingError, match=r"at least two values of network\.depth"):
        trainability(trained.isel({"network.depth": 0}))
