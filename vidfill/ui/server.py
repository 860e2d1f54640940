"""Serves the page to this machine alone, until it is told to stop."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from vidfill.errors import UsageError
from vidfill.ui.guard import TokenGuard
from vidfill.ui.project import Project

if TYPE_CHECKING:
    from uvicorn import Server

ADDRESS = "127.0.0.1"
_TOKEN_BYTES = 24
_GOODBYE_S = 2


def check_installed() -> None:
    """Check that the packages of the page are installed.

    Raises:
        UsageError: they are not.
    """
    for package in ("fastapi", "uvicorn"):
        try:
            import_module(package)
        except ImportError as error:
            raise UsageError(
                f"the package {error.name or package} is not installed",
                expected="the packages of the extra [ui]",
                todo="install them with: pip install 'vidfill[ui]'",
            ) from error


def serve(project: Project, *, port: int = 0, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM, which the caller then sees as without a server.

    Args:
        project: what the page shows; closed at the end in any case.
        port: 0 for a free one.
        ready: called with the address of the page, token included, as soon as it can be opened.

    Raises:
        UsageError: the port is taken, or the packages are missing.
        KeyboardInterrupt: after the project has been closed.
    """
    try:
        check_installed()
        with listening(port) as listener:
            server, address = make_server(project, listener)
            project.open()
            ready(address)
            server.run(sockets=[listener])
    finally:
        project.close()


def make_server(project: Project, listener: socket.socket) -> tuple[Server, str]:
    """A server on a socket from `listening`, not yet running, and the address of its page."""
    import uvicorn

    from vidfill.ui.app import make_app

    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    hosts = frozenset({f"{ADDRESS}:{port}", f"localhost:{port}"})
    config = uvicorn.Config(
        TokenGuard(make_app(project), token=token, hosts=hosts),
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_GOODBYE_S,
    )
    return uvicorn.Server(config), f"http://{ADDRESS}:{port}/{token}/"


def listening(port: int) -> socket.socket:
    """A socket that accepts connections from this machine.

    Raises:
        UsageError: the port is taken.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen()
    except OSError as error:
        listener.close()
        found = f"port {port} cannot be had ({error.strerror})"
        raise UsageError(found, todo="leave out --port, or give another number") from error
    return listener
