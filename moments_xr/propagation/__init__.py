"""Signal and noise through random networks: torch only, no xarray. Recipe in, arrays out."""
