"""Text of others made harmless to read: what hides, moves or drives something becomes a visible escape."""

import unicodedata

KEPT = "\n\t"
HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})  # controls, bidi and zero-width, tags, private use, line ends
SELECTORS = frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))  # they change what stands before
BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters that show nothing
MARKS_IN_A_ROW = 4  # more combining marks than any script stacks flood the line above


def exposed(text: str, *, kept: str = KEPT) -> str:
    """The text with every hidden character as ⟨U+202E⟩; `kept` are the controls that may stay."""
    if text.isascii() and text.isprintable():
        return text
    made: list[str] = []
    marks = 0
    for char in text:
        marks = marks + 1 if unicodedata.category(char) in ("Mn", "Me") else 0
        hidden = unicodedata.category(char) in HIDDEN or char in SELECTORS or char in BLANK or marks > MARKS_IN_A_ROW
        made.append(f"⟨U+{ord(char):04X}⟩" if hidden and char not in kept else char)
    return "".join(made)


def one_line(text: str, limit: int = 200) -> str:
    """The same for a table cell or a terminal line: no line ends, cut with an ellipsis."""
    made = exposed(text[: limit + 1], kept="")
    return made if len(text) <= limit else f"{made[:limit]}…"
