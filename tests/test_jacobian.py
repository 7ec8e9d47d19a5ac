"""Singular values of drawn nets: against products of matrices, finite differences and theory."""

import numpy as np
import pytest
import torch

import moments_xr as mx
from moments_xr.activations import ACTIVATIONS
from moments_xr.errors import RequestError
from moments_xr.inputs import input_batch, load_dataset
from moments_xr.propagation import networks
from moments_xr.propagation.weights import draw, draw_weights, streams, with_dropout
from moments_xr.theory import (
    isometric_point,
    jacobian_moments,
    propagate_variance,
    singular_value_density,
    variance_map,
)


def recipe(shape=(10,), realizations=2, **network):
    return mx.Recipe(
        name="jacobian",
        seed=3,
        realizations=realizations,
        input={"dataset": "gaussian", "shape": list(shape), "batch": 4},
        network={"architecture": "vanilla", "depth": 5, "width": 12, "kernel": 1, "activation": "tanh"} | network,
    )


def drawn(of, realization):
    """The batch, (sample, *space, channel), and the stream of weights, as `run` has them."""
    own = streams(of.seed, [realization], torch.device("cpu"))
    signal = torch.from_numpy(input_batch(of, realization, load_dataset(of)))
    draw(own, tuple(signal.shape), 1.0, torch.device("cpu"))
    flow = draw_weights(of.network, own, signal.shape[-1], signal.ndim - 2, torch.device("cpu"), torch.float64)
    return signal.double(), with_dropout(flow, of.network, of.seed, [realization], torch.device("cpu"))


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("law", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_the_product_of_the_layers_matrices(law, activation, scale):
    of = recipe(activation=activation, weights={"law": law, "variance": 1.7}, bias_variance=0.3)
    of = of.replace({"input.scale": scale})
    found = mx.singular_values(of, layers=[2, 5])
    assert found.dims == ("realization", "layer", "index") and found.attrs["symbol"] == "log s"
    row, cube = ACTIVATIONS[activation], mx.run(of)
    for realization in range(2):
        x, flow = drawn(of, realization)
        x = (x @ next(flow).kernel[0].T).numpy().T
        product = np.eye(12)
        for layer in range(1, 6):
            kernel, bias, _ = next(flow)
            y = kernel[0].numpy() @ x + bias[0].numpy()[:, None]
            product, x = row.derivative(y[:, :1]) * (kernel[0].numpy() @ product), row.phi(y)
            if layer in (2, 5):
                expected = np.linalg.svd(product, compute_uv=False)
                values = np.exp(found.sel(realization=realization, layer=layer))
                np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-13)
        ran = mx.get(cube, "nu2_signal").sel(realization=realization, layer=5, site="act")
        assert (x**2).mean() == pytest.approx(float(ran), rel=1e-5), "the same inputs and weights as `run`"


@pytest.mark.parametrize(
    ("architecture", "shape", "kernel"), [("vanilla", (6, 6, 2), 3), ("res", (8, 3), 3), ("res", (10,), 1)]
)
def test_finite_differences_of_the_signal(architecture, shape, kernel):
    of = recipe(shape, 1, architecture=architecture, kernel=kernel, depth=3, width=4, bias_variance=0.1)
    signal, flow = drawn(of, 0)
    signal = signal[:1]
    start = networks.embed(of.network, torch.stack([signal, signal])[None], flow)[0, 0]
    kernels = [next(flow) for _ in range(of.network.convolutions)]

    def output(x):
        """x^L of many inputs at once: (sample, *space, channel)."""
        pair, layers = torch.stack([x, x])[None], iter(kernels)
        for _ in range(of.network.depth):
            *_, (_, pair) = networks.LAYERS[architecture](of.network, pair, layers)
        return pair[0, 0].flatten(1)

    size, step = start.numel(), 1e-5
    shifts = step * torch.eye(size, dtype=torch.float64).view(size, *start.shape[1:])
    jacobian = (output(start + shifts) - output(start - shifts)) / (2 * step)
    expected = np.linalg.svd(jacobian.numpy(), compute_uv=False)
    values = np.exp(mx.singular_values(of).values[0, 0])
    assert len(values) == size
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-8)


def test_no_overflow_at_any_depth():
    """Weights of four times the variance multiply a ReLU net's singular values by 2 a layer: here, to 2^1500 and more."""
    deep, deeper = (
        mx.singular_values(recipe(realizations=1, activation="relu", depth=1500, width=40, weights=weights)).values
        for weights in ({"law": "gaussian", "variance": 2.0}, {"law": "gaussian", "variance": 8.0})
    )
    there = np.isfinite(deep)
    assert there.any() and deeper[0, 0, 0] > 700
    np.testing.assert_allclose(deeper[there] - deep[there], 1500 * np.log(2), rtol=1e-12)


