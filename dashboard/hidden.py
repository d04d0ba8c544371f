"""Text of others in pieces: what can be read, and what hides or pretends, so that the page can mark it. Pure."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Literal

from streams import inert

Mark = Literal["", "hidden", "alike", "escaped"]
MARKS_MAX = 1_000  # of one text: beyond them nobody reads chips, and a page full of them would take seconds

SHORT = {
    0x00: "NUL", 0x07: "BEL", 0x08: "BS", 0x09: "TAB", 0x0B: "VT", 0x0C: "FF", 0x0D: "CR", 0x1B: "ESC", 0x7F: "DEL",
    0x85: "NEL", 0xAD: "SHY", 0x61C: "ALM", 0x180E: "MVS", 0x200B: "ZWSP", 0x200C: "ZWNJ", 0x200D: "ZWJ",
    0x200E: "LRM", 0x200F: "RLM", 0x2028: "LS", 0x2029: "PS", 0x202A: "LRE", 0x202B: "RLE", 0x202C: "PDF",
    0x202D: "LRO", 0x202E: "RLO", 0x2060: "WJ", 0x2066: "LRI", 0x2067: "RLI", 0x2068: "FSI", 0x2069: "PDI",
    0xFEFF: "BOM",
}  # fmt: skip
PLAIN = re.compile(r"[ -~\n\t]*+")  # what nearly every text is: nothing in it can have to be marked
WORD = re.compile(r"[\w.@-]+")
OTHER_SCRIPTS = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL", "COPTIC", "LISU", "DESERET")
PADDING = re.compile(r"[^\S\n]{40,}|\n{8,}")  # blanks that push the rest off the screen


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; a mark says that the character is shown by `text` and called `name`.

    escaped: everything from here on, spelled as escaped() spells it.
    """

    text: str
    mark: Mark = ""
    name: str = ""


def pieces(text: str) -> list[Piece]:
    """The text with every hidden character as a piece of its own, and every letter that only looks like a Latin one.

    After so many of them the rest is one piece that is escaped.
    """
    made: list[Piece] = []
    plain = 0
    for number, (index, piece) in enumerate(_marks(text)):
        if number == MARKS_MAX:
            return [*made, Piece(escaped(text[plain:]), "escaped")]
        if plain < index:
            made.append(Piece(text[plain:index]))
        made.append(piece)
        plain = index + 1
    if plain < len(text):
        made.append(Piece(text[plain:]))
    return made


def clean(text: str) -> bool:
    """Whether no character of it could be marked, whatever stands before or behind it."""
    return PLAIN.fullmatch(text) is not None or not any(_kind(char) for char in set(text))


def count(text: str, *, most: int = 1_000) -> tuple[int, int]:
    """How many characters hide, and how many pretend; nobody counts further than `most`."""
    marks = [piece.mark for _, piece in islice(_marks(text), most)]
    return marks.count("hidden"), marks.count("alike")


def dense(text: str) -> bool:
    """Whether so much hides in a text that it is to be shown escaped."""
    suspects = (text.count(char) for char in set(text) if _kind(char))
    return sum(suspects) > MARKS_MAX and sum(count(text, most=MARKS_MAX + 1)) > MARKS_MAX


def escaped(text: str) -> str:
    """The text with whatever hides or pretends spelled as \\u and its number, and each backslash doubled.

    One reading is left, whatever the text says about itself; a megabyte takes milliseconds.
    """
    kinds = {char: kind for char in set(text) if (kind := _kind(char))}
    foreign = {char for char, kind in kinds.items() if kind == "foreign"}
    spelled = {ord("\\"): "\\\\", **{ord(char): _escape(char) for char in kinds if char not in foreign}}
    if not foreign:
        return text.translate(spelled)
    mixed = spelled | {ord(char): _escape(char) for char in foreign}
    made: list[str] = []
    end = 0
    for word in WORD.finditer(text):
        made.append(text[end : word.start()].translate(spelled))
        pretends = not foreign.isdisjoint(word[0]) and any(char.isascii() and char.isalpha() for char in word[0])
        made.append(word[0].translate(mixed if pretends else spelled))
        end = word.end()
    return "".join([*made, text[end:].translate(spelled)])


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def padded(text: str) -> bool:
    """Whether blanks push a part of the text out of sight."""
    found = PADDING.search(text)
    return found is not None and bool(text[found.end() :].strip())


def _marks(text: str) -> Iterator[tuple[int, Piece]]:
    """Position and piece of each character that is to be marked. A long text costs its distinct characters."""
    if PLAIN.fullmatch(text):
        return
    kinds = {char: kind for char in set(text) if (kind := _kind(char))}
    if not kinds:
        return
    alike = _alike(text, {char for char, kind in kinds.items() if kind == "foreign"})
    suspects = "".join(char for char, kind in kinds.items() if kind != "foreign")
    marked = sorted(alike | set(_found(text, suspects)))
    row = 0  # combining marks, one after the other
    for position, index in enumerate(marked):
        char = text[index]
        kind = kinds[char]
        row = row + 1 if kind == "combining" and position and marked[position - 1] == index - 1 else 1
        if kind == "combining" and row <= inert.MARKS_IN_A_ROW:
            continue
        if kind == "joiner" and _within_emoji(text[index - 1 : index]):
            continue
        if kind == "foreign":
            yield index, Piece(char, "alike", _name(char))
        else:
            yield index, Piece(SHORT.get(ord(char), f"U+{ord(char):04X}"), "hidden", _name(char))


def _found(text: str, suspects: str) -> Iterator[int]:
    if suspects:
        yield from (found.start() for found in re.finditer(f"[{re.escape(suspects)}]", text))


@lru_cache(maxsize=8_192)
def _kind(char: str) -> str:
    """Why a character may have to be marked; empty for all others."""
    if " " <= char <= "~" or char in "\n\t":
        return ""
    category = unicodedata.category(char)
    if char in inert.SELECTORS or char == "\u200d":
        return "joiner"
    if category in inert.HIDDEN or char in inert.BLANK:
        return "hidden"
    if category in ("Mn", "Me"):
        return "combining"
    return "foreign" if char.isalpha() and unicodedata.name(char, "").startswith(OTHER_SCRIPTS) else ""


def _within_emoji(before: str) -> bool:
    """An emoji's own parts hide nothing."""
    return bool(before) and (unicodedata.category(before) in ("So", "Sk") or before == "\ufe0f")


def _alike(text: str, foreign: set[str]) -> set[int]:
    """Positions of letters of another script inside a word that has Latin letters as well."""
    if not foreign:
        return set()
    return {
        word.start() + offset
        for word in WORD.finditer(text)
        if not foreign.isdisjoint(word[0]) and any(char.isascii() and char.isalpha() for char in word[0])
        for offset, char in enumerate(word[0])
        if char in foreign
    }


def _name(char: str) -> str:
    return f"{unicodedata.name(char, 'control character').lower()}, U+{ord(char):04X}"
