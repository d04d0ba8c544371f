"""Health: alive without asking anybody, ready when database, layer and holders are, numbers for those who may."""

import re
import socket
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from approvals.models import Delivery, DeliveryKind, DeliveryState, RequestStatus, WebhookEndpoint
from dashboard import health, tokens
from streams.models import HolderProcess, RunStatus
from tests import factories


def holder(age_s: float = 0, **fields: Any) -> HolderProcess:
    now = timezone.now()
    given = {"owner": "host:1:a", "started_at": now, "seen_at": now - timedelta(seconds=age_s), **fields}
    return HolderProcess.objects.create(**given)


def test_alive_asks_nobody(client: Client) -> None:
    answer = client.get("/health/live")  # no database here: the test would fail on a query
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "no-store" in answer.headers["Cache-Control"]


@pytest.mark.django_db
def test_ready_with_a_fresh_holder(client: Client) -> None:
    holder()
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "missing": [],
        "checks": {"database": "ok", "layer": "ok", "holders": "ok"},
    }


@pytest.mark.django_db
@pytest.mark.parametrize("age_s", [None, 16, 3600])
def test_not_ready_without_a_holder_that_was_seen_lately(client: Client, age_s: float | None) -> None:
    if age_s is not None:
        holder(age_s)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert (answer.json()["status"], answer.json()["missing"]) == ("unavailable", ["holders"])


@pytest.mark.django_db
def test_not_ready_without_the_layer(client: Client, settings: Any) -> None:
    holder()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings.REDIS_URL = f"redis://:canary-word@127.0.0.1:{closed.getsockname()[1]}/0"
        answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["missing"]) == (503, ["layer"])
    assert "canary" not in answer.content.decode()


@pytest.mark.django_db
@pytest.mark.redis
def test_ready_with_redis(client: Client, settings: Any) -> None:
    import os

    settings.REDIS_URL = os.environ["COUNTERSIGN_TEST_REDIS_URL"]
    holder()
    assert client.get("/health/ready").status_code == 200


@pytest.mark.django_db
def test_not_ready_without_the_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def cursor(self) -> Any:
            raise DatabaseError("canary: connection refused")

    def gone() -> Any:
        raise DatabaseError("canary: connection refused")

    monkeypatch.setattr(health, "connection", Gone())
    monkeypatch.setattr(health, "_fresh_holders", gone)
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["missing"]) == (503, ["database", "holders"])
    assert "canary" not in answer.content.decode()


# --- metrics --------------------------------------------------------------------------------------------------------


def scrape(client: Client, **extra: Any) -> dict[str, float]:
    answer = client.get("/metrics", **extra)
    assert answer.status_code == 200
    lines = [line for line in answer.content.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.mark.django_db
def test_the_gauges_tell_what_the_rows_say(client: Client) -> None:
    now = timezone.now()
    factories.run(status=RunStatus.LOST, ended_at=now)
    factories.request(requested_at=now - timedelta(minutes=5))
    factories.request()
    factories.request(status=RequestStatus.UNKNOWN, settled_at=now)
    holder(streams=7, slots=100)
    holder(owner="gone", streams=50, age_s=600)
    found = scrape(client)
    assert found['countersign_runs{status="lost"}'] == 1
    assert found['countersign_runs{status="streaming"}'] == 3
    assert found['countersign_runs{status="failed"}'] == 0
    assert found['countersign_requests{status="pending"}'] == 2
    assert found['countersign_requests{status="unknown"}'] == 1
    assert found['countersign_deliveries{state="parked"}'] == 0
    assert 300 <= found["countersign_oldest_pending_seconds"] < 400
    assert (found["countersign_holder_processes"], found["countersign_holder_streams"]) == (1, 7)


@pytest.mark.django_db
def test_webhooks_are_not_counted_among_answers_to_agents(client: Client) -> None:
    endpoint = WebhookEndpoint.objects.create(url="https://hooks.example.com/")
    told: dict[str, Any] = {
        "kind": DeliveryKind.WEBHOOK,
        "endpoint": endpoint,
        "event": "ping",
        "next_at": timezone.now(),
    }
    Delivery.objects.create(state=DeliveryState.REFUSED, **told)
    found = scrape(client)
    assert found['countersign_deliveries{state="refused"}'] == 0
    assert found['countersign_webhooks{state="refused"}'] == 1


@pytest.mark.django_db
def test_nothing_waiting_is_zero(client: Client) -> None:
    found = scrape(client)
    assert found["countersign_oldest_pending_seconds"] == 0
    assert found["countersign_holder_streams"] == 0
    assert all(re.match(r"countersign_[a-z_]+", name) for name in found)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "origins", "status"),
    [
        ("127.0.0.1", [], 200),
        ("::1", [], 200),
        ("192.0.2.7", [], 401),
        ("", [], 401),
        ("127.0.0.1", ["https://testserver"], 401),  # a proxy on this machine may stand before everybody
    ],
)
def test_without_a_token_only_a_local_installation_answers_loopback(
    client: Client, settings: Any, address: str, origins: list[str], status: int
) -> None:
    settings.ORIGINS = origins
    answer = client.get("/metrics", REMOTE_ADDR=address, headers={"X-Forwarded-For": "127.0.0.1"})
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.django_db
@pytest.mark.parametrize(("scope", "status"), [("metrics:read", 200), ("runs:read", 401)])
def test_a_token_needs_its_scope(client: Client, settings: Any, scope: str, status: int) -> None:
    settings.ORIGINS = ["https://testserver"]
    _, token = tokens.create(name="p", user=factories.user(), scopes=[scope], actor="system", origin="t")
    for address in ("192.0.2.7", "127.0.0.1"):
        answer = client.get("/metrics", REMOTE_ADDR=address, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status


def test_a_wrong_token_gains_nothing_from_loopback(client: Client, db: None) -> None:
    assert client.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/metrics"])
def test_only_reading(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
