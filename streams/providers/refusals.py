"""What a provider says when it does not take a call: two documented error shapes, the usual others, and plain text."""

import re
from typing import Any

from streams import jsontext
from streams.events import short
from streams.providers.base import Refusal

UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
TEXT_LIMIT = 500
CODE_LIMIT = 100


def read(status: int, body: bytes) -> Refusal:
    """Code and text of an error answer; any body is survived, none is trusted."""
    said = body[:65_536].decode("utf-8", "replace").strip()
    try:
        value = jsontext.quick(said)
    except ValueError:
        return _refusal(status, "", said)
    if isinstance(value, dict):
        return _from_object(status, value)
    if isinstance(value, list):
        return _refusal(status, "", _problems(value) or said)
    return _refusal(status, "", value if isinstance(value, str) else said)


def _from_object(status: int, value: dict[str, Any]) -> Refusal:
    """Mindra: `{error: text, code}`, on older pages `{error: CODE, message}` (docs.mindra.co, read 2026-11)."""
    error, code = value.get("error"), value.get("code")
    if isinstance(error, dict):
        return _from_object(status, error)
    if not isinstance(code, str):
        code = error if isinstance(error, str) and UPPER_SNAKE.fullmatch(error) else ""
    detail = value.get("detail")  # FastAPI's: a text, or a list of problems
    words = [value.get("message"), error, _problems(detail) if isinstance(detail, list) else detail, value.get("title")]
    return _refusal(status, code, next((word for word in words if isinstance(word, str) and word), ""))


def _problems(items: list[Any]) -> str:
    """pydantic's list of problems: `[{loc: [...], msg}]`."""
    told = []
    for item in items[:5]:
        if isinstance(item, dict) and isinstance(item.get("msg"), str):
            where = item.get("loc")
            place = ".".join(str(part)[:60] for part in where) if isinstance(where, list) else ""
            told.append(f"{place}: {item['msg']}" if place else item["msg"])
    return "; ".join(told)


def _refusal(status: int, code: str, text: str) -> Refusal:
    return Refusal(
        short(code or f"HTTP_{status}", CODE_LIMIT), short(text or f"HTTP {status} without a word", TEXT_LIMIT)
    )
