"""Fixed points of the variance map and of the c-map, by Newton's method on arrays."""

from __future__ import annotations

import numpy as np

from moments_xr.theory.gaussian_kernels import Array, Kernels

TOLERANCE = 1e-9
"""A slope this near to 1 counts as 1."""

LOG_Q = np.linspace(-100, 100, 401)
"""Where the variance map is tabulated."""

ROUNDING = 1e-12
"""A variance that changes by less than this part in a layer is fixed."""

ITERATIONS = 60


def log_fixed_variance(kernel: Kernels, weight: Array, bias: Array, log_start: Array) -> Array:
    """Log of the limit of the variance map from a start, as the map increases: its nearest root that way, or ∓inf.

    Parameters
    ----------
    kernel
        Kernels of the activation.
    weight, bias, log_start
        σ_w²/ρ, σ_b² and log q of the start, of one shape (point,).
    """
    with np.errstate(divide="ignore"):
        log_weight, log_bias = np.log(weight), np.log(bias)

    def rate(log_q: Array, weight: Array, bias: Array) -> Array:
        return np.logaddexp(weight + np.log(kernel.square(np.exp(log_q))) - log_q, bias - log_q)

    log_start = np.clip(log_start, LOG_Q[0], LOG_Q[-1])
    first = rate(log_start, log_weight, log_bias)
    table = rate(LOG_Q, log_weight[:, None], log_bias[:, None])
    rises = first > 0
    above, below = log_start[:, None] < LOG_Q, log_start[:, None] > LOG_Q
    passed = np.where(rises[:, None], above & (table < -ROUNDING), below & (table > ROUNDING))
    far = np.where(rises, passed.argmax(-1), LOG_Q.size - 1 - passed[:, ::-1].argmax(-1))
    log_q = np.where(abs(first) < ROUNDING, log_start, np.where(rises, np.inf, -np.inf))
    found = passed.any(-1) & (abs(first) >= ROUNDING)
    near = np.where(rises, np.maximum(LOG_Q[far - 1], log_start), np.minimum(LOG_Q[(far + 1) % LOG_Q.size], log_start))
    log_q[found] = _newton(kernel, log_weight[found], log_bias[found], near[found], LOG_Q[far][found])
    return log_q


def _newton(kernel: Kernels, log_weight: Array, log_bias: Array, near: Array, far: Array) -> Array:
    """Root of log V(q)/q between `near` and `far`, in log q; bisection where Newton's step leaves the bracket."""
    way = np.sign(far - near)
    log_q = (near + far) / 2
    for _ in range(ITERATIONS):
        q = np.exp(log_q)
        rate = np.logaddexp(log_weight + np.log(kernel.square(q)) - log_q, log_bias - log_q)
        before = way * rate > 0
        near, far = np.where(before, log_q, near), np.where(before, far, log_q)
        following = log_q - rate / (np.exp(log_weight - rate) * kernel.square_derivative(q) - 1)
        inside = (following - near) * (following - far) <= 0
        following = np.where(inside, following, (near + far) / 2)
        moved = abs(following - log_q).max(initial=0)
        log_q = following
        if moved < ROUNDING:
            break
    return log_q


def fixed_gap(kernel: Kernels, q: Array, part: Array, keep: Array, tolerance: Array) -> Array:
    """1 − c* that the c-map at variance q leads to from c = 0.

    The c-map is a power series without negative coefficients, hence convex on [0, 1]: Newton's steps from c = 0 never
    pass the root. Without dropout c* = 1 unless the slope there exceeds 1.

    Parameters
    ----------
    kernel
        Kernels of the activation.
    q
        Variance, of shape (point,).
    part
        σ_w²/q' with q' the variance of the next layer, which is q at a fixed point.
    keep
        Keep rate ρ.
    tolerance
        What the slope may exceed 1 by.
    """
    gap = np.zeros_like(q)
    (active,) = np.nonzero((keep < 1) | (part * q * kernel.slope_square(q) > 1 + tolerance))
    gap[active] = 1
    dropped = (1 / keep - 1) * kernel.square(q)
    for _ in range(ITERATIONS):
        x, s, y = q[active], part[active], gap[active]
        angle = 2 * np.arcsin(np.sqrt(y / 2))
        slope = s * x * kernel.slope_product(x, x, angle)
        step = (y - s * (kernel.difference(x, x, angle) / 2 + dropped[active])) / (1 - slope)
        gap[active] = y - step
        active = active[abs(step) > 1e-10 * y]
        if not active.size:
            break
    return np.minimum(gap, 1)
