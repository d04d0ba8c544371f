"""What a webhook says, how it is signed, and what an answer to it means."""

import base64
import importlib.util
import json
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from approvals import webhook
from approvals.webhook import Data, Meaning
from tests import javascript

# Published: the specification's libraries test themselves with it (libraries/python/tests, javascript/src, go), read
# 2026-11-21.
PUBLISHED_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLISHED_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
PUBLISHED_AT = datetime.fromtimestamp(1614265330, UTC)
PUBLISHED_BODY = b'{"test": 2432232314}'
PUBLISHED_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

NOW = datetime(2026, 11, 21, 12, 0, 0, 250_000, UTC)
DELIVERY = UUID("0d1e2f30-4152-4374-8596-a7b8c9daebfc")
OTHER_SECRET = webhook.new_secret(random=lambda size: bytes(range(size)))
RECEIVER = Path(__file__).resolve().parents[2] / "docs" / "webhook_receiver.py"


def data(**fields: str) -> Data:
    made: Any = {
        "id": "3f0e7d52-1c8a-4f7e-9d3f-0a1b2c3d4e5f",
        "run_id": "b7f2a9c4-5e1d-4a3b-8c6f-1029384756af",
        "provider": "my-agent",
        "tool_name": "send_email",
        "tier": "T2",
        "status": "pending",
        "url": "https://approvals.example.org/requests/3f0e7d52-1c8a-4f7e-9d3f-0a1b2c3d4e5f/",
        **fields,
    }
    return made  # type: ignore[no-any-return]


def signed(body: bytes, *signed_with: str, at: datetime | None = None) -> dict[str, str]:
    message = webhook.message_id(DELIVERY)
    return webhook.headers(message, body, at=at or datetime.now(UTC), signed_with=signed_with)


# --- signatures -----------------------------------------------------------------------------------------------------


def test_the_published_vector_is_signed_as_published() -> None:
    assert webhook.headers(PUBLISHED_ID, PUBLISHED_BODY, at=PUBLISHED_AT, signed_with=[PUBLISHED_SECRET]) == {
        "webhook-id": PUBLISHED_ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": PUBLISHED_SIGNATURE,
    }


def test_the_zone_of_the_clock_changes_no_signature() -> None:
    elsewhere = PUBLISHED_AT.astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    told = webhook.headers(PUBLISHED_ID, PUBLISHED_BODY, at=elsewhere, signed_with=[PUBLISHED_SECRET])
    assert (told["webhook-timestamp"], told["webhook-signature"]) == ("1614265330", PUBLISHED_SIGNATURE)


