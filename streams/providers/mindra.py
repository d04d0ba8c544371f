"""Mindra's "workflows" generation: start, stream, approval requests, decisions.

Source: docs.mindra.co/docs/api-reference with run-workflow, stream-events and approvals, read 2026-11. What those pages
leave open is an assumption and marked "assumed" here; a first live test may flip it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from streams import jsontext
from streams.errors import WireError
from streams.events import Asked, Broken, Ended, Fact, Line, MovedOn, Paused, canonical, short, text
from streams.providers import addresses, refusals
from streams.providers.base import (
    Account,
    Answer,
    Applied,
    Begun,
    Call,
    Capabilities,
    Carried,
    Plain,
    Refusal,
    RunView,
)
from streams.sse import Frame

MOVING = ("chunk", "tool_executing", "tool_result")  # the run goes on: it waits for nobody (assumed)
REASON_LIMIT = 1_000  # assumed
APPROVAL_ID = re.compile(r'"approval_id"\s*+:\s*+("(?:[^"\\]++|\\.)*+")')
ASKING = "approval_request"


@dataclass(frozen=True, slots=True)
class State:
    """What the frames so far came to."""

    execution_id: str = ""
    paused: bool = False
    ended: bool = False
    error: str = ""  # of the undocumented `error` event, for the case that the run then fails


class Mindra(Plain):
    """One workflow execution a run; `x-api-key` on every call, the stream included."""

    kind = "mindra"
    label = "Mindra"
    capabilities = Capabilities(
        edit=False,
        reason=True,
        ask=False,
        cancel_run=False,
        batch=False,
        answer_streams=False,
        idempotent_decision=False,  # a header is known from older pages only: sent, never relied on
        read_back=False,
        replay="unknown",
        replay_exact=True,
        repeatable_start=False,
        stall_s=60.0,
        stall_waiting_s=600.0,
        watch=True,
        needs_workflow=True,
        needs_task=True,
        evidence_kinds=frozenset({"tool_executing"}),  # the others prove by MovedOn, Asked or Ended
    )

    def check_start(self, *, task: str, workflow: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Problems by field: slug and task are needed, `metadata` is the only option and an object."""
        problems: dict[str, str] = {}
        if not task.strip():
            problems["task"] = "Mindra needs a task"
        if not workflow:
            problems["workflow"] = "Mindra needs the slug of a workflow"
        elif why := addresses.id_problem(workflow):
            problems["workflow"] = f"the slug cannot go into a path: {why}"
        if unknown := sorted(set(options) - {"metadata"}):
            problems["options"] = f"unknown: {', '.join(unknown)}"
        elif not isinstance(options.get("metadata", {}), Mapping):
            problems["options"] = "metadata must be an object"
        return problems

    def start_call(self, account: Account, run: RunView) -> Call:
        """POST /v1/workflows/{slug}/run. Each POST starts a new execution, so it is let out once."""
        body = {"task": run.task, "metadata": dict(run.options.get("metadata") or {})}
        url = addresses.join(account.base_url, f"/v1/workflows/{addresses.segment(run.workflow)}/run")
        return Call("POST", url, {**_json_headers(account), "x-idempotency-key": str(run.id)}, _encoded(body))

    def read_start(self, account: Account, body: bytes) -> Begun:
        """`{execution_id, stream_url}`; a stream URL on another origin is never used."""
        try:
            value = jsontext.quick(body.decode("utf-8", "replace"))
        except ValueError as exc:
            raise WireError("the answer to the start is not JSON") from exc
        execution_id = value.get("execution_id") if isinstance(value, dict) else None
        if not isinstance(execution_id, str) or addresses.id_problem(execution_id, limit=255):
            raise WireError("the answer to the start has no usable execution_id")
        stream_url = value.get("stream_url")
        safe = isinstance(stream_url, str) and addresses.own(account.base_url, stream_url)
        return Begun(execution_id, stream_url if safe and len(stream_url) <= 1_000 else "")

    def stream_call(self, account: Account, run: RunView, last_event_id: str) -> Call:
        """GET the returned stream_url, else the documented path: /api/v1/..., where all other calls live under /v1."""
        documented = f"/api/v1/workflows/execute/{addresses.segment(run.external_id)}/stream"
        url = addresses.own(account.base_url, run.stream_url) or addresses.join(account.base_url, documented)
        headers = {**_key(account), "accept": "text/event-stream", "cache-control": "no-store"}
        if last_event_id:
            headers["last-event-id"] = last_event_id
        return Call("GET", url, headers, repeatable=True, streams=True)

    def initial(self, account: Account, run: RunView, call: Call | None = None) -> State:
        """Nothing has come yet."""
        return State(execution_id=run.external_id)

    def kind_of(self, frame: Frame) -> str:
        """The SSE event line; data without one is an approval request if it has an approval_id."""
        return short(_kind(frame), 100)

    def step(self, state: State, frame: Frame) -> tuple[State, tuple[Fact, ...]]:
        """Fold one frame. Never raises for what a provider sent."""
        kind = _kind(frame)
        if state.ended:
            return state, (Broken(f"{short(kind, 100)} came after done"),)
        if kind == ASKING:
            return _asked(state, frame.data)
        try:
            value = jsontext.quick(frame.data)
        except ValueError as exc:
            value, trouble = {}, f"{short(kind, 100)}: not JSON: {short(str(exc), 200)}"
        else:
            trouble = "" if isinstance(value, dict) else f"{short(kind, 100)}: not an object"
            value = value if isinstance(value, dict) else {}
        if kind == "done":
            return _done(state, value, trouble)
        if kind == "error":  # not documented; a run that fails after it has at least these words (assumed)
            return replace(state, error=_words(value) or short(frame.data, 500)), _broken(trouble)
        if kind not in MOVING:
            return state, (Broken(trouble or f"{short(kind, 100)}: an event that the documentation does not name"),)
        facts: tuple[Fact, ...] = _broken(trouble or _shape(kind, value))
        if state.paused:
            state, facts = replace(state, paused=False), (*facts, MovedOn(kind))
        return state, facts

    def at_eof(self, state: State) -> tuple[Fact, ...]:
        """Nothing: a connection that ends without `done` says nothing about the run."""
        return ()

    def dump(self, state: State) -> str:
        return jsontext.dumps(asdict(state))

    def load(self, text: str) -> State:
        return State(**json.loads(text))

    def identity(self, kind: str, sha256: str) -> str:
        """Kind and data: the JSON has no sequence number."""
        return f"{kind} {sha256}"

    def decision_call(
        self, account: Account, run: RunView, state: Any, answers: Sequence[Answer], *, new_run_id: str = ""
    ) -> Call:
        """POST .../approve|reject/{approval_id} `{reason?}`. Raises WireError where Mindra has no way to say it."""
        if len(answers) != 1:
            raise WireError("Mindra takes one decision a call")
        answer = answers[0]
        if answer.verdict not in ("approve", "reject"):
            raise WireError("Mindra has no word for an approval that nobody answered")
        if answer.edited or answer.answer:
            raise WireError("Mindra cannot carry edited arguments or a free answer")
        if answer.verdict == "approve" and (why := jsontext.problem(answer.question.arguments)):
            raise WireError(f"the arguments cannot be approved: {why}")
        ids = addresses.segment(run.external_id), answer.verdict, addresses.segment(answer.question.call_id)
        url = addresses.join(account.base_url, "/v1/workflows/execute/{}/{}/{}".format(*ids))
        body = {"reason": text(answer.reason)[0][:REASON_LIMIT]} if answer.reason else {}
        headers = {**_json_headers(account), "x-idempotency-key": str(answer.key)}
        return Call("POST", url, headers, _encoded(body))

    def read_refusal(self, status: int, body: bytes) -> Refusal:
        """Both documented error shapes and anything else."""
        return refusals.read(status, body)

    def evidence(self, carried: Carried, kind: str, payload: str) -> Applied | None:
        """The tool runs with the very input that was asked about, or the run goes on without it.

        Only where no other request was open: calls have no ids, so nothing else tells two of them apart. A run that
        goes on without the tool proves a rejection, but no approval: the tool may run without being announced.
        """
        if not carried.only_open or kind not in (*MOVING, "done", ASKING):
            return None
        value = _object(payload)
        if kind == ASKING and (not value or value.get("approval_id") == carried.question.call_id):
            return None  # the same question once more is a replay
        if kind == "tool_executing" and not value:
            return None
        runs = kind == "tool_executing" and value.get("tool_name") == carried.question.tool
        if runs and _slice(payload, "tool_input") == canonical(carried.question.arguments):
            return "applied" if carried.verdict == "approve" else "not_applied"
        return "applied" if carried.verdict == "reject" else None

    def not_accepted(self, error: str) -> bool:
        """No answer of Mindra's comes back on the stream."""
        return False

    def lines(self, kind: str, payload: str) -> tuple[Line, ...]:
        """How the timeline reads a stored event. Stateless and total."""
        value = _object(payload)
        name = _string(value.get("tool_name"))
        match kind:
            case "chunk":
                return (Line("text", _string(value.get("content")), key="answer", role="assistant"),)
            case "tool_executing":
                return (Line("tool", _raw(payload, "tool_input"), label=name),)
            case "tool_result":
                result = value.get("result")
                return (Line("result", result if isinstance(result, str) else _raw(payload, "result"), label=name),)
            case "approval_request":
                return (Line("ask", _raw(payload, "tool_input"), label=name, key=_string(value.get("approval_id"))),)
            case "done":
                said = _string(value.get("final_answer"))
                return (Line("end", said, label=_string(value.get("status")) or "done", ended=True),)
        return (Line("note", _words(value) if kind == "error" and value else payload[:2_000], label=kind),)


