"""A run's stored events as entries a person reads: text joined, calls with their results, what is missing. Pure."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dashboard import hidden
from dashboard.words import grouped
from streams import jsontext
from streams.events import Line
from streams.models import Source
from streams.tail import Told

BODY_MAX = 12_000  # characters of an entry that the page shows; the exact event has them all
HEAD, TAIL = 4_000, 4_000
STEP_WORDS = 60  # characters of a step's text that stand beside its name
JOINING = ("text", "reasoning")
PARTING = ("tool", "ask", "end", "start", "result")  # what makes a later part of the same text an entry of its own

HOUSE = {
    "connected": "Listening",
    "disconnected": "Connection closed",
    "gap": "Gap",
    "covered": "Gap closed",
    "divergence": "Past differs",
    "stalled": "Silent",
    "oversize": "Too large",
    "misconfigured": "Not an event stream",
    "credential": "Secret refused",
    "truncated": "Ended without a word",
    "lost": "Lost",
    "started_by": "Started",
    "dialect": "Framework recognised",
    "other_dialect": "Another framework",
    "other_arguments": "Ran other arguments",
}
DOUBT = {"gap", "divergence", "truncated", "lost"}
LOOK = {"stalled", "oversize", "misconfigured", "credential"}
STOP = {"other_dialect", "other_arguments"}

POLICY = {  # what an account's own policy made of a question that then waited for nobody
    "auto_approve": ("Approved by policy", "All that was proposed is carried out."),
    "skip": ("Skipped by policy", "Nothing that was proposed is carried out."),
}


def tone(kind: str) -> str:
    """How a remark of the house looks."""
    return "stop" if kind in STOP else "doubt" if kind in DOUBT else "look" if kind in LOOK else ""


@dataclass(slots=True)
class Text:
    """A text that grows; once it is too long for an entry only its head and its tail are kept."""

    head: str = ""
    tail: str = ""
    missing: int = 0
    clean: bool = True  # nothing in it could have to be marked
    _short: list[str] = field(default_factory=list)
    _chars: int = 0

    def add(self, part: str) -> None:
        self._chars += len(part)
        self.clean = self.clean and hidden.clean(part)
        if self._chars <= BODY_MAX:
            self._short.append(part)
            return
        if self._short or not self.head:
            whole = "".join([*self._short, part])
            self.head, self.tail, self._short = whole[:HEAD], whole[HEAD:][-TAIL:], []
        else:
            self.tail = (self.tail + part)[-TAIL:]
        self.missing = self._chars - len(self.head) - len(self.tail)

    def put(self, text: str) -> None:
        """This text instead of what stood here."""
        self.head, self.tail, self.missing, self.clean, self._short, self._chars = "", "", 0, True, [], 0
        self.add(text)

    @property
    def cut(self) -> str:
        """What stands between head and tail instead of the rest."""
        return f"{grouped(self.missing)} characters between" if self.missing else ""

    def behind(self, length: int) -> str | None:
        """What came behind its first so many characters; None where not all of that is kept."""
        more = self._chars - length
        if not self.missing:
            return str(self)[length:]
        return self.tail[-more:] if 0 < more <= TAIL else None

    def __bool__(self) -> bool:
        return bool(self._chars)

    def __str__(self) -> str:
        """The text, as far as it is kept."""
        return "".join(self._short) if not self.missing else f"{self.head}{self.tail}"

    @property
    def start(self) -> str:
        return self.head if self.missing else str(self)

    @property
    def length(self) -> int:
        return self._chars


@dataclass(slots=True)
class Entry:
    """What stands in the timeline as one thing."""

    first: int
    last: int
    at: datetime
    what: str
    nth: int = 0  # among those that began with the same event
    slug: str = ""  # its name where it is told again and again, whichever event it was first read from
    label: str = ""
    key: str = ""
    role: str = ""
    parts: int = 0
    ended: bool = False
    marked: bool = False
    until: datetime | None = None
    result_seq: int | None = None
    left_out: int = 0
    body: Text = field(default_factory=Text)  # what was said, or a call's arguments
    result: Text = field(default_factory=Text)

    @property
    def id(self) -> str:
        """Its name on the page."""
        return self.slug or (f"{self.first}-{self.nth}" if self.nth else f"{self.first}")

    @property
    def place(self) -> tuple[int, int]:
        """What the entries of a run are ordered by."""
        return self.first, self.nth

    @property
    def policy(self) -> tuple[str, str]:
        """What a policy did, and what that means; two empty texts where none answered."""
        return POLICY.get(self.role, ("", "")) if self.what == "step" else ("", "")

    @property
    def boxed(self) -> bool:
        """Whether a step's text needs a frame of its own."""
        told = self.told
        return bool(told) and (bool(self.policy[0]) or self.body.length > STEP_WORDS or "\n" in told)

    @property
    def told(self) -> str:
        """A step's text; what its policy answered is said in our own words instead."""
        text = str(self.body)
        if not self.policy[0]:
            return text
        lines = text.split("\n")
        said = next(
            (at for at, line in enumerate(lines[:2]) if line.startswith("Answered by the account's policy")), -1
        )
        return "\n".join(lines[said + 1 :])

    @property
    def title(self) -> str:
        """The house's own name of a remark."""
        return HOUSE.get(self.label, "Note")

    @property
    def tone(self) -> str:
        return tone(self.label)

    @property
    def caption(self) -> str:
        """How its text came together."""
        joined = f"{grouped(self.parts)} parts joined" if self.parts > 1 else ""
        if self.what == "tool":
            return joined
        return ", ".join(filter(None, ["Reasoning" if self.what == "reasoning" else "Text", joined]))

    @property
    def span(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}–{self.last}"