def test_a_try_has_the_same_id_and_a_time_of_its_own() -> None:
    first = signed(b"{}", OTHER_SECRET, at=NOW)
    later = signed(b"{}", OTHER_SECRET, at=NOW + timedelta(hours=75))
    assert first["webhook-id"] == later["webhook-id"] == "msg_0d1e2f30415243748596a7b8c9daebfc"
    assert int(later["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 75 * 3600
    assert first["webhook-signature"] != later["webhook-signature"]


@pytest.mark.parametrize("size", [24, 25, 26, 32, 64])
def test_the_official_library_accepts_what_is_signed(size: int) -> None:
    secret = webhook.new_secret(size=size)
    body = webhook.body(webhook.PENDING, at=NOW, data=data(tool_name="überweisen \u202e\ud800 💶"))
    told = standardwebhooks.Webhook(secret).verify(body, signed(body, secret))
    assert told["data"]["tool_name"] == "überweisen \u202e\ud800 💶"


def test_no_delivery_is_rejected_while_a_secret_is_changed() -> None:
    """The receiver takes the new secret up somewhere within the overlap; until then it knows the old one only."""
    old, new = webhook.new_secret(), webhook.new_secret()
    changed_at = NOW
    until = changed_at + webhook.OVERLAP
    for minutes in range(0, 48 * 60, 7):
        now = changed_at + timedelta(minutes=minutes)
        secrets = webhook.signing_secrets(new, old, until, now=now)
        assert secrets == ([new, old] if now < until else [new])
        told = signed(b"{}", *secrets)
        standardwebhooks.Webhook(new).verify(b"{}", told)
        if now < until:
            standardwebhooks.Webhook(old).verify(b"{}", told)
            assert len(told["webhook-signature"].split(" ")) == 2
        else:
            with pytest.raises(standardwebhooks.WebhookVerificationError):
                standardwebhooks.Webhook(old).verify(b"{}", told)


def test_an_endpoint_that_never_changed_its_secret_has_one() -> None:
    assert webhook.signing_secrets("a", "", None, now=NOW) == ["a"]
    assert webhook.signing_secrets("a", "", NOW + timedelta(hours=1), now=NOW) == ["a"]
    assert webhook.signing_secrets("a", "b", None, now=NOW) == ["a"]


def test_a_secret_is_made_of_random_bytes_of_the_specified_length() -> None:
    assert len({webhook.new_secret() for _ in range(100)}) == 100
    for size in (24, 32, 64):
        made = webhook.new_secret(size=size)
        assert len(base64.b64decode(made.removeprefix("whsec_"), validate=True)) == size
        assert webhook.secret_problem(made) == ""
    for size in (0, 23, 65):
        with pytest.raises(ValueError, match="24 to 64"):
            webhook.new_secret(size=size)


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("", "begin with whsec_"),
        (PUBLISHED_SECRET.removeprefix("whsec_"), "begin with whsec_"),
        ("whsec_", "24 to 64"),
        ("whsec_" + base64.b64encode(bytes(23)).decode(), "24 to 64"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "24 to 64"),
        ("whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(), "not base64"),
        ("whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="), "not base64"),
        ("whsec_" + base64.b64encode(bytes(32)).decode()[:-2] + "B=", "plain form"),
        (PUBLISHED_SECRET + " ", "not base64"),
        (PUBLISHED_SECRET[:-4] + "é" * 4, "not base64"),
    ],
)
def test_a_secret_that_libraries_read_differently_is_refused(secret: str, words: str) -> None:
    assert words in webhook.secret_problem(secret)
    assert webhook.secret_problem(PUBLISHED_SECRET) == ""


def test_the_official_libraries_of_python_and_javascript_accept_a_thousand() -> None:
    chance = random.Random(4711)
    messages = []
    for _ in range(1_000):
        old = webhook.new_secret(size=chance.randint(24, 64), random=chance.randbytes)
        new = webhook.new_secret(size=chance.randint(24, 64), random=chance.randbytes)
        name = "".join(chr(chance.choice([65, 233, 0x202E, 0xD800, 0x1F4B6, 34, 92, 10])) for _ in range(40))
        made = webhook.body(chance.choice(webhook.EVENTS), at=datetime.now(UTC), data=data(tool_name=name))
        told = signed(made, *chance.choice([[new], [new, old], [old, new]]))
        standardwebhooks.Webhook(new).verify(made, told)
        messages.append((new, told, made))
    javascript.accepts(messages)


# --- the body -------------------------------------------------------------------------------------------------------


def test_the_payload_is_thin_canonical_json() -> None:
    made = webhook.body(webhook.PENDING, at=NOW.astimezone(timezone(timedelta(hours=2))), data=data())
    assert made == (
        b'{"data":{"id":"3f0e7d52-1c8a-4f7e-9d3f-0a1b2c3d4e5f","provider":"my-agent",'
        b'"run_id":"b7f2a9c4-5e1d-4a3b-8c6f-1029384756af","status":"pending","tier":"T2","tool_name":"send_email",'
        b'"url":"https://approvals.example.org/requests/3f0e7d52-1c8a-4f7e-9d3f-0a1b2c3d4e5f/"},'
        b'"timestamp":"2026-11-21T12:00:00.250000Z","type":"approval.pending"}'
    )


def test_a_ping_says_nothing_of_any_request() -> None:
    assert json.loads(webhook.body(webhook.PING, at=NOW)) == {
        "type": "webhook.test", "timestamp": "2026-11-21T12:00:00.250000Z", "data": {},
    }  # fmt: skip


@given(st.text(), st.text())
def test_whatever_names_an_agent_chose_the_body_is_small_ascii(tool_name: str, provider: str) -> None:
    long = {"tool_name": tool_name * 200, "provider": provider + "💶" * 5_000}
    made = webhook.body(webhook.SETTLED, at=NOW, data=data(**long))
    assert made.isascii() and b"\n" not in made and len(made) < 20_000
    told = json.loads(made)["data"]
    assert len(told["tool_name"]) <= 300 and len(told["provider"]) == 300
    assert told["provider"].endswith("…") and long["provider"].startswith(told["provider"][:-1])