def _kind(frame: Frame) -> str:
    """`message` is what SSE calls an event without a name: then, and only then, the fallback of the contract counts."""
    if frame.event == "message" and (frame.data.count("approval_id") and "approval_id" in _object(frame.data)):
        return ASKING
    return frame.event


def _asked(state: State, data: str) -> tuple[State, tuple[Fact, ...]]:
    trouble = jsontext.problem(data)
    value = _object(data) or _lenient_object(data)
    approval_id, id_trouble = _approval_id(value, data)
    if not approval_id:
        return state, (Broken(trouble or id_trouble),)
    trouble = trouble or id_trouble
    tool, tool_input = value.get("tool_name"), value.get("tool_input")
    if not trouble and not (isinstance(tool, str) and tool):
        trouble = "tool_name is not a text"
    if not trouble and not isinstance(tool_input, dict):
        trouble = "tool_input is not an object"
    arguments, marked = text(_raw(data, "tool_input") or (data if trouble else ""))  # a person sees what was sent
    if marked and not trouble:
        trouble = "holds a NUL or half a character (a lone surrogate)"
    asked = Asked(
        call_id=approval_id,
        tool=short(_string(tool), 300),
        arguments=arguments,
        hears_reason=True,
        problem=short(trouble, 500),
    )
    return replace(state, paused=True), (asked, Paused(), *_broken(trouble))


