"""Advice before running: facts are theory's, problems real, and every change mends what it says."""

import numpy as np
import pytest
from test_cli import shell

import moments_xr as mx
from moments_xr.advice import Advice
from moments_xr.errors import MissingError, RecipeError
from moments_xr.theory import fixed_point, log_moment_variance, propagate_variance, residual_growth


def recipe(architecture="vanilla", activation="tanh", variance=3.0, bias=0.0, depth=40, width=300, **network):
    return mx.Recipe(
        name="asked", realizations=3, input={"dataset": "gaussian", "shape": [30], "batch": 8},
        network={"architecture": architecture, "depth": depth, "width": width, "kernel": 1, "activation": activation,
                 "weights": {"law": "gaussian", "variance": variance}, "bias_variance": bias} | network,
    )  # fmt: skip


def values(advice: Advice) -> dict:
    return {fact.name: fact.value for fact in advice.facts}


def test_facts_are_those_of_theory():
    found, point = values(mx.advise(recipe(bias=0.1))), fixed_point("tanh", 3.0, 0.1)
    assert found["phase"] == "chaotic"
    for name in ("q", "c", "chi_1", "xi_q", "xi_c"):
        assert found[name] == pytest.approx(float(getattr(point, name)))
    assert found["depth"] == pytest.approx(6 * found["xi_c"])
    walk = log_moment_variance("tanh", 40, 300, 3.0, 0.1)
    assert found["var_mu2"] == pytest.approx(walk.mu2_noise[-1])


def test_chi_at_the_last_layer_is_what_wide_nets_do():
    asked = recipe(bias=0.1, depth=12, width=400).replace({"realizations": 30})
    log_chi = mx.run(asked, progress=False).moments.chi(log=True).sel(site="act", layer=12)
    error = float(log_chi.std()) / np.sqrt(30)
    assert values(mx.advise(asked))["log_chi"] == pytest.approx(float(log_chi.mean()), abs=4 * error + 12 / 400)


def test_advice_starts_from_the_inputs_scale():
    """Narrow inputs grow to the fixed point of a chaotic net, where those of variance 1 are nearly."""
    asked = recipe(bias=0.1, depth=30)
    narrow = asked.replace({"input.scale": 0.01})
    found = values(mx.advise(narrow))
    log_q = propagate_variance("tanh", 29, 3.0, 0.1, q=3e-4 + 0.1)
    assert found["signal"] == pytest.approx(log_q[-1] - log_q[0])
    walk = log_moment_variance("tanh", 30, 300, 3.0, 0.1, q=3e-4 + 0.1)
    assert found["var_nu2"] == pytest.approx(walk.nu2_signal[-1])
    assert abs(found["var_mu2"] / values(mx.advise(asked))["var_mu2"] - 1) > 0.01
    residual = recipe("res", variance=1.0, depth=30)
    scaled = residual.replace({"input.scale": 3.0})
    grown = residual_growth("tanh", 30, 1.0, 1.0, p=9.0)
    assert values(mx.advise(scaled))["signal"] == pytest.approx(grown.log_p[-1] - grown.log_p[0])


@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_residual_nets_with_batch_norm_from_other_inputs(scale):
    asked = recipe("bn_res", "relu", 2.0, depth=30, width=256).replace({"input.batch": 32, "realizations": 12})
    asked = asked.replace({"input.scale": scale})
    log_chi = mx.run(asked, progress=False).moments.chi(log=True).sel(site="sum", layer=30).values
    predicted = values(mx.advise(asked))["log_chi"]
    assert predicted == pytest.approx(log_chi.mean(), abs=4 * log_chi.std() / np.sqrt(12) + 0.06)


def test_variance_between_nets_is_what_nets_do():
    """One deep wide ReLU net against the next: 5 l/N of log μ₂(dx), with χ² errors."""
    asked = recipe(activation="relu", variance=2.0, depth=20, width=100).replace(
        {"realizations": 300, "input.batch": 2}
    )
    noise = mx.run(asked, progress=False).moments.get("mu2_noise", log=True).sel(site="act", layer=20)
    predicted = values(mx.advise(asked))["var_mu2"]
    assert predicted == pytest.approx(5 * 20 / 100)
    # two samples' noises are averaged: between one and half of the variance of one
    assert (
        0.5 * predicted * (1 - 4 * np.sqrt(2 / 300)) < float(noise.var(ddof=1)) < predicted * (1 + 4 * np.sqrt(2 / 300))
    )


