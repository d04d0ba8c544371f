"""Every URL there is: closed to strangers, deaf to forged posts, with its security headers; sessions and hosts.

Generated from the URL conf: a new URL is closed, or stands in PUBLIC with its reason, or these tests fail.
"""

import importlib.metadata
import re
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
import time_machine
from django.core.handlers.asgi import ASGIRequest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern
from django.utils import timezone

from dashboard import tokens
from dashboard.models import User
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_engine]
PASSWORD = "a long pass phrase"
PUBLIC = {
    "accounts/login/": "where people sign in",
    "accounts/password/x/x/": "where the link of an invitation leads; says nothing without a valid one",
    "api/v1/docs": "describes the API, tells nothing of this installation",
    "api/v1/openapi.json": "the same for programs",
    "api/v1/": "404",
    "api/v1/nothing-here": "404",
    "favicon.ico": "a picture",
    "health/live": "for probes; says only that it lives",
    "health/ready": "for probes; names what is missing",
    "hooks/x/": "webhooks of providers, signed over their body (test_hooks)",
    "metrics": "loopback of a local installation, else a token (test_health)",
    "admin/login/": "leads to the sign-in page",
    "admin/jsi18n/": "Django's own words",
    "admin/nothing-here": "leads to the sign-in page",
}
FILL = {"uuid": str(UUID(int=1)), "uuidstr": str(UUID(int=1)), "int": "1", "str": "x", "path": "x", "slug": "x"}
REGEXES = {r"^api(?:/.*)?$": "api/v1/nothing-here", r"(?P<url>.*)$": "nothing-here"}
CODE_OF_TOKENS = re.compile(r"^api\b")
SIGNED = re.compile(r"^hooks/")


def every_url() -> list[tuple[str, URLPattern]]:
    """All addresses, with their converters filled."""

    def walk(patterns: list[URLPattern | URLResolver], before: str) -> Iterator[tuple[str, URLPattern]]:
        for entry in patterns:
            route = before + written(entry.pattern)
            if isinstance(entry, URLResolver):
                yield from walk(entry.url_patterns, route)
            else:
                yield route, entry

    return list(walk(get_resolver().url_patterns, ""))


def written(pattern: Any) -> str:
    if isinstance(pattern, RoutePattern):
        return re.sub(r"<(?:(\w+):)?\w+>", lambda found: FILL[found[1] or "str"], str(pattern))
    assert isinstance(pattern, RegexPattern)
    return REGEXES.get(str(pattern), "" if str(pattern) == "^/" else f"unknown-regex-{pattern}")


def test_the_table_of_public_urls_is_exact() -> None:
    assert set(PUBLIC) <= {route for route, _ in every_url()}


def test_a_stranger_is_sent_to_sign_in_or_refused(client: Client) -> None:
    seen = 0
    for route, _ in every_url():
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = client.generic(method, f"/{route}")
            if route in PUBLIC:
                assert answer.status_code != 500, route
                continue
            seen += 1
            if CODE_OF_TOKENS.match(route):
                assert answer.status_code in {401, 405}, (method, route, answer.status_code)
            else:
                assert answer.status_code == 302, (method, route, answer.status_code)
                assert re.match(r"/(accounts|admin)/login/\?next=/", answer.headers["Location"]), (method, route)
    assert seen > 50


def test_what_is_open_by_decorator_is_what_the_table_says() -> None:
    opened = {route for route, entry in every_url() if not getattr(entry.callback, "login_required", True)}
    assert {route for route in opened if not CODE_OF_TOKENS.match(route)} <= set(PUBLIC)


def test_only_the_token_api_and_signed_webhooks_do_without_csrf_tokens() -> None:
    exempt = {route for route, entry in every_url() if getattr(entry.callback, "csrf_exempt", False)}
    assert exempt
    assert all(CODE_OF_TOKENS.match(route) or SIGNED.match(route) for route in exempt)


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        ({}, {}),
        ({"csrfmiddlewaretoken": "x" * 64}, {}),
        ({}, {"X-CSRFToken": "x" * 64, "HX-Request": "true"}),
        ({}, {"Origin": "https://evil.example"}),
        ({}, {"Origin": "null"}),
    ],
)
def test_a_forged_post_is_refused_everywhere(data: dict[str, str], headers: dict[str, str]) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("boss", password=PASSWORD))
    for route, entry in every_url():
        if not getattr(entry.callback, "csrf_exempt", False):
            answer = client.post(f"/{route}", data, headers=headers)
            assert answer.status_code == 403, (route, answer.status_code)


