"""Laws of the weights, dropout, and what of them reaches the cube (THEORY 8)."""

import numpy as np
import pytest
import torch
from scipy import stats

import moments_xr as mx
from moments_xr.activations import ACTIVATIONS
from moments_xr.analysis.criteria import log_one_sidedness
from moments_xr.errors import MissingError, RecipeError
from moments_xr.propagation import weights
from moments_xr.propagation.weights import LAWS, Stream, streams
from moments_xr.quantities import LAWS as NAMED
from moments_xr.recipe import Network

CPU = torch.device("cpu")


def kernels(law, shape, variance=1.0, realizations=3, seed=0):
    return LAWS[law](streams(seed, range(realizations), CPU), shape, variance, CPU)


def recipe(**network):
    changes = {f"network.{key}": value for key, value in network.items()}
    base = mx.Recipe(
        name="laws",
        realizations=4,
        input={"dataset": "gaussian", "shape": [24], "batch": 8},
        network={"architecture": "vanilla", "depth": 6, "width": 16, "kernel": 1},
    )
    return base.replace(changes)


def test_every_named_law_is_drawn():
    assert set(LAWS) == set(NAMED)


@pytest.mark.parametrize("shape", [(12, 12), (12, 3, 12), (12, 3, 3, 12)])
def test_orthogonal_rows(shape):
    w = kernels("orthogonal", shape, variance=1.7).flatten(2)
    eye = torch.eye(12, dtype=torch.float64).expand(3, -1, -1)
    torch.testing.assert_close(w @ w.mT, 1.7 * eye, rtol=0, atol=1e-12)


def test_orthogonal_is_uniform():
    """Haar: the first entry of a matrix of size 3 is uniform on [−1, 1], and the trace has mean 0 and variance 1."""
    w = kernels("orthogonal", (3, 3), realizations=4000).numpy()
    assert stats.kstest(w[:, 0, 0], stats.uniform(-1, 2).cdf).pvalue > 1e-4
    assert stats.kstest(w[:, 2, 2], stats.uniform(-1, 2).cdf).pvalue > 1e-4
    trace = np.trace(w, axis1=1, axis2=2)
    assert abs(trace.mean()) < 4 / np.sqrt(4000)
    assert abs(trace.var() - 1) < 4 * np.sqrt(2 / 4000)
    assert (np.linalg.det(w) > 0).mean() == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(4000))


def test_delta_orthogonal_is_at_the_centre():
    w = kernels("delta_orthogonal", (8, 3, 5, 8), variance=2.0)
    centre = w[:, :, 1, 2]
    torch.testing.assert_close(centre @ centre.mT, 2 * torch.eye(8, dtype=torch.float64).expand(3, -1, -1))
    assert torch.count_nonzero(w) == torch.count_nonzero(centre)


def test_delta_orthogonal_nets_keep_every_norm():
    """Linear, periodic: an isometry at each layer, so χ = 1 and ν₂ stays, to rounding."""
    net = mx.Recipe(
        name="delta", realizations=2,
        input={"dataset": "gaussian", "shape": [8, 8, 3], "batch": 4},
        network={"architecture": "vanilla", "depth": 10, "width": 6, "kernel": 3, "activation": "linear",
                 "weights": {"law": "delta_orthogonal", "variance": 1.0}},
        compute={"precision": "float64"},
    )  # fmt: skip
    ds = mx.run(net, progress=False)
    nu2 = ds.moments.get("nu2_signal", log=True).sel(site="act")
    assert float(abs(nu2 - nu2.isel(layer=0)).max()) < 1e-12
    assert float(abs(ds.moments.increments("chi", log=True)).max()) < 1e-12


@pytest.mark.parametrize("architecture", ["vanilla", "res"])
@pytest.mark.parametrize("bias", [0.0, 0.3])
def test_mirrored_relu_nets_are_linear(architecture, bias):
    """The difference of the halves of a vanilla net's output, the whole of a residual net's."""
    network = recipe(
        architecture=architecture, weights={"law": "mirrored", "variance": 2.0}, bias_variance=bias
    ).network
    signal, step = np.random.default_rng(0).normal(size=(2, 2, 5, 24))
    flow = weights.draw_weights(network, streams(3, range(2), CPU), 24, 0, CPU, torch.float64)
    drawn = [next(flow) for _ in range(network.convolutions + 1)]
    start, near, far = (_outputs(network, drawn, signal + factor * step) for factor in (0, 1, 100))
    np.testing.assert_allclose(far - start, 100 * (near - start), rtol=1e-9, atol=1e-9)


def _outputs(network, drawn, signal):
    from moments_xr.propagation import networks

    pair = torch.from_numpy(np.stack([signal, np.zeros_like(signal)], 1))
    flow = iter([weights.Convolution(*one) for one in drawn])
    pair = networks.embed(network, pair, flow)
    for _ in range(network.depth):
        *_, (_, pair) = networks.LAYERS[network.architecture](network, pair, flow)
    x = pair[:, 0].numpy()
    half = x.shape[-1] // 2
    return x[..., :half] - x[..., half:] if network.architecture == "vanilla" else x


