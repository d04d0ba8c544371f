"""HTTP and WebSocket entry. A socket opens for a page of this site only, and for somebody who is signed in."""

import os

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import WebsocketDenier
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import re_path

from dashboard.origins import SameSite
from dashboard.proxies import App, Proxied

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")

django_application = get_asgi_application()


def _sockets() -> App:
    from dashboard.live import websocket_urlpatterns  # needs the apps, which the line above made ready

    nowhere = re_path("", WebsocketDenier.as_asgi())  # type: ignore[no-untyped-call]
    routed: App = SameSite(AuthMiddlewareStack(URLRouter([*websocket_urlpatterns, nowhere])))  # type: ignore[no-untyped-call]
    return routed


application = Proxied(
    ProtocolTypeRouter({"http": django_application, "websocket": _sockets()}),  # type: ignore[no-untyped-call]
    proxies=settings.PROXIES,
)
