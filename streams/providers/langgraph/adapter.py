"""The LangGraph platform as a provider: a run here is a thread, whatever runs the platform makes on it.

Read on the wire of langgraph-api 0.16.7 on loopback, 2026-11 (tests/tapes/langgraph_platform), and in langgraph-sdk's
reference (`if_not_exists`, `stream_resumable`, `multitask_strategy`, threads.join_stream). Not in any document, only
seen: what a state lists while a run goes on, and that its `metadata` names the assistant. Marked "seen" below.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from streams import jsontext
from streams.errors import WireError
from streams.events import Fact, Line, short
from streams.providers import addresses, refusals
from streams.providers.base import (
    READ_BACK,
    Account,
    Answer,
    Applied,
    Begun,
    Call,
    Capabilities,
    Carried,
    Part,
    Plain,
    Refusal,
    RunView,
)
from streams.providers.langgraph import answer, fold, lines, parts, questions, wire
from streams.providers.langgraph.fold import State
from streams.sse import Frame

OPTIONS = ("input", "config", "context", "metadata")
MODES = ("updates", "messages-tuple", "custom")
THREAD = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
FROM_THE_START = "0-0"  # events of one millisecond were seen under one id: going on after it could lose the second


class LangGraph(Plain):
    """One thread. Its stream shows its runs, one after the other; only its state says what waits and what is over."""

    kind = "langgraph"
    label = "LangGraph"
    capabilities = Capabilities(
        edit=True,
        reason=True,
        ask=False,
        cancel_run=False,  # a run of the platform could be cancelled; what that does to its interrupts is not said
        batch=False,  # interrupts are answered one by one, by their ids
        answer_streams=False,
        idempotent_decision=False,  # a repeat was seen to do nothing; no page says so
        read_back=True,
        replay="unknown",  # all of it, for as long as the server keeps events: two minutes where nobody set more
        replay_exact=True,
        repeatable_start=False,
        stall_s=60.0,  # there is a heartbeat every 5 s
        stall_waiting_s=60.0,
        watch=True,
        needs_workflow=True,
        needs_task=False,
        evidence_kinds=frozenset({READ_BACK}),
        reads_on=True,
        poll_s=10.0,
        confirm_s=10.0,
        stream_proves=False,  # the stream of a thread that does not exist is open, and silent
    )

    def check_start(self, *, task: str, workflow: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Problems by field: an assistant, and a message or an input; each start makes a thread of its own."""
        problems: dict[str, str] = {}
        if not workflow.strip():
            problems["workflow"] = "LangGraph needs an assistant: its id, or the name of a graph"
        elif why := addresses.id_problem(workflow, limit=200):
            problems["workflow"] = f"the assistant cannot be sent: {why}"
        if not task.strip() and "input" not in options:
            problems["task"] = "a message is needed, or the option input"
        elif task.strip() and "input" in options:
            problems["task"] = "a message, or the option input: not both"
        if unknown := sorted(set(options) - set(OPTIONS)):
            problems["options"] = f"unknown: {', '.join(unknown)}"
        elif wrong := [name for name in OPTIONS if not isinstance(options.get(name, {}), Mapping)]:
            problems["options"] = f"{wrong[0]} must be an object"
        return problems

    def start_call(self, account: Account, run: RunView) -> Call:
        """POST /threads/{our own id}/runs, which makes the thread. One call, and each starts a run: let out once.

        It does not stream: the thread's stream can be joined, again and again.
        """
        given = {name: run.options[name] for name in OPTIONS if name in run.options}
        asked = {"messages": [{"role": "user", "content": run.task}]}
        body = {
            "assistant_id": run.workflow,
            **{"input": asked, **given},
            "if_not_exists": "create",
            **_streaming("reject"),
        }
        url = addresses.join(account.base_url, f"/threads/{run.id}/runs")
        return Call("POST", url, _json_headers(account), _encoded(body))

    def read_start(self, account: Account, body: bytes) -> Begun:
        """The platform's run; ours is its thread."""
        try:
            value = jsontext.quick(body.decode("utf-8", "replace"))
        except ValueError as exc:
            raise WireError("the answer to the start is not JSON") from exc
        thread_id = value.get("thread_id") if isinstance(value, dict) else None
        if not isinstance(thread_id, str) or not THREAD.fullmatch(thread_id):
            raise WireError("the answer to the start has no usable thread_id")
        return Begun(thread_id, thread_id=thread_id)

    def stream_call(self, account: Account, run: RunView, last_event_id: str) -> Call:
        """GET /threads/{id}/stream, from its beginning each time: it spans the runs of a thread, those to come too.

        `GET /threads/{id}/runs/{run}/stream` with `Last-Event-ID: -1` is the older way, one run at a time.
        """
        headers = {**_key(account), "accept": "text/event-stream", "cache-control": "no-store"}
        headers["last-event-id"] = FROM_THE_START
        url = _thread(account, run, "/stream")
        return Call("GET", url, headers, repeatable=True, streams=True)

    def initial(self, account: Account, run: RunView, call: Call | None = None) -> State:
        """Nothing has come yet."""
        return State(thread_id=run.external_id, own=answer.words(account), hears=answer.hears(account))

    def kind_of(self, frame: Frame) -> str:
        """The SSE event line. No frame of a stream passes for the body of a read-back."""
        return short(f"event {frame.event}" if frame.event == READ_BACK else frame.event, 100)

    def step(self, state: State, frame: Frame) -> tuple[State, tuple[Fact, ...]]:
        """Fold one frame. It never ends the run: the thread's state does."""
        return fold.step(state, self.kind_of(frame), frame.data, frame.id)

    def at_eof(self, state: State) -> tuple[Fact, ...]:
        """The end of the body: the thread's state says what it means."""
        return fold.at_eof(state)

    def dump(self, state: State) -> str:
        return fold.dump(state)

    def load(self, text: str) -> State:
        return fold.load(text)

    def identity(self, kind: str, sha256: str) -> str:
        """Kind and data: a replay brings the same bytes."""
        return f"{kind} {sha256}"

    def decision_call(
        self, account: Account, run: RunView, state: Any, answers: Sequence[Answer], *, new_run_id: str = ""
    ) -> Call:
        """POST /threads/{id}/runs `{command: {resume: {interrupt id: payload}}}`, a run that answers one interrupt.

        Always by the id: one that the thread does not wait for runs nothing and is asked anew, but for the first id of
        a node that asks several times in one go, which langgraph 1.2.22 takes for its next question. A second answer
        while the run of the first goes on is queued by the platform.
        """
        if len(answers) != 1:
            raise WireError("LangGraph takes one answer a call here")
        one = answers[0]
        if one.verdict not in ("approve", "reject"):
            raise WireError("LangGraph has no word for a question that nobody answered")
        if one.question.call_id.startswith(questions.NAMELESS):
            raise WireError("the question has no id that an answer could name")
        offered = {known.id: known for known in state.open}.get(one.question.call_id)
        if offered is None:
            raise WireError("the thread does not offer this question")
        if offered.fingerprint != questions.fingerprint(one.question.tool, one.question.arguments):
            raise WireError("the thread offers this question with other arguments")
        if one.verdict == "approve" and offered.unfit:
            raise WireError("the thread offers this question in a form that cannot be approved")
        assistant = run.workflow or state.assistant
        if not assistant:
            raise WireError("nothing says which assistant the thread belongs to")
        resume = {one.question.call_id: answer.payload(offered.form, one, account)}
        body = {"assistant_id": assistant, "command": {"resume": resume}, **_streaming("enqueue")}
        return Call("POST", _thread(account, run, "/runs"), _json_headers(account), _encoded(body))

    def read_refusal(self, status: int, body: bytes) -> Refusal:
        """`{"detail": text}`."""
        return refusals.read(status, body)

    def evidence(self, carried: Carried, kind: str, payload: str) -> Applied | None:
        """Only the thread's state proves: the interrupt is gone from it, or still there.

        It is gone as soon as what asked has its answer, though its run may go on for long (seen). A thread in which
        something failed proves nothing.
        """
        if kind != READ_BACK:
            return None
        try:
            seen = wire.state(payload)
        except wire.Unreadable:
            return None
        if not seen.begun or seen.error or len(seen.raised) > questions.QUESTIONS_MAX:
            return None
        listed = {one.asked.call_id for one in questions.read(seen.raised, own=False)}
        return "not_applied" if carried.question.call_id in listed else "applied"

    def not_accepted(self, error: str) -> bool:
        """No answer comes back on a stream of its own."""
        return False

    def lines(self, kind: str, payload: str) -> tuple[Line, ...]:
        return lines.read(kind, payload)

    def decidable(self, account: Account) -> str:
        """What is wrong with the account's own words for yes and no."""
        return answer.trouble(account)

    def read_back_call(self, account: Account, run: RunView) -> Call:
        """GET /threads/{id}/state."""
        url = _thread(account, run, "/state")
        return Call("GET", url, {**_key(account), "accept": "application/json"}, repeatable=True)

    def read_run(self, state: State, body: str) -> tuple[State, tuple[Fact, ...]]:
        """Fold the thread's state. Only this ends a run, and only this takes questions back."""
        return fold.read_run(state, body)

    def parts(self, arguments: str) -> tuple[Part, ...]:
        """The calls of an interrupt that is about several."""
        return parts.read(arguments)


def _streaming(strategy: str) -> dict[str, Any]:
    """What every run of ours asks for: events that can be had again, and what happens while another run goes on."""
    return {"stream_mode": list(MODES), "stream_resumable": True, "multitask_strategy": strategy}


def _thread(account: Account, run: RunView, path: str) -> str:
    return addresses.join(account.base_url, f"/threads/{addresses.segment(run.external_id)}{path}")


def _key(account: Account) -> dict[str, str]:
    return addresses.secret_header("x-api-key", account.secret)


def _json_headers(account: Account) -> dict[str, str]:
    return {**_key(account), "content-type": "application/json", "accept": "application/json"}


def _encoded(body: Mapping[str, Any]) -> bytes:
    return jsontext.dumps(body).encode("ascii")
