"""A thread's interrupts as questions: what each asks, and which answers its agent takes. Pure.

Source: langchain 1.4.7's middleware for people in the loop and a graph's own interrupt(), as langgraph-api 0.16.7 sent
them, 2026-11. `action_requests` with `review_configs`: one interrupt for one or more calls, whose decisions go back by
their places. `type: tool_approval`: one interrupt a call, with a `response_schema` of its decisions. Anything else is
the graph's author's own; only a `response_schema`, or the account's own words, says what it takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from streams import jsontext
from streams.events import Asked, canonical, sha256, short, text
from streams.providers.addresses import ID_LIMIT
from streams.providers.agui import schema
from streams.providers.langgraph.wire import Raised, string

Shape = Literal["decisions", "decision", "form", "own"]
TOOL: Final = "interrupt"  # where nothing is named
NAMELESS: Final = "sha256:"  # how a question begins whose own id no answer could name
ACTIONS_MAX, QUESTIONS_MAX = 100, 1_000
KNOWN: Final = frozenset({"type", "tool_call_id", "name", "args", "description"})
NO_PLAIN_YES: Final = "the agent takes no plain yes for it"
NO_REFUSAL: Final = "the agent takes no refusal for this call"
NO_CHANGES: Final = "the agent does not take changes for it"
NO_REASON: Final = "the agent's question has no place for it"
ALIKE: Final = "several calls are answered with one yes or one no"
WHOLE: Final = "it is shown as the agent asks it, and only its answer goes back"
SEVERAL: Final = "It asks for {n} calls at once: one answer from here approves or refuses all of them."
OWN: Final = (
    "What this agent takes for an answer is not known: write the answer yourself, as JSON. An account's options "
    "approve and reject say it once for all."
)
OWN_NO: Final = "what this agent takes for a no is not known; the account's options approve and reject can say it"
NOT_SAID: Final = "the agent does not say which answers it takes for it"


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer to a question looks like."""

    shape: Shape
    actions: tuple[tuple[str, tuple[str, ...]], ...] = ()  # name and decisions that are taken, of each call
    schema: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """One interrupt: what is shown of it, and how it is answered."""

    asked: Asked
    form: Form

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.asked.tool, self.asked.arguments)


def read(found: Sequence[Raised], *, own: bool, hears: bool = False) -> tuple[Question, ...]:
    """Every question of a payload, each once.

    `own`: the account's options say what a yes and a no look like; `hears`: their no has a place for a reason.
    """
    made: dict[str, Question] = {}
    for one in found[:QUESTIONS_MAX]:
        question = _question(one, own, hears)
        twin = made.get(question.asked.call_id)
        if twin is not None and twin.fingerprint != question.fingerprint:
            why = twin.asked.problem or "two different interrupts came under this id"
            question = replace(twin, asked=replace(twin.asked, problem=why))
        made[question.asked.call_id] = question
    return tuple(made.values())


def fingerprint(tool: str, arguments: str) -> str:
    """What a question is about, whatever its spelling."""
    return sha256(f"{tool}\n{canonical(arguments)}")


def _question(one: Raised, own: bool, hears: bool) -> Question:
    value = one.item.get("value")
    schema_text = schema.text_of(found) if isinstance(found := one.item.get("response_schema"), dict) else ""
    if isinstance(value, dict) and isinstance(value.get("action_requests"), list):
        made = _actions(value, one)
    elif isinstance(value, dict) and value.get("type") == "tool_approval":
        made = _call(value, one, schema_text)
    else:
        made = _free(value, one, schema_text, own, hears)
    arguments, marked = text(made.asked.arguments)
    call_id, id_trouble = _id(one.item.get("id"), arguments)
    trouble = one.trouble or made.asked.problem or (jsontext.problem(arguments) if arguments else "")
    if not trouble and marked:
        trouble = "holds a NUL or half a character (a lone surrogate)"
    trouble = trouble or ("" if arguments else "what it asks cannot be cut out of what was sent") or id_trouble
    asked = replace(
        made.asked,
        call_id=call_id,
        arguments=arguments,
        problem=short(trouble, 500),
        edit=made.asked.edit and not trouble,
    )
    return replace(made, asked=asked)


# --- the middleware for people in the loop ---------------------------------------------------------------------------


def _actions(value: Mapping[str, Any], one: Raised) -> Question:
    """One interrupt for one or more calls."""
    found = value["action_requests"]
    actions = [action if isinstance(action, dict) else {} for action in found[: ACTIONS_MAX + 1]]
    allowed = _allowed(actions, value.get("review_configs"))
    names = [string(action.get("name")) for action in actions]
    fits = bool(actions) and len(actions) <= ACTIONS_MAX and all(names)
    fits = fits and all(isinstance(action.get("args"), dict) for action in actions)
    trouble = "" if fits else "the calls that it is about cannot be read"
    trouble = trouble or ("" if all(allowed) else NOT_SAID)
    trouble = trouble or ("" if all("approve" in one for one in allowed) else NO_PLAIN_YES)
    alone, refuses = len(actions) == 1, bool(allowed) and all("reject" in one for one in allowed)
    path = ("value", "action_requests", 0, "args") if alone else ("value", "action_requests")
    asked = Asked(
        call_id="",
        tool=short(", ".join(names) or TOOL, 300),
        arguments=_slice(one.raw, path) or one.raw,
        message=short(string(actions[0].get("description")), 2_000) if alone else "",
        reason="tool_approval",
        edit=alone and fits and "edit" in allowed[0],
        hears_reason=refuses,
        problem=trouble,
        limits="" if alone else SEVERAL.format(n=len(actions)),
        no_edit=ALIKE if not alone else "" if not allowed or "edit" in allowed[0] else NO_CHANGES,
        no_reason="" if refuses else NO_REFUSAL,
        no_reject="" if refuses else NO_REFUSAL,
    )
    return Question(asked, Form("decisions", tuple(zip(names, allowed, strict=True))))


