"""Which page may open a socket: one of this site, exactly, and nobody whose browser does not say."""

from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import WebsocketDenier
from django.conf import settings

from dashboard.proxies import App, Scope

DEFAULT_PORTS = {"http": 80, "https": 443}


class SameSite:
    """Lets a socket through whose one Origin is exactly ours: scheme, host and port. `null` and none are refused."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        app = self._app if origin_is_ours(scope) else WebsocketDenier()  # type: ignore[no-untyped-call]
        await app(scope, receive, send)


def origin_is_ours(scope: Scope) -> bool:
    """One of COUNTERSIGN_ORIGINS; without any, the very loopback address that was asked."""
    said = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"origin"]
    hosts = [value.decode("latin-1") for name, value in scope.get("headers", ()) if name == b"host"]
    if len(said) != 1 or len(hosts) != 1:
        return False
    origin = _exact(said[0])
    if settings.ORIGINS:
        return origin is not None and origin in {_exact(one) for one in settings.ORIGINS}
    own = _exact(f"http://{hosts[0]}")
    return own is not None and origin == own and own[1] in {host.strip("[]") for host in settings.LOOPBACK_HOSTS}


def _exact(origin: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin; None for anything that is not just that."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    return (parts.scheme, parts.hostname, port) if bare and parts.hostname else None
