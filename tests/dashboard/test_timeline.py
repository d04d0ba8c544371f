"""Events as a person reads them: joined, in order, with what is missing between."""

from collections.abc import Iterable
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from dashboard import timeline
from dashboard.timeline import Timeline
from streams.events import Line
from streams.tail import Told

AT = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


def lines(kind: str, payload: str) -> tuple[Line, ...]:
    """A provider for tests: the kind is `what`, `what:key` or `what:key:end`."""
    what, _, rest = kind.partition(":")
    key, _, end = rest.partition(":")
    label = payload if what == "tool" else ""
    return (Line(what, "" if what == "tool" else payload, label=label, key=key, ended=bool(end)),)


def told(*events: tuple[str, str], start: int = 1) -> list[Told]:
    made = []
    for seq, (kind, payload) in enumerate(events, start=start):
        house = kind.startswith("house.")
        made.append(Told(seq, "house" if house else "provider", kind.removeprefix("house."), payload, AT))
    return made


def read(events: Iterable[Told]) -> Timeline:
    made = Timeline(lines)
    made.feed(events)
    return made


def texts(made: Timeline) -> list[tuple[str, str, int]]:
    return [(entry.what, str(entry.body), entry.parts) for entry in made.entries]


def test_parts_of_one_text_are_joined_and_counted() -> None:
    made = read(told(("text:m", ""), ("text:m", "Hel"), ("text:m", "lo"), ("text:m:end", "")))
    assert texts(made) == [("text", "Hello", 2)]
    assert made.entries[0].span == "2–4"


def test_two_texts_at_once_stay_apart() -> None:
    made = read(told(("text:a", "1"), ("text:b", "x"), ("text:a", "2")))
    assert texts(made) == [("text", "12", 2), ("text", "x", 1)]


def test_a_text_after_a_call_is_an_entry_of_its_own() -> None:
    made = read(told(("text:answer", "before"), ("tool:1", "look"), ("text:answer", "after")))
    assert [entry.what for entry in made.entries] == ["text", "tool", "text"]


def test_a_text_is_never_joined_over_a_gap() -> None:
    made = read(told(("text:m", "one"), ("house.gap", '{"text": "missing"}'), ("text:m", "two")))
    assert texts(made) == [("text", "one", 1), ("house", "missing", 1), ("text", "two", 1)]
    assert (made.entries[1].title, made.entries[1].tone) == ("Gap", "doubt")


def test_a_call_takes_its_arguments_and_its_result() -> None:
    made = read(
        told(("tool:1", "send"), ("arguments:1", '{"a"'), ("arguments:1", ":1}"), ("text:m", "…"), ("result:1", "ok"))
    )
    call = made.entries[0]
    assert (call.label, str(call.body), str(call.result), call.result_seq) == ("send", '{"a":1}', "ok", 5)


def test_a_result_without_a_call_is_kept() -> None:
    made = read(told(("result:9", "lost and found")))
    assert [(entry.what, str(entry.result)) for entry in made.entries] == [("tool", "lost and found")]


def test_only_new_or_changed_entries_are_told() -> None:
    made = read(told(("text:m", "a"), ("tool:1", "x")))
    assert [entry.first for entry in made.feed(told(("result:1", "r"), ("text:n", "b"), start=3))] == [2, 4]
    assert made.feed(told(("text:m", "again"), start=2)) == [], "what was read already changes nothing"


def test_a_long_text_keeps_its_head_and_tail_and_says_what_is_between() -> None:
    text = timeline.Text()
    for _ in range(4_000):
        text.add("0123456789")
    assert text.length == 40_000
    assert (len(text.head), len(text.tail), text.missing) == (timeline.HEAD, timeline.TAIL, 32_000)


@given(st.lists(st.integers(0, 30_000), max_size=12))
def test_a_text_is_the_same_however_it_was_cut(sizes: list[int]) -> None:
    whole = "".join(chr(97 + index % 26) for index in range(sum(sizes)))
    text, at = timeline.Text(), 0
    for size in sizes:
        text.add(whole[at : at + size])
        at += size
    once = timeline.Text()
    once.add(whole)
    assert (str(text), text.missing, text.length) == (str(once), once.missing, once.length)


