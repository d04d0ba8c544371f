"""Middesk's webhooks: nothing unsigned is read, and what is read is a nudge."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import WireError
from streams.providers.base import Hook, Unsigned
from streams.providers.middesk.webhook import read_webhook
from streams.providers.mindra import Mindra
from tests.streams.middesk_frames import RUN_ID, asking, interrupt, middesk

SECRET = "whsec-for-tests"


def event(kind: str = "run.interrupted", **fields: Any) -> bytes:
    run = json.loads(asking(interrupt()))
    made = {
        "object": "event",
        "id": "ev-1",
        "type": kind,
        "data": {"object": run},
        "created_at": "2026-11-20",
        **fields,
    }
    return json.dumps(made).encode()


def signed(raw: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("kind", ["run.created", "run.completed", "run.interrupted"])
def test_the_three_run_events_name_the_run_to_read(kind: str) -> None:
    raw = event(kind)
    assert read_webhook(raw, signed(raw), [SECRET]) == Hook("ev-1", kind, RUN_ID)


@pytest.mark.parametrize("kind", ["business.updated", "run.resumed", "tin.retried"])
def test_known_good_events_that_are_not_needed_have_no_run_to_read(kind: str) -> None:
    raw = event(kind)
    assert read_webhook(raw, signed(raw), [SECRET]) == Hook("ev-1", kind)


@pytest.mark.parametrize("spell", [str, str.upper, "sha256={}".format, " {} ".format])
def test_the_signature_is_hex_with_or_without_a_prefix(spell: Any) -> None:
    raw = event()
    assert read_webhook(raw, spell(signed(raw)), [SECRET]).run_id == RUN_ID


def test_during_a_rotation_either_secret_will_do() -> None:
    raw = event()
    for used in ("old", "new"):
        assert read_webhook(raw, signed(raw, used), ["new", "old"]).run_id == RUN_ID


@pytest.mark.parametrize(
    "signature",
    [
        "",
        "sha256=",
        "0" * 64,
        signed(event(), "other"),
        signed(event() + b" "),
        signed(event())[:-1],
        "é" * 64,
        "0" * 65,
    ],
)
def test_a_missing_or_wrong_signature_is_refused(signature: str) -> None:
    with pytest.raises(Unsigned):
        read_webhook(event(), signature, [SECRET])


@pytest.mark.parametrize("secrets", [[], [""]])
def test_without_a_secret_nothing_is_believed(secrets: list[str]) -> None:
    raw = event()
    with pytest.raises(Unsigned):
        read_webhook(raw, signed(raw, ""), secrets)


def test_the_signature_is_over_the_raw_bytes() -> None:
    raw = event()
    with pytest.raises(Unsigned):
        read_webhook(json.dumps(json.loads(raw), indent=1).encode(), signed(raw), [SECRET])


def test_unsigned_bytes_are_never_parsed() -> None:
    with pytest.raises(Unsigned):
        read_webhook(b"{", "", [SECRET])


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[]", b"5", b"\xff", b"{}", b'{"id":"a"}', b'{"id":5,"type":"run.created"}', b"[" * 50_000]
    + [b'{"id":"' + b"x" * 300 + b'","type":"run.created"}', b'{"id":"a\\u0000","type":"x"}'],
)
def test_a_signed_body_that_is_no_event_is_a_wire_error(raw: bytes) -> None:
    with pytest.raises(WireError) as told:
        read_webhook(raw, signed(raw), [SECRET])
    assert not isinstance(told.value, Unsigned)


@pytest.mark.parametrize("data", [None, [], {}, {"object": None}, {"object": {"id": 5}}, {"object": {"id": ".."}}])
def test_a_run_event_without_a_usable_run_is_taken_and_nothing_is_read(data: Any) -> None:
    raw = event(data=data)
    assert read_webhook(raw, signed(raw), [SECRET]).run_id == ""


def test_the_header_is_found_whatever_its_case() -> None:
    raw = event()
    assert middesk.read_webhook(raw, {"X-Middesk-Signature-256": signed(raw)}, [SECRET]).run_id == RUN_ID
    with pytest.raises(Unsigned):
        middesk.read_webhook(raw, {"X-Other": signed(raw)}, [SECRET])


def test_a_provider_without_webhooks_takes_none() -> None:
    with pytest.raises(WireError):
        Mindra().read_webhook(b"{}", {}, [SECRET])


@given(st.binary(max_size=200), st.text(max_size=80), st.booleans())
def test_any_delivery_is_a_hook_or_a_wire_error(raw: bytes, signature: str, fits: bool) -> None:
    try:
        read_webhook(raw, signed(raw) if fits else signature, [SECRET])
    except WireError:
        pass
