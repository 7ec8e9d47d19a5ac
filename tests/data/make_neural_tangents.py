"""Writes neural_tangents.json: kernels of wide nets as the library neural-tangents has them.

    python tests/data/make_neural_tangents.py > tests/data/neural_tangents.json

needs neural-tangents 0.6.5 with jax and jaxlib 0.4.35, in an environment of its own.
"""

import json

import jax
import jaxlib

jax.config.update("jax_enable_x64", True)

import neural_tangents  # noqa: E402
import numpy as np  # noqa: E402
from neural_tangents import stax  # noqa: E402

LAYERS = {
    "relu": stax.Relu,
    "leaky_relu": lambda: stax.LeakyRelu(0.01),
    "abs": stax.Abs,
    "erf": stax.Erf,
    "gelu": stax.Gelu,
    "sin": stax.Sin,
    "sigmoid_like": stax.Sigmoid_like,
}
INPUTS = [(1.0, 1.0, 0.3), (0.5, 3.0, -0.7), (2.0, 2.0, 0.99)]
"""Variances and correlation of the first layer's pre-activations."""
VARIANCES = [(2.0, 0.0), (1.5, 0.1), (0.7, 0.5)]
DEPTHS = (1, 3, 10)


def pair(q_a, q_b, c):
    """Two inputs of two features, of which a layer without bias and with σ_w² = 1 makes these pre-activations."""
    return np.sqrt(2 * np.array([[q_a, 0], [q_b * c**2, q_b * (1 - c**2)]])) * np.sign([[1, 1], [c, 1]])


def rows():
    for name, layer in LAYERS.items():
        for weight_variance, bias_variance in VARIANCES:
            for depth in DEPTHS:
                dense = stax.Dense(1, W_std=weight_variance**0.5, b_std=bias_variance**0.5)
                net = stax.serial(stax.Dense(1, W_std=1.0, b_std=0.0), *[layer(), dense] * depth)
                kernel_fn = net[2]
                for q_a, q_b, c in INPUTS:
                    kernel = kernel_fn(pair(q_a, q_b, c), None, ("nngp", "ntk"))
                    values = [float(k[at]) for k in kernel for at in ((0, 0), (1, 1), (0, 1))]
                    yield [name, weight_variance, bias_variance, depth, q_a, q_b, c, *values]


COLUMNS = ["activation", "weight_variance", "bias_variance", "depth", "q_a", "q_b", "c"]
COLUMNS += ["nngp_aa", "nngp_bb", "nngp_ab", "ntk_aa", "ntk_bb", "ntk_ab"]
versions = {module.__name__: module.__version__ for module in (neural_tangents, jax, jaxlib)}
document = json.dumps({"versions": versions, "columns": COLUMNS, "rows": list(rows())})
print(document.replace('["rel', '\n["rel').replace("], [", "],\n["))