def _allowed(actions: Sequence[Mapping[str, Any]], configs: Any) -> tuple[tuple[str, ...], ...]:
    """The decisions that are taken for each call: by its name, on which all its configurations must agree."""
    listed = [one for one in configs if isinstance(one, dict)] if isinstance(configs, list) else []
    made = []
    for action in actions:
        found = [one.get("allowed_decisions") for one in listed if one.get("action_name") == action.get("name")]
        kinds = found[0] if found and all(one == found[0] for one in found) else None
        made.append(tuple(kind for kind in kinds if isinstance(kind, str)) if isinstance(kinds, list) else ())
    return tuple(made)


def _call(value: Mapping[str, Any], one: Raised, schema_text: str) -> Question:
    """One interrupt for one call; its schema lists the decisions."""
    name, args = string(value.get("name")), value.get("args")
    form = schema.read(schema_text)
    kinds = schema.kinds(form.schema) or _single(form)
    trouble = "" if name and isinstance(args, dict) else "the call that it is about cannot be read"
    trouble = trouble or ("" if set(value) <= KNOWN else "it says more than this version understands")
    trouble = trouble or ("" if kinds else NOT_SAID) or ("" if "approve" in kinds else NO_PLAIN_YES)
    asked = Asked(
        call_id="",
        tool=short(name or TOOL, 300),
        arguments=_slice(one.raw, ("value", "args")) if not trouble or trouble == NOT_SAID else one.raw,
        message=short(string(value.get("description")), 2_000),
        tool_call_id=short(string(value.get("tool_call_id")), 300),
        answer_schema=schema_text,
        reason="tool_approval",
        edit="edit" in kinds,
        hears_reason="reject" in kinds,
        problem=trouble,
        no_edit="" if "edit" in kinds else NO_CHANGES,
        no_reason="" if "reject" in kinds else NO_REFUSAL,
        no_reject="" if "reject" in kinds else NO_REFUSAL,
    )
    return Question(asked, Form("decision", ((name, kinds),), schema_text))


def _single(form: schema.Form) -> tuple[str, ...]:
    """A call that takes one decision alone has that decision's own schema."""
    properties = (form.schema or {}).get("properties")
    kind = properties.get("type") if isinstance(properties, dict) else None
    found = kind.get("const") if isinstance(kind, dict) else None
    return (found,) if isinstance(found, str) else ()


# --- a graph's own ---------------------------------------------------------------------------------------------------


def _free(value: Any, one: Raised, schema_text: str, own: bool, hears: bool) -> Question:
    """What the graph's author made up: shown whole."""
    form, inside = schema.read(schema_text), value if isinstance(value, dict) else {}
    names = (string(inside.get(key)) for key in ("tool", "name", "action", "type"))
    shape: Shape = "form" if schema_text and form.kind != "open" else "own"
    plain = own if shape == "own" else form.kind in ("approval", "boolean") or bool(form.yes and form.no)
    heard = form.kind == "approval" and bool(form.reason_key) if shape == "form" else own and hears
    asked = Asked(
        call_id="",
        tool=short(next((name for name in names if name), TOOL), 300),
        arguments=_slice(one.raw, ("value",)) or one.raw,
        message=short(string(inside.get("message")) or string(inside.get("question")), 2_000),
        answer_schema=schema_text,
        reason="interrupt",
        hears_reason=heard,
        no_edit=WHOLE,
        no_reason="" if heard else NO_REASON,
        answer=not plain,
        needs_answer=not plain,
        no_reject="" if plain else OWN_NO,
        limits=OWN if not plain and shape == "own" else "",
    )
    return Question(asked, Form(shape, (), schema_text))


def _slice(raw: str, path: Sequence[str | int]) -> str:
    try:
        return jsontext.raw_slice(raw, path) if raw else ""
    except (ValueError, LookupError):
        return ""


def _id(found: Any, arguments: str) -> tuple[str, str]:
    """The id to keep, and why no answer could name it. A question without a usable id is shown all the same."""
    if isinstance(found, str) and 0 < len(found) <= ID_LIMIT and not text(found)[1] and not found.startswith(NAMELESS):
        return found, ""
    named = found if isinstance(found, str) else ""
    digest = sha256(f"{named}\n{canonical(arguments)}")
    return f"{NAMELESS}{digest}", "it has no id that an answer could name"
