"""JSON in and out: strict bodies of which each member's own text can be had, and arguments as far as they are JSON."""

from typing import Any

from django.http import HttpRequest
from ninja.parser import Parser

from streams import jsontext


class StrictParser(Parser):
    """JSON that every parser reads alike: no doubled keys, no NaN, nothing too deep, too long or unstorable."""

    def parse_body(self, request: HttpRequest) -> Any:
        return jsontext.strict(request.body.decode("utf-8"))


def own_text(request: HttpRequest, member: str) -> str:
    """A member of the body as the caller spelled it; empty where it is missing or null."""
    try:
        raw = jsontext.raw_slice(request.body.decode("utf-8"), [member])
    except LookupError:
        return ""
    return "" if raw == "null" else raw


def arguments(text: str) -> Any:
    """The parsed arguments of a request, or None where they are no JSON that an answer could carry."""
    if jsontext.depth(text) > jsontext.MAX_DEPTH:
        return None
    try:
        return jsontext.parse(text)
    except ValueError:
        return None
