"""Agno AgentOS as a provider: one run of one agent, started in the background, so that anybody can join its stream.

Read on the wire of agno 3.1.10 on loopback (tests/tapes/agno_os) and in docs.agno.com/reference-api, 2026-11. Not in
any document, only seen: that a run says RUNNING from the moment on in which an answer is taken; that tools which ran
before may be left out of an answer; what a cancelled pause looks like. Marked "seen" below.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from streams import jsontext
from streams.errors import WireError
from streams.events import Fact, Line, short, text
from streams.providers import addresses, refusals
from streams.providers.agno import fold, lines, questions, wire
from streams.providers.agno.fold import Open, State
from streams.providers.base import (
    READ_BACK,
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
from streams.sse import Decoder, Frame, Oversize, StampedFrame

OBJECTS = ("session_state", "dependencies", "metadata")
OPTIONS = (*OBJECTS, "session_id", "user_id")
NOBODY = "Nobody answered in time, so this was not approved."
DETACHED = {"stream": "true", "background": "true"}


class Agno(Plain):
    """One run, by its id; the agent and the session, which every call needs, are the run's workflow and thread.

    Somebody else's run is watched as `AGENT/SESSION/RUN`.
    """

    kind = "agno"
    label = "Agno"
    capabilities = Capabilities(
        edit=True,
        reason=True,
        ask=False,
        cancel_run=False,  # it answers {} and leaves a paused run paused; a later yes still ran (seen)
        batch=True,
        answer_streams=False,  # the answer's response is the continuation, and so is the run's own stream
        idempotent_decision=False,  # a repeat makes the run go on once more
        read_back=True,
        replay="full",
        replay_exact=False,  # a replayed ToolCallStarted has the result in it that came later (seen)
        repeatable_start=False,
        stall_s=90.0,  # there is a heartbeat every 30 s
        stall_waiting_s=600.0,
        watch=True,
        needs_workflow=True,
        needs_task=True,
        evidence_kinds=frozenset({READ_BACK}),
        reads_on=True,
        poll_s=10.0,
        confirm_s=10.0,
    )

    def check_start(self, *, task: str, workflow: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Problems by field: an agent and a message are needed."""
        problems: dict[str, str] = {}
        if not task.strip():
            problems["task"] = "Agno needs a message"
        if not workflow:
            problems["workflow"] = "Agno needs the id of an agent"
        elif why := addresses.id_problem(workflow, limit=200):
            problems["workflow"] = f"the id cannot go into a path: {why}"
        if unknown := sorted(set(options) - set(OPTIONS)):
            problems["options"] = f"unknown: {', '.join(unknown)}"
        for name in OPTIONS:
            fits = Mapping if name in OBJECTS else str
            if name in options and (not isinstance(options[name], fits) or not options[name]):
                problems["options"] = f"{name} must be {'an object' if name in OBJECTS else 'a text'}"
        return problems

    def start_call(self, account: Account, run: RunView) -> Call:
        """POST /agents/{id}/runs, in the background and as a stream: only so its events are kept for others.

        Each POST starts a run, so it is let out once. The first event names the run; the rest is joined.
        """
        given = {name: run.options[name] for name in OPTIONS if name in run.options}
        fields = {"message": run.task, "session_id": str(run.id), **DETACHED}
        fields |= {name: jsontext.dumps(value) if name in OBJECTS else value for name, value in given.items()}
        url = addresses.join(account.base_url, f"/agents/{addresses.segment(run.workflow)}/runs")
        return Call("POST", url, _form_headers(account), _form(fields), streams=True)

    def read_start(self, account: Account, body: bytes) -> Begun:
        """The first event that names its run."""
        try:
            frames = Decoder(max_event_bytes=1024 * 1024).feed(body)
        except Oversize as exc:
            raise WireError("the answer to the start is no stream of a run") from exc
        for frame in frames:
            try:
                event = wire.parse(frame.data)
            except wire.Unreadable:
                continue
            run_id, session_id = event.get("run_id"), event.get("session_id")
            if isinstance(run_id, str) and not addresses.id_problem(run_id, limit=255):
                named = session_id if isinstance(session_id, str) and len(session_id) <= 255 else ""
                return Begun(run_id, thread_id=named)
            if frame.event == "RunError":
                raise WireError(f"the agent failed at once: {short(wire.string(event.get('content')), 300)}")
        raise WireError("the answer to the start names no run")

    def stream_call(self, account: Account, run: RunView, last_event_id: str) -> Call:
        """POST .../resume, which only reads: what came after an `event_index`, and what comes from now on."""
        _, session_id, _ = _ids(run)
        fields = {"session_id": session_id} if session_id else {}
        if last_event_id.isascii() and last_event_id.isdigit():
            fields["last_event_index"] = last_event_id
        headers = {**_form_headers(account), "accept": "text/event-stream", "cache-control": "no-store"}
        return Call("POST", _run(account, run, "/resume"), headers, _form(fields), repeatable=True, streams=True)

    def initial(self, account: Account, run: RunView, call: Call | None = None) -> State:
        """Nothing has come yet."""
        _, session_id, run_id = _ids(run)
        return State(run_id=run_id, session_id=session_id)

    def placed(self, frame: Frame) -> Frame | None:
        """Known by its `event_index`, for there is no SSE id; what a connection says of its replay is no event."""
        index = wire.event_index(frame.data)
        if index is None:
            return None if frame.event in wire.CHATTER else frame
        return StampedFrame(frame.event, frame.data, str(index))

    def kind_of(self, frame: Frame) -> str:
        """The SSE event line, or the event's own name. No frame of a stream passes for the body of a read-back."""
        kind = frame.event
        if kind == "message":
            try:
                kind = wire.string(wire.parse(frame.data).get("event")) or kind
            except wire.Unreadable:
                pass
        return short(f"event {kind}" if kind == READ_BACK else kind, 100)

    def step(self, state: State, frame: Frame) -> tuple[State, tuple[Fact, ...]]:
        """Fold one frame. It never ends the run: the run itself does."""
        return fold.step(state, self.kind_of(frame), frame.data)

    def at_eof(self, state: State) -> tuple[Fact, ...]:
        """The end of the body, as at every pause: the run itself says what it means."""
        return fold.at_eof(state)

    def dump(self, state: State) -> str:
        return fold.dump(state)

    def load(self, text: str) -> State:
        return fold.load(text)

    def identity(self, kind: str, sha256: str) -> str:
        """The kind alone: a replayed event may say more than it did at first."""
        return kind

    def decision_call(
        self, account: Account, run: RunView, state: Any, answers: Sequence[Answer], *, new_run_id: str = ""
    ) -> Call:
        """POST .../continue with all calls of the pause, `confirmed` true or false. Raises WireError for fewer.

        One that is left out counts as refused, and the run goes on. Calls that ran before stay out (seen), and so do
        those that nobody answers and that the pause no longer has.
        """
        offered: dict[str, Open] = {known.id: known for known in state.open if known.id in state.asking}
        answers = [one for one in answers if one.verdict != "nobody" or one.question.call_id in offered]
        asked = [one.question.call_id for one in answers]
        if not asked or len(set(asked)) != len(asked) or set(asked) != set(offered):
            raise WireError("the answer does not cover exactly what the run waits for")
        tools = [_tool(offered[one.question.call_id], one) for one in answers]
        session_id = state.session_id or _ids(run)[1]
        if not session_id:
            raise WireError("nothing says which session the run belongs to")
        fields = {"tools": jsontext.dumps(tools), "session_id": session_id, **DETACHED}
        return Call("POST", _run(account, run, "/continue"), _form_headers(account), _form(fields))

    def read_refusal(self, status: int, body: bytes) -> Refusal:
        """`{"detail": text}`."""
        return refusals.read(status, body)

    def evidence(self, carried: Carried, kind: str, payload: str) -> Applied | None:
        """Only the run itself proves: it goes on or is over, and the call has our answer; or it still waits for one.

        An answer that differs from ours proves nothing but that somebody else gave one, or that ours was misread.
        """
        if kind != READ_BACK:
            return None
        try:
            seen = wire.run(payload)
        except wire.Unreadable:
            return None
        tool = next((one for one in seen.tools if one.id == carried.question.tool_call_id), None)
        if tool is not None and tool.confirmed is not None:
            return "applied" if tool.confirmed == (carried.verdict == "approve") else None
        if seen.status == wire.WAITING:
            return "not_applied" if tool is not None and tool.waits else None
        return "applied" if seen.status == wire.GOING else None

    def not_accepted(self, error: str) -> bool:
        """No answer is followed on a stream of its own."""
        return False

    def lines(self, kind: str, payload: str) -> tuple[Line, ...]:
        return lines.read(kind, payload)

    def read_back_call(self, account: Account, run: RunView) -> Call:
        """GET /agents/{id}/runs/{run_id}?session_id=..."""
        query = urlencode({"session_id": _ids(run)[1]})
        url = _run(account, run, f"?{query}")
        return Call("GET", url, {**_key(account), "accept": "application/json"}, repeatable=True)

    def read_run(self, state: State, body: str) -> tuple[State, tuple[Fact, ...]]:
        """Fold the run as it was read. Only this ends a run, and only this takes questions back."""
        return fold.read_run(state, body)


