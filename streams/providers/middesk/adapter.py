"""Middesk's agents as a provider: start, stream, read back, answer.

Sources, read 2026-11: docs.middesk.com/work-with-agents/run-agents and /stream-runs, /reference/run, /build/api-keys,
/build/status-codes-errors, and Middesk's OpenAPI description. What they leave open is marked "assumed".
"""

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
    Hook,
    Part,
    Refusal,
    RunView,
)
from streams.providers.middesk import fold, lines, parts, questions, resume, webhook, wire
from streams.providers.middesk.fold import State
from streams.sse import Frame

VERSION = "/v1"
OPTIONS = ("business_id", "context_type", "context_id", "thread_id")
ID_LIMIT = 255


class Middesk:
    """One run on a business or a thread. Its stream shows it; only GET /v1/runs/{id} says how it stands.

    A replay begins at the first event, and its snapshots may differ from the stored ones without anything being wrong:
    see identity() for what whoever matches replays has to do.
    """

    kind = "middesk"
    label = "Middesk"
    capabilities = Capabilities(
        edit=False,
        reason=True,
        ask=False,
        cancel_run=False,  # no endpoint; closing the stream stops nothing
        batch=False,
        answer_streams=False,
        idempotent_decision=False,  # no header is documented: after a doubt the run is read, never answered again
        read_back=True,
        replay="full",
        replay_exact=False,
        repeatable_start=False,
        stall_s=60.0,
        stall_waiting_s=600.0,
        watch=True,
        needs_workflow=True,
        needs_task=False,
        evidence_kinds=frozenset({READ_BACK}),
        last_kinds=frozenset({fold.FINISHED, fold.ERROR}),
        reads_on=True,  # the last word comes from a GET, perhaps before the stream's own last event
        poll_s=10.0,
        confirm_s=10.0,
        calls_per_s=10.0,  # 20 requests a second for the whole customer account, which others use too
    )

    def check_start(self, *, task: str, workflow: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Problems by field: an agent type and a business, a context or a thread; there is no text to send."""
        problems: dict[str, str] = {}
        if task.strip():
            problems["task"] = "a Middesk agent takes no task: name its type and the business"
        if not workflow.strip():
            problems["workflow"] = "Middesk needs the type of an agent, such as cip_orchestrator"
        elif addresses.id_problem(workflow, limit=200):
            problems["workflow"] = "the agent's type cannot be sent: it is too long or not a plain text"
        if why := _options_problem(options):
            problems["options"] = why
        return problems

    def start_call(self, account: Account, run: RunView) -> Call:
        """POST /v1/runs. Each POST starts a run, so it is let out once."""
        body = {"type": run.workflow, **{name: run.options[name] for name in OPTIONS if run.options.get(name)}}
        return Call("POST", _url(account, "/runs"), _json_headers(account), _encoded(body))

    def read_start(self, account: Account, body: bytes) -> Begun:
        """201 with the run; `thread_id` may be missing."""
        try:
            seen = wire.parse(body.decode("utf-8", "replace"))
        except wire.Unreadable as exc:
            raise WireError(f"the answer to the start is {exc}") from exc
        inner = seen.get("run")
        run = inner if isinstance(inner, dict) and not isinstance(seen.get("id"), str) else seen
        run_id = run.get("id")
        if not isinstance(run_id, str) or addresses.id_problem(run_id, limit=ID_LIMIT):
            raise WireError("the answer to the start has no usable id")
        return Begun(run_id, thread_id=short(wire.field(run, "thread_id"), ID_LIMIT))

    def stream_call(self, account: Account, run: RunView, last_event_id: str) -> Call:
        """GET /v1/runs/{id}/stream; it begins at the first event every time (assumed for runs that are not over)."""
        headers = {**_key(account), "accept": "text/event-stream", "cache-control": "no-store"}
        if last_event_id:  # no ids are documented; should they come, they are sent back
            headers["last-event-id"] = last_event_id
        url = _url(account, f"/runs/{addresses.segment(run.external_id)}/stream")
        return Call("GET", url, headers, repeatable=True, streams=True)

    def initial(self, account: Account, run: RunView, call: Call | None = None) -> State:
        """Nothing has come yet."""
        return State(run.external_id, run.thread_id, hears_reason=resume.hears_reason(account))

    def placed(self, frame: Frame) -> Frame | None:
        """No ids are documented but SSE's own."""
        return frame

    def kind_of(self, frame: Frame) -> str:
        """The SSE event line; the JSON's type where there is none (AG-UI has it there, Middesk's samples elide it).

        No frame of a stream passes for the body of a read-back, which is stored under a kind of its own.
        """
        kind = frame.event
        if kind == "message":
            try:
                kind = wire.string(wire.parse(frame.data).get("type")) or kind
            except wire.Unreadable:
                pass
        return short(f"event {kind}" if kind == READ_BACK else kind, 100)

    def step(self, state: State, frame: Frame) -> tuple[State, tuple[Fact, ...]]:
        """Fold one frame of the stream. It never ends the run: RUN_FINISHED and RUN_ERROR ask for a read-back."""
        return fold.step(state, self.kind_of(frame), frame.data)

    def at_eof(self, state: State) -> tuple[Fact, ...]:
        """The end of the body: the run itself says what it means."""
        return fold.at_eof(state)

    def dump(self, state: State) -> str:
        return fold.dump(state)

    def load(self, text: str) -> State:
        return fold.load(text)

    def identity(self, kind: str, sha256: str) -> str:
        """The kind alone: a snapshot that differs on a replay is no divergence.

        So a match says where a replay stands, not that nothing is new in it. A frame that matched and that no stored
        one equals is kept at its place and not folded, for it may be older than what was folded since: the run itself
        is read instead (replay.py and reader.py). Read-backs are no part of that past: no stream ever brought them.
        """
        return kind

    def decision_call(
        self, account: Account, run: RunView, state: Any, answers: Sequence[Answer], *, new_run_id: str = ""
    ) -> Call:
        """POST /v1/runs/{id}/resume with the account's own template. Raises WireError where it cannot be answered."""
        if len(answers) != 1:
            raise WireError("Middesk takes one answer a call")
        answer = answers[0]
        question = answer.question
        if answer.verdict not in ("approve", "reject"):
            raise WireError("Middesk has no word for a question that nobody answered")
        if answer.edited or (answer.answer and answer.verdict == "reject"):
            raise WireError("Middesk takes no edited arguments, and no input beside a rejection")
        if question.call_id.startswith(questions.NAMELESS):
            raise WireError("the question has no id that an answer could name")
        if answer.verdict == "approve" and (why := jsontext.problem(question.arguments)):
            raise WireError(f"the arguments cannot be approved: {why}")
        offered = {one.id: one for one in state.open}.get(question.call_id)
        if offered is None:
            raise WireError("the run does not offer this question")
        if offered.fingerprint != questions.fingerprint(question.tool, question.arguments):
            raise WireError("the run offers this question with other arguments")
        if answer.verdict == "approve" and offered.unfit:
            raise WireError("the run offers this question in a form that cannot be approved")
        try:
            body = resume.body(account, answer, run.external_id)
        except ValueError as exc:
            raise WireError(f"the input is not JSON: {exc}") from exc
        url = _url(account, f"/runs/{addresses.segment(run.external_id)}/resume")
        return Call("POST", url, _json_headers(account), _encoded(body))

    def read_refusal(self, status: int, body: bytes) -> Refusal:
        """`{"errors": [{"message", "parameter"?}]}`, all of them; anything else as other providers' refusals."""
        said = refusals.read(status, body)
        try:
            found = wire.parse(body[:65_536].decode("utf-8", "replace")).get("errors")
        except wire.Unreadable:
            return said
        told = [_error(one) for one in found[:20]] if isinstance(found, list) else []
        words = "; ".join(one for one in told if one)
        return Refusal(said.code, short(words, refusals.TEXT_LIMIT)) if words else said

    def evidence(self, carried: Carried, kind: str, payload: str) -> Applied | None:
        """Only a read-back proves: the interrupt is gone, or still there.

        It must have been asked for after the answer left. A run that failed proves nothing: it may have failed before
        it took the answer, and its interrupts are gone either way.
        """
        if kind != READ_BACK:
            return None
        try:
            seen = wire.body(payload)
        except wire.Unreadable:
            return None
        if seen.interrupts is not None and any(
            asked.call_id == carried.question.call_id for asked in questions.read(seen, hears_reason=False)
        ):
            return "not_applied"
        if seen.status in (wire.RUNNING, wire.COMPLETED):
            return "applied"
        listed = bool(seen.interrupts) and len(seen.interrupts or ()) <= questions.QUESTIONS_MAX
        return "applied" if seen.status == wire.INTERRUPTED and listed else None

    def not_accepted(self, error: str) -> bool:
        """No answer of Middesk's comes back on a stream of its own."""
        return False

    def lines(self, kind: str, payload: str) -> tuple[Line, ...]:
        return lines.read(kind, payload)

    def decidable(self, account: Account) -> str:
        """Read-only until the account's options say what an answer looks like: Middesk has not published it."""
        return resume.undecidable(account)

    def read_back_call(self, account: Account, run: RunView) -> Call:
        """GET /v1/runs/{id}?include=steps: without it there are no steps in the answer."""
        url = _url(account, f"/runs/{addresses.segment(run.external_id)}?include=steps")
        return Call("GET", url, {**_key(account), "accept": "application/json"}, repeatable=True)

    def read_run(self, state: State, body: str) -> tuple[State, tuple[Fact, ...]]:
        """Fold the run as it was read. Only this ends a run, and only this takes questions back."""
        return fold.read_run(state, body)

    def parts(self, arguments: str) -> tuple[Part, ...]:
        return parts.read(arguments)

    def read_webhook(self, raw: bytes, headers: Mapping[str, str], secrets: Sequence[str]) -> Hook:
        """Unsigned ones are refused; known-good ones that we do not need have no run id."""
        return webhook.read_webhook(raw, webhook.signature_of(headers), secrets)


def _options_problem(options: Mapping[str, Any]) -> str:
    if unknown := sorted(set(options) - set(OPTIONS)):
        return f"unknown: {', '.join(unknown)}"
    for name, value in options.items():
        if not isinstance(value, str) or addresses.id_problem(value, limit=ID_LIMIT):
            return f"{name} must be a text of 1 to {ID_LIMIT} characters"
    if ("context_type" in options) != ("context_id" in options):
        return "context_type and context_id go together"
    if "business_id" in options and "context_type" in options:
        return "business_id is a context: name it or another one"
    return "" if options else "a business_id, a context_type with context_id, or a thread_id is needed"


def _error(item: Any) -> str:
    if not isinstance(item, dict):
        return wire.string(item)
    message, parameter = wire.string(item.get("message")), wire.string(item.get("parameter"))
    return f"{parameter}: {message}" if parameter and message else message


def _url(account: Account, path: str) -> str:
    """Below /v1, which the documented base URLs end with and an operator may leave out."""
    return addresses.join(account.base_url.rstrip("/").removesuffix(VERSION), VERSION + path)


def _key(account: Account) -> dict[str, str]:
    return addresses.secret_header("authorization", f"Bearer {account.secret}" if account.secret else "")


def _json_headers(account: Account) -> dict[str, str]:
    return {**_key(account), "content-type": "application/json", "accept": "application/json"}


def _encoded(body: Any) -> bytes:
    return jsontext.dumps(body).encode("ascii")
