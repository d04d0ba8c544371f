"""What a webhook says, how it is signed, and what an answer to it means. Pure.

Source: the Standard Webhooks specification 1.0.0 (spec/standard-webhooks.md), read 2026-11-21.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TypedDict
from uuid import UUID

from standardwebhooks import Webhook

from streams import backoff

PENDING = "approval.pending"
SETTLED = "approval.settled"
PING = "webhook.test"
EVENTS = (PENDING, SETTLED)  # those that an endpoint may choose among; a ping goes to whomever it is sent

BODY_MAX_BYTES = 20_000  # "usually smaller than 20kb"
TEXT_MAX = 300  # of what others named
SECRET_PREFIX = "whsec_"  # noqa: S105
SECRET_BYTES = 32
SECRET_MIN_BYTES, SECRET_MAX_BYTES = 24, 64
OVERLAP = timedelta(hours=24)  # how long the previous secret signs too

# Seconds before each try: the specification's example, over 75 hours and a half.
DELAYS_S = (0.0, 5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
TRIES = len(DELAYS_S)
JITTER = 0.2


class Data(TypedDict):
    """Which request it is about: what is asked, with which arguments, is read behind the link, with a right to."""

    id: str
    run_id: str
    provider: str
    tool_name: str
    tier: str
    status: str
    url: str


def body(event: str, *, at: datetime, data: Data | None = None) -> bytes:
    """The payload in canonical JSON: ASCII, sorted keys, no white space. `at`: when it happened, not when it is sent.

    Raises ValueError when it is larger than a webhook should be.
    """
    told = {name: _trimmed(str(value)) if name != "url" else value for name, value in (data or {}).items()}
    payload = {"type": event, "timestamp": _written(at), "data": told}
    made = json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    if len(made) >= BODY_MAX_BYTES:
        raise ValueError(f"a webhook of {len(made)} bytes")
    return made


def message_id(delivery_id: UUID) -> str:
    """The same at every try: receivers know a repeat by it."""
    return f"msg_{delivery_id.hex}"


def headers(message: str, body: bytes, *, at: datetime, signed_with: Sequence[str]) -> dict[str, str]:
    """Headers of one try, signed with each secret. `at`: when it is sent; receivers refuse what is minutes old."""
    # The library takes a time's digits for UTC, whatever its zone.
    sent_at, text = at.astimezone(UTC), body.decode("utf-8")
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(message, sent_at, text) for secret in signed_with),
    }


def new_secret(*, size: int = SECRET_BYTES, random: Callable[[int], bytes] = secrets.token_bytes) -> str:
    """A secret for one endpoint, as it is shown and kept."""
    if not SECRET_MIN_BYTES <= size <= SECRET_MAX_BYTES:
        raise ValueError(f"a secret has {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} bytes")
    return SECRET_PREFIX + base64.b64encode(random(size)).decode("ascii")


def secret_problem(secret: str) -> str:
    """What is wrong with a secret that somebody brings along; empty: nothing.

    Stricter than the libraries: what one of them skips, another refuses.
    """
    encoded = secret.removeprefix(SECRET_PREFIX)
    if encoded == secret:
        return f"it must begin with {SECRET_PREFIX}"
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return "it is not base64"
    if base64.b64encode(key).decode("ascii") != encoded:
        return "it is not base64 in its plain form"
    if not SECRET_MIN_BYTES <= len(key) <= SECRET_MAX_BYTES:
        return f"it must have {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} bytes"
    return ""


def signing_secrets(current: str, previous: str, previous_until: datetime | None, *, now: datetime) -> list[str]:
    """The current secret first; the previous one too while the two overlap."""
    overlaps = bool(previous) and previous_until is not None and now < previous_until
    return [current, previous] if overlaps else [current]


def wanted(events: Sequence[str], event: str) -> bool:
    """Whether an endpoint that chose these events is told of this one. None chosen: of all."""
    return event == PING or not events or event in events


class Meaning(Enum):
    """What becomes of the delivery after a try."""

    DELIVERED = "delivered"
    LATER = "later"
    GIVEN_UP = "given up"  # after the last try
    GONE = "gone"  # the receiver wants no more: the endpoint is disabled


@dataclass(frozen=True, slots=True)
class Reading:
    """What a try came to; `wait_s` only where there will be a next one."""

    means: Meaning
    why: str = ""
    wait_s: float | None = None


def read(
    status: int | None,
    *,
    tries: int,
    now: datetime,
    chance: Callable[[], float],
    retry_after: str | None = None,
    why: str = "",
) -> Reading:
    """Judge a try. `tries` counts this one, `status` None: no answer, because of `why`; `chance` is in [0, 1)."""
    if status is not None and 200 <= status < 300:
        return Reading(Meaning.DELIVERED)
    said = why if status is None else _words(status)
    if status == 410:
        return Reading(Meaning.GONE, said)
    if tries >= TRIES:
        return Reading(Meaning.GIVEN_UP, said)
    asked_s = backoff.retry_after_s(retry_after, now=now) or 0.0
    return Reading(Meaning.LATER, said, max(asked_s, delay_s(tries, chance)))


def delay_s(tries: int, chance: Callable[[], float]) -> float:
    """How long to wait after so many tries (1 to 9): the schedule's delay, and up to a fifth more."""
    return DELAYS_S[tries] * (1 + JITTER * chance())


def _words(status: int) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirects are not followed, give the final address"
    return f"HTTP {status}: the receiver wants no more" if status == 410 else f"HTTP {status}"


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _trimmed(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"
