"""Moments, statistics over channels and ranks equal direct numpy formulas on the materialised tensors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import moments_xr as mx
from moments_xr.activations import ACTIVATIONS
from moments_xr.propagation.measure import RANKED, REDUCTIONS, STATISTICS, Views, channel_moments, effective_rank, pool
from moments_xr.propagation.networks import LAYERS, embed
from moments_xr.propagation.weights import Convolution
from moments_xr.quantities import ARCHITECTURES, MOMENTS, pooled_names
from moments_xr.quantities import STATISTICS as ROWS

DIRECT = {
    "nu1_signal": lambda x, dx: x.mean(1),
    "nu1_abs_signal": lambda x, dx: np.abs(x).mean(1),
    "nu2_signal": lambda x, dx: (x**2).mean(1),
    "mu2_signal": lambda x, dx: ((x - x.mean(1, keepdims=True)) ** 2).mean(1),
    "mu4_signal": lambda x, dx: ((x - x.mean(1, keepdims=True)) ** 4).mean(1),
    "mu2_noise": lambda x, dx: (dx**2).mean(1),
    "mu4_noise": lambda x, dx: (dx**4).mean(1),
}
DIRECT_STATISTICS = {
    "nu1_plus_minus_signal": lambda x, dx: (np.maximum(x, 0).mean(1) * np.maximum(-x, 0).mean(1)).mean(-1),
    "mu2_ratio": lambda x, dx: (DIRECT["mu2_noise"](x, dx) / DIRECT["mu2_signal"](x, dx)).mean(-1),
    "var_nu2_signal": lambda x, dx: DIRECT["nu2_signal"](x, dx).var(-1, ddof=1),
    "var_mu2_signal": lambda x, dx: DIRECT["mu2_signal"](x, dx).var(-1, ddof=1),
    "var_mu2_noise": lambda x, dx: DIRECT["mu2_noise"](x, dx).var(-1, ddof=1),
}


def direct_rank(v):
    """From the singular values of the centred vectors: the full decomposition that the package avoids."""
    return np.array([(s**2).sum() / (s**2).max() for s in (np.linalg.svd(r - r.mean(0), compute_uv=False) for r in v)])


def test_every_registered_row_has_one_reduction():
    assert REDUCTIONS.keys() == MOMENTS.keys() == DIRECT.keys()
    assert STATISTICS.keys() == ROWS.keys() == DIRECT_STATISTICS.keys()
    assert LAYERS.keys() == ARCHITECTURES.keys()
    assert all(set(row.needs) <= MOMENTS.keys() for row in ROWS.values())


shapes = st.tuples(
    st.integers(1, 3),
    st.integers(2, 6),
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(2, 9),
    st.sampled_from(["f4", "f8"]),
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**31), st.floats(-3, 3))
def test_moments_and_ranks_equal_numpy(shape, seed, offset):
    realizations, batch, space, channels, dtype = shape
    rng = np.random.default_rng(seed)
    tensor = rng.normal(size=(realizations, 2, batch, *space, channels)) * rng.lognormal(size=channels) + offset
    pair = torch.from_numpy(tensor.astype(dtype))
    x, dx = (tensor.astype(dtype).astype("f8").reshape(realizations, 2, -1, channels)[:, i] for i in (0, 1))
    tolerance = {"rtol": 2e-4, "atol": 2e-6} if dtype == "f4" else {"rtol": 1e-11, "atol": 1e-13}
    views = Views(pair)
    measured = channel_moments(views, tuple(MOMENTS))
    for name, values in zip(MOMENTS, measured.unbind(1), strict=True):
        np.testing.assert_allclose(values, DIRECT[name](x, dx), **tolerance, err_msg=name)
    names = pooled_names(tuple(MOMENTS))
    for name, values in zip(names, pool(measured, tuple(MOMENTS), names).unbind(1), strict=True):
        expected = DIRECT_STATISTICS[name](x, dx) if name in ROWS else DIRECT[name](x, dx).mean(-1)
        scale = (
            {"rtol": 1e-3, "atol": 1e-3 * np.abs(expected).max()} if dtype == "f4" else {"rtol": 1e-10, "atol": 1e-12}
        )
        np.testing.assert_allclose(values, expected, **scale, err_msg=name)
    for tensor_name, v in (("signal", x), ("noise", dx)):
        np.testing.assert_allclose(
            effective_rank(RANKED[tensor_name](views)), direct_rank(v), rtol=tolerance["rtol"] * 10
        )


def materialised(net, signal, noise, drawn, layer):
    """Every site's tensors of one layer, in float64, without the measuring code."""
    weights = iter([Convolution(torch.from_numpy(k)) for k in drawn])
    pair = embed(net, torch.from_numpy(np.stack([signal, noise], 1)), weights)
    for depth in range(1, net.depth + 1):
        sites = {}
        for site, state in LAYERS[net.architecture](net, pair, weights):
            sites[site] = state.flatten(2, -2).clone().numpy()
        pair = state
        if depth == layer:
            return sites
    raise AssertionError


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(ARCHITECTURES)), st.sampled_from([(1, 1), (3, 1), (3, 2), (2, 2), (3, 3)]),
    st.sampled_from(["periodic", "zero", "symmetric"]), st.integers(0, 2**31),
)  # fmt: skip
def test_the_cube_holds_the_moments_of_the_tensors(architecture, geometry, boundary, seed):
    """From `mx.propagate` to `get`: rescaling, labels and sites included; and it doesn't matter what else is measured."""
    kernel, dimensions = geometry
    boundary = "periodic" if kernel % 2 == 0 else boundary
    rng = np.random.default_rng(seed)
    net = mx.recipe("quickstart").network.model_validate(
        {"architecture": architecture, "depth": 3, "width": 4, "kernel": kernel, "boundary": boundary}
    )
    shape = (2, 4, 3) if kernel == 1 else (2, 4, *(4,) * dimensions, 3)
    signal, noise = rng.normal(size=(2, *shape))
    taps = () if kernel == 1 else (kernel,) * dimensions
    drawn = [
        rng.normal(size=(2, 4, *taps, 4 if i else 3)) * (2 / (4 * math.prod(taps))) ** 0.5
        for i in range(net.convolutions + 1)
    ]
    compute = {"precision": "float64"}
    measure = {"effective_rank": ["signal", "noise"], "channels": "all"}
    ds = mx.propagate(net, signal, noise, drawn, measure=measure, compute=compute)
    few = mx.propagate(
        net, signal, noise, drawn, measure={"every": 3, "sites": [ARCHITECTURES[architecture].output]}, compute=compute
    )
    for site, tensor in materialised(net, signal, noise, drawn, 3).items():
        x, dx = tensor[:, 0], tensor[:, 1]
        at = {"layer": 3, "site": site}
        for name, formula in DIRECT.items():
            expected = formula(x, dx)
            np.testing.assert_allclose(mx.get(ds, name).sel(at), expected.mean(-1), rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(mx.get(ds, name, channels=True).sel(at), expected, rtol=1e-6, atol=1e-9)
        mu2_ratio_defined = (DIRECT["mu2_signal"](x, dx) > 0).all()
        if mu2_ratio_defined:
            np.testing.assert_allclose(
                mx.get(ds, "mu2_ratio").sel(at), DIRECT_STATISTICS["mu2_ratio"](x, dx), rtol=1e-8
            )
        if (np.ptp(x, axis=1) > 0).any(-1).all():
            np.testing.assert_allclose(mx.effective_rank(ds).sel(at), direct_rank(x), rtol=1e-5)
    np.testing.assert_array_equal(few.pooled_moments.squeeze(), ds.pooled_moments.sel(layer=3).isel(site=-1))


def test_rank_of_zeros_is_nan_and_of_one_direction_is_one():
    assert math.isnan(effective_rank(torch.zeros(1, 4, 3)).item())
    line = torch.linspace(-1, 1, 5)[None, :, None] * torch.tensor([1.0, -2.0, 0.5])
    assert effective_rank(line).item() == pytest.approx(1.0, abs=1e-6)


def test_isotropic_noise_has_the_rank_that_random_matrix_theory_gives():
    """THEORY 2: r_eff of isotropic noise in 512 dimensions is 35 at M = 64 and 372 at M = 16384."""
    for vectors, published in ((64, 35), (16384, 372)):
        noise = torch.randn(1, vectors, 512, generator=torch.Generator().manual_seed(0))
        ratio = 512 / vectors
        largest = (1 + math.sqrt(ratio)) ** 2  # Marchenko-Pastur edge, in units of the variance
        rank = effective_rank(noise - noise.mean(1, keepdim=True)).item()
        assert rank == pytest.approx(512 / largest, rel=0.06)
        assert rank == pytest.approx(published, rel=0.06)


@pytest.mark.parametrize("selection", [["mu2_noise"], ["mu2_signal", "mu2_noise"], ["nu1_signal", "nu1_abs_signal"]])
def test_a_selection_of_moments_measures_the_same_values(small, selection):
    every = mx.run(small(), progress=False)
    some = mx.run(small(measure__moments=selection), progress=False)
    assert some.moment.values.tolist() == selection
    np.testing.assert_array_equal(some.channel_moments, every.channel_moments.sel(moment=selection))
    np.testing.assert_array_equal(some.pooled_moments, every.pooled_moments.sel(pooled_moment=some.pooled_moment))
    assert some.pooled_moment.values.tolist() == list(pooled_names(tuple(selection)))


def test_selected_sites_are_those_in_the_flow(small):
    ds = mx.run(small(measure__sites=["act", "input"]), progress=False)
    assert ds.site.values.tolist() == ["input", "act"]
    assert mx.increments(ds).notnull().all()


@pytest.mark.parametrize(("architecture", "activation"), [("vanilla", "tanh"), ("bn_ff", "gelu"), ("res", "elu")])
def test_spread_of_slopes_is_that_of_the_formula(architecture, activation):
    """Against φ' of numpy at the pre-activations of the first layer, at the size that they have."""
    rng = np.random.default_rng(0)
    x, dx = 3 * rng.normal(size=(2, 2, 40, 20))
    kernels = [rng.normal(size=(2, 12, n)) / np.sqrt(n) for n in ((20, 12) if architecture != "res" else (20, 12, 12))]
    network = {"architecture": architecture, "depth": 1, "width": 12, "kernel": 1, "activation": activation}
    ds = mx.propagate(network, x, dx, kernels, compute={"precision": "float64"})
    y = x @ np.swapaxes(kernels[1] @ kernels[0], 1, 2)
    z = (y - y.mean(1, keepdims=True)) / np.sqrt(y.var(1, keepdims=True) + 1e-3) if architecture == "bn_ff" else y
    slope = ACTIVATIONS[activation].derivative(z)
    expected = slope.var(1).mean(-1) / slope.var((1, 2))
    np.testing.assert_allclose(ds.slope_spread[:, 0], expected, rtol=1e-10)
    assert ds.slope_spread.dims == ("realization", "layer")


def test_spread_of_slopes_is_measured_of_curved_activations_only(cubes):
    assert all("slope_spread" not in ds for ds in cubes.values()), "ν₁⁺ν₁⁻ tells of ReLU"
