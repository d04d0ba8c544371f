"""Tags of our own: text of others made inert, our own sentence, times, glyphs. All of it escaped, none marked safe."""

from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise

from django import template
from django.utils import timezone
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString

from dashboard import hidden, stream_health
from dashboard.exhibit import Token
from dashboard.reading import Part, Reading
from dashboard.words import Word, grouped
from streams import inert

register = template.Library()

SHAPES = {
    "t2": format_html('<path class="f" d="{}"/>', "M11 1.2 20.8 11 11 20.8 1.2 11z"),
    "t3": format_html('<path class="f" d="{}"/>', "M7.2 1.8h7.6l5.4 5.4v7.6l-5.4 5.4H7.2l-5.4-5.4V7.2z"),
    "tq": format_html('<rect class="f" x="2.5" y="2.5" width="{0}" height="{0}" rx="2"/>', 17),
}
CIRCLE = format_html('<circle class="f" cx="11" cy="11" r="{}"/>', 8.5)
TIERS = {
    "t0": ("0", "Logged"),
    "t1": ("1", "Easy to undo"),
    "t2": ("2", "Hard to undo"),
    "t3": ("3", "Cannot be undone"),
    "tq": ("?", "Not known what came of it"),
}
DENSE = (
    f"More than {grouped(hidden.MARKS_MAX)} hidden or look-alike characters. "
    + r"From here on each is written as \u and its number, and a backslash as \\."
)
DIAL = 18.85  # the length of the dial's ring, drawn with a radius of 3
SOON_S = 300


@register.simple_tag
@cache  # a page has dozens of few kinds
def icon(name: str, style: str = "") -> SafeString:
    """A picture from the sprite; always beside a word, so hidden from screen readers."""
    return format_html(
        '<svg class="i{}" aria-hidden="true"><use href="#i-{}"/></svg>', f" {style}" if style else "", name
    )


@register.simple_tag
def shown(text: object, dense: bool = False) -> SafeString:
    """Text of others: isolated, with every hidden character as a chip and every look-alike letter marked.

    dense: all of them spelled out instead, where the page says so.
    """
    return format_html('<bdi class="of-agent">{}</bdi>', inner(str(text), dense=dense))


@register.simple_tag
def lines(text: object, dense: bool = False) -> SafeString:
    """The same without a box of its own, for text that already stands in one."""
    return inner(str(text), dense=dense)


def inner(text: str, *, dense: bool = False) -> SafeString:
    """The pieces of a text."""
    if dense:
        return conditional_escape(hidden.escaped(text))
    return format_html_join("", "{}", ((_piece(piece),) for piece in hidden.pieces(text)))


def _piece(piece: hidden.Piece) -> SafeString:
    if piece.mark == "hidden":
        return format_html(
            '<span class="hid" title="{}">{}<span class="sr"> (hidden character)</span></span>', piece.name, piece.text
        )
    if piece.mark == "alike":
        return format_html(
            '<span class="mark" title="{}">{}<span class="sr"> (letter of another script)</span></span>',
            piece.name,
            piece.text,
        )
    if piece.mark == "escaped":
        return format_html('<span class="cut">{}</span>{}', DENSE, piece.text)
    return conditional_escape(piece.text)


@register.simple_tag
def escapes() -> str:
    """What a text that is shown escaped is introduced with."""
    return DENSE


@register.simple_tag
def sentence(reading: Reading, ending: str = ".") -> SafeString:
    """Our sentence: glue plain, facts strong, values of the arguments in mono and inert."""
    parts = list(reading.parts)
    if not ending and parts and parts[-1].text.endswith("."):
        parts[-1] = Part(parts[-1].text[:-1], parts[-1].kind)
    return format_html_join("", "{}", ((_part(part),) for part in parts if part.text))


def _part(part: Part) -> SafeString:
    match part.kind:
        case "fact":
            return format_html("<b>{}</b>", part.text)
        case "value":
            return format_html("<code>{}</code>", shown(part.text))
    return conditional_escape(part.text)


@register.simple_tag
def code(line: tuple[Token, ...], dense: bool = False) -> SafeString:
    """One line of code."""
    made = []
    for token in line:
        text = inner(token.text, dense=dense)
        made.append((format_html('<span class="{}">{}</span>', token.style, text) if token.style else text,))
    return format_html_join("", "{}", made)


@register.simple_tag
def tier(glyph: str, size: str = "") -> SafeString:
    """Form, number and fill say the same thing."""
    letter, name = TIERS[glyph]
    return format_html(
        '<svg class="tier {}{}" viewBox="0 0 22 22" role="img" aria-label="{}">{}<text x="11" y="14.7">{}</text></svg>',
        glyph,
        f" {size}" if size else "",
        name,
        SHAPES.get(glyph, CIRCLE),
        letter,
    )


