"""AG-UI 1.0 as a provider: one POST is the run and its stream; an answer is the next POST.

Source: docs.ag-ui.com/spec/1.0 `basic/transports/http-sse` and `basic/run-input`, read 2026-11.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from streams import dialects
from streams.errors import WireError
from streams.events import Ended, Fact, Line, short
from streams.providers import addresses, refusals
from streams.providers.agui import answer, evidence, fold, lines, wire
from streams.providers.agui.state import AHEAD, LIVE, Opening, State, dump, load
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

OPTIONS: Mapping[str, type] = {"state": object, "tools": list, "context": list, "forwardedProps": object}


class AGUI(Plain):
    """Any framework's AG-UI server at its own URL."""

    kind = "agui"
    label = "AG-UI"
    capabilities = Capabilities(
        edit=True,
        reason=True,
        ask=False,
        cancel_run=False,
        batch=True,
        answer_streams=True,
        idempotent_decision=False,
        read_back=False,
        replay="none",
        replay_exact=False,
        repeatable_start=False,
        stall_s=None,
        stall_waiting_s=None,
        watch=False,
        needs_workflow=False,
        needs_task=False,
        reads_on=True,
        evidence_kinds=evidence.KINDS,
    )

    def check_start(self, *, task: str, workflow: str, options: Mapping[str, Any]) -> dict[str, str]:
        """Problems by field; `tools` are objects with a name, `context` has texts for description and value."""
        problems: dict[str, str] = {}
        if workflow:
            problems["workflow"] = "an AG-UI server has one agent: there is no workflow to name"
        if unknown := sorted(set(options) - set(OPTIONS)):
            problems["options"] = f"unknown: {', '.join(unknown)}"
        elif wrong := [name for name, kind in OPTIONS.items() if not isinstance(options.get(name, kind()), kind)]:
            problems["options"] = f"not a list: {', '.join(wrong)}"
        elif not all(isinstance(t, dict) and isinstance(t.get("name"), str) for t in options.get("tools", [])):
            problems["options"] = "tools: each is an object with a name"
        elif not all(
            isinstance(c, dict) and isinstance(c.get("description"), str) and isinstance(c.get("value"), str)
            for c in options.get("context", [])
        ):
            problems["options"] = "context: each has a text as description and as value"
        return problems

    def start_call(self, account: Account, run: RunView) -> Call:
        """The POST whose answer is the run. Ids that the run lacks come from its own row, so a repeat is recognised."""
        return self._post(account, self._start_input(run))

    def _start_input(self, run: RunView) -> dict[str, Any]:
        said = [{"id": f"msg-{run.id}", "role": "user", "content": run.task}] if run.task else []
        return answer.first_input(
            run.thread_id or f"thread-{run.id}", run.external_id or str(run.id), said, run.options
        )

    def _post(self, account: Account, body: Mapping[str, Any]) -> Call:
        name = account.options.get("header") or "authorization"
        if not isinstance(name, str):
            raise WireError("the option header is the name of a header")
        secret = f"Bearer {account.secret}" if account.secret and name.lower() == "authorization" else account.secret
        headers = {
            **addresses.secret_header(name.lower(), secret),
            "content-type": "application/json",
            "accept": "text/event-stream",
        }
        return Call("POST", account.base_url, headers, answer.encoded(body), streams=True)

    def read_start(self, account: Account, body: bytes) -> Begun:
        """There is no answer beside the stream."""
        raise WireError("an AG-UI start answers with its stream")

    def stream_call(self, account: Account, run: RunView, last_event_id: str) -> Call:
        """A stream of AG-UI's cannot be entered again."""
        raise WireError("an AG-UI run can be read only once, by whoever started it")

    def initial(self, account: Account, run: RunView, call: Call | None = None) -> State:
        """What the opening call sent is where the run begins."""
        body = json.loads(call.body) if call and call.body else self._start_input(run)
        opening = Opening(
            thread_id=body["threadId"],
            run_id=body["runId"],
            tools=tuple(body["tools"]),
            context=tuple(body["context"]),
            forwarded=body["forwardedProps"],
            dialect=account.dialect,
            resumes=_answers_something(body),
        )
        messages = {message["id"]: message for message in body["messages"]}
        return State(opening, messages, fold.fresh_value(body["state"]))

    def kind_of(self, frame: Frame) -> str:
        """The JSON's type; event lines are ignored, as the transport demands."""
        try:
            kind = wire.decode(frame.data)[0].get("type")
        except wire.Unreadable:
            kind = None
        return short(kind, 100) if isinstance(kind, str) and kind else "unreadable"

    def step(self, state: State, frame: Frame) -> tuple[State, tuple[Fact, ...]]:
        """Fold one frame. Never raises for what a provider sent."""
        return fold.step(state, frame.data)

    def at_eof(self, state: State) -> tuple[Fact, ...]:
        """A stream that ends without the last word on our run: truncated, or failed if an error came before our run."""
        if state.ours == AHEAD and state.error:
            return (Ended("failed", "error", state.error),)
        if state.ours in (AHEAD, LIVE):
            return (Ended("truncated", "", "the stream ended without the run's last word"),)
        return ()

    def dump(self, state: State) -> str:
        return dump(state)

    def load(self, text: str) -> State:
        return load(text)

    def identity(self, kind: str, sha256: str) -> str:
        """Never replayed; kind and data all the same."""
        return f"{kind} {sha256}"

    def decision_call(
        self, account: Account, run: RunView, state: State, answers: Sequence[Answer], *, new_run_id: str = ""
    ) -> Call:
        """The next run on the thread, with an entry for every open question. Raises WireError: nothing is sent then."""
        by_id = account.options.get("answer_by_id") is True
        return self._post(account, answer.run_input(state, answers, new_run_id, by_id=by_id))

    def read_refusal(self, status: int, body: bytes) -> Refusal:
        """The protocol names no shape for HTTP errors."""
        return refusals.read(status, body)

    def evidence(self, carried: Carried, kind: str, payload: str) -> Applied | None:
        """What a stored event proves; see evidence.py."""
        return evidence.read(carried, kind, payload)

    def not_accepted(self, error: str) -> bool:
        """Codes and messages by which known servers refuse an answer before they do anything."""
        return dialects.not_accepted(error)

    def lines(self, kind: str, payload: str) -> tuple[Line, ...]:
        return lines.read(kind, payload)


def _answers_something(body: Mapping[str, Any]) -> bool:
    """Whether an input answers what an earlier run of the thread asked, in any of the ways in which answers travel."""
    forwarded = body["forwardedProps"]
    commanded = isinstance(forwarded, dict) and isinstance(forwarded.get("command"), dict)
    return bool(body.get("resume")) or commanded or any(one.get("role") == "tool" for one in body["messages"])
