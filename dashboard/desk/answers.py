"""What an answer from here would be: the very call that the adapter makes, for a question that nobody asked."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from streams import jsontext, providers
from streams.errors import WireError
from streams.events import Asked
from streams.models import Provider
from streams.providers.base import Account, Answer, Question, RunView, Verdict

TOOLS_MAX = 5
SOME_TOOL = "some_question"
RUN, INTERRUPT, KEY = "run_EXAMPLE", "int_EXAMPLE", UUID(int=0)
NOTE, REVIEWER = "What the reviewer wrote.", "reviewer"


@dataclass(frozen=True, slots=True)
class Preview:
    """One call. `body` is what it carries, indented for reading."""

    tool: str  # empty: any that has no template of its own
    verdict: Verdict
    where: str
    body: str


def previews(row: Provider, template: Mapping[str, Any]) -> Sequence[Preview]:
    """Yes and no to any question, and to those with a template of their own. Raises WireError where there is none."""
    account = Account(row.base_url, options={**row.options, "resume": {**template, "enabled": True}})
    own = template.get("tools", {})
    tools = ["", *list(own)[:TOOLS_MAX]] if isinstance(own, Mapping) else [""]
    return [_preview(row.kind, account, tool, verdict) for tool in tools for verdict in ("approve", "reject")]


def _preview(kind: str, account: Account, tool: str, verdict: Verdict) -> Preview:
    adapter, run = providers.get(kind), RunView(UUID(int=0), external_id=RUN)
    told = {"id": RUN, "status": "interrupted", "interrupts": [{"id": INTERRUPT, "value": {"type": tool or SOME_TOOL}}]}
    state, facts = adapter.read_run(adapter.initial(account, run), json.dumps(told))
    asked = next((fact for fact in facts if isinstance(fact, Asked)), None)
    if asked is None:
        raise WireError("there is nothing to preview")
    question = Question(asked.call_id, asked.tool, asked.arguments)
    answer = Answer(question, verdict, KEY, reason=NOTE, reviewer=REVIEWER)
    call = adapter.decision_call(account, run, state, [answer])
    body = jsontext.parse((call.body or b"").decode())
    return Preview(tool, verdict, f"{call.method} {call.url}", json.dumps(body, indent=2, ensure_ascii=False))