@pytest.mark.parametrize("law", LAWS)
def test_mean_square_of_pre_activations(law):
    """E ν₂(y) = σ_w² ν₂(x) + σ_b², whatever the law, to five standard errors; for mirrored, of inputs of random signs."""
    kernel = 3 if law == "delta_orthogonal" else 1
    shape = [6, 6, 8] if kernel > 1 else [24]
    net = mx.Recipe(
        name="law", realizations=400, input={"dataset": "gaussian", "shape": shape, "batch": 3},
        network={"architecture": "vanilla", "depth": 1, "width": 32, "kernel": kernel, "activation": "linear",
                 "weights": {"law": law, "variance": 1.3}, "bias_variance": 0.4},
    )  # fmt: skip
    nu2 = mx.run(net, progress=False).moments.get("nu2_signal")
    excess = (nu2.sel(site="conv") - 1.3 * nu2.sel(site="input") - 0.4).squeeze("layer").values
    assert abs(excess.mean()) < 5 * excess.std() / np.sqrt(len(excess))


def test_dropout_changes_no_weight_and_no_input():
    """Its streams are its own: before the first mask acts, nets with and without it are the same."""
    without = mx.run(recipe(), progress=False)
    dropped = mx.run(recipe(dropout=0.5), progress=False)
    at = {"site": "input", "layer": 1}
    assert dropped.pooled_moments.sel(at).equals(without.pooled_moments.sel(at))
    assert not dropped.pooled_moments.sel(site="conv", layer=1).equals(without.pooled_moments.sel(site="conv", layer=1))


def test_dropout_keeps_the_share_it_says():
    mask = weights.masks([Stream(0, (r, 0), CPU) for r in range(4)], Network(
        architecture="vanilla", depth=1, width=4, kernel=1, dropout=0.2), CPU)  # fmt: skip
    kept = mask((100, 50)).numpy()
    assert set(np.unique(kept)) == {0.0, 1.0}
    assert kept.mean() == pytest.approx(0.8, abs=4 * np.sqrt(0.8 * 0.2 / kept.size))
    assert not np.array_equal(kept[0], kept[1]) and not np.array_equal(kept, mask((100, 50)).numpy())


def test_dropout_multiplies_the_second_moment():
    """E ν₂(y) = σ_w² ν₂(x)/ρ (THEORY 8)."""
    net = recipe(dropout=0.4, activation="linear", depth=1, width=64).replace({"realizations": 300})
    nu2 = mx.run(net, progress=False).moments.get("nu2_signal")
    excess = (nu2.sel(site="conv") - 2.0 / 0.6 * nu2.sel(site="input")).values
    assert abs(excess.mean()) < 5 * excess.std() / np.sqrt(excess.size)


@pytest.mark.parametrize("law", ["gaussian", "orthogonal", "mirrored"])
def test_draws_do_not_depend_on_the_block(law):
    one = recipe(weights={"law": law, "variance": 2.0}, dropout=0.1, bias_variance=0.1).replace({"compute.block": 1})
    four = one.replace({"compute.block": 4})
    a, b = (mx.run(r, progress=False).moments.get("mu2_signal", log=True) for r in (one, four))
    np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("activation", [name for name, row in ACTIVATIONS.items() if not row.homogeneous])
@pytest.mark.parametrize("architecture", ["vanilla", "res"])
def test_rescaling_changes_no_number(activation, architecture):
    """Signals of any size: a net whose input is 2⁶ times larger equals the same net computed without rescaling."""
    net = recipe(architecture=architecture, activation=activation, weights={"law": "gaussian", "variance": 3.0},
                 bias_variance=0.2).replace({"compute.precision": "float64"})  # fmt: skip
    rng = np.random.default_rng(1)
    signal, noise = 64 * rng.normal(size=(1, 5, 24)), rng.normal(size=(1, 5, 24))
    own = streams(3, range(1), CPU)
    flow = weights.draw_weights(net.network, own, 24, 0, CPU, torch.float64)
    drawn = [next(flow) for _ in range(net.network.convolutions + 1)]
    network = net.network.model_dump(mode="json", exclude_none=True)
    ds = mx.propagate(network, signal, noise, [k for k, _ in drawn], biases=[b for _, b in drawn[1:]],
                      compute={"precision": "float64"})  # fmt: skip
    plain = _plain_variance(net.network, drawn, signal)
    measured = ds.moments.get("mu2_signal", log=True).sel(site="act" if architecture == "vanilla" else "sum")
    np.testing.assert_allclose(measured.values[0], np.log(plain), rtol=0, atol=1e-10)


def _plain_variance(network, drawn, signal):
    phi = ACTIVATIONS[network.activation].phi
    x, variances = signal[0] @ drawn[0][0][0].numpy().T, []
    left = iter(drawn[1:])

    def affine(x):
        kernel, bias = next(left)
        return x @ kernel[0].numpy().T + bias[0].numpy()

    for _ in range(network.depth):
        branch = phi(affine(x))
        x = x + affine(branch) if network.architecture == "res" else branch
        variances.append(x.var(0).mean())
    return variances