def test_a_body_that_is_too_large_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="bytes"):
        webhook.body(webhook.PENDING, at=NOW, data=data(url="https://example.org/" + "a" * 20_000))


def test_an_endpoint_is_told_of_what_it_chose_and_of_a_ping() -> None:
    assert webhook.wanted([], webhook.PENDING) and webhook.wanted([], webhook.SETTLED)
    assert webhook.wanted([webhook.SETTLED], webhook.SETTLED)
    assert not webhook.wanted([webhook.SETTLED], webhook.PENDING)
    assert webhook.wanted([webhook.SETTLED], webhook.PING)


# --- what an answer means -------------------------------------------------------------------------------------------


def read(status: int | None, **fields: Any) -> webhook.Reading:
    return webhook.read(status, **{"tries": 1, "now": NOW, "chance": lambda: 0.0, **fields})


@pytest.mark.parametrize(
    ("status", "means"),
    [(status, Meaning.DELIVERED) for status in (200, 201, 202, 204, 206, 299)]
    + [(status, Meaning.LATER) for status in (None, 100, 101, 300, 301, 302, 303, 304, 307, 308)]
    + [(status, Meaning.LATER) for status in (400, 401, 403, 404, 408, 409, 413, 422, 425, 429)]
    + [(status, Meaning.LATER) for status in (500, 501, 502, 503, 504, 529, 600, 999)]
    + [(410, Meaning.GONE)],
)
def test_a_status_means_what_the_specification_suggests(status: int | None, means: Meaning) -> None:
    found = read(status)
    assert found.means is means
    assert (found.wait_s is None) == (means is not Meaning.LATER)
    last = read(status, tries=webhook.TRIES)
    assert last.means is (Meaning.GIVEN_UP if means is Meaning.LATER else means)
    assert last.wait_s is None


def test_a_try_that_failed_says_why() -> None:
    assert read(None, why="no answer in time").why == "no answer in time"
    assert read(503).why == "HTTP 503"
    assert read(302).why == "HTTP 302: redirects are not followed, give the final address"
    assert read(410).why == "HTTP 410: the receiver wants no more"
    assert read(204).why == ""


def test_ten_tries_follow_the_published_schedule_with_up_to_a_fifth_more() -> None:
    chance = random.Random(1)
    assert webhook.TRIES == 10
    for _ in range(200):
        elapsed_s, tries = webhook.DELAYS_S[0], 1
        while (found := read(500, tries=tries, chance=chance.random)).means is Meaning.LATER:
            assert found.wait_s is not None
            assert webhook.DELAYS_S[tries] <= found.wait_s <= 1.2 * webhook.DELAYS_S[tries]
            elapsed_s, tries = elapsed_s + found.wait_s, tries + 1
        assert (found.means, tries) == (Meaning.GIVEN_UP, 10)
        assert 75.5 * 3600 < elapsed_s < 91 * 3600
    assert read(500, chance=lambda: 0.0).wait_s == 5.0
    assert read(500, chance=lambda: 0.5).wait_s == pytest.approx(5.5)


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ("120", 120.0),
        ("0", 5.0),
        ("3", 5.0),
        ("86400", 3600.0),
        ("1" + "0" * 30, 3600.0),
        ("Sat, 21 Nov 2026 12:01:00 GMT", 60.0),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 5.0),
        ("Sun, 22 Nov 2099 12:00:00 GMT", 3600.0),
        ("soon", 5.0),
        ("-5", 5.0),
        ("1.5", 5.0),
        ("", 5.0),
        (None, 5.0),
    ],
)
@pytest.mark.parametrize("status", [429, 502, 503, 504, 500, 404])
def test_retry_after_is_kept_as_a_lower_bound_of_at_most_an_hour(status: int, said: str | None, wait_s: float) -> None:
    assert read(status, retry_after=said).wait_s == wait_s
    assert read(status, retry_after=said, tries=4).wait_s == 7_200.0


