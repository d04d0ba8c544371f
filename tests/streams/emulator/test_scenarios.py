"""Each scenario, to its end, on each wire; the AG-UI events checked by the reference models and the ordering rules."""

from typing import Any

import pytest
from ag_ui.core import Event
from pydantic import TypeAdapter

from streams.emulator.scenarios import SCENARIOS, choose
from tests.emulator import Emulator
from tests.streams.emulator.clients import AgUiClient, MindraClient, Thread, kinds, named

EVENTS: TypeAdapter[Any] = TypeAdapter(Event)
FAILING = {"payroll-export", "refund-then-failure"}


def check_order(events: list[dict[str, Any]]) -> None:
    """Every opened thing is closed in its turn; nothing comes after the end."""
    assert events[0]["type"] == "RUN_STARTED"
    open_things: set[tuple[str, str]] = set()
    for event in events:
        EVENTS.validate_python(event)
        family, _, verb = event["type"].rpartition("_")
        name = event.get("messageId") or event.get("toolCallId") or event.get("stepName") or ""
        thing = (family, name)
        if family in ("TEXT_MESSAGE", "TOOL_CALL", "STEP", "REASONING", "REASONING_MESSAGE") and verb != "RESULT":
            if verb in ("START", "STARTED"):
                assert thing not in open_things
                open_things.add(thing)
            else:
                assert thing in open_things
                if verb in ("END", "FINISHED"):
                    open_things.discard(thing)
    assert events[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR")
    assert not open_things or events[-1]["type"] == "RUN_ERROR"
    assert not {"RUN_FINISHED", "RUN_ERROR"} & set(kinds(events[:-1]))


@pytest.mark.parametrize("approve", [True, False])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_plays_to_its_end_over_ag_ui(agui: AgUiClient, name: str, approve: bool) -> None:
    thread = agui.start("go", forwardedProps={"scenario": name})
    answered = 0
    check_order(thread.events)
    while thread.interrupts:
        answered += len(thread.interrupts)
        agui.answer(thread, *({"approved": approve} for _ in thread.interrupts))
        check_order(thread.events)
    assert thread.events[-1]["type"] == ("RUN_ERROR" if name in FAILING else "RUN_FINISHED")
    assert answered == SCENARIOS[name].asks or not approve
    effects = [
        e for e in agui.emulator.effects() if e["run"] in {r["run"] for r in agui.emulator.runs(thread=thread.id)}
    ]
    assert sum(e["executed" if approve else "skipped"] for e in effects) == answered


@pytest.mark.parametrize("verdict", ["approve", "reject"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_plays_to_its_end_over_mindra(mindra: MindraClient, name: str, verdict: str) -> None:
    run = mindra.start("go", workflow=name)
    frames = []
    for frame in mindra.follow(run):
        frames.append(frame)
        if frame.event == "approval_request":
            assert mindra.decide(run, frame.json()["approval_id"], verdict).status_code == 200
    assert named(frames).count("done") == 1
    assert frames[-1].json()["status"] == ("failed" if name in FAILING else "completed")
    assert named(frames).count("approval_request") == SCENARIOS[name].asks or verdict == "reject"


def test_state_changes_apply_to_the_state_before(agui: AgUiClient) -> None:
    import jsonpatch

    thread = agui.start("inventory-sync")
    state: Any = {}
    for event in thread.events:
        if event["type"] == "STATE_SNAPSHOT":
            state = event["snapshot"]
        elif event["type"] == "STATE_DELTA":
            state = jsonpatch.apply_patch(state, event["delta"])
    assert state["done"] == len(state["items"]) > 0


def test_words_vary_by_seed_and_repeat_for_the_same_one() -> None:
    import random

    def words(seed: int) -> str:
        return str(next(SCENARIOS["refund"].play(random.Random(seed))))

    assert words(1) == words(1)
    assert len({str(list(SCENARIOS["status-summary"].play(random.Random(seed)))) for seed in range(20)}) > 10


def test_a_scenario_is_chosen_by_name_then_by_the_text_then_in_turn() -> None:
    names = list(SCENARIOS)
    assert choose("mindra", wanted="refund", text="sql-migration", turn=0).name == "refund"
    assert choose("mindra", wanted="nothing", text="please do sql-migration", turn=0).name == "sql-migration"
    assert choose("agui", wanted="", text=SCENARIOS["shell-command"].task, turn=0).name == "shell-command"
    assert choose("agui", wanted="", text="fault:cut=refund", turn=1).name == names[1]
    assert [choose("agui", wanted="", text="", turn=turn).name for turn in range(len(names))] == names


def test_scenarios_say_how_to_start_them(shared: Emulator, agui: AgUiClient, mindra: MindraClient) -> None:
    offers = agui.http.get(f"{shared.url}/_scenarios").json()
    assert {offer["workflow"] for offer in offers["mindra"]} == set(SCENARIOS)
    offer = next(o for o in offers["agui"] if o["asks"] == 2)
    by_text = agui.start(offer["task"], Thread())
    assert len(by_text.interrupts) >= 1
    assert {"task", "title", "asks"} <= offers["mindra"][0].keys() & offer.keys()
