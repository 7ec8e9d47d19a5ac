"""What theory predicts: numpy and scipy only. Each public name is loaded when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moments_xr.theory.batch_norm import explosion_depth as explosion_depth
    from moments_xr.theory.batch_norm import explosion_rate as explosion_rate
    from moments_xr.theory.batch_norm_drawn import explosion_at_width as explosion_at_width
    from moments_xr.theory.collapse import propagate_collapse as propagate_collapse
    from moments_xr.theory.collapse_drawn import collapse_at_width as collapse_at_width
    from moments_xr.theory.evolution import propagate_correlation as propagate_correlation
    from moments_xr.theory.evolution import propagate_variance as propagate_variance
    from moments_xr.theory.finite_width import diffusion_bounds as diffusion_bounds
    from moments_xr.theory.finite_width import jacobian_relative_variance as jacobian_relative_variance
    from moments_xr.theory.finite_width import survival_bounds as survival_bounds
    from moments_xr.theory.fluctuations import log_moment_variance as log_moment_variance
    from moments_xr.theory.gaussian import expectation as expectation
    from moments_xr.theory.gaussian import joint_expectation as joint_expectation
    from moments_xr.theory.gaussian import pair_expectation as pair_expectation
    from moments_xr.theory.gaussian_kernels import kernels as kernels
    from moments_xr.theory.jacobian import derivative_moment as derivative_moment
    from moments_xr.theory.jacobian import isometric_point as isometric_point
    from moments_xr.theory.jacobian import jacobian_moments as jacobian_moments
    from moments_xr.theory.jacobian import least_relative_variance as least_relative_variance
    from moments_xr.theory.maps import chi_1 as chi_1
    from moments_xr.theory.maps import chi_c as chi_c
    from moments_xr.theory.maps import correlation_map as correlation_map
    from moments_xr.theory.maps import covariance_map as covariance_map
    from moments_xr.theory.maps import variance_map as variance_map
    from moments_xr.theory.phase import critical_line as critical_line
    from moments_xr.theory.phase import fixed_point as fixed_point
    from moments_xr.theory.phase import phase_diagram as phase_diagram
    from moments_xr.theory.phase import trainable_depth as trainable_depth
    from moments_xr.theory.residual import residual_correlation as residual_correlation
    from moments_xr.theory.residual import residual_growth as residual_growth
    from moments_xr.theory.residual_limits import best_variance as best_variance
    from moments_xr.theory.residual_limits import residual_asymptotics as residual_asymptotics
    from moments_xr.theory.samples import propagate_samples as propagate_samples
    from moments_xr.theory.spectrum import isometry as isometry
    from moments_xr.theory.spectrum import singular_value_density as singular_value_density

_EXPORTS = {
    "expectation": "gaussian",
    "pair_expectation": "gaussian",
    "joint_expectation": "gaussian",
    "kernels": "gaussian_kernels",
    "variance_map": "maps",
    "covariance_map": "maps",
    "correlation_map": "maps",
    "chi_1": "maps",
    "chi_c": "maps",
    "propagate_variance": "evolution",
    "propagate_correlation": "evolution",
    "fixed_point": "phase",
    "phase_diagram": "phase",
    "critical_line": "phase",
    "trainable_depth": "phase",
    "diffusion_bounds": "finite_width",
    "survival_bounds": "finite_width",
    "log_moment_variance": "fluctuations",
    "propagate_samples": "samples",
    "propagate_collapse": "collapse",
    "collapse_at_width": "collapse_drawn",
    "derivative_moment": "jacobian",
    "jacobian_moments": "jacobian",
    "least_relative_variance": "jacobian",
    "isometric_point": "jacobian",
    "singular_value_density": "spectrum",
    "residual_growth": "residual",
    "residual_correlation": "residual",
    "residual_asymptotics": "residual_limits",
    "best_variance": "residual_limits",
    "explosion_rate": "batch_norm",
    "explosion_depth": "batch_norm",
    "explosion_at_width": "batch_norm_drawn",
    "jacobian_relative_variance": "finite_width",
    "isometry": "spectrum",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'moments_xr.theory' has no attribute '{name}'")
    value = getattr(import_module(f"moments_xr.theory.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
