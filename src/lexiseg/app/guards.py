"""What stands before the addresses: whose page may ask, how much may come in, and what goes out with every answer."""

import asyncio
import ipaddress
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from lexiseg.app.limits import Limits
from lexiseg.app.refusals import RefusalError, as_json, headers_of
from lexiseg.core.whole_numbers import whole_number

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

#: Of a body that is no file.
MAX_JSON_BYTES = 256 * 1024

_LOCAL = frozenset({"localhost"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

#: Sent with every answer: the page asks this server alone, runs no script but its own, and is framed by nobody.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), camera=()",
    "Cache-Control": "no-store",
}


def is_allowed_host(header: str, allowed: Collection[str]) -> bool:
    """Tell whether a Host header names this server: an address in numbers, localhost, or a name that was allowed.

    A page elsewhere can make its own name resolve to this machine (DNS rebinding); it cannot make it an address in numbers.
    """
    try:
        name = urlsplit(f"//{header}").hostname or ""
        urlsplit(f"//{header}").port  # noqa: B018 - raises where there is none
    except ValueError:
        return False
    if name in _LOCAL or name in allowed:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guards:
    """Refuse foreign hosts, requests that other pages send, and bodies that are too large, too many or too slow.

    Args:
        application: What answers the others.
        limits: Sizes and times.
        hosts: Names that the server may be asked by, in lower case.
    """

    def __init__(self, application: Application, limits: Limits, hosts: Collection[str]) -> None:
        self.application, self.limits, self.hosts = application, limits, hosts
        self.bytes_in_flight = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [
                    *message["headers"],
                    *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
                ]
            await send(message)

        body = _Body(self, headers, receive)
        try:
            self._refuse_foreign(scope["method"], headers)
            body.refuse_announced()
            await self.application(scope, body.receive, send_with_headers)
        except RefusalError as error:
            if has_begun:
                raise
            await _answer(error, send_with_headers)
        finally:
            self.bytes_in_flight -= body.num_bytes

    def _refuse_foreign(self, method: str, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if not is_allowed_host(host, self.hosts):
            raise RefusalError(
                400,
                doing="reading the Host header",
                found=repr(host[:100]),
                expected="localhost, an address in numbers, or a name that this server was told",
                fix="Start it with --allow-host NAME, if this is its name.",
            )
        origin = headers.get("origin", "")
        is_foreign = headers.get("sec-fetch-site", "") in ("cross-site", "same-site")
        if origin and origin != "null":
            is_foreign = is_foreign or urlsplit(origin).netloc != host
        if method not in _SAFE and (is_foreign or origin == "null"):
            raise RefusalError(
                403,
                doing=f"answering {method}",
                found="a request of another site's page",
                expected="this server's own page, or a program",
                fix="Open the page of this server.",
            )


class _Body:
    """The body of one request, as it comes in."""

    def __init__(self, guards: Guards, headers: dict[str, str], receive: Receive) -> None:
        self._guards, self._receive = guards, receive
        self._announced = headers.get("content-length", "")
        is_json = headers.get("content-type", "").partition(";")[0].strip().endswith("json")
        limits = guards.limits
        self._limit = MAX_JSON_BYTES if is_json else max(limits.max_body, 2_000_000 * limits.max_megapixels)
        self._deadline = asyncio.get_running_loop().time() + limits.body_seconds
        self._is_whole = False
        self.num_bytes = 0

    def refuse_announced(self) -> None:
        """Refuse by the header alone what is too large; make room for the rest."""
        if self._announced:
            announced = whole_number(self._announced)
            self._count(self._limit + 1 if announced is None else announced)

    async def receive(self) -> Message:
        """Hand over the next part."""
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise RefusalError(
                408,
                doing="reading a request",
                found=f"no end of it after {self._guards.limits.body_seconds:g} s",
                expected="the whole body",
                fix="Send it again over a faster line.",
            ) from error
        if message["type"] == "http.request":
            if not self._announced:
                self._count(len(message.get("body", b"")))
            self._is_whole = not message.get("more_body", False)
        return message

    def _count(self, more: int) -> None:
        if self.num_bytes + more > self._limit:
            raise RefusalError(
                413,
                doing="reading a request",
                found=f"more than {self._limit:,} bytes",
                expected=f"at most {self._limit:,}",
                fix="Send a smaller file, or start the server with more --max-upload-mb.",
            )
        if self._guards.bytes_in_flight + more > self._guards.limits.max_in_flight_mb * 2**20:
            raise RefusalError(
                503,
                doing="reading a request",
                found="too many uploads at a time",
                expected=f"at most {self._guards.limits.max_in_flight_mb} MiB of them",
                fix="Try again in a few seconds.",
                retry_after=2,
            )
        self.num_bytes += more
        self._guards.bytes_in_flight += more


async def _answer(error: RefusalError, send: Send) -> None:
    content = json.dumps(as_json(error), ensure_ascii=False).encode("utf-8", "replace")
    headers = {"content-type": "application/json", "content-length": str(len(content)), **headers_of(error)}
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": content})
