"""The server of the live report."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Sequence
from pathlib import Path
from socket import getfqdn, gethostname
from typing import Any

import panel as pn
from tornado.websocket import WebSocketClosedError

from moments_xr.errors import RequestError, StoreError
from moments_xr.report.application import Report
from moments_xr.report.watch import watch

EVERYWHERE = ("0.0.0.0", "::", "")
"""All addresses of this machine."""


def serve(stores: Sequence[str | Path], port: int = 5006, address: str = "127.0.0.1", show: bool = False) -> Any:
    """Make the server of the live report of stores.

    Parameters
    ----------
    stores
        Paths of stores; what lands in them while they are shown is shown too.
    port
        Port to listen on; 0 takes one that is free.
    address
        Address to listen on; this machine alone can reach the default. Browsers may connect by it (by the names of this
        machine, if it stands for all of its addresses), and by the names in the environment's BOKEH_ALLOW_WS_ORIGIN.
    show
        Open a browser.

    Returns
    -------
    A bokeh server: `server.port` is its port; `server.start()` and `server.io_loop.start()` serve until it is stopped.

    Raises
    ------
    StoreError
        A path is not there. What is there but cannot be read is said on the page.
    RequestError
        The address and port cannot be listened on.

    Examples
    --------
    >>> from moments_xr.report.server import serve
    >>> server = serve(["stores/quickstart.zarr"])  # doctest: +SKIP
    >>> server.io_loop.start()  # doctest: +SKIP
    """
    for path in stores:
        if not Path(path).exists():
            raise StoreError(f"store '{path}': no such store")
    watched = watch(stores)
    title = ", ".join(store.name for store in watched)
    try:
        server = pn.serve(
            lambda: Report(watched).template(), port=port, address=address, show=show, start=False, verbose=False,
            title=f"{title} – moments-xr",
        )  # fmt: skip
    except OSError as error:
        raise RequestError(f"address {address}, port {port}: {error.strerror or error}; choose another port") from error
    server._tornado.websocket_origins.update(f"{host}:{server.port}" for host in _hosts(address))
    server.io_loop.asyncio_loop.set_exception_handler(_handle)
    return server


def _hosts(address: str) -> set[str]:
    """By what names a browser may reach an address: its page's scripts may then connect to the server, others' may not."""
    if address in EVERYWHERE:
        return {"localhost", "127.0.0.1", gethostname().lower(), getfqdn().lower()}
    return {f"[{address}]" if ":" in address else address.lower()}


def _handle(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of a visitor who left while something was on its way."""
    if not isinstance(context.get("exception"), WebSocketClosedError):
        loop.default_exception_handler(context)