@dataclass(slots=True)
class Timeline:
    """Entries in the order in which they began, and how far the run was read."""

    lines: Callable[[str, str], Sequence[Line]]
    entries: list[Entry] = field(default_factory=list)
    seq: int = 0
    at: datetime | None = None  # when the provider's last event came
    start: int = 1  # from here on everything was read and is kept
    _open: dict[tuple[str, str], Entry] = field(default_factory=dict)
    _whole: dict[tuple[str, str], Entry] = field(default_factory=dict)  # what is told again and again, ended or not

    def feed(self, told: Iterable[Told]) -> list[Entry]:
        """Take in events that follow; returns the entries that are new or have changed, in their order."""
        touched: dict[int, Entry] = {}
        for event in told:
            if event.seq <= self.seq:
                continue
            self.seq = event.seq
            if event.source != Source.HOUSE:
                self.at = event.received_at
            for entry in self._take(event):
                touched[id(entry)] = entry
        return sorted(touched.values(), key=lambda entry: entry.place)

    def trim(self, keep: int) -> None:
        """Forget all but the newest entries; those that one event began stay together."""
        cut = len(self.entries) - keep
        if cut <= 0:
            return
        while cut and self.entries[cut].first == self.entries[cut - 1].first:
            cut -= 1
        if cut:
            self.entries = self.entries[cut:]
            self.start = self.entries[0].first
            kept = {id(entry) for entry in self.entries}
            self._open = {key: entry for key, entry in self._open.items() if id(entry) in kept}

    def _take(self, event: Told) -> list[Entry]:
        if event.source == Source.HOUSE:
            if event.kind in DOUBT:  # what comes after a hole is not the rest of the same text
                self._part_texts()
            return [self._add(event, Line("house", _remark(event.payload), label=event.kind, ended=True))]
        if event.left_out:
            line = Line("note", label=event.kind, ended=True)
            return [self._add(event, line)]
        return [entry for line in self.lines(event.kind, event.payload) if (entry := self._line(event, line))]

    def _line(self, event: Told, line: Line) -> Entry | None:
        if line.whole and line.key:
            return self._again(event, line)
        if line.what in PARTING:
            self._part_texts()
        if line.what in ("arguments", "result"):
            return self._to_call(event, line)
        found = self._open.get((line.what, line.key)) if line.key and line.what != "ask" else None
        if found is None:
            if line.what in JOINING and not line.body:
                return None  # it begins or ends without a word; its first words open the entry
            return self._add(event, line)
        return self._join(found, event, line)

    def _again(self, event: Told, line: Line) -> Entry | None:
        """What a snapshot tells: it stands where it was told first, and only a difference is news.

        An entry that was trimmed away is remembered, so that it does not come back as if it were new.
        """
        entry = self._whole.get((line.what, line.key))
        if entry is None:
            entry = self._whole[line.what, line.key] = self._add(event, line)
            return entry
        if str(entry.body) == str(_text(line.body)) and (entry.ended, entry.role) == (line.ended, line.role):
            return None
        entry.body.put(line.body)
        entry.last, entry.until = event.seq, event.received_at
        entry.label, entry.role, entry.ended = line.label, line.role, line.ended
        entry.marked = entry.marked or event.marked
        return entry if entry.first >= self.start else None

    def _part_texts(self) -> None:
        self._open = {key: entry for key, entry in self._open.items() if key[0] not in JOINING}

    def _add(self, event: Told, line: Line) -> Entry:
        before = self.entries[-1] if self.entries else None
        entry = Entry(
            first=event.seq,
            nth=before.nth + 1 if before and before.first == event.seq else 0,
            slug=hashlib.sha256(f"{line.what} {line.key}".encode("utf-8", "surrogatepass")).hexdigest()[:16]
            if line.whole and line.key
            else "",
            last=event.seq,
            at=event.received_at,
            what=line.what,
            label=line.label,
            key=line.key,
            role=line.role,
            marked=event.marked,
            left_out=event.left_out,
        )
        self.entries.append(entry)
        if line.what == "tool":
            self._open[("tool", line.key or line.label)] = entry
        elif line.key and not line.ended and not line.whole:
            self._open[(line.what, line.key)] = entry
        if line.body:
            entry.body.add(line.body)
            entry.parts = 1
        entry.ended = line.ended
        return entry

    def _join(self, entry: Entry, event: Told, line: Line) -> Entry:
        entry.last, entry.until = event.seq, event.received_at
        entry.marked = entry.marked or event.marked
        if line.body:
            entry.body.add(line.body)
            entry.parts += 1
        if line.ended:
            entry.ended = True
            self._open.pop((line.what, line.key), None)
        return entry

    def _to_call(self, event: Told, line: Line) -> Entry:
        """Arguments and results join their call: by its key, else the newest open call of that name."""
        entry = self._open.get(("tool", line.key or line.label))
        if entry is None:
            made = self._add(event, Line("tool", label=line.label, key=line.key))
            return self._to_call(event, line) if made else made
        if line.what == "arguments":
            entry.last = event.seq
            entry.marked = entry.marked or event.marked
            if line.body:
                entry.body.add(line.body)
                entry.parts += 1
        else:
            entry.result.add(line.body)
            entry.result_seq, entry.until, entry.ended = event.seq, event.received_at, True
            self._open.pop(("tool", line.key or line.label), None)
        return entry


def _text(whole: str) -> Text:
    made = Text()
    made.add(whole)
    return made


def _remark(payload: str) -> str:
    try:
        said = jsontext.parse(payload)
    except ValueError:
        return payload[:500]
    text = said.get("text") if isinstance(said, dict) else None
    return text if isinstance(text, str) else payload[:500]