def _tool(offered: Open, one: Answer) -> dict[str, Any]:
    """A call of the pause with its answer. Raises WireError where it cannot be given."""
    yes, question = one.verdict == "approve", one.question
    if question.call_id.startswith(questions.NAMELESS):
        raise WireError("a question of this pause has no id that an answer could name")
    if offered.fingerprint != questions.fingerprint(question.tool, question.arguments):
        raise WireError("the run offers this question with other arguments")
    if one.answer or (one.edited and not yes):
        raise WireError("the question takes yes or no, with changed arguments perhaps, and no free answer")
    if yes and (offered.unfit or jsontext.problem(question.arguments)):
        raise WireError("the run offers this question in a form that cannot be approved")
    edited = None
    if one.edited:
        if why := jsontext.problem(one.edited):
            raise WireError(f"the edited arguments: {why}")
        edited = json.loads(one.edited)
        if not isinstance(edited, dict):
            raise WireError("edited arguments are an object, complete")
    note = NOBODY if one.verdict == "nobody" else text(one.reason)[0]
    try:
        return questions.answered(offered.raw, yes=yes, note=note, edited=edited)
    except ValueError as exc:
        raise WireError(f"the call cannot be sent back as it came: {exc}") from exc


def _ids(run: RunView) -> tuple[str, str, str]:
    """Agent, session and run; of somebody else's run they are all in its id."""
    if run.workflow:
        return run.workflow, run.thread_id, run.external_id
    agent, _, rest = run.external_id.partition("/")
    session_id, _, run_id = rest.rpartition("/")
    return agent, session_id or run.thread_id, run_id or run.external_id


def _run(account: Account, run: RunView, path: str) -> str:
    agent, _, run_id = _ids(run)
    return addresses.join(
        account.base_url, f"/agents/{addresses.segment(agent)}/runs/{addresses.segment(run_id)}{path}"
    )


def _key(account: Account) -> dict[str, str]:
    return addresses.secret_header("authorization", f"Bearer {account.secret}" if account.secret else "")


def _form_headers(account: Account) -> dict[str, str]:
    return {**_key(account), "content-type": "application/x-www-form-urlencoded", "accept": "*/*"}


def _form(fields: Mapping[str, str]) -> bytes:
    return urlencode({name: text(value)[0] for name, value in fields.items()}).encode("ascii")