@register.simple_tag
def state(word: Word) -> SafeString:
    """A state's word in its look."""
    return format_html(
        '<span class="st{}">{}{}</span>', f" {word.tone}" if word.tone else "", icon(word.icon), word.text
    )


@register.simple_tag
def dot(word: Word | None) -> SafeString:
    """How a run's stream is, small: full when it is open, hollow when it is not; nothing once the run is over."""
    if word is None:
        return SafeString("")
    return format_html(
        '<span class="dot {}" title="{}"><span class="sr">Stream: {}. </span></span>', word.tone, word.text, word.text
    )


@register.filter
def process_name(owner: str) -> str:
    """Host and pid of a process that holds streams."""
    return stream_health.process_name(owner)


@register.simple_tag
def moment(at: datetime | None, style: str = "time") -> SafeString:
    """A moment, in UTC: style time (10:31:07), minute (10:31) or day (21 Nov, 10:31)."""
    if at is None:
        return format_html("{}", "not known")
    shape = {"time": "%H:%M:%S", "minute": "%H:%M", "day": "%-d %b, %H:%M"}[style]
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        at.isoformat(),
        at.strftime("%-d %B %Y, %H:%M:%S"),
        at.strftime(shape),
    )


@register.simple_tag
def age(at: datetime | None, style: str = "") -> SafeString:
    """How long ago; the page goes on counting. Style short: one unit."""
    if at is None:
        return format_html("{}", "never")
    return _counting("age", at, timezone.now() - at, style)


@register.simple_tag
def left(at: datetime, style: str = "") -> SafeString:
    """How much time is left; the page goes on counting. Style short: one unit."""
    return _counting("left", at, at - timezone.now(), style)


def _counting(way: str, at: datetime, length: timedelta, style: str) -> SafeString:
    return format_html(
        '<time data-{}="{}" datetime="{}">{}</time>', way, style, at.isoformat(), span(length, short=style == "short")
    )


@register.simple_tag
def dial(start: datetime, end: datetime) -> SafeString:
    """How much of the time is left, as a dial."""
    whole = max((end - start).total_seconds(), 1.0)
    share = min(max((end - timezone.now()).total_seconds() / whole, 0.0), 1.0)
    return format_html(
        '<svg class="dial" viewBox="0 0 14 14" aria-hidden="true" data-dial data-from="{}" data-to="{}">'
        '<circle class="o" cx="7" cy="7" r="6"/><circle class="p" cx="7" cy="7" r="3" stroke-dasharray="{} {}" '
        'transform="rotate(-90 7 7)"/></svg>',
        start.isoformat(),
        end.isoformat(),
        f"{share * DIAL:.2f}",
        DIAL,
    )


@register.filter
def inert_line(text: object) -> str:
    """Text of others where only plain text can stand: one line, hidden characters by their number."""
    return inert.one_line(str(text), 80)


@register.filter
def soon(at: datetime | None) -> bool:
    """Whether its last five minutes have begun."""
    return at is not None and at - timezone.now() < timedelta(seconds=SOON_S)


UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def span(length: timedelta, *, short: bool = False) -> str:
    """4 min 12 s, 3 h 5 min, 2 d 4 h: the two largest units (short: the largest); nothing below zero."""
    seconds = max(int(length.total_seconds()), 0)
    for (size, unit), (part, part_unit) in pairwise(UNITS):
        if seconds >= size:
            rest = 0 if short or 600 <= seconds < 3_600 else seconds % size // part
            return (
                f"{seconds // size} {unit} {rest:0{2 if part == 1 else 1}} {part_unit}"
                if rest
                else f"{seconds // size} {unit}"
            )
    return f"{seconds} s"


KINDS = {
    "mail": "E-mail",
    "money": "Payment",
    "sql": "SQL",
    "shell": "Command",
    "deletion": "Deletion",
    "proposals": "Proposals",
}


@register.filter
def title_of(kind: str) -> str:
    """A kind of call in one word of ours."""
    return KINDS.get(kind, "Tool call")


@register.filter
def digest(sha256: str) -> str:
    """The two ends of a hash."""
    return f"{sha256[:4]}…{sha256[-4:]}"


@register.filter
def serial(key: object) -> str:
    """A slip's number: the beginning of its id, in two groups."""
    text = str(key).replace("-", "")
    return f"{text[:4]}·{text[4:8]}"


@register.filter
def initials(name: str) -> str:
    """Up to two letters for an avatar."""
    parts = [part for part in name.replace(".", " ").replace("_", " ").replace("-", " ").split() if part]
    return "".join(part[0] for part in parts[:2]).upper() or "?"


register.filter(grouped)