def _approval_id(value: Mapping[str, Any], data: str) -> tuple[str, str]:
    """The id that an answer goes to, as far as it is certain, and what is wrong with it."""
    found: Any = value.get("approval_id")
    trouble = ""
    if not value:  # not an object that any parser reads: one id in the text is certain, two are not
        ids = {_unquoted(spelled) for spelled in APPROVAL_ID.findall(data)}
        found, trouble = (ids.pop() if len(ids) == 1 else None), "not a JSON object"
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 10**18:
        found, trouble = str(found), "approval_id is not a text"
    if not isinstance(found, str):
        return "", trouble or "no approval_id"
    if why := addresses.id_problem(found):
        return "", f"an approval_id that cannot be answered: {why}"
    return found, trouble


def _done(state: State, value: Mapping[str, Any], trouble: str) -> tuple[State, tuple[Fact, ...]]:
    """Only status `completed` is success; every other word is kept and fails the run (assumed)."""
    told = value.get("execution_id")
    if isinstance(told, str) and state.execution_id and told != state.execution_id:
        return state, (Broken("done names another execution"),)  # a nested one, say: ours may still wait for a person
    status = value.get("status")
    facts: list[Fact] = [*_broken(trouble or ("" if isinstance(status, str) else "done without a status"))]
    if state.paused:
        facts.append(MovedOn("done"))
    outcome = short(_string(status), 60)
    if outcome == "completed":
        facts.append(Ended("finished", outcome))
    else:
        facts.append(Ended("failed", outcome, state.error or _words(value)))
    return replace(state, paused=False, ended=True), tuple(facts)


def _shape(kind: str, value: Mapping[str, Any]) -> str:
    """What a known event lacks; it is stored and shown all the same."""
    if kind == "chunk":
        return "" if isinstance(value.get("content"), str) else "chunk: content is not a text"
    if not isinstance(value.get("tool_name"), str):
        return f"{kind}: tool_name is not a text"
    if kind == "tool_executing" and not isinstance(value.get("tool_input"), dict):
        return "tool_executing: tool_input is not an object"
    return ""


def _broken(trouble: str) -> tuple[Fact, ...]:
    return (Broken(short(trouble, 500)),) if trouble else ()


def _object(data: str) -> Mapping[str, Any]:
    try:
        value = jsontext.quick(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _lenient_object(data: str) -> Mapping[str, Any]:
    try:
        value = jsontext.lenient(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _raw(data: str, key: str) -> str:
    try:
        return jsontext.raw_slice(data, [key])
    except (ValueError, LookupError):
        return ""


def _slice(data: str, key: str) -> str:
    return canonical(_raw(data, key))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _words(value: Mapping[str, Any]) -> str:
    words = (value.get(key) for key in ("message", "error", "detail", "reason"))
    return short(next((word for word in words if isinstance(word, str) and word), ""), 500)


def _unquoted(spelled: str) -> str | None:
    try:
        return str(json.loads(spelled))
    except ValueError:
        return None


def _key(account: Account) -> dict[str, str]:
    return addresses.secret_header("x-api-key", account.secret)


def _json_headers(account: Account) -> dict[str, str]:
    return {**_key(account), "content-type": "application/json", "accept": "application/json"}


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, allow_nan=False).encode("ascii")
