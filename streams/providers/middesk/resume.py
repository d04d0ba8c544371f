"""The answer to an interrupt: a body template in the account's options, off until somebody switches it on.

`POST /v1/runs/{id}/resume` is named in field descriptions of Middesk's OpenAPI description (read 2026-11), and no page
publishes its body. So an operator who knows it writes it down, as `options["resume"]`:

    {"enabled": true,
     "body": {"interrupt_id": "{interrupt_id}", "input": "{input}"},
     "approve": {"decision": "approve", "note": "{note}"},
     "reject": {"decision": "reject", "note": "{note}"},
     "tools": {"watchlist_resolution": {"reject": {"dismiss": false}}}}

All but `enabled` have these defaults; `tools` says what differs for questions of one tool. A text that is nothing but a
placeholder becomes its value, whatever that is; inside a longer text a placeholder becomes text. What was put in is
never looked through again.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from streams import jsontext
from streams.errors import WireError
from streams.events import text
from streams.providers.base import Account, Answer

READ_ONLY: Final = "Decide in Middesk; this page is read-only."
DEFAULTS: Final[Mapping[str, Any]] = {
    "body": {"interrupt_id": "{interrupt_id}", "input": "{input}"},
    "approve": {"decision": "approve", "note": "{note}"},
    "reject": {"decision": "reject", "note": "{note}"},
}
TEXTS: Final = ("interrupt_id", "run_id", "decision", "note", "reviewer", "key")
NAMES: Final = (*TEXTS, "input")
PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")
SWITCHES: Final = {"enabled", "tools"}
DEPTH_MAX: Final = 20


def undecidable(account: Account) -> str:
    """Why nothing can be decided from here; empty where it can."""
    settings = account.options.get("resume")
    if not isinstance(settings, Mapping) or settings.get("enabled") is not True:
        return READ_ONLY
    try:
        for tool in ("", *_tools(settings)):
            _both(_template(settings, tool))
    except WireError as exc:
        return f"{READ_ONLY} The template for answers cannot be used: {exc}."
    return ""


def hears_reason(account: Account) -> bool:
    """Whether a reviewer's reason has a place in every answer."""
    if undecidable(account):
        return False
    settings = account.options["resume"]
    return all("<note>" in made for tool in ("", *_tools(settings)) for made in _both(_template(settings, tool)))


def body(account: Account, answer: Answer, run_id: str) -> Any:
    """What to send for one answer. Raises WireError where the account's template does not give one."""
    if why := undecidable(account):
        raise WireError(why)
    template = _template(account.options["resume"], answer.question.tool)
    words = {
        "interrupt_id": answer.question.call_id,
        "run_id": run_id,
        "decision": answer.verdict,
        "note": text(answer.reason)[0],
        "reviewer": text(answer.reviewer)[0],
        "key": str(answer.key),
    }
    chosen = jsontext.strict(answer.answer) if answer.answer else _filled(template[answer.verdict], words)
    return _filled(template["body"], {**words, "input": chosen})


def _tools(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    found = settings.get("tools", {})
    if not isinstance(found, Mapping) or not all(isinstance(one, Mapping) for one in found.values()):
        raise WireError("tools is not an object of objects")
    return found


def _template(settings: Mapping[str, Any], tool: str) -> dict[str, Any]:
    own = _tools(settings).get(tool, {})
    if unknown := sorted((set(settings) - set(DEFAULTS) - SWITCHES) | (set(own) - set(DEFAULTS))):
        raise WireError(f"unknown: {', '.join(unknown)}")
    return {name: own.get(name, settings.get(name, default)) for name, default in DEFAULTS.items()}


def _both(template: Mapping[str, Any]) -> tuple[str, str]:
    """A template's yes and no, with marks for values. Raises WireError unless they differ and name the interrupt."""
    if not isinstance(template["body"], Mapping):
        raise WireError("body is not an object")
    words = {name: f"<{name}>" for name in TEXTS}
    made = []
    for verdict in ("approve", "reject"):
        chosen = _filled(template[verdict], {**words, "decision": verdict})
        made.append(_filled(template["body"], {**words, "decision": verdict, "input": chosen}))
    try:
        yes, no = (jsontext.dumps(one) for one in made)
    except (ValueError, TypeError) as exc:
        raise WireError("it is not JSON") from exc
    if "<interrupt_id>" not in yes or "<interrupt_id>" not in no:
        raise WireError("its body does not say {interrupt_id}")
    if yes == no:
        raise WireError("approve and reject would send the same")
    return yes, no


def _filled(template: Any, values: Mapping[str, Any], depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        raise WireError("it is nested too deeply")
    if isinstance(template, Mapping):
        return {str(key): _filled(value, values, depth + 1) for key, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, values, depth + 1) for value in template]
    return _put(template, values) if isinstance(template, str) else template


def _put(said: str, values: Mapping[str, Any]) -> Any:
    whole = PLACEHOLDER.fullmatch(said)
    if whole:
        return values[_known(whole[1], values)]

    def one(found: re.Match[str]) -> str:
        value = values[_known(found[1], values)]
        if not isinstance(value, str):
            raise WireError("{input} has to stand alone")
        return value

    return PLACEHOLDER.sub(one, said)


def _known(name: str, values: Mapping[str, Any]) -> str:
    if name not in values:
        raise WireError(f"{{{name}}} is unknown here; there are {', '.join(sorted(values))}")
    return name