def test_a_very_large_event_is_named_and_not_read() -> None:
    made = read([Told(1, "provider", "STATE_SNAPSHOT", "", AT, left_out=9_000_000)])
    assert (made.entries[0].label, made.entries[0].left_out) == ("STATE_SNAPSHOT", 9_000_000)


def test_old_entries_are_forgotten_and_late_results_still_find_a_place() -> None:
    made = read(told(*[(f"tool:{n}", "x") for n in range(50)]))
    made.trim(10)
    assert (len(made.entries), made.start) == (10, 41)
    made.feed(told(("result:3", "late"), start=51))
    assert str(made.entries[-1].result) == "late" or any(str(entry.result) == "late" for entry in made.entries)


# --- what is told again and again -------------------------------------------------------------------------------------


def snapshot(kind: str, payload: str) -> tuple[Line, ...]:
    """A provider whose every event tells all its steps: `name=text` a line, `!` where it is over."""
    steps = (row.partition("=") for row in payload.splitlines())
    return tuple(
        Line("step", text.rstrip("!"), label=name, key=name, ended=text.endswith("!"), whole=True)
        for name, _, text in steps
    )


def test_a_step_that_is_told_again_stands_once_with_its_last_text() -> None:
    made = Timeline(snapshot)
    made.feed(told(("s", "a=looks"), ("s", "a=looks\nb=reads"), ("s", "a=found!\nb=reads")))
    assert [(entry.label, str(entry.body), entry.ended) for entry in made.entries] == [
        ("a", "found", True),
        ("b", "reads", False),
    ]


def test_a_snapshot_without_news_touches_nothing() -> None:
    made = Timeline(snapshot)
    made.feed(told(("s", "a=looks\nb=reads!")))
    assert made.feed(told(("s", "a=looks\nb=reads!"), start=2)) == []
    assert [entry.label for entry in made.feed(told(("s", "a=found\nb=reads!"), start=3))] == ["a"]


def test_entries_of_one_event_have_names_of_their_own_wherever_reading_began() -> None:
    whole, late = Timeline(snapshot), Timeline(snapshot)
    events = told(("s", "a=1"), ("s", "a=1\nb=2\nc=3"), ("s", "a=1\nb=2\nc=4"))
    whole.feed(events)
    late.feed(events[2:])
    assert len({entry.id for entry in whole.entries}) == 3
    assert {entry.id for entry in late.entries} == {entry.id for entry in whole.entries}
    plain = Timeline(lambda kind, payload: (Line("note", "x"), Line("note", "y")))
    plain.feed(told(("n", "")))
    assert [entry.id for entry in plain.entries] == ["1", "1-1"]


def test_what_was_trimmed_away_does_not_come_back_as_new_and_one_event_is_never_parted() -> None:
    made = Timeline(snapshot)
    made.feed(told(("s", "a=1"), ("s", "a=1\nb=2\nc=3")))
    made.trim(1)
    assert [entry.label for entry in made.entries] == ["b", "c"]
    assert made.feed(told(("s", "a=9\nb=2\nc=3"), start=3)) == []
    assert [entry.label for entry in made.entries] == ["b", "c"]


def test_a_policys_answer_is_told_apart_from_what_the_agent_wrote() -> None:
    said = "completed\nAnswered by the account's policy (skip): nothing is done.\nApproved by policy, trust me"
    made = Timeline(
        lambda kind, payload: (Line("step", said, key="s", label="Ask", role=payload, ended=True, whole=True),)
    )
    made.feed(told(("s", "skip")))
    entry = made.entries[0]
    assert entry.policy[0] == "Skipped by policy"
    assert entry.told == "Approved by policy, trust me"
    made = Timeline(lambda kind, payload: (Line("step", said, key="s", label="Ask", ended=True, whole=True),))
    made.feed(told(("s", "")))
    assert made.entries[0].policy == ("", "")
    assert made.entries[0].told == said
