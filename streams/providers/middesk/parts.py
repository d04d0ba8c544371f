"""What a question proposes, piece by piece: its proposals with their artifacts, confidence and sources. Total.

Source: Middesk's OpenAPI description (Artifact, Source, Interrupt: an orchestrator wraps what its agents ask in
`proposals`, with type `combined_proposal`), read 2026-11. `value` is open: no key is relied on, and none is dropped.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from streams import jsontext
from streams.events import short
from streams.providers.addresses import UNSAFE
from streams.providers.base import Artifact, Citation, Part
from streams.providers.middesk.wire import string

PARTS_MAX, ARTIFACTS_MAX, SOURCES_MAX = 100, 100, 50
NAME_LIMIT, TEXT_LIMIT, REST_LIMIT = 300, 4_000, 8_000
NESTED_MAX = 5  # an orchestrator of orchestrators is not documented
AROUND = "wrapper"  # our name for what a proposal's wrapper says and the proposal itself contradicts


def read(arguments: str) -> tuple[Part, ...]:
    """The parts in a question's arguments; none where they are no JSON object."""
    try:
        return parts(jsontext.quick(arguments))
    except ValueError:
        return ()


def parts(value: Any) -> tuple[Part, ...]:
    """The proposals of a combined one, else the one that the value is."""
    if not isinstance(value, dict):
        return ()
    found = list(_unfolded(value, "", 0))
    if len(found) > PARTS_MAX:
        over = len(found) - PARTS_MAX
        found = [*found[:PARTS_MAX], Part(label="", left_out=over)]
    return tuple(found)


def _unfolded(value: Mapping[str, Any], agent: str, depth: int) -> list[Part]:
    proposals = value.get("proposals")
    if not isinstance(proposals, list) or depth >= NESTED_MAX:
        return [_part(value, agent)]
    around = _part({key: held for key, held in value.items() if key != "proposals"}, agent)
    made = [replace(around, around=True)] if around.artifacts or around.rest else []  # its label alone is shown above
    for item in proposals:
        inner = item.get("value") if isinstance(item, dict) else None
        if isinstance(item, dict) and isinstance(inner, dict):  # wrapped as an interrupt of its own
            outside = {key: held for key, held in item.items() if key not in ("value", "agent")}
            hidden = {key: held for key, held in item.items() if key in inner and inner[key] != held}
            told = {AROUND: hidden} if hidden else {}  # what the inner one says otherwise is told as well
            made += _unfolded({**outside, **inner, **told}, string(item.get("agent")), depth + 1)
        elif isinstance(item, dict):
            made += _unfolded(item, "", depth + 1)
        else:
            made.append(Part(label="", rest=_json(item)))
    return made


def _part(value: Mapping[str, Any], agent: str) -> Part:
    listed = value.get("artifacts")
    artifacts = listed if isinstance(listed, list) else []
    known = {key for key in ("label", "agent", "type") if isinstance(value.get(key), str)}
    known |= {"artifacts"} if isinstance(listed, list) else set()
    return Part(
        label=short(string(value.get("label")), TEXT_LIMIT),
        agent=_name(value.get("agent")) or short(agent, NAME_LIMIT),
        kind=_name(value.get("type")),
        artifacts=tuple(artifact(item) for item in artifacts[:ARTIFACTS_MAX]),
        rest=_rest(value, known),
        left_out=max(0, len(artifacts) - ARTIFACTS_MAX),
    )


def artifact(item: Any) -> Artifact:
    """One artifact, whatever of it is missing."""
    if not isinstance(item, dict):
        return Artifact(title="", rest=_json(item))
    listed = item.get("sources")
    sources = listed if isinstance(listed, list) else []
    plain = [name for name in ("title", "type", "summary") if item.get(name) is None or isinstance(item[name], str)]
    known = {*plain, *(["sources"] if isinstance(listed, list) and len(sources) <= SOURCES_MAX else [])}
    confidence = _score(item.get("confidence"))
    return Artifact(
        title=_name(item.get("title")),
        kind=_name(item.get("type")),
        confidence=confidence,
        summary=short(string(item.get("summary")), TEXT_LIMIT),
        sources=tuple(citation(one) for one in sources[:SOURCES_MAX]),
        rest=_rest(item, known | ({"confidence"} if confidence or item.get("confidence") is None else set())),
    )


def citation(item: Any) -> Citation:
    """One source. Only an http(s) address without tricks may become a link."""
    if not isinstance(item, dict):
        return Citation(url=short(string(item) or _json(item), TEXT_LIMIT))
    url = short(string(item.get("url")), TEXT_LIMIT)
    return Citation(
        url=url,
        link=_link(url),
        name=_name(item.get("source_name")),
        tier=_score(item.get("source_tier")),
        kind=_name(item.get("source_type")),
    )


def _link(url: str) -> str:
    if UNSAFE.search(url) or not url.isprintable() or len(url) >= TEXT_LIMIT:
        return ""
    try:
        address = urlsplit(url)
    except ValueError:
        return ""
    plain = address.scheme in ("http", "https") and address.hostname and "@" not in address.netloc
    return url if plain else ""


def _name(value: Any) -> str:
    return short(string(value), NAME_LIMIT)


def _score(value: Any) -> str:
    """The reference calls confidence a label, the guide a score: either as it came."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return short(str(value), NAME_LIMIT)
    return _name(value)


def _rest(value: Mapping[str, Any], known: set[str]) -> str:
    left = {key: held for key, held in value.items() if key not in known}
    return _json(left) if left else ""


def _json(value: Any) -> str:
    try:
        return short(jsontext.dumps(value), REST_LIMIT)
    except ValueError:
        return "nested too deeply to be shown here"
