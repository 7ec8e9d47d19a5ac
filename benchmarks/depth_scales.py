"""Whether intervals of fitted depth scales hold theory's ξ_c, in new nets of the shipped recipes.

`python benchmarks/depth_scales.py [seed...]` runs the sweeps over weight and bias variance and over dropout with each seed (about a
quarter of an hour of one core a seed) and prints, for each, how many depth scales are determined and how many of those intervals hold
ξ_c, and how many are bounded from below and how many of those bounds are at most ξ_c. Points of one seed share random numbers.
"""

from __future__ import annotations

import sys

import numpy as np

import moments_xr as mx
from moments_xr.analysis.depth_scale import fit_depth_scale
from moments_xr.theory import fixed_point

RECIPES = ("edge_of_chaos", "edge_of_chaos_relu", "edge_of_chaos_elu", "dropout_depth")


def main() -> None:
    print(f"{'recipe':<22}{'seed':>5}{'determined':>12}{'hold':>6}{'bounded':>9}{'hold':>6}")
    for seed in map(int, sys.argv[1:] or ["1"]):
        for name in RECIPES:
            recipe = mx.recipe(name, {"seed": seed})
            tree = mx.run(recipe, progress=False)
            held: dict[str, list[bool]] = {"determined": [], "bounded": []}
            for key, node in recipe.nodes().items():
                n, found = node.network, fit_depth_scale(tree[key].to_dataset())
                xi = fixed_point(n.activation, n.weights.variance, n.bias_variance, 1 - n.dropout).xi_c
                kind = "determined" if np.isfinite(found.xi_high) else "bounded"
                if np.isfinite(found.xi_low):
                    held[kind].append(bool(found.xi_low <= xi <= found.xi_high))
            counts = [(len(each), sum(each)) for each in held.values()]
            print(
                f"{name:<22}{seed:>5}{counts[0][0]:>12}{counts[0][1]:>6}{counts[1][0]:>9}{counts[1][1]:>6}", flush=True
            )


if __name__ == "__main__":
    main()