@pytest.mark.parametrize("law", ["gaussian", "orthogonal"])
def test_moments_of_drawn_nets_are_those_of_theory(law):
    """tanh: mean and relative variance of s² over 8 nets of 6 layers; q changes from layer to layer, and layers add up."""
    depth, width, nets, variance, bias = 6, 200, 8, 1.3, 0.1
    weights = {"law": law, "variance": variance}
    of = recipe((width,), nets, depth=depth, width=width, weights=weights, bias_variance=bias)
    squares = np.exp(2 * mx.singular_values(of).values[:, 0])
    q = np.exp(propagate_variance("tanh", depth, variance, bias, q=variance + bias)[:-1])
    layers = jacobian_moments("tanh", 1, variance, q, law)
    spectrum = singular_value_density("tanh", depth, variance, q, law)
    for fraction in (0.25, 0.5, 0.8):
        below = (squares < np.exp(2 * spectrum.log_quantile(fraction))).mean(-1)
        assert abs(below.mean() - fraction) < 4.5 * below.std(ddof=1) / np.sqrt(nets) + 2 / width
    log_mean, spread = np.log(squares.mean(-1)), (squares**2).mean(-1) / squares.mean(-1) ** 2 - 1
    for found, predicted in ((log_mean, layers.log_mean.sum()), (spread, layers.relative_variance.sum())):
        # Finite width moves both by O(depth²/width), relative to the spread.
        error = 4.5 * found.std(ddof=1) / np.sqrt(nets) + depth**2 / width
        assert abs(found.mean() - predicted) < error, (found.mean(), predicted, error)
    assert layers.relative_variance.sum() > 5 * (4.5 * spread.std(ddof=1) / np.sqrt(nets) + depth**2 / width)


def test_relu_spectrum_beside_theory():
    """Quantiles of ReLU's singular values with orthogonal weights, at any input: mean over 6 nets, width 150."""
    depth, width, nets = 4, 150, 6
    of = recipe(
        (width,), nets, activation="relu", depth=depth, width=width, weights={"law": "orthogonal", "variance": 2}
    )
    values = mx.singular_values(of).values[:, 0]
    law = singular_value_density("relu", depth, 2, 1, "orthogonal")
    for fraction in (0.6, 0.8, 0.95):
        below = (values < law.log_quantile(fraction)).mean(-1)
        assert abs(below.mean() - fraction) < 4.5 * below.std(ddof=1) / np.sqrt(nets) + 1 / width
    squares = np.exp(2 * values)
    spread = (squares**2).mean(-1) / squares.mean(-1) ** 2 - 1
    predicted = jacobian_moments("relu", depth, 2, 1, "orthogonal").relative_variance
    assert abs(spread.mean() - predicted) < 4.5 * spread.std(ddof=1) / np.sqrt(nets) + 2 * depth**2 / width


def test_the_isometric_point_is_isometric_from_inputs_of_its_scale():
    """tanh, orthogonal weights, 30 layers: relative variance 0.1, where inputs of variance 1 leave ten times as much."""
    depth, width, nets = 30, 200, 5
    point = isometric_point("tanh", depth, 0.1)
    first = variance_map("linear", point.input_scale**2, point.weight_variance, point.bias_variance)
    assert float(first) == pytest.approx(point.q), "the first pre-activations have variance q*"
    weights = {"law": "orthogonal", "variance": point.weight_variance}
    of = recipe((4 * width,), nets, depth=depth, width=width, weights=weights, bias_variance=point.bias_variance)

    def spread(scale):
        squares = np.exp(2 * mx.singular_values(of.replace({"input.scale": scale})).values[:, 0])
        return (squares**2).mean(-1) / squares.mean(-1) ** 2 - 1

    narrow, wide = spread(point.input_scale), spread(1.0)
    # The mean square of one input of 4 · width numbers varies by √(2/4 width), and the relative variance as its square.
    error = 4.5 * 0.1 * 2 * np.sqrt(2 / (4 * width * nets)) + 0.1 * depth / width
    assert abs(narrow.mean() - 0.1) < error, narrow
    assert wide.min() > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network.architecture": "bn_ff"}, "'bn_ff' has batch norm.*needs one of vanilla"),
        ({"network.dropout": 0.1}, "network.dropout: 0.1 gives each mask"),
        ({"network.width": 5000}, "5000 rows; 4096 at most"),
        ({"sweep": {"network.depth": [2, 3]}}, "give one of recipe.nodes"),
    ],
)
def test_errors_say_what_is_wrong(changes, message):
    with pytest.raises(RequestError, match=message):
        mx.singular_values(recipe().replace(changes))


def test_layers_and_realizations_that_are_not_there():
    with pytest.raises(RequestError, match=r"layers: \[6\] need to be different ones from 1 to network.depth, 5"):
        mx.singular_values(recipe(), layers=[6])
    with pytest.raises(RequestError, match="realizations: none"):
        mx.singular_values(recipe(), realizations=[])