@pytest.mark.parametrize("activation", ["elu", "gelu", "silu", "selu"])
def test_no_depth_overflows(activation):
    net = recipe(activation=activation, depth=600, weights={"law": "gaussian", "variance": 6.0})
    ds = mx.run(net.replace({"measure.every": 100}), progress=False)
    growth = ds.moments.get("nu2_signal", log=True).sel(site="act").diff("layer").mean("realization") / 100
    gain = {"selu": 3 * 1.0507**2}.get(activation, 3.0)
    assert float(growth[-1]) == pytest.approx(np.log(gain), abs=0.25)
    assert np.isfinite(ds.moments.chi(log=True)).all()


def test_pair_correlation_is_that_of_the_samples():
    rng = np.random.default_rng(0)
    signal, noise = rng.normal(size=(2, 2, 5, 24))
    own = streams(3, range(2), CPU)
    network = {"architecture": "vanilla", "depth": 2, "width": 16, "kernel": 1, "activation": "tanh"}
    flow = weights.draw_weights(Network(**network), own, 24, 0, CPU, torch.float32)
    drawn = [next(flow)[0].numpy() for _ in range(3)]
    ds = mx.propagate(network, signal, noise, drawn, measure={"pairs": 4})
    assert ds.sizes["pair"] == 6
    x = signal
    for kernel in drawn[:2]:
        x = x @ kernel.swapaxes(1, 2)
    x = np.tanh(x)
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    measured = ds.pair_correlation.sel(layer=1, site="act")
    for p, (a, b) in enumerate(zip(ds.sample_a.values, ds.sample_b.values, strict=True)):
        np.testing.assert_allclose(measured.isel(pair=p), (unit[:, a] * unit[:, b]).sum(-1), atol=1e-5)


def test_pair_correlation_goes_to_the_store_and_back(tmp_path):
    net = recipe(activation="erf").replace({"measure.pairs": 3})
    ds = mx.run(net, tmp_path / "s.zarr", progress=False)
    assert ds.pair_correlation.dims == ("realization", "layer", "site", "pair")
    assert ds.sample_b.values.tolist() == [1, 2, 2]
    memory = mx.run(net, progress=False)
    assert memory.pair_correlation.equals(ds.pair_correlation.compute())


def test_measuring_pairs_changes_no_draw():
    with_pairs = mx.run(recipe(dropout=0.1).replace({"measure.pairs": 4}), progress=False)
    assert with_pairs.pooled_moments.equals(mx.run(recipe(dropout=0.1), progress=False).pooled_moments)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"network.weights": {"law": "delta_orthogonal"}},
            "network.weights.law: 'delta_orthogonal' is of convolutions",
        ),
        ({"network.weights": {"law": "mirrored"}, "network.width": 5}, "needs an even width, and network.width is 5"),
        ({"network.weights": {"law": "orthogona"}}, "did you mean 'orthogonal'"),
        ({"network.activation": "thanh"}, "did you mean 'tanh'"),
        ({"network.dropout": 1.0}, "network.dropout: 1.0 should be less than 1"),
        ({"measure.pairs": 1}, "measure.pairs: 1 sample has no pair"),
        ({"measure.pairs": 9}, "measure.pairs: 9 is more than the samples of input.batch, 8"),
        ({"network.architecture": "res", "network.unit_depth": 2}, "goes with bn_res only"),
    ],
)
def test_what_is_refused(changes, named):
    with pytest.raises(RecipeError) as error:
        recipe().replace(changes)
    assert named in str(error.value)


def test_shorthands_and_aliases_have_the_identity_of_what_they_mean():
    assert recipe(weights="glorot").identity() == recipe(weights={"law": "gaussian", "variance": 1.0}).identity()
    assert recipe(activation="swish").identity() == recipe(activation="silu").identity()
    assert recipe(dropout=0.0).replace({"measure.pairs": 0}).identity() == recipe().identity()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"activation": "tanh"}, "its activation is tanh"),
        ({"weights": {"law": "orthogonal"}}, "its law is orthogonal"),
        ({"dropout": 0.2}, "it drops 0.2"),
        ({"architecture": "res"}, "residual without batch norm"),
    ],
)
def test_theorems_refuse_what_they_are_not_of(changes, why):
    ds = mx.run(recipe(**changes), progress=False)
    with pytest.raises(MissingError, match=why):
        ds.moments.check_theorems()
    with pytest.raises(MissingError, match=why):
        ds.moments.decompose("chi", method="theory")
    assert "bounds_status" not in ds.moments.fit_lognormal() or why in str(
        ds.moments.fit_lognormal().bounds_status.item()
    )


def test_one_sidedness_is_of_activations_with_a_kink():
    ds = mx.run(recipe(activation="tanh", depth=20).replace({"realizations": 8}), progress=False)
    verdict = ds.moments.classify().sel(pathology="pseudo_linearity")
    assert verdict.symbol == "E_c Var_c φ'/Var φ'" and np.isfinite(verdict.statistic)
    with pytest.raises(MissingError, match="which is tanh and not two straight lines that meet at zero"):
        log_one_sidedness(ds, "conv")
