"""What sockets watch together: each room reads the rows again and renders what changed, once for all of them.

A room is used from one thread at a time. `news` is for sockets that are in step; `everything` is for one that has just
come or fell behind, and leaves what the others are still to be told untouched. Placing a piece twice changes nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol
from uuid import UUID

from django.template.loader import render_to_string
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString

from approvals.models import ApprovalRequest
from dashboard import missing, panels, runs, slip
from dashboard.forms import InboxFilter
from dashboard.timeline import TAIL, Entry, Timeline
from streams import announce

KEPT_ENTRIES = 150
PLACED = ("waiting", "missing")  # pieces of an inbox that have a place of their own on the page
OWED = "owed"  # said among the topics: now is the moment for what a room left for later

Pieces = dict[str, SafeString]


class Room(Protocol):
    """What is watched. `topics` says which announcements wake it, `kind` which part of a page it is."""

    topics: frozenset[str]

    @property
    def kind(self) -> str: ...

    @property
    def owes(self) -> bool:
        """Whether something of it was left for later, and wants a call a moment from now that is told OWED."""
        ...

    def news(self, told: Collection[str] | None = None) -> str:
        """What changed since the last call, as HTML; empty if nothing did.

        `told`: the topics that were announced since then. None: look at everything.
        """
        ...

    def everything(self, after: int) -> str:
        """All of it, or for a run all that came after a seq."""
        ...


@dataclass(slots=True)
class Pieced(ABC):
    """A room whose content is a few pieces by id: only those that differ are sent."""

    kind: ClassVar[str]
    owes: ClassVar[bool] = False
    topics: frozenset[str]
    _last: Pieces | None = None  # as those in step have them
    _uneven: set[str] = field(default_factory=set)  # somebody has another one: a newcomer, who was told a later state

    @abstractmethod
    def pieces(self) -> Pieces:
        """What the room shows now, by the id of its place on the page."""

    def news(self, told: Collection[str] | None = None) -> str:
        before, now = self._last or {}, self.pieces()
        uneven, self._last, self._uneven = self._uneven, now, set()
        return self.join({name: html for name, html in now.items() if name in uneven or before.get(name) != html})

    def everything(self, after: int) -> str:
        now = self.pieces()
        if self._last is None:
            self._last = now
        self._uneven |= {name for name, html in now.items() if self._last.get(name) != html}
        return self.join(now)

    def join(self, pieces: Pieces) -> SafeString:
        return joined(pieces.values())


@dataclass(slots=True)
class RailRoom(Pieced):
    """The numbers beside Inbox and Runs."""

    kind: ClassVar[str] = "rail"
    topics: frozenset[str] = frozenset({announce.INBOX})

    def pieces(self) -> Pieces:
        counted = panels.counts(panels.whole())
        return {"rail": render_to_string("dashboard/_rail_counts.html", {"counts": counted, "oob": True})}


@dataclass(slots=True)
class InboxRoom(Pieced):
    """The moving parts of a queue under one filter."""

    kind: ClassVar[str] = "inbox"
    topics: frozenset[str] = frozenset({announce.INBOX})
    filter: InboxFilter = field(default_factory=InboxFilter)
    _states: dict[UUID, tuple[str, SafeString]] = field(
        default_factory=dict
    )  # request -> what it was rendered from, HTML

    def pieces(self) -> Pieces:
        found = panels.news(panels.whole(), self.filter)
        made = {"waiting": render_to_string("dashboard/_waiting.html", {"news": found, "oob": True})}
        told = {"missing": missing.find(panels.whole()), "oob": True}
        made["missing"] = render_to_string("dashboard/_missing.html", told)
        states: dict[UUID, tuple[str, SafeString]] = {}
        for row in found.changed:
            source = f"{row.rev} {row.batch} {row.changed_at}"
            known = self._states.get(row.id)
            html = known[1] if known and known[0] == source else row_html(row)
            states[row.id] = source, html
            made[str(row.id)] = html
        self._states = states
        return made

    def join(self, pieces: Pieces) -> SafeString:
        states = [html for name, html in pieces.items() if name not in PLACED]
        return joined([*(html for name, html in pieces.items() if name in PLACED), *(feed(states) if states else [])])


@dataclass(slots=True, kw_only=True)
class RequestRoom(Pieced):
    """One slip: whether its stub still says what is true, and what its companions wait for."""

    kind: ClassVar[str] = "request"
    request_id: UUID

    @classmethod
    def of(cls, request_id: UUID) -> "RequestRoom":
        found = ApprovalRequest.objects.filter(batch__requests=request_id).values_list("pk", flat=True)
        return cls(request_id=request_id, topics=frozenset(map(announce.request_topic, {request_id, *found})))

    def pieces(self) -> Pieces:
        rows = panels.with_parts(ApprovalRequest.objects.filter(pk=self.request_id).defer("arguments"))
        asked = rows.first()
        if asked is None:
            return {}
        told = panels.rev(asked, panels.decision_of(asked), panels.delivery_of(asked))
        made: Pieces = {"rev": render_to_string("dashboard/_rev.html", {"asked": asked, "rev": told})}
        if envelope := slip.envelope(asked):
            made["envelope"] = render_to_string("dashboard/_envelope.html", {"envelope": envelope, "oob": True})
        return made


class Grown(NamedTuple):
    """An entry whose text may grow: how long it was when it was told, and all else that the page shows of it."""

    length: int
    can_grow: bool
    rest: tuple[object, ...]

    @classmethod
    def of(cls, entry: Entry) -> "Grown":
        can = entry.what in ("text", "reasoning", "tool") and bool(entry.body) and entry.body.clean
        looks = (entry.label, entry.role, entry.marked, entry.result_seq, entry.parts > 1, entry.body.missing > 0)
        return cls(entry.body.length, can, looks)

    def goes_on_as(self, now: "Grown") -> bool:
        """Whether nothing but text behind its end came."""
        return self.can_grow and now.can_grow and self.length < now.length and self.rest == now.rest


@dataclass(slots=True)
class RunRoom:
    """A run's timeline as it grows, its head and its stream's health.

    Where only text came, only its entries are rendered, and the rows around it are not read again: the head counts
    events, may be a moment behind in that, and is rendered with what was read.
    """

    kind: ClassVar[str] = "run"
    run_id: UUID
    topics: frozenset[str]
    owes: bool = False
    _uneven: bool = False  # somebody has another head or question than the others: a newcomer, who was told a later one
    _panel: runs.Panel | None = None  # as it was read last
    _timeline: Timeline | None = None
    _untold: dict[tuple[int, int], Entry] = field(default_factory=dict)  # read, and not yet sent to those in step
    _said: dict[str, "Grown"] = field(default_factory=dict)  # texts, as far as those in step have them
    _head: SafeString | str = ""  # as those in step have it; empty if somebody has another one
    _asked: Pieces = field(default_factory=dict)  # the entries that ask, as those in step have them

    @classmethod
    def of(cls, run_id: UUID) -> "RunRoom":
        return cls(run_id, frozenset({announce.run_topic(run_id), announce.text_topic(run_id)}))

    def news(self, told: Collection[str] | None = None) -> str:
        panel = self._panel
        if panel is None or self._uneven or told is None or announce.run_topic(self.run_id) in told:
            return self._all_news()
        self._catch_up(panel)
        if any(entry.what == "ask" for entry in self._untold.values()):
            return self._all_news()
        self.owes = self.owes or bool(self._untold)
        head = self._new_head(panel) if self.owes and OWED in told else []
        return joined([*head, *self._texts(panel)])

    def _all_news(self) -> str:
        panel = self._look()
        kept = self._catch_up(panel)
        asked = {entry.id: entry_html(entry, panel) for entry in kept if entry.what == "ask"}
        changed = [html for first, html in asked.items() if self._asked.get(first) != html]
        self._asked, self._uneven = asked, False
        return joined([*self._new_head(panel), *self._texts(panel, changed)])

    def _look(self) -> runs.Panel:
        self._panel = runs.panel(panels.whole(), self.run_id)
        return self._panel

    def _new_head(self, panel: runs.Panel) -> list[SafeString]:
        """The head, if those in step have another one."""
        if self._timeline is not None and self._timeline.at is not None:
            panel.events, panel.run.last_event_at = self._timeline.seq, self._timeline.at
        before, head, self.owes = self._head, head_html(panel), False
        self._head = head
        return [head] if head != before else []

    def _texts(self, panel: runs.Panel, more: Iterable[SafeString] = ()) -> list[SafeString]:
        """What was read and not yet told, but for what asks."""
        entries, self._untold = self._untold, {}
        fresh = [self._text(entry, panel) for _, entry in sorted(entries.items()) if entry.what != "ask"] + [*more]
        if len(self._said) > 2 * KEPT_ENTRIES and self._timeline is not None:
            kept = {entry.id for entry in self._timeline.entries}
            self._said = {name: said for name, said in self._said.items() if name in kept}
        return feed(fresh, seq=self._seq) if fresh else []

    def _text(self, entry: Entry, panel: runs.Panel) -> SafeString:
        """An entry, or only what its text grew by since it was told."""
        now = Grown.of(entry)
        before = self._said.get(entry.id)
        self._said[entry.id] = now
        if before is None or not before.goes_on_as(now):
            return entry_html(entry, panel)
        more = entry.body.behind(before.length)
        return entry_html(entry, panel) if more is None else grown_html(entry, before.length, more)

    def everything(self, after: int) -> str:
        told = self._look()
        kept = self._catch_up(told)
        wanted = [entry for entry in kept if max(entry.last, entry.result_seq or 0) > after or entry.what == "ask"]
        missed = self._start if self._start > after + 1 else 0  # more came than is kept
        entries = [entry_html(one, told) for one in wanted]
        head = head_html(told)
        if head != self._head:
            self._head, self._uneven = "", True
        for entry in wanted:
            if entry.what == "ask" and self._asked.get(entry.id) != entry_html(entry, told):
                self._asked.pop(entry.id, None)
                self._uneven = True
        self.owes = self.owes or self._uneven
        return joined([head, *feed(entries, seq=self._seq, missed=missed)])

    @property
    def _seq(self) -> int:
        return self._timeline.seq if self._timeline else 0

    @property
    def _start(self) -> int:
        return self._timeline.start if self._timeline else 1

    def _catch_up(self, told: runs.Panel) -> list[Entry]:
        """Read what came, and return the entries that are kept."""
        if self._timeline is None:
            self._timeline, _ = runs.window(told.run, entries=KEPT_ENTRIES)
        else:
            self._untold |= {entry.place: entry for entry in runs.since(self._timeline, self.run_id)}
            self._timeline.trim(KEPT_ENTRIES)
            oldest = self._timeline.entries[0].place if self._timeline.entries else (0, 0)
            self._untold = {place: entry for place, entry in self._untold.items() if place >= oldest}
        return self._timeline.entries


def row_html(row: panels.Row) -> SafeString:
    """What of a row moves by itself: its state, and who decided it."""
    parts = ("dashboard/_state.html", "dashboard/_row_by.html")
    return joined(render_to_string(name, {"row": row}) for name in parts)


def head_html(told: runs.Panel) -> SafeString:
    return render_to_string("dashboard/_run_live.html", {"panel": told, "oob": True})


def entry_html(entry: Entry, told: runs.Panel) -> SafeString:
    return render_to_string("dashboard/_entry.html", {"shown": runs.shown([entry], told.by_call)[0], "panel": told})


def grown_html(entry: Entry, length: int, more: str) -> SafeString:
    """What came behind so many characters of an entry's text.

    A page adds what it does not have, and asks for all where something is missing in between; it counts code points, as
    we do.
    """
    return format_html(
        '<li id="e-{}" data-last="{}" data-from="{}" data-to="{}" data-keep="{}" '
        'data-span="{}" data-caption="{}" data-cut="{}">{}</li>',
        entry.id,
        entry.last,
        length,
        entry.body.length,
        TAIL if entry.body.missing else "",
        entry.span,
        entry.caption,
        entry.body.cut,
        more,
    )


def joined(parts: Iterable[SafeString]) -> SafeString:
    """Rendered parts, one after the other."""
    return SafeString("".join([conditional_escape(part) for part in parts]))


def feed(pieces: Iterable[SafeString], *, seq: int | None = None, missed: int = 0) -> list[SafeString]:
    """Pieces that the page puts in their places: an id that is there is replaced, a new one goes to the end.

    `missed`: nothing before this seq is told. A page that has not got so far loads itself again. In parts, to be joined
    once with whatever else there is: together they can be a megabyte.
    """
    begin = format_html(
        '<div id="feed" hidden hx-swap-oob="true" data-seq="{}"{}>',
        "" if seq is None else seq,
        format_html(' data-missed="{}"', missed) if missed else "",
    )
    return [begin, *pieces, SafeString("</div>")]
