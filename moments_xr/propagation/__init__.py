"""Signal and noise through random networks: torch only, no xarray. Recipe in, arrays out."""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError('running networks needs torch: pip install "moments-xr[run]"') from error
