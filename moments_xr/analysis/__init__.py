"""From the cube to results: xarray in, xarray out, lazy on chunked cubes; no torch."""