# --- the example receiver -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def receiver() -> ModuleType:
    spec = importlib.util.spec_from_file_location("webhook_receiver", RECEIVER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AT = 1614265330.0
GOOD = {"webhook-id": PUBLISHED_ID, "webhook-timestamp": "1614265330", "webhook-signature": PUBLISHED_SIGNATURE}
WRONG = "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc="
TAMPERED: list[tuple[str, Mapping[str, str | None], bytes, float]] = [
    ("no id", {"webhook-id": None}, PUBLISHED_BODY, 0),
    ("no timestamp", {"webhook-timestamp": None}, PUBLISHED_BODY, 0),
    ("no signature", {"webhook-signature": None}, PUBLISHED_BODY, 0),
    ("empty id", {"webhook-id": ""}, PUBLISHED_BODY, 0),
    ("empty timestamp", {"webhook-timestamp": ""}, PUBLISHED_BODY, 0),
    ("empty signature", {"webhook-signature": ""}, PUBLISHED_BODY, 0),
    ("another id", {"webhook-id": "msg_other"}, PUBLISHED_BODY, 0),
    ("a dot moved into the id", {"webhook-id": f"{PUBLISHED_ID}.1"}, PUBLISHED_BODY, 0),
    ("another time", {"webhook-timestamp": "1614265331"}, PUBLISHED_BODY, 0),
    ("words for a time", {"webhook-timestamp": "hello"}, PUBLISHED_BODY, 0),
    ("a fraction of a second", {"webhook-timestamp": "1614265330.0"}, PUBLISHED_BODY, 0),
    ("other digits", {"webhook-timestamp": "１６１４２６５３３０"}, PUBLISHED_BODY, 0),
    ("a sign", {"webhook-timestamp": "+1614265330"}, PUBLISHED_BODY, 0),
    ("a huge time", {"webhook-timestamp": "9" * 400}, PUBLISHED_BODY, 0),
    ("too old", {}, PUBLISHED_BODY, 301),
    ("too new", {}, PUBLISHED_BODY, -301),
    ("another signature", {"webhook-signature": WRONG}, PUBLISHED_BODY, 0),
    ("half a signature", {"webhook-signature": PUBLISHED_SIGNATURE[:8]}, PUBLISHED_BODY, 0),
    ("nothing after the version", {"webhook-signature": "v1,"}, PUBLISHED_BODY, 0),
    ("no version", {"webhook-signature": PUBLISHED_SIGNATURE[3:]}, PUBLISHED_BODY, 0),
    ("another version", {"webhook-signature": "v2" + PUBLISHED_SIGNATURE[2:]}, PUBLISHED_BODY, 0),
    ("not base64", {"webhook-signature": "v1,é\ud800"}, PUBLISHED_BODY, 0),
    ("several, all wrong", {"webhook-signature": f"{WRONG} {WRONG} v1"}, PUBLISHED_BODY, 0),
    ("another body", {}, b'{"test": 2432232315}', 0),
    ("a body written again", {}, b'{"test":2432232314}', 0),
    ("an empty body", {}, b"", 0),
    ("a body that is no text", {}, b"\xff\xfe", 0),
]


@pytest.mark.parametrize(("what", "change", "body", "later_s"), TAMPERED, ids=[row[0] for row in TAMPERED])
def test_the_example_receiver_refuses(
    receiver: ModuleType, what: str, change: Mapping[str, str | None], body: bytes, later_s: float
) -> None:
    told = {name: value for name, value in {**GOOD, **change}.items() if value is not None}
    assert receiver.verify(PUBLISHED_SECRET, told, body, now=AT + later_s) is False
    assert receiver.verify(OTHER_SECRET, GOOD, PUBLISHED_BODY, now=AT) is False


@pytest.mark.parametrize("later_s", [-300, 0, 300])
@pytest.mark.parametrize("signature", ["{}", f"{WRONG} v2,x {{}} {WRONG}"])
def test_the_example_receiver_accepts_what_is_right(receiver: ModuleType, signature: str, later_s: int) -> None:
    told = {**GOOD, "webhook-signature": signature.format(PUBLISHED_SIGNATURE)}
    assert receiver.verify(PUBLISHED_SECRET, told, PUBLISHED_BODY, now=AT + later_s) is True
    body = webhook.body(webhook.PENDING, at=NOW, data=data())
    ours = signed(body, webhook.new_secret(), OTHER_SECRET)
    assert receiver.verify(OTHER_SECRET, ours, body, now=time.time()) is True
