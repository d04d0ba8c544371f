"""What differs between two arguments texts."""

from dashboard import changes


def shown(before: str, after: str) -> list[tuple[str, list[str]]]:
    return [
        (
            change.name,
            [
                line.sign + "".join(f"[{part.text}]" if part.changed else part.text for part in line.stretches)
                for line in change.lines
            ],
        )
        for change in changes.between(before, after)
    ]


def test_only_what_differs_is_shown_word_by_word() -> None:
    found = shown('{"to": "a@x.example", "n": 3}', '{"n": 3, "to": "b@x.example"}')
    assert found == [("to", ["-[a]@x.example", "+[b]@x.example"])]


def test_a_re_spelled_number_is_a_difference() -> None:
    assert shown('{"n": 1}', '{"n": 1.0}') == [("n", ["-1", "+1[.0]"])]


def test_arguments_that_came_or_went_are_shown() -> None:
    assert shown('{"a": 1}', '{"b": true}') == [("a", ["-[1]"]), ("b", ["+[true]"])]


def test_texts_that_are_no_objects_are_compared_whole() -> None:
    assert shown("x", "x") == []
    assert shown("x", "y") == [("", ["-[x]", "+[y]"])]
