"""Every error is `{code, detail, errors: [{field, message}]}`; a conflict also tells the `decision` there is."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import RequestDataTooBig
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from approvals.errors import DecisionRefused, InvalidDecision, NotAllowed
from dashboard.api import shapes
from streams.runs import StartRefused

logger = logging.getLogger(__name__)

View = Callable[..., HttpResponseBase]
NOT_FOUND = "there is nothing here; /api/v1/docs shows what there is"


class Forbidden(Exception):
    """The caller is known and may not do this."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class Invalid(Exception):
    """Values that no schema could refuse; field -> why."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def problem(
    status: int, code: str, detail: str, *, fields: Mapping[str, str] | None = None, **more: Any
) -> HttpResponse:
    """The one shape of an error."""
    errors = [{"field": field, "message": why} for field, why in (fields or {}).items()]
    return JsonResponse({"code": code, "detail": detail, "errors": errors, **more}, status=status)


def install(api: NinjaAPI) -> None:
    """Give every exception its answer."""
    for kind, answer in _ANSWERS.items():
        api.add_exception_handler(kind, answer)


def guard(pattern: URLPattern) -> None:
    """Wrap a route of ninja's: bearer tokens instead of sessions, JSON for what ninja answers as text, no caching."""
    view: View = pattern.callback

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            answer = view(request, *args, **kwargs)
        except Http404:  # ninja's own root
            answer = problem(404, "not_found", NOT_FOUND)
        if isinstance(answer, HttpResponseNotAllowed):
            allowed = answer["Allow"]
            answer = problem(405, "method_not_allowed", f"{request.method} is not possible here; {allowed} is")
            answer["Allow"] = allowed
        add_never_cache_headers(answer)
        return answer

    pattern.callback = csrf_exempt(login_not_required(guarded))  # a bearer token is never sent by itself


def _unauthorized(request: HttpRequest, exc: Any) -> HttpResponse:
    answer = problem(401, "unauthorized", "a valid bearer token is needed: Authorization: Bearer cs_...")
    answer["WWW-Authenticate"] = "Bearer"
    return answer


def _forbidden(request: HttpRequest, exc: Any) -> HttpResponse:
    return problem(403, exc.code, exc.detail)


def _not_found(request: HttpRequest, exc: Any) -> HttpResponse:
    return problem(404, "not_found", str(exc) if isinstance(exc, Http404) and str(exc) else NOT_FOUND)


def _http(request: HttpRequest, exc: Any) -> HttpResponse:
    if exc.status_code == 400:  # ninja: the body could not be read
        return problem(400, "bad_json", f"the body is not valid JSON: {exc.__cause__ or exc}")
    return problem(exc.status_code, "refused", str(exc))


def _too_large(request: HttpRequest, exc: Any) -> HttpResponse:
    return problem(413, "too_large", "the body is larger than this server takes")


def _validation(request: HttpRequest, exc: Any) -> HttpResponse:
    fields: dict[str, str] = {}
    for error in exc.errors:
        where = [str(part) for part in error["loc"][1:]]
        where = where[1:] if len(where) > 1 and error["loc"][0] in {"body", "query"} else where
        fields.setdefault(".".join(where) or "body", str(error["msg"]))
    return _invalid(request, Invalid(fields))


def _invalid(request: HttpRequest, exc: Any) -> HttpResponse:
    said = "; ".join(f"{field}: {why}" for field, why in exc.problems.items())
    return problem(422, "invalid", said, fields=exc.problems)


def _decision(request: HttpRequest, exc: Any) -> HttpResponse:
    if isinstance(exc, NotAllowed):
        return problem(403, exc.code, exc.detail)
    if isinstance(exc, InvalidDecision):
        return problem(422, exc.code, exc.detail, fields={exc.field: exc.detail})
    decision = shapes.live_decision(exc.request_id)
    return problem(409, exc.code, exc.detail, decision=decision.model_dump() if decision else None)


def _busy(request: HttpRequest, exc: Any) -> HttpResponse:
    logger.error("api: %s %s: the database did not take it: %s", request.method, request.path, exc)
    answer = problem(503, "unavailable", "the database did not take it; nothing was changed")
    answer["Retry-After"] = "2"
    return answer


def _internal(request: HttpRequest, exc: Any) -> HttpResponse:
    logger.error("api: %s %s failed", request.method, request.path, exc_info=exc)
    return problem(500, "internal_error", "this is our fault; the log says more")


_ANSWERS: Mapping[type[Exception], Callable[[HttpRequest, Any], HttpResponse]] = {
    AuthenticationError: _unauthorized,
    Forbidden: _forbidden,
    Http404: _not_found,
    HttpError: _http,
    RequestDataTooBig: _too_large,
    ValidationError: _validation,
    Invalid: _invalid,
    StartRefused: _invalid,
    DecisionRefused: _decision,
    OperationalError: _busy,
    Exception: _internal,
}
