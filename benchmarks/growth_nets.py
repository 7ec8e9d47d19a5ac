"""What `fit_growth` tells of the growth of χ in real nets, at several depths and numbers of realizations.

`python benchmarks/growth_nets.py [name...]` simulates 30 nets of each kind, 200 layers deep, in half an hour on 2 cores.
"""

from __future__ import annotations

import sys
from typing import Any

import moments_xr as mx

DEPTHS, REALIZATIONS = (50, 100, 200), (20, 30)


def net(architecture: str, activation: str, variance: float, width: int, bias: float = 0.0, **more: Any) -> mx.Recipe:
    network = {
        "architecture": architecture, "activation": activation, "weights": {"law": "gaussian", "variance": variance},
        "bias_variance": bias, "width": width, "depth": DEPTHS[-1], "kernel": 1,
    }  # fmt: skip
    inputs = {"dataset": "gaussian", "shape": [256], "batch": 32}
    measure = {"effective_rank": []}
    return mx.Recipe(
        name="growth", realizations=REALIZATIONS[-1], input=inputs, network=network | more, measure=measure
    )


NETS = {
    **{f"bn_ff, relu, N {width}": net("bn_ff", "relu", 2.0, width) for width in (64, 128, 256, 512)},
    "bn_ff, tanh, N 128": net("bn_ff", "tanh", 2.0, 128),
    "bn_ff, linear, N 128": net("bn_ff", "linear", 2.0, 128),
    **{f"tanh ({v:g}, .05), N {width}": net("vanilla", "tanh", v, width, 0.05) for v in (3, 4) for width in (128, 300)},
    **{f"tanh ({v:g}, .05), N 128": net("vanilla", "tanh", v, 128, 0.05) for v in (1.5, 2)},
    "tanh (1, 0), N 128": net("vanilla", "tanh", 1.0, 128),
    **{f"SELU (1, 0), N {width}": net("vanilla", "selu", 1.0, width) for width in (128, 300)},
    "SELU (1.5, .1), N 128": net("vanilla", "selu", 1.5, 128, 0.1),
    "SELU (2, 0), N 128": net("vanilla", "selu", 2.0, 128),
    **{f"relu (2, 0), N {width}": net("vanilla", "relu", 2.0, width) for width in (64, 256)},
    **{f"bn_res, relu, N {width}": net("bn_res", "relu", 2.0, width) for width in (64, 128, 256)},
    "bn_res, tanh, N 128": net("bn_res", "tanh", 2.0, 128),
    **{f"bn_res, relu, N 128, H {h}": net("bn_res", "relu", 2.0, 128, unit_depth=h) for h in (1, 3, 6)},
    **{f"res, tanh, {v:g}, N 128": net("res", "tanh", v, 128) for v in (0.5, 1, 2, 4)},
    **{f"res, relu, {v:g}, N 96": net("res", "relu", v, 96) for v in (0.2, 1, 2)},
    "res, selu, 1, N 96": net("res", "selu", 1.0, 96),
}
"""Weight and bias variances in brackets; H layers a unit."""


def main() -> None:
    print(f"{'net':<26}" + "".join(f"{f'L {depth}, R {count}':>42}" for depth in DEPTHS for count in REALIZATIONS))
    for name in sys.argv[1:] or NETS:
        ds = mx.run(NETS[name], progress=False)
        cells = []
        for depth in DEPTHS:
            for count in REALIZATIONS:
                fit = mx.fit_growth(ds.sel(layer=slice(depth)).isel(realization=slice(count)))
                p = [float(fit[f"exponent{end}"]) for end in ("", "_low", "_high")]
                cells.append(f"{fit.growth.item()} p {p[0]:.3f} [{p[1]:.3f}, {p[2]:.3f}]")
        print(f"{name:<26}" + "".join(f"{cell:>42}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
