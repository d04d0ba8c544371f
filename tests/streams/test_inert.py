"""Hidden characters become visible, ordinary text stays as it is."""

import pytest

from streams import inert


@pytest.mark.parametrize("text", ["plain", "äöü ß 漢字 العربية עברית", "a\nb\tc", "naïve café", "👍🏽", "", "e\u0301"])
def test_ordinary_text_stays(text: str) -> None:
    assert inert.exposed(text) == text


@pytest.mark.parametrize(
    "hidden",
    [
        "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\x1b", "\x00", "\r", "\x7f", "\x9b", "\u2028", "\u00ad",
        "\U000e0041", "\ufe0f", "\U000e0100", "\u3164", "\u2800", "\ud800", "\ue000",
    ],
)  # fmt: skip
def test_a_hidden_character_is_shown_by_its_number(hidden: str) -> None:
    assert inert.exposed(f"a{hidden}b") == f"a⟨U+{ord(hidden):04X}⟩b"


def test_a_flood_of_combining_marks_is_cut_short() -> None:
    made = inert.exposed("a" + "\u0301" * 50)
    assert made.startswith("a" + "\u0301" * 4 + "⟨U+0301⟩")
    assert made.count("⟨U+0301⟩") == 46


def test_one_line_has_no_line_end_and_an_end() -> None:
    assert inert.one_line("a\nb\tc") == "a⟨U+000A⟩b⟨U+0009⟩c"
    assert inert.one_line("x" * 300, 10) == "x" * 10 + "…"
    assert inert.one_line("x" * 10, 10) == "x" * 10
