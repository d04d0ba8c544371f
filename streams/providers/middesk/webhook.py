"""Middesk's webhooks: the signature over the raw body first, then the envelope; a nudge to read the run.

Sources, read 2026-11: docs.middesk.com/build/secure-webhooks (X-Middesk-Signature-256: HMAC-SHA256 of the raw body in
hex; no timestamp, so only the event's id tells a replay) and /work-with-agents/webhooks (envelope, three run events).
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streams import jsontext
from streams.errors import WireError
from streams.events import text
from streams.providers.addresses import id_problem
from streams.providers.base import Hook, Unsigned
from streams.providers.middesk.wire import string

HEADER: Final = "x-middesk-signature-256"
WANTED: Final = frozenset({"run.created", "run.completed", "run.interrupted"})
HEX: Final = re.compile(r"[0-9a-f]{64}")
ID_LIMIT, KIND_LIMIT = 255, 100


def signature_of(headers: Mapping[str, str]) -> str:
    """The signature header, whatever the case of its name."""
    return next((value for name, value in headers.items() if name.lower() == HEADER), "")


def read_webhook(raw: bytes, signature: str, secrets: Sequence[str]) -> Hook:
    """Check and read a delivery. Raises Unsigned, or WireError for a signed body that is no event.

    Several secrets are those of a rotation. The digest is bare in the documentation's sample; a `sha256=` in front of
    it is let through.
    """
    check(raw, signature, secrets)
    try:
        event = jsontext.quick(raw.decode("utf-8"))
    except ValueError as exc:
        raise WireError("the webhook's body is not JSON") from exc
    if not isinstance(event, dict):
        raise WireError("the webhook's body is not an object")
    event_id, kind = _text(event.get("id"), ID_LIMIT), _text(event.get("type"), KIND_LIMIT)
    if not event_id or not kind:
        raise WireError("the webhook's event has no id or no type")
    return Hook(event_id, kind, _run_id(event.get("data")) if kind in WANTED else "")


def check(raw: bytes, signature: str, secrets: Sequence[str]) -> None:
    """Raise Unsigned unless one of the secrets makes this signature, in a time that does not tell how near it came."""
    given = signature.strip().lower().removeprefix("sha256=")
    known = [secret for secret in secrets if secret]
    if not known:
        raise Unsigned("no secret is set for this provider's webhooks")
    if not HEX.fullmatch(given):
        raise Unsigned("the webhook has no signature" if not given else "the webhook's signature is no SHA-256 in hex")
    fits = False
    for secret in known:
        made = hmac.new(secret.encode("utf-8", "surrogatepass"), raw, hashlib.sha256).hexdigest()
        fits = hmac.compare_digest(made, given) or fits
    if not fits:
        raise Unsigned("the webhook's signature does not fit its body")


def _run_id(data: Any) -> str:
    found = data.get("object") if isinstance(data, dict) else None
    run_id = string(found.get("id")) if isinstance(found, dict) else ""
    return "" if id_problem(run_id, limit=ID_LIMIT) else run_id


def _text(value: Any, limit: int) -> str:
    fits = isinstance(value, str) and 0 < len(value) <= limit and not text(value)[1]
    return value if fits else ""
