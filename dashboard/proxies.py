"""Who is really asking: X-Forwarded-* is believed from the proxies that were named, and taken from everybody else."""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]

FORWARDED = (
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-real-ip",
    b"forwarded",
)
SECURE = {"http": "https", "ws": "wss"}


def networks(proxies: Iterable[str]) -> tuple[Network, ...]:
    """Addresses and networks such as 10.0.0.0/8. Raises ImproperlyConfigured naming the first that is neither."""
    found = []
    for proxy in proxies:
        try:
            found.append(ipaddress.ip_network(proxy, strict=False))
        except ValueError as exc:
            raise ImproperlyConfigured(f"COUNTERSIGN_PROXIES: {proxy!r} is neither an address nor a network") from exc
    return tuple(found)


class Proxied:
    """ASGI middleware in front of everything."""

    def __init__(self, app: App, proxies: Iterable[str]) -> None:
        self._app, self._proxies = app, networks(proxies)

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await self._app(seen_through(scope, self._proxies), receive, send)


def seen_through(scope: Scope, proxies: Sequence[Network]) -> Scope:
    """The request as its sender made it: address and protocol as the proxy saw them, and no header left to spoof with.

    A header with an underscore goes too: WSGI-style names make `X_Forwarded_For` and `X-Forwarded-For` one.
    """
    if scope["type"] not in ("http", "websocket"):
        return scope
    headers: list[tuple[bytes, bytes]] = list(scope.get("headers", ()))
    kept = [(name, value) for name, value in headers if b"_" not in name and name.lower() not in FORWARDED]
    seen: Scope = {**scope, "headers": kept}
    client = scope.get("client")
    if not client or not _among(client[0], proxies):
        return seen
    if address := _sender(_values(headers, b"x-forwarded-for"), proxies):
        seen["client"] = [address, 0]
    protocols = _values(headers, b"x-forwarded-proto")
    if protocols and protocols[-1].lower() == "https":
        seen["scheme"] = SECURE.get(scope.get("scheme", "http"), scope.get("scheme"))
    return seen


def _sender(chain: Sequence[str], proxies: Sequence[Network]) -> str:
    """From the right, the first address that is no proxy of ours: what is left of it anybody could have written."""
    sender = ""
    for address in reversed(chain):
        try:
            sender = str(ipaddress.ip_address(address))
        except ValueError:
            break
        if not _among(sender, proxies):
            break
    return sender


def _among(address: str, proxies: Sequence[Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in proxies)


def _values(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[str]:
    joined = b",".join(value for name, value in headers if name.lower() == wanted)
    return [part.strip() for part in joined.decode("latin-1").split(",") if part.strip()]
