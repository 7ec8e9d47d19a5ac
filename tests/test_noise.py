"""The noise is the exact derivative of the network (batch norm's statistics frozen), linear, and equivariant."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import moments_xr as mx
from moments_xr.activations import LEAK, SELU_ALPHA, SELU_SCALE
from moments_xr.propagation import networks
from moments_xr.propagation.steps import flat, rescale_
from moments_xr.propagation.weights import Convolution
from moments_xr.recipe import Network

BOUNDARIES = ["periodic", "symmetric", "zero"]
EPSILON = 1e-3


def network(architecture, kernel, boundary, depth=3, **more):
    return Network(architecture=architecture, depth=depth, width=5, kernel=kernel, boundary=boundary, **more)


def inputs(kernel, dimensions, seed=0, batch=4, channels=2, extent=6):
    g = torch.Generator().manual_seed(seed)
    shape = (1, batch, channels) if kernel == 1 else (1, batch, *(extent,) * dimensions, channels)
    return tuple(torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(2))


def masks(net, dimensions, seed=2, batch=4, extent=6):
    """What dropout keeps of the input of each convolution after the embedding."""
    g = torch.Generator().manual_seed(seed)
    space = () if net.kernel == 1 else (extent // 2,) * dimensions
    return [
        torch.bernoulli(torch.full((1, batch, *space, net.width), 1 - net.dropout), generator=g)
        for _ in range(net.convolutions)
    ]


def kernels(net, dimensions, channels=2, seed=1):
    g = torch.Generator().manual_seed(seed)
    taps = () if net.kernel == 1 else (net.kernel,) * dimensions
    sizes = [(1, net.width, *taps, channels), *[(1, net.width, *taps, net.width)] * net.convolutions]
    return [torch.randn(size, generator=g, dtype=torch.float64) / np.sqrt(np.prod(size[2:])) for size in sizes]


def output(net, signal, noise, drawn, kept=None):
    """The last site's pair, by the code under test."""
    mask = [None] * len(drawn) if kept is None else [None, *(lambda shape, m=m: m for m in kept)]
    weights = iter([Convolution(k, None, m) for k, m in zip(drawn, mask, strict=True)])
    pair = networks.embed(net, torch.stack([signal, noise], 1), weights)
    scale = 0
    for _ in range(net.depth):
        scale = scale + rescale_(pair[:, 1])
        *_, (_, pair) = networks.LAYERS[net.architecture](net, pair, weights)
    return pair[0, 0], pair[0, 1] * 2.0 ** scale[0]


