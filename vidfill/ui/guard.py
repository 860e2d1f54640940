"""Who may ask: only a page that knows the token, under an address of this machine."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1 << 20
"""Of a request; the largest are prompts, a thousand of which take a tenth of this."""

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


class TokenGuard:
    """Passes a request on to `app` only if its path begins with the token.

    All addresses in the page are relative, so that they contain the token; a cookie would also be sent to other ports
    of this machine. The Host header must be the address that the server listens on, against DNS rebinding (a foreign
    name that resolves to this machine). Every answer forbids the browser to load anything from elsewhere, to frame the
    page, and to pass the address on.

    Args:
        app: the guarded application; it sees paths without the token, which is in `root_path`.
        token: unguessable text that needs no escaping in a URL.
        hosts: accepted Host headers, port included.
    """

    def __init__(self, app: ASGIApp, *, token: str, hosts: frozenset[str]) -> None:
        self._app, self._token, self._hosts = app, token.encode(), hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a connection of type {scope['type']}")  # the server is configured to make no others
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
    """Whether a body is too large, or does not state its size."""
    length = headers.get(b"content-length", b"0")
    return b"transfer-encoding" in headers or not length.isdigit() or int(length) > MAX_BODY_BYTES


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, message: str) -> None:
    body = f'{{"error": {{"kind": "Refused", "message": "{message}"}}}}'.encode()
    start = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
    await _with_headers(send)(start)
    await send({"type": "http.response.body", "body": body})
