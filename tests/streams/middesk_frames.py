"""Short ways to say Middesk's frames and runs in tests, and to fold them."""

import json
from typing import Any
from uuid import UUID

from streams.events import Asked, Fact, Gone, ReadBack
from streams.providers.base import Account, Answer, Question, RunView
from streams.providers.middesk import Middesk
from streams.providers.middesk.fold import State
from streams.sse import Frame

middesk = Middesk()
RUN_ID = "c1d2e3f4-5678-90ab-cdef-1234567890ab"
ACCOUNT = Account("https://api.middesk.example/v1/", secret="mk_test_for_tests")
ON = Account(ACCOUNT.base_url, secret=ACCOUNT.secret, options={"resume": {"enabled": True}})
RUN = RunView(UUID(int=1), external_id=RUN_ID, workflow="cip_orchestrator", options={"business_id": "b-17"})
KEY = UUID("00000000-0000-4000-8000-000000000007")
VALUE = '{"agent": "watchlist_resolution","label":"Dismiss this hit?", "artifacts":[],"score":1.50}'


def frame(kind: str, run_id: str = RUN_ID, **fields: Any) -> Frame:
    return Frame(kind, json.dumps({"run_id": run_id, **fields}))


def interrupt(interrupt_id: str = "int-9", value: str = VALUE) -> str:
    return f'{{"id":{json.dumps(interrupt_id)},"value":{value}}}'


def asking(*interrupts: str, status: str = "interrupted", more: str = "") -> str:
    """A run as text, with its interrupts spelled as given."""
    listed = ",".join(interrupts)
    return f'{{"object":"run","id":"{RUN_ID}","status":"{status}","interrupts":[{listed}]{more}}}'


def snapshot(run: str, around: str = '{{"run_id":"{id}","snapshot":{run}}}') -> Frame:
    return Frame("STATE_SNAPSHOT", around.format(id=RUN_ID, run=run))


def run(status: str, **fields: Any) -> str:
    return json.dumps({"object": "run", "id": RUN_ID, "status": status, "interrupts": [], **fields})


def start(account: Account = ON) -> State:
    return middesk.initial(account, RUN)


def fold(*told: Frame | str, state: State | None = None) -> tuple[State, list[Fact]]:
    """Frames are of the stream, texts are bodies of read-backs."""
    state, facts = state or start(), list[Fact]()
    for one in told:
        state, new = middesk.read_run(state, one) if isinstance(one, str) else middesk.step(state, one)
        facts += new
    return state, facts


def asks(facts: list[Fact]) -> list[Asked]:
    return [fact for fact in facts if isinstance(fact, Asked)]


def reads(facts: list[Fact]) -> int:
    return sum(isinstance(fact, ReadBack) for fact in facts)


def gone(facts: list[Fact]) -> list[str]:
    return [call_id for fact in facts if isinstance(fact, Gone) for call_id in fact.call_ids]


def question(asked: Asked) -> Question:
    return Question(asked.call_id, asked.tool, asked.arguments)


def answer(asked: Asked, verdict: Any = "approve", **fields: Any) -> Answer:
    return Answer(question(asked), verdict, KEY, **fields)