NETS = [
    recipe(activation="erf", variance=2.0, bias=0.1, depth=70),
    recipe(activation="erf", variance=0.5, bias=0.05, depth=30),
    recipe(activation="relu", variance=3.0),
    recipe(activation="relu", variance=2.0, depth=200, width=50),
    recipe("bn_ff", "relu", 2.0),
    recipe("res", "relu", 2.0),
    recipe(activation="erf", dropout=0.2, bias=0.05, variance=1.0, depth=20),
]


@pytest.mark.parametrize(
    "asked", NETS, ids=lambda r: f"{r.network.architecture} {r.network.activation} {r.network.depth}"
)
def test_changes_mend(asked):
    """Each change, made, has fewer problems than before and none that is new; and some change mends all."""
    advice = mx.advise(asked)
    assert advice.problems and advice.changes
    for change in advice.changes:
        after = mx.advise(asked.replace(change.keys))
        assert len(after.problems) < len(advice.problems), change
    assert not mx.advise(asked.replace(advice.changes[0].keys)).problems


def test_differences_between_nets_are_a_remark():
    """Of nets that were flagged for them alone, seven of eight trained."""
    advice = mx.advise(recipe(variance=1.761, bias=0.05, depth=60, width=64))
    assert not advice.problems and not advice.changes
    assert any("differ from each other" in remark and "at width" in remark for remark in advice.remarks)
    assert "remark: nets of width 64" in str(advice)


def test_the_phase_is_critical_within_what_depth_and_width_can_tell():
    """At σ_w² = 1.761, rounded from the edge of chaos, χ₁ − 1 is 2·10⁻⁵: nothing over 40 layers, and a factor e² over 10⁵."""
    found = values(mx.advise(recipe(variance=1.761, bias=0.05)))
    assert found["phase"] == "critical" and abs(found["chi_1"] - 1) > 1e-6
    assert values(mx.advise(recipe(variance=2.0, bias=0.05)))["phase"] == "chaotic"
    assert values(mx.advise(recipe(variance=1.5, bias=0.05)))["phase"] == "ordered"


def test_relu_of_large_weights_is_unbounded_not_chaotic():
    found = values(mx.advise(recipe(activation="relu", variance=3.0)))
    assert found["phase"] == "unbounded" and found["c"] == 1
    assert "exploding_sensitivity" not in mx.advise(recipe(activation="relu", variance=3.0, depth=200)).pathologies


def test_advice_and_theory_agree_on_the_fixed_point():
    """ReLU at (2, 0) keeps the variance of the first pre-activations, which inputs of variance 1 make 2."""
    said = values(mx.advise(recipe(activation="relu", variance=2.0)))["q"]
    status, out, _ = shell("theory", "--activation", "relu", "--weight-variance", 2)
    assert not status and said == 2 and "q*" in out and " 2 " in next(line for line in out.splitlines() if "q*" in line)


JUDGED_TOO = [
    recipe(activation="relu", variance=2.0, depth=50, width=128),
    recipe(activation="relu", variance=3.0, depth=50, width=128),
    recipe(activation="tanh", variance=1.0, bias=0.5, depth=24, width=64),
    recipe(activation="tanh", variance=4.0, depth=40, width=64),
    recipe("bn_ff", "relu", 2.0, depth=40, width=64),
    recipe("bn_res", "relu", 2.0, depth=40, width=64),
    recipe("res", "relu", 0.2, depth=40, width=64),
]


@pytest.mark.parametrize("asked", JUDGED_TOO, ids=lambda r: f"{r.network.architecture} {r.network.weights.variance}")
def test_advice_predicts_what_classify_finds(asked):
    """Every verdict of `classify` that is decided, by the same constants."""
    asked = asked.replace({"input.dataset": "digits", "input.shape": None, "input.batch": 16, "realizations": 16})
    found, advice = mx.classify(mx.run(asked, progress=False)), mx.advise(asked)
    for name in found.pathology.values:
        row = found.sel(pathology=name)
        if row.verdict != "undecided":
            assert (name in advice.pathologies) == (row.verdict == "present"), (str(row.sentence.values), str(advice))


