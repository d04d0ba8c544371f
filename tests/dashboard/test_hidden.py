"""Hidden characters and letters that pretend are marked; everything else stays as it is."""

import pytest

from dashboard import hidden


def marks(text: str) -> list[tuple[str, str]]:
    return [(piece.text, piece.mark) for piece in hidden.pieces(text) if piece.mark]


@pytest.mark.parametrize(
    ("char", "chip"),
    [("\u202e", "RLO"), ("\u2066", "LRI"), ("\u200b", "ZWSP"), ("\ufeff", "BOM"), ("\u00ad", "SHY"), ("\x1b", "ESC"),
     ("\x00", "NUL"), ("\r", "CR"), ("\u2028", "LS"), ("\U000e0041", "U+E0041"), ("\u3164", "U+3164"),
     ("\ue000", "U+E000"), ("\ufe0f", "U+FE0F")],
)  # fmt: skip
def test_what_hides_or_turns_text_is_a_chip(char: str, chip: str) -> None:
    assert marks(f"in{char}voice") == [(chip, "hidden")]


def test_nothing_of_the_text_is_lost() -> None:
    text = "a\u202eb h\u0430rbour \u4e2d\u6587 caf\u00e9 \U0001f916\n\tend"
    made = "".join(chr(0x202E) if piece.mark == "hidden" else piece.text for piece in hidden.pieces(text))
    assert made == text


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "caf\u00e9",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440",
        "\u4f60\u597d",
        "\u26a0\ufe0f",
        "\U0001f469\u200d\U0001f4bb",
        "\u03b1 = 3",
        "two\nlines\tand a tab",
    ],
)
def test_honest_text_is_left_alone(text: str) -> None:
    assert marks(text) == []


@pytest.mark.parametrize("text", ["p\u0430ypal.example", "h\u0430rbour", "g\u03bfogle", "\uff41pple.example"])
def test_a_letter_of_another_script_in_a_latin_word_is_marked(text: str) -> None:
    assert [mark for _, mark in marks(text)] == ["alike"]


def test_a_flood_of_combining_marks_is_stopped() -> None:
    assert len(marks("a" + "\u0301" * 20)) == 16


@pytest.mark.parametrize(
    ("text", "expected"),
    [("ok" + " " * 60 + "rm -rf", True), ("ok\n" * 9, False), ("ok" + " " * 60, False), ("a" + "\n" * 9 + "b", True)],
)
def test_blanks_that_push_text_out_of_sight_are_found(text: str, expected: bool) -> None:
    assert hidden.padded(text) is expected


def test_after_very_many_marks_the_rest_is_spelled_out_and_nothing_is_lost() -> None:
    text = "ab\u202e" * (hidden.MARKS_MAX + 5) + "C:\\end"
    made = hidden.pieces(text)
    assert sum(piece.mark == "hidden" for piece in made) == hidden.MARKS_MAX
    assert made[-1] == hidden.Piece(r"ab\u202e" * 5 + r"C:\\end", "escaped")
    assert [piece.mark for piece in hidden.pieces("ab\u202e" * hidden.MARKS_MAX)].count("escaped") == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pay\u202eload", r"pay\u202eload"),
        (r"pay\u202eload", r"pay\\u202eload"),  # what was spelled so by its author does not look like ours
        ("tag\U000e0041", r"tag\U000e0041"),
        ("p\u0430ypal", r"p\u0430ypal"),
        ("\u041f\u0440\u0438\u0432\u0435\u0442", "\u041f\u0440\u0438\u0432\u0435\u0442"),
        ("a\n\tb", "a\n\tb"),
    ],
)
def test_an_escaped_text_has_one_reading(text: str, expected: str) -> None:
    assert hidden.escaped(text) == expected


def test_only_a_text_full_of_them_is_dense() -> None:
    assert not hidden.dense("\u200b" * hidden.MARKS_MAX)
    assert hidden.dense("\u200b" * (hidden.MARKS_MAX + 1))
    assert not hidden.dense("e\u0301" * 5_000), "accents hide nothing"
    assert not hidden.dense("\u043c\u0438\u0440 " * 5_000), "nor does another language"