def test_an_api_call_does_not_ride_on_a_session() -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", password=PASSWORD))
    for route, _ in every_url():
        if CODE_OF_TOKENS.match(route) and route not in PUBLIC:
            assert client.get(f"/{route}").status_code in {401, 405}
            assert client.post(f"/{route}", b"{}", "application/json").status_code in {401, 405}


def test_every_answer_has_the_security_headers(client: Client) -> None:
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss", password=PASSWORD))
    for who in (client, boss):
        for route, _ in every_url():
            answer = who.get(f"/{route}")
            if answer.status_code == 500:
                pytest.fail(route)
            policy = answer.headers["Content-Security-Policy"]
            for part in ("default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"):
                assert part in policy, route
            assert "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Referrer-Policy"] == "same-origin"
            assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            if route not in {"admin/jsi18n/"}:
                assert "no-store" in answer.headers["Cache-Control"], route


# --- hosts and headers that lie -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "", "[::1", "a b"]
)
def test_a_foreign_host_is_refused(client: Client, settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = settings.LOOPBACK_HOSTS
    assert client.get("/accounts/login/", HTTP_HOST=host, SERVER_NAME="evil.example").status_code == 400
    assert client.get("/accounts/login/", HTTP_HOST="localhost:8000").status_code == 200


def test_forwarded_headers_of_strangers_change_nothing(client: Client) -> None:
    factories.request()
    factories.request()
    _, token = tokens.create(name="t", user=factories.user(), scopes=["approvals:read"], actor="system", origin="t")
    lies = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": "444",
        "Forwarded": "host=evil.example;proto=https",
        "X-Original-URL": "/admin/",
    }
    answer = client.get("/api/v1/approvals?limit=1", headers={"Authorization": f"Bearer {token}", **lies})
    assert answer.json()["next"].startswith("http://testserver/api/v1/approvals?")
    assert not answer.wsgi_request.is_secure()


def test_a_header_with_an_underscore_is_not_the_one_with_a_hyphen() -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"x_forwarded_for", b"1.2.3.4"), (b"authorization_", b"x")],
    }
    assert "HTTP_X_FORWARDED_FOR" not in ASGIRequest(scope, BytesIO()).META


@pytest.mark.parametrize(("package", "least"), [("daphne", (4, 2, 2)), ("django", (5, 2, 13))])
def test_the_versions_that_fixed_header_smuggling(package: str, least: tuple[int, ...]) -> None:
    assert tuple(int(part) for part in importlib.metadata.version(package).split(".")[:3]) >= least


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_nowhere_else(client: Client, target: str) -> None:
    User.objects.create_user("ada", password=PASSWORD)
    answer = client.post("/accounts/login/", {"username": "ada", "password": PASSWORD, "next": target})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


# --- sessions -------------------------------------------------------------------------------------------------------


def test_a_session_ends_twelve_hours_after_signing_in_however_busy() -> None:
    User.objects.create_superuser("boss", password=PASSWORD)
    client, start = Client(), timezone.now()
    with time_machine.travel(start, tick=False) as clock:
        assert client.login(username="boss", password=PASSWORD)
        for hours in (4, 8, 11.9):
            clock.move_to(start + timedelta(hours=hours))
            assert client.get("/admin/").status_code == 200
            session = client.session
            session["busy"] = hours
            session.save()
        clock.move_to(start + timedelta(hours=12, seconds=1))
        assert client.get("/admin/").status_code == 302


def test_signing_in_makes_a_new_session_with_a_guarded_cookie(client: Client) -> None:
    User.objects.create_user("ada", password=PASSWORD)
    client.get("/accounts/login/")
    planted = client.session
    planted["planted"] = True
    planted.save()
    before = planted.session_key
    client.post("/accounts/login/", {"username": "ada", "password": PASSWORD})
    cookie = client.cookies["countersign"]
    assert cookie.value and cookie.value != before
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert 12 * 3600 - 60 <= int(cookie["max-age"]) <= 12 * 3600


def test_signing_out_ends_the_session_on_the_server() -> None:
    User.objects.create_superuser("boss", password=PASSWORD)
    client = Client()
    client.login(username="boss", password=PASSWORD)
    kept = client.cookies["countersign"].value
    client.logout()
    client.cookies["countersign"] = kept
    assert client.get("/admin/").status_code == 302
