"""What an AG-UI client may send: RunAgentInput, checked as strictly as the reference servers do.

Source: docs.ag-ui.com/spec/1.0 `basic/run-input` and `basic/patterns/interrupt-resume`, read 2026-11.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.emulator.state import Approval

TYPES: Mapping[str, type] = {"boolean": bool, "object": dict, "string": str}


class InvalidInput(ValueError):
    """Not a RunAgentInput: an HTTP 422, before any run. `problems` in the shape that pydantic servers answer."""

    def __init__(self, problems: list[dict[str, object]]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


class RunRefused(Exception):
    """A well-formed input that the agent will not run: RUN_ERROR in the stream."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Entry:
    """One `resume` entry."""

    interrupt_id: str
    status: str
    payload: Any = None


@dataclass(frozen=True, slots=True)
class RunInput:
    """The parts of RunAgentInput that an agent acts on."""

    thread_id: str
    run_id: str
    messages: Sequence[Mapping[str, Any]]
    state: Any
    resume: Sequence[Entry]
    scenario: str

    @property
    def task(self) -> str:
        """The last thing that the user said."""
        said = [message.get("content") for message in self.messages if message.get("role") == "user"]
        return next((text for text in reversed(said) if isinstance(text, str)), "")


def parse(body: bytes) -> RunInput:
    """Read a request body. Raises InvalidInput."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidInput([_problem("json_invalid", [], "Invalid JSON")]) from None
    if not isinstance(value, dict):
        raise InvalidInput([_problem("model_type", [], "Input should be an object")])
    problems = [
        _problem("string_type" if key in value else "missing", [key], f"{key} is a string")
        for key in ("threadId", "runId")
        if not isinstance(value.get(key), str)
    ]
    messages = value.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        problems.append(_problem("list_type" if "messages" in value else "missing", ["messages"], "messages is a list"))
    resume = value.get("resume", [])
    problems += _resume_problems(resume)
    if problems:
        raise InvalidInput(problems)
    props = value.get("forwardedProps")
    return RunInput(
        thread_id=value["threadId"],
        run_id=value["runId"],
        messages=messages if isinstance(messages, list) else [],
        state=value.get("state", {}),
        resume=[Entry(entry["interruptId"], entry["status"], entry.get("payload")) for entry in resume],
        scenario=str(props.get("scenario", "")) if isinstance(props, dict) else "",
    )


def _resume_problems(resume: object) -> list[dict[str, object]]:
    if not isinstance(resume, list):
        return [_problem("list_type", ["resume"], "resume is a list")]
    problems = []
    for index, entry in enumerate(resume):
        if not isinstance(entry, dict) or not isinstance(entry.get("interruptId"), str):
            problems.append(_problem("missing", ["resume", index, "interruptId"], "interruptId is a string"))
        elif entry.get("status") not in ("resolved", "cancelled"):
            problems.append(_problem("literal_error", ["resume", index, "status"], "resolved or cancelled"))
    return problems


def _problem(kind: str, where: list[str | int], text: str) -> dict[str, object]:
    return {"type": kind, "loc": where, "msg": text}


def read_answer(entry: Entry, approval: Approval, now: float) -> dict[str, str]:
    """What a resume entry decides: `{verdict, reason, edited}`. Raises RunRefused where it does not fit."""
    if entry.status == "cancelled":
        return {"verdict": "expired"}
    if approval.expires_at is not None and approval.expires_at <= now:
        raise RunRefused("INTERRUPT_EXPIRED", f"Interrupt {approval.id!r} has expired; it can only be cancelled.")
    payload = entry.payload
    if approval.schema is None and isinstance(payload, bool):
        payload = {"approved": payload}
    problem = _mismatch(payload, approval.schema or {"properties": {"approved": {"type": "boolean"}}})
    if problem:
        raise RunRefused("INVALID_PAYLOAD", f"The payload for interrupt {approval.id!r} does not match: {problem}.")
    answer = {"verdict": "approve" if payload["approved"] else "reject", "reason": payload.get("reason", "")}
    if payload["approved"] and "editedArgs" in payload:
        answer["edited"] = canonical(payload["editedArgs"])
    return answer


def _mismatch(payload: object, schema: Mapping[str, Any]) -> str:
    """Why a payload does not fit one of our own schemas; empty if it does. Types are not bent: "true" is no boolean."""
    if not isinstance(payload, dict) or "approved" not in payload:
        return "an object with `approved` is expected"
    properties = schema["properties"]
    for key, value in payload.items():
        if key not in properties:
            if key == "editedArgs" or schema.get("additionalProperties") is False:
                return f"{key} is not offered"
        elif not isinstance(value, TYPES[properties[key]["type"]]):
            return f"{key}: {properties[key]['type']} expected"
    reason = payload.get("reason", "")
    return "" if isinstance(reason, str) else "reason: string expected"


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces: what `executed_sha256` is the hash of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
