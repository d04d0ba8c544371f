"""LangGraph's own ends: a thread that somebody else moved on, or took away, while we were asked."""

from typing import Any

import httpx
import pytest

from tests.countersign import PATIENT_S
from tests.frameworks.cases import CASES
from tests.frameworks.conftest import Peer

pytestmark = [pytest.mark.process, pytest.mark.frameworks, pytest.mark.long]

BY_ID = [case for case in CASES if "answer_by_id" in case.settings]
PLATFORM = [case for case in CASES if case.framework == "langgraph_platform" and case.chains]
NO = {"hitl": {"decisions": [{"type": "reject"}]}, "percall": {"type": "reject"}, "node": {"approved": False}}


def post(url: str, body: dict[str, Any]) -> None:
    httpx.post(url, json=body, trust_env=False, timeout=PATIENT_S).raise_for_status()


@pytest.mark.parametrize("peer", BY_ID, indirect=True, ids=lambda case: case.name)
def test_an_answer_by_id_never_goes_to_a_question_that_nobody_here_saw(peer: Peer) -> None:
    """Somebody else refuses our question and asks for another call: our yes must not be that one's."""
    run_id, (asked,) = peer.asks("Send the e-mail")
    thread = {"threadId": peer.on.run(run_id)["thread_id"], "state": {}, "tools": [], "context": []}
    url = f"{peer.agent.url}{peer.case.path}"
    answer = {"command": {"resume": NO[peer.case.path.rpartition("/")[2]]}}
    post(url, {**thread, "runId": f"no-{run_id}", "messages": [], "forwardedProps": answer})
    said = [{"id": f"said-{run_id}", "role": "user", "content": "delete the order"}]
    post(url, {**thread, "runId": f"new-{run_id}", "messages": said, "forwardedProps": {}})
    peer.approve(asked)
    peer.on.becomes(asked["id"], "delivered", "unknown", "refused_by_provider")
    (other,) = peer.on.asked(peer.on.chain(run_id)[-1]["id"])
    assert other["tool_name"] == "delete_records"
    assert peer.effects() == []
    peer.reject(other)
    peer.on.becomes(other["id"], "delivered")
    assert peer.effects() == []


@pytest.mark.parametrize("peer", PLATFORM, indirect=True, ids=lambda case: case.name)
def test_what_was_answered_elsewhere_is_withdrawn_here(peer: Peer) -> None:
    run_id, (asked,) = peer.asks("Send the e-mail")
    url = f"{peer.agent.url}/threads/{peer.on.run(run_id)['external_id']}"
    (waits,) = httpx.get(f"{url}/state", trust_env=False, timeout=PATIENT_S).json()["interrupts"]
    answer = {"resume": {waits["id"]: NO[peer.case.workflow]}}
    post(f"{url}/runs/wait", {"assistant_id": peer.case.workflow, "command": answer})
    peer.on.becomes(asked["id"], "withdrawn")
    peer.on.ended(run_id)
    assert peer.effects() == []


@pytest.mark.parametrize("peer", PLATFORM, indirect=True, ids=lambda case: case.name)
def test_an_answer_to_a_thread_that_is_gone_was_refused(peer: Peer) -> None:
    run_id, (asked,) = peer.asks("Send the e-mail")
    thread = f"{peer.agent.url}/threads/{peer.on.run(run_id)['external_id']}"
    httpx.delete(thread, trust_env=False, timeout=PATIENT_S).raise_for_status()
    peer.approve(asked)
    peer.on.becomes(asked["id"], "refused_by_provider")
    assert peer.effects() == []
