"""What a reading is made of: our own sentence in glue, facts and values, and what a reviewer must look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from dashboard.values import Number

VALUE_MAX = 80  # a longer value does not stand in our own sentence


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of our sentence. glue: plain; fact: ours, strong; value: from the arguments, shown inert."""

    text: str
    kind: Literal["glue", "fact", "value"] = "glue"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that changes the decision; level stop: cannot be undone, look: look closely."""

    level: Literal["look", "stop"]
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What a call would do, as far as its arguments tell. `lead`: the arguments that its exhibit shows first."""

    kind: Literal["mail", "money", "sql", "shell", "deletion", "proposals", "unknown"]
    parts: tuple[Part, ...]
    reversal: str = ""
    notices: tuple[Notice, ...] = ()
    lead: tuple[str, ...] = ()
    amount: str = ""

    @property
    def text(self) -> str:
        """The sentence as plain text."""
        return "".join(part.text for part in self.parts)


def glue(text: str) -> Part:
    return Part(text)


def fact(text: str) -> Part:
    return Part(text, "fact")


def value(text: str) -> Part:
    """A value in our sentence: whole, or not at all."""
    return Part(text, "value") if len(text) <= VALUE_MAX and "\n" not in text else Part("see payload", "fact")


def counted(count: int, one: str, many: str = "") -> str:
    """3 files, 1 file, 12 000 files."""
    return f"{grouped(str(count))} {one if count == 1 else many or one + 's'}"


def grouped(digits: str) -> str:
    """Digits in groups of three, parted by spaces that do not break."""
    whole, point, rest = digits.partition(".")
    sign, whole = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    head = len(whole) % 3
    groups = ([whole[:head]] if head else []) + [whole[at : at + 3] for at in range(head, len(whole), 3)]
    return f"{sign}{chr(0xA0).join(groups)}{point}{rest}"


def words(tool: str) -> set[str]:
    """A tool's name in lower-case words: sendEmail, send_email and mail.send all hold `send`."""
    made, previous = "", ""
    for char in tool[:200]:
        made += f" {char}" if char.isupper() and previous.islower() else char
        previous = char
    return set("".join(char if char.isalnum() else " " for char in made).lower().split())


def first(arguments: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    """The first of these arguments that is there, by any spelling of its case; ("", None) if none is."""
    spelled = {key.lower().replace("-", "_"): key for key in arguments}
    for name in names:
        if name in spelled and arguments[spelled[name]] not in (None, "", [], {}):
            return spelled[name], arguments[spelled[name]]
    return "", None


def texts(found: Any) -> list[str]:
    """The texts of a value that is a text or a list of texts (or of objects with one)."""
    if isinstance(found, str) and not isinstance(found, Number):
        return [found]
    if isinstance(found, list):
        return [text for item in found for text in texts(item)]
    if isinstance(found, dict):
        return texts(first(found, ("email", "address", "name", "filename", "path", "url"))[1])
    return []


def number(found: Any) -> Decimal | None:
    """A number, or a text that is one."""
    if isinstance(found, str):
        try:
            made = Decimal(found)
        except InvalidOperation:
            return None
        return made if made.is_finite() and -12 <= made.adjusted() <= 20 else None
    return None
