"""Who may ask: only a page that knows the token, under an address of this machine."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 1 << 20
"""Of a request; prompts are the largest, and a thousand of them take a tenth of this."""

_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),  # the address holds the token
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Lets a request through to `app` only with the token as the first part of its path.

    The page's own files, pictures and requests are named relative to it, so that the token is in all of them; a
    cookie would be sent to other ports of this machine as well. The Host header must name the address that the server
    listens on: a foreign name that is made to point to this machine (DNS rebinding) does not. Every answer forbids
    the browser to load anything from elsewhere, to be framed, and to pass the address on.

    Args:
        app: answers what is let through; sees paths without the token, as `root_path` says.
        token: text that nobody can guess, of letters that need no escaping in an address.
        hosts: what the Host header may be, port included.
    """

    def __init__(self, app: Asgi, *, token: str, hosts: frozenset[str]) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a connection of type {scope['type']}")  # the server is set up to make no others
        headers = dict(scope["headers"])
        first, slash, _ = scope["path"].removeprefix("/").partition("/")
        if headers.get(b"host", b"").decode("latin-1") not in self._hosts:
            await _refuse(send, 421, "this is not the address that vidfill ui listens on")
        elif not (secrets.compare_digest(first.encode(), self._token) and slash):
            await _refuse(send, 403, "the address lacks the token: open the one that vidfill ui has printed")
        elif _is_large(headers):
            await _refuse(send, 413, f"a request of more than {MAX_BODY_BYTES} bytes")
        else:
            await self._app({**scope, "root_path": f"/{first}"}, receive, _with_headers(send))


def _is_large(headers: dict[bytes, bytes]) -> bool:
    """Whether a body is too large, or does not say how large it is."""
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not length.isdigit() or int(length) > MAX_BODY_BYTES


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, message: str) -> None:
    body = f'{{"error": {{"kind": "Refused", "message": "{message}"}}}}'.encode()
    start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
    await _with_headers(send)(start)
    await send({"type": "http.response.body", "body": body})