def reference(net, drawn, signal, statistics=None, phi=F.relu, kept=None):
    """The same network written with torch's own layers, channels first; with `statistics` batch norm is frozen."""
    recorded = []

    def conv(x, kernel, stride=1):
        k = kernel[0].movedim(-1, 1)
        dimensions = k.ndim - 2
        if dimensions == 0:
            return x @ k.T
        pads = []
        for extent in reversed(x.shape[2:]):
            if net.boundary == "periodic":
                pads += [net.kernel - 1, 0]
            elif net.boundary == "symmetric":
                pads += [(net.kernel - 1) // 2] * 2
            else:
                total = (-(-extent // stride) - 1) * stride + net.kernel - extent
                pads += [total // 2, total - total // 2]
        # an edge that is repeated once is replication, for the pads of one tested here
        mode = {"periodic": "circular", "symmetric": "replicate", "zero": "constant"}[net.boundary]
        return (F.conv1d, F.conv2d, F.conv3d)[dimensions - 1](F.pad(x, pads, mode=mode), k, stride=stride)

    def bn(y):
        dims = [0, *range(2, y.ndim)]
        if statistics is None:
            mean, var = y.mean(dims, keepdim=True), y.var(dims, keepdim=True, correction=0)
            recorded.append((mean.detach(), var.detach()))
        else:
            mean, var = statistics[len(recorded)]
            recorded.append((mean, var))
        return (y - mean) / (var + net.epsilon).sqrt()

    left, keep = iter(drawn), iter(kept or [])
    x = conv(signal[0].movedim(-1, 1), next(left), stride=1 if net.kernel == 1 else 2)

    def layer(y):
        dropped = y * next(keep)[0].movedim(-1, 1) / (1 - net.dropout) if kept else y
        return conv(dropped, next(left))

    for _ in range(net.depth):
        if net.architecture == "vanilla":
            x = phi(layer(x))
        elif net.architecture == "bn_ff":
            x = phi(bn(layer(x)))
        elif net.architecture == "res":
            x = x + layer(phi(layer(x)))
        else:
            y = x
            for _ in range(net.unit_depth):
                y = layer(phi(bn(y)))
            x = x + y
    return x.movedim(1, -1), recorded


CASES = [
    (architecture, kernel, dimensions, boundary)
    for architecture, (kernel, dimensions) in itertools.product(networks.LAYERS, [(1, 1), (3, 1), (3, 2), (3, 3)])
    for boundary in BOUNDARIES
    if kernel > 1 or boundary == "periodic"
]


@pytest.mark.parametrize(("architecture", "kernel", "dimensions", "boundary"), CASES)
def test_noise_equals_forward_mode_derivative(architecture, kernel, dimensions, boundary):
    net = network(architecture, kernel, boundary)
    signal, noise = inputs(kernel, dimensions)
    drawn = kernels(net, dimensions)
    x, dx = output(net, signal, noise, drawn)
    expected, statistics = reference(net, drawn, signal)
    _, tangent = torch.func.jvp(lambda s: reference(net, drawn, s, statistics)[0], (signal,), (noise,))
    torch.testing.assert_close(x, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(dx, tangent, rtol=1e-10, atol=1e-11)


TORCH = {
    "linear": lambda y: y,
    "leaky_relu": lambda y: torch.where(y > 0, y, LEAK * y),
    "tanh": torch.tanh,
    "hard_tanh": lambda y: y.clamp(-1, 1),
    "erf": torch.erf,
    "elu": lambda y: torch.where(y > 0, y, torch.expm1(y)),
    "selu": lambda y: SELU_SCALE * torch.where(y > 0, y, SELU_ALPHA * torch.expm1(y)),
    "gelu": lambda y: y * torch.special.ndtr(y),
    "silu": lambda y: y * torch.sigmoid(y),
}


@pytest.mark.parametrize(("activation", "phi"), [*TORCH.items(), ("relu", F.relu)])
@pytest.mark.parametrize("architecture", networks.LAYERS)
def test_noise_of_every_activation_with_dropout(activation, phi, architecture):
    net = network(architecture, 3, "periodic", activation=activation, dropout=0.3)
    signal, noise = inputs(3, 2)
    drawn, kept = kernels(net, 2), masks(net, 2)
    x, dx = output(net, signal, noise, drawn, kept)
    expected, statistics = reference(net, drawn, signal, None, phi, kept)
    _, tangent = torch.func.jvp(lambda s: reference(net, drawn, s, statistics, phi, kept)[0], (signal,), (noise,))
    torch.testing.assert_close(x, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(dx, tangent, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("boundary", ["periodic", "zero"])
@pytest.mark.parametrize("kernel", [2, 4])
def test_even_kernels(kernel, boundary):
    net = network("bn_ff", kernel, boundary, depth=2)
    signal, noise = inputs(kernel, 2, extent=8)
    drawn = kernels(net, 2)
    expected, statistics = reference(net, drawn, signal)
    _, tangent = torch.func.jvp(lambda s: reference(net, drawn, s, statistics)[0], (signal,), (noise,))
    x, dx = output(net, signal, noise, drawn)
    torch.testing.assert_close(x, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(dx, tangent, rtol=1e-10, atol=1e-11)


def test_symmetric_boundary_repeats_the_edge_beyond_one():
    """Kernel 5 pads by two: np.pad's `symmetric`, which replication is not."""
    from moments_xr.propagation.steps import pad

    pair = torch.arange(2 * 4.0).view(1, 2, 1, 4, 1)
    padded = pad(pair, (5,), "symmetric", 1)[0, 0, 0, :, 0]
    assert padded.tolist() == [1, 0, 0, 1, 2, 3, 3, 2]


def test_zero_boundary_with_stride_two_pads_the_high_end():
    from moments_xr.propagation.steps import padding

    assert padding(32, 3, "zero", 2) == (0, 1)
    assert padding(32, 3, "zero", 1) == (1, 1)
    assert padding(32, 3, "periodic", 2) == (2, 0)
    assert padding(32, 3, "symmetric", 2) == (1, 1)


@pytest.mark.parametrize("architecture", networks.LAYERS)
def test_noise_is_linear_in_its_input(architecture):
    net = network(architecture, 3, "periodic")
    signal, first = inputs(3, 2)
    second = inputs(3, 2, seed=5)[1]
    drawn = kernels(net, 2)
    one, two, both = (output(net, signal, noise, drawn)[1] for noise in (first, second, 3.0 * first - 0.5 * second))
    torch.testing.assert_close(both, 3.0 * one - 0.5 * two, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("architecture", networks.LAYERS)
def test_a_periodic_net_commutes_with_translations(architecture):
    """By two positions of the input, which are one after the embedding of stride two."""
    net = network(architecture, 3, "periodic")
    signal, noise = inputs(3, 2)
    drawn = kernels(net, 2)
    x, dx = output(net, signal, noise, drawn)
    moved = output(net, signal.roll((2, -4), (2, 3)), noise.roll((2, -4), (2, 3)), drawn)
    torch.testing.assert_close(moved[0], x.roll((1, -2), (1, 2)), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(moved[1], dx.roll((1, -2), (1, 2)), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("architecture", ["vanilla", "bn_res"])
def test_chi_equals_the_jacobian_norm(architecture):
    """(χ^l)² = (1/N) E_x‖J‖_F² · E_c Var x⁰ / E_c Var x^l (THEORY 3): the noise runs over the basis of the input."""
    channels, batch = 6, 5
    net = network(architecture, 1, "periodic")
    signal, _ = inputs(1, 1, batch=batch, channels=channels)
    drawn = kernels(net, 1, channels=channels)
    expected, statistics = reference(net, drawn, signal)
    jacobians = torch.stack([
        torch.func.jacrev(lambda s, i=i: reference(net, drawn, signal.index_copy(1, torch.tensor([i]), s[None, None]), statistics)[0][i])(signal[0, i])
        for i in range(batch)
    ])  # fmt: skip
    var_in, var_out = signal[0].var(0, correction=0).mean(), expected.var(0, correction=0).mean()
    jacobian_chi = (jacobians.square().sum((1, 2)).mean() / net.width * var_in / var_out).sqrt()
    basis = torch.eye(channels, dtype=torch.float64).view(channels, 1, 1, channels).expand(channels, 1, batch, channels)
    responses = torch.stack([output(net, signal, one.clone(), drawn)[1] for one in basis])
    mu2_noise = responses.square().sum(0).mean()
    chi = (mu2_noise * var_in / var_out).sqrt()
    torch.testing.assert_close(chi, jacobian_chi, rtol=1e-10, atol=0)


def test_measured_chi_estimates_the_jacobian_norm():
    """One white draw an input estimates ‖J‖_F: over 200 draws the mean of χ² is within five standard errors."""
    net = network("vanilla", 1, "periodic", depth=4)
    signal, _ = inputs(1, 1, batch=8, channels=6)
    drawn = kernels(net, 1, channels=6)
    draws = 200
    noise = np.random.default_rng(0).normal(size=(draws, 8, 6))
    repeated = np.repeat(signal.numpy(), draws, 0)
    ds = mx.propagate(
        net, repeated, noise, [np.repeat(k.numpy(), draws, 0) for k in drawn], compute={"precision": "float64"}
    )
    squares = (mx.chi(ds).sel(site="act", layer=4) ** 2).values
    basis = [
        output(net, signal, torch.eye(6, dtype=torch.float64)[i].expand(1, 8, 6).clone(), drawn)[1] for i in range(6)
    ]
    x, _ = output(net, signal, torch.zeros_like(signal), drawn)
    exact = (
        torch.stack(basis).square().sum(0).mean()
        * flat(torch.stack([signal, signal], 1))[0].var(1, correction=0).mean()
        / x.var(0, correction=0).mean()
    )
    assert abs(squares.mean() - float(exact)) < 5 * squares.std() / np.sqrt(draws)
