"""Runs the page on this machine alone, until it is told to stop."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from vidfill.errors import UsageError
from vidfill.ui.guard import Guard
from vidfill.ui.project import Project

if TYPE_CHECKING:
    from uvicorn import Server

ADDRESS = "127.0.0.1"
_TOKEN_BYTES = 24
_GOODBYE_S = 2


def check_installed() -> None:
    """Check that the packages of the page are there.

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
    """Serve the page until Ctrl-C or SIGTERM, which then goes on to the caller as it would without a server.

    Args:
        project: what the page is about; closed at the end, whatever that is.
        port: 0 for one that is free.
        ready: called with the address of the page, token included, when it can be opened.

    Raises:
        UsageError: the port is taken, or the packages are missing.
        KeyboardInterrupt: after the project was closed.
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
    """A server, not yet running, and the address of its page.

    Args:
        project: what the page is about.
        listener: from `listening`.
    """
    import uvicorn

    from vidfill.ui.app import make_app

    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    hosts = frozenset({f"{ADDRESS}:{port}", f"localhost:{port}"})
    config = uvicorn.Config(
        Guard(make_app(project), token=token, hosts=hosts),
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
    """A socket that takes connections from this machine.

    Raises:
        UsageError: it cannot be had.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise UsageError(
            f"port {port} cannot be had ({error.strerror})", todo="leave out --port, or give another number"
        ) from error
    return listener
