"""What comes in on Middesk's wire: keys, bodies and pages of lists, checked.

Source: docs.middesk.com build/api-keys, api-reference/agents, read 2026-11.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

from streams.emulator.http import Request
from streams.emulator.middesk_objects import listing
from streams.emulator.middesk_stories import AGENTS, AUDITED
from streams.emulator.middesk_webhooks import EVENTS, refuse_url

T = TypeVar("T")
PER_PAGE, MAX_PER_PAGE = 25, 100


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str, parameter: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.parameter = status, message, parameter


def authenticate(request: Request, wanted: str) -> None:
    """Bearer, or Basic with the key as the user and no password; any key where none is wanted. Raises Refused."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    key = given.strip() if scheme.lower() == "bearer" else ""
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(given, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    if not key or (wanted and key != wanted):
        raise Refused(401, "The API key is missing or not valid.")


def read_object(request: Request) -> dict[str, Any]:
    """The body, an object. Raises Refused."""
    try:
        body = request.json()
    except (ValueError, RecursionError) as exc:
        raise Refused(400, "The body is no JSON.") from exc
    if not isinstance(body, dict):
        raise Refused(400, "The body is an object.")
    return body


def read_context(body: Mapping[str, Any]) -> str:
    """The business that a body names; empty: none. Raises Refused."""
    business, context = read_id(body, "business_id"), read_id(body, "context_id")
    if bool(context) != bool(body.get("context_type")):
        raise Refused(422, "context_type and context_id go together.", "context_type")
    if context and body["context_type"] != "business":
        raise Refused(422, "The context is a business.", "context_type")
    if AUDITED in (business, context):
        raise Refused(422, "The business is in audit.", "business_id")
    return business or context


def read_id(body: Mapping[str, Any], name: str) -> str:
    """A uuid, or nothing. Raises Refused."""
    value = body.get(name)
    if value is None:
        return ""
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError) as exc:
        raise Refused(422, "This is no id.", name) from exc


def read_agent_type(value: object) -> str:
    if not isinstance(value, str) or value not in AGENTS:
        raise Refused(404, "There is no agent of this type.", "type")
    return value


def _whole(request: Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 8 and 1 <= int(text) <= most):
        raise Refused(400, f"A number from 1 to {most}.", name)
    return int(text)


def wants_steps(request: Request) -> bool:
    return "steps" in request.query.get("include", "").split(",")


def page_of(request: Request, items: Sequence[T], show: Callable[[T], str]) -> str:
    """A page of what is given oldest first; the newest come first. Raises Refused."""
    page, per_page = _whole(request, "page", 1, 1_000_000), _whole(request, "per_page", PER_PAGE, MAX_PER_PAGE)
    shown = items[::-1][(page - 1) * per_page : page * per_page]
    return listing([show(item) for item in shown], more=page * per_page < len(items), total=len(items))


def read_answer(body: dict[str, Any], shape: str) -> tuple[str, str, str]:
    """An interrupt's id, the verdict and the note. The body's shape is our assumption. Raises Refused."""
    name = "id" if shape in ("id", "list") else "interrupt_id"
    if shape == "list":
        listed = body.get("interrupts")
        body = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}
    interrupt_id, given = body.get(name), body.get("input")
    if not isinstance(interrupt_id, str):
        raise Refused(422, "The interrupt's id is missing.", name)
    if not isinstance(given, dict) or given.get("decision") not in ("approve", "reject"):
        raise Refused(422, "The decision is approve or reject.", "input.decision")
    if not isinstance(note := given.get("note") or "", str):
        raise Refused(422, "The note is a text.", "input.note")
    return interrupt_id, given["decision"], note


def read_webhook(body: Mapping[str, Any]) -> tuple[str, tuple[str, ...], str, str]:
    """A webhook's URL, events, secret and include. Raises Refused."""
    url, events = body.get("url"), body.get("enabled_events")
    secret, include = body.get("secret") or "", body.get("include") or ""
    if not isinstance(url, str) or (why := refuse_url(url)):
        raise Refused(422, why if isinstance(url, str) else "The URL is missing.", "url")
    if not isinstance(events, list) or not events or not set(map(str, events)) <= {*EVENTS, "*"}:
        raise Refused(422, f"Events are {', '.join(EVENTS)} or *.", "enabled_events")
    if not isinstance(secret, str):
        raise Refused(422, "The secret is a text.", "secret")
    if include not in ("", "identifiers"):
        raise Refused(422, "It is `identifiers` or left out.", "include")
    return url, tuple(map(str, events)), secret, include
