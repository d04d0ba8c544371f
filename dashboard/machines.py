"""Routes for machines: the API, webhooks of providers, health and metrics; `urls.py` includes them."""

from django.urls import URLPattern, URLResolver, path, re_path

from dashboard import health, hooks
from dashboard.api import api_urls, not_found

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", api_urls),
    re_path(r"^api(?:/.*)?$", not_found, name="api-not-found"),
    path("hooks/<slug:name>/", hooks.receive, name="provider-hook"),
    path("health/live", health.live, name="health-live"),
    path("health/ready", health.ready, name="health-ready"),
    path("metrics", health.metrics, name="metrics"),
]