@pytest.mark.parametrize("variance", [2.0, 0.01])
def test_residual_nets_with_batch_norm(variance):
    """log χ depends on σ_w² through the share of the input in the sum (THEORY 5.4)."""
    asked = recipe("bn_res", "relu", variance, depth=30, width=256).replace({"input.batch": 32, "realizations": 12})
    log_chi = mx.run(asked, progress=False).moments.chi(log=True).sel(site="sum", layer=30).values
    predicted = values(mx.advise(asked))["log_chi"]
    assert predicted == pytest.approx(log_chi.mean(), abs=4 * log_chi.std() / np.sqrt(12) + 0.06)


def test_what_is_not_defined_is_not_zero():
    linear = mx.advise(recipe(activation="linear", variance=1.0))
    assert "c* = undefined" in str(linear)
    status, _, err = shell("theory", "--activation", "tanh", "--weight-variance", "nan")
    assert status == 2 and "needs to be finite" in err


def test_convolutional_laws_are_advised():
    conv = mx.recipe("fig3_small", {"network.weights": {"law": "delta_orthogonal", "variance": 1.0}})
    assert "phase" in values(mx.advise(conv))


def test_with_dropout_there_is_no_edge():
    asked = recipe(activation="relu", variance=1.8, depth=30, width=100, dropout=0.1)
    assert not any(
        "edge of chaos" in change.effect for change in mx.advise(asked).changes if "network.dropout" not in change.keys
    )
    status, _, err = shell("theory", "--activation", "tanh", "--critical", "--dropout", 0.5)
    assert status == 2 and "no edge of chaos" in err


def test_edge_of_chaos_is_found_by_either_variance():
    changes = {tuple(c.keys): c.keys for c in mx.advise(recipe(variance=1.761, bias=0.4, depth=30)).changes}
    assert changes["network.bias_variance",]["network.bias_variance"] == pytest.approx(0.05, rel=2e-3)
    edge = changes["network.weights.variance",]["network.weights.variance"]
    assert float(fixed_point("tanh", edge, 0.4).chi_1) == pytest.approx(1, abs=1e-3)


def test_nothing_wrong_is_an_answer():
    assert mx.advise(recipe(variance=1.0, depth=30)).problems == ()
    assert mx.advise(recipe("bn_res", "relu", 2.0, depth=20).replace({"input.batch": 64})).problems == ()
    assert "nothing wrong" in str(mx.advise(recipe(variance=1.0, depth=30)))


def test_convolutions_have_phases_but_no_chi():
    conv = mx.recipe("fig3_small", {"network.activation": "tanh"})
    found = values(mx.advise(conv))
    assert "phase" in found and "log_chi" not in found


def test_data_that_are_not_there_are_stood_in_for():
    asked = recipe(depth=5).replace({"input": {"dataset": "cifar10", "path": "nowhere"}, "input.shape": None})
    assert np.isfinite(values(mx.advise(asked))["log_chi"])


def test_what_has_no_theory_is_said():
    with pytest.raises(RecipeError, match="advice is about one network"):
        mx.advise(recipe().replace({"sweep": {"network.width": [8, 16]}}))
    with pytest.raises(MissingError, match="mirrored"):
        mx.advise(recipe(weights={"law": "mirrored", "variance": 2.0}))


def test_shell():
    status, out, _ = shell("advise", "quickstart")
    assert not status and "noise drowns the signal" in " ".join(out.split())
    status, out, err = shell("advise", "widths")
    assert status == 2 and err.startswith("moments-xr: sweep: ")
    status, out, _ = shell("theory", "--activation", "tanh", "--critical")
    assert not status and "1.76095" in out and "edge of chaos" in out
    status, out, _ = shell("theory", "--activation", "tanh", "--weight-variance", 3, "--bias-variance", 0.1)
    assert not status and "chaotic" in out


@pytest.mark.parametrize(
    "wrong", ["thanh --critical", "tanh", "tanh --critical --dropout 1", "tanh --critical -o f.png"]
)
def test_shell_refuses(wrong):
    status, _, err = shell("theory", "--activation", *wrong.split())
    assert status == 2 and len(err.strip().splitlines()) == 1
