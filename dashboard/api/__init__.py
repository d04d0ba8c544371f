"""The API for machines, mounted at /api/v1/: bearer tokens, JSON, OpenAPI page at /api/v1/docs."""

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI

from dashboard.api import approvals, errors, runs
from dashboard.api.bodies import StrictParser

DESCRIPTION = """Start agent runs, read what waits for a person, and decide.

Make a token on the server (`manage.py tokens create NAME --user U --scope S`) and send it as `Authorization: Bearer`.
Lists are `{items, next}`; follow `next` until it is null. Errors are `{code, detail, errors: [{field, message}]}`."""

api = NinjaAPI(
    title="Countersign",
    version="1",
    description=DESCRIPTION,
    urls_namespace="api",
    parser=StrictParser(),
    openapi_url="/openapi.json",
    docs_url="/docs",
)
api.add_router("", runs.router)
api.add_router("", approvals.router)
errors.install(api)


def _guarded(urls: Any) -> Any:
    for pattern in urls[0]:
        assert isinstance(pattern, URLPattern)
        errors.guard(pattern)
    return urls


api_urls = _guarded(api.urls)


@login_not_required
@csrf_exempt
@never_cache
def not_found(request: HttpRequest) -> HttpResponse:
    """Everything below /api/ that is no route."""
    return errors.problem(404, "not_found", errors.NOT_FOUND)
