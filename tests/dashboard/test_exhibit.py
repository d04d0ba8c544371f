"""Arguments as rows: numbers as spelled, long values cut and counted, broken text shown exactly."""

import json
from typing import Any

import pytest

from dashboard import exhibit, reading
from streams.emulator.payloads import PAYLOADS


def build(arguments: Any, tool: str = "x", *, everything: bool = False) -> exhibit.Exhibit:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return exhibit.build(text, reading.read(tool, text), everything=everything)


def test_numbers_stand_as_they_were_spelled() -> None:
    found = build('{"a": 480.00, "b": 12345678901234567890, "c": -0, "d": 1E2}')
    assert [row.text for row in found.rows] == ["480.00", "12345678901234567890", "-0", "1E2"]


def test_a_tree_keeps_names_depth_and_kinds() -> None:
    rows = build({"options": {"flags": [True, None], "size": 3}, "": "nameless", "none": {}}).rows
    assert [(row.name, row.depth, row.kind, row.text) for row in rows] == [
        ("options", 0, "branch", "2"),
        ("flags", 1, "branch", "2"),
        ("1.", 2, "word", "true"),
        ("2.", 2, "word", "null"),
        ("size", 1, "number", "3"),
        ("", 0, "text", "nameless"),
        ("none", 0, "empty", "no members"),
    ]


def test_a_mail_begins_with_to_and_ends_with_its_text() -> None:
    mail = {"body": "Hello", "priority": 1, "subject": "Hi", "to": "a@x.example"}
    rows = build(mail, "send_email").rows
    assert [(row.label, row.kind) for row in rows] == [
        ("To", "text"),
        ("Subject", "text"),
        ("", "mail"),
        ("", "number"),
    ]


def test_a_long_value_is_cut_until_everything_is_opened() -> None:
    text = "a" * 5_000 + "DROP TABLE users" + "b" * 5_000
    cut = build({"sql": text})
    assert cut.cut == 1
    assert cut.rows[0].missing == len(text) - len(cut.rows[0].text) - len(cut.rows[0].tail)
    whole = build({"sql": text}, everything=True)
    assert (whole.cut, whole.rows[0].text) == (0, text)


def test_five_thousand_keys_are_cut_and_counted() -> None:
    found = build({f"k{n}": n for n in range(5_000)})
    assert (len(found.rows), found.left_out, found.cut) == (exhibit.ROWS_MAX, 5_000 - exhibit.ROWS_MAX, 1)
    assert len(build({f"k{n}": n for n in range(1_500)}, everything=True).rows) == 1_500


@pytest.mark.parametrize("name", sorted(set(PAYLOADS) - {"not-an-object", "null"}))
def test_what_cannot_be_taken_apart_is_shown_exactly(name: str) -> None:
    text = PAYLOADS[name]()
    found = build(text)
    assert found.exact
    assert not found.rows
    assert "\n".join(exhibit.exact(text)) == text


def test_arguments_that_are_no_object_are_shown_as_what_they_are() -> None:
    assert [(row.kind, row.text) for row in build('"just words"').rows] == [("text", "just words")]
    assert [(row.kind, row.text) for row in build("null").rows] == [("word", "null")]


def test_remarks_name_the_argument_by_number_never_by_its_name() -> None:
    found = build({"fine": "x", "evil <b>name</b>": "a\u202eb", "host": "p\u0430ypal.example"})
    assert [(remark.where, remark.text) for remark in found.remarks] == [
        ("argument 2", "1 hidden character"),
        ("argument 3", "1 letter of another script"),
    ]


@pytest.mark.parametrize("kind", ["sql", "shell"])
@pytest.mark.parametrize("text", ["", "a\n\nb", "SELECT 'x\ny' -- c\n;", 'echo "a\nb" | cat # c', "'open", "$a$ x $a$"])
def test_highlighting_loses_no_character(kind: str, text: str) -> None:
    lines = exhibit.lines_of_code(text, kind)
    assert "\n".join("".join(token.text for token in line) for line in lines) == text


def test_everything_of_very_many_members_ends_with_the_exact_text() -> None:
    text = json.dumps(list(range(exhibit.ROWS_OPENED + 50)))
    found = exhibit.build(text, reading.read("x", text), everything=True)
    assert (len(found.rows), found.rest, found.cut) == (exhibit.ROWS_OPENED, text, 0)
    assert found.left_out
    assert exhibit.build(text, reading.read("x", text)).rest == ""


def test_a_very_long_name_counts_as_cut_until_everything_is_opened() -> None:
    assert build({"k" * 300: 1}).cut == 1
    assert build({"k" * 300: 1}, everything=True).cut == 0


def test_a_text_in_which_nearly_everything_hides_is_marked_as_dense() -> None:
    assert build({"a": "x\u202e" * 5_000}, everything=True).dense
    assert not build({"a": "x\u202e"}).dense


def test_very_many_lines_stand_in_one_piece_after_the_first_ones() -> None:
    text = "a\n" * (exhibit.LINES_OPENED * 2)
    lines = exhibit.exact(text)
    assert len(lines) == exhibit.LINES_OPENED + 1
    assert "\n".join(lines) == text
