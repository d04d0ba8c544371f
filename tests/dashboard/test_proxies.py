"""Forwarded headers count from a named proxy alone; an Origin counts if it is exactly ours."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from dashboard.origins import origin_is_ours
from dashboard.proxies import networks, seen_through

PROXIES = networks(["127.0.0.1", "10.0.0.0/8"])


def scope(client: str = "127.0.0.1", type_: str = "http", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": type_, "scheme": "http" if type_ == "http" else "ws", "client": [client, 5], "headers": raw}


def test_a_named_proxy_says_who_asks_and_how() -> None:
    seen = seen_through(scope(x_forwarded_for="203.0.113.9", x_forwarded_proto="https", host="a.test"), PROXIES)
    assert (seen["client"], seen["scheme"]) == (["203.0.113.9", 0], "https")
    assert seen["headers"] == [(b"host", b"a.test")]
    assert seen_through(scope(type_="websocket", x_forwarded_proto="https"), PROXIES)["scheme"] == "wss"


def test_nobody_else_is_believed_and_nothing_is_left_to_believe() -> None:
    spoofed = scope("203.0.113.5", x_forwarded_for="1.1.1.1", x_forwarded_proto="https", x_real_ip="1.1.1.1", host="a")
    spoofed["headers"].append((b"X_Forwarded_Proto", b"https"))
    seen = seen_through(spoofed, PROXIES)
    assert (seen["client"], seen["scheme"], seen["headers"]) == (["203.0.113.5", 5], "http", [(b"host", b"a")])


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ("6.6.6.6, 203.0.113.9, 10.1.2.3", "203.0.113.9"),  # what stands left of it anybody could have written
        ("10.1.2.3", "10.1.2.3"),
        ("203.0.113.9, nonsense", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_sender_is_the_first_from_the_right_that_is_no_proxy(chain: str, client: str) -> None:
    assert seen_through(scope(x_forwarded_for=chain), PROXIES)["client"][0] == client


def test_a_proxy_that_is_no_address_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"COUNTERSIGN_PROXIES: 'nginx\.local'"):
        networks(["10.0.0.1", "nginx.local"])


@pytest.mark.parametrize(
    ("origin", "opens"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.0.0.1:8001", False),
        ("https://127.0.0.1:8000", False),
        ("http://localhost:8000", False),
        ("http://127.0.0.1", False),
        ("http://evil.test:8000", False),
        ("http://127.0.0.1:8000.evil.test", False),
        ("http://user@127.0.0.1:8000", False),
        ("http://127.0.0.1:8000/path", False),
        ("null", False),
        ("", False),
        (None, False),
    ],
)
def test_without_origins_only_the_very_loopback_address_opens(origin: str | None, opens: bool) -> None:
    headers = {"host": "127.0.0.1:8000"} | ({} if origin is None else {"origin": origin})
    assert origin_is_ours(scope(type_="websocket", **headers)) == opens


def test_a_rebound_name_is_not_loopback() -> None:
    assert not origin_is_ours(scope(type_="websocket", host="evil.test:8000", origin="http://evil.test:8000"))


@pytest.mark.parametrize(
    ("origin", "opens"),
    [
        ("https://a.test", True),
        ("https://a.test:443", True),
        ("HTTPS://A.TEST", True),
        ("https://b.test:8443", True),
        ("https://b.test", False),
        ("http://a.test", False),
        ("https://sub.a.test", False),
        ("null", False),
        ("http://127.0.0.1:8000", False),
    ],
)
def test_with_origins_they_open_and_nothing_else(settings: Any, origin: str, opens: bool) -> None:
    settings.ORIGINS = ["https://a.test", "https://b.test:8443"]
    assert origin_is_ours(scope(type_="websocket", host="127.0.0.1:8000", origin=origin)) == opens


def test_two_origins_are_none() -> None:
    twice = scope(type_="websocket", host="127.0.0.1:8000", origin="http://127.0.0.1:8000")
    twice["headers"].append((b"origin", b"http://127.0.0.1:8000"))
    assert not origin_is_ours(twice)
