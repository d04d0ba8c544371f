"""One request as a slip: the document, the stub, what became of the answer, and how it came here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from django.utils import timezone

from approvals import checks, decisions
from approvals.batches import newest
from approvals.models import ApprovalRequest, Decision, Delivery, Ran, RequestStatus, Undone
from dashboard import access, changes, exhibit, panels, proposals, reading, runs, values, words
from dashboard.changes import Change
from dashboard.exhibit import Exhibit
from dashboard.forms import REASONS, InboxFilter
from dashboard.models import User
from dashboard.panels import Sight
from dashboard.proposals import Proposals
from dashboard.reading import Notice, Reading
from dashboard.timeline import Entry
from dashboard.track import Step, track
from dashboard.words import Word
from streams import dialects, jsontext, providers
from streams.models import ENDED
from streams.providers.base import Capabilities

S = RequestStatus
TRAIL_ENTRIES = 7
UNNAMED = "No answer can name this request: the provider's id could not be kept."
EDIT_MAX = 200_000  # characters that a text area is offered for


@dataclass(frozen=True, slots=True)
class Member:
    """One question of a batch."""

    id: UUID
    reading: Reading
    glyph: str
    word: Word
    decision: Decision | None
    here: bool


@dataclass(frozen=True, slots=True)
class Envelope:
    """Answers that leave together."""

    members: Sequence[Member]
    answered: int

    @property
    def total(self) -> int:
        return len(self.members)

    @property
    def open(self) -> int:
        return self.total - self.answered


@dataclass(frozen=True, slots=True)
class Edit:
    """Changed arguments, before they are signed."""

    text: str
    changes: Sequence[Change] = ()
    reading: Reading | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the slip stands among those that wait."""

    number: int
    total: int
    before: UUID | None
    after: UUID | None


@dataclass(frozen=True, slots=True)
class Trail:
    """How it came here: what the run said and did before it asked."""

    entries: Sequence[Entry] = ()
    says: str = ""


@dataclass(slots=True)
class Slip:
    """Everything that a request's templates read."""

    asked: ApprovalRequest
    reading: Reading
    exhibit: Exhibit
    decision: Decision | None
    delivery: Delivery | None
    viewer: User
    everything: bool = False
    edit: Edit | None = None
    proposals: Proposals = field(default_factory=Proposals)
    read_only: str = ""  # why nobody can decide it from here
    note: str = ""  # what somebody typed and nobody has sent
    because: str = ""  # the reason they chose
    answer: str = ""  # what they typed as an answer
    unsent_edit: str = ""  # the edit that they wanted to approve
    conflict: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    envelope: Envelope | None = None
    trail: Trail | None = None
    place: Place | None = None
    newer: UUID | None = None
    before: list[Change] | None = None  # what changed since the version before
    pane: bool = False
    reasons: Sequence[str] = REASONS

    @property
    def word(self) -> Word:
        return words.asked(self.asked)

    @property
    def glyph(self) -> str:
        return panels.glyph(self.asked)

    @property
    def rev(self) -> str:
        return panels.rev(self.asked, self.decision, self.delivery)

    @property
    def pending(self) -> bool:
        return self.asked.status == S.PENDING

    @property
    def unknown(self) -> bool:
        return self.asked.status == S.UNKNOWN

    @property
    def sentence(self) -> str:
        """What its state means; where nobody here decided, who or what ended it."""
        why = "" if self.pending else self.asked.ended_why.strip()
        if why:
            return why if why.endswith((".", "!", "?", "…")) else f"{why}."
        if self.asked.status == S.WITHDRAWN and self.decision is None:
            return "The run ended before anyone decided."
        return self.word.sentence

    @property
    def read_only_head(self) -> str:
        """The first sentence of why nothing can be decided here."""
        head, stop, _ = self.read_only.partition(". ")
        return f"{head}." if stop else head

    @property
    def read_only_why(self) -> str:
        """The others."""
        return self.read_only.partition(". ")[2]

    @property
    def kept(self) -> str:
        """What was typed and chosen and not sent, as one text."""
        return ". ".join(part for part in (self.because, self.note) if part)

    @property
    def provider(self) -> str:
        """The name of who asks, as this house calls it."""
        return self.asked.run.provider.name

    @property
    def vendor(self) -> str:
        return panels.provider_label(self.asked.run.provider.kind)

    @property
    def capabilities(self) -> Capabilities | None:
        try:
            return providers.get(self.asked.run.provider.kind).capabilities
        except LookupError:
            return None

    @property
    def denied(self) -> str:
        """Why this person may not decide; empty if they may."""
        refused = decisions.refusal(self.viewer, self.asked)
        return refused[1] if refused else ""

    @property
    def own(self) -> bool:
        return self.decision is not None and self.decision.by_id == self.viewer.pk

    @property
    def undoable(self) -> bool:
        """Whether this person can take the decision back now."""
        if self.decision is None or not self.own or self.asked.status != S.HELD:
            return False
        return self.asked.batch_id is not None or self.decision.leaves_at > timezone.now()

    @property
    def verdict(self) -> Word | None:
        return words.verdict(self.decision.verdict) if self.decision else None

    @property
    def approve_off(self) -> str:
        """Why Approve is off, in words; empty if it is on."""
        if not self.asked.answerable:
            return UNNAMED
        if self.asked.problem:
            return f"Cannot be approved: {self.asked.problem}."
        if self.edit and self.edit.problem:
            return "What you typed is no edit yet. Change it, or leave the arguments as they were."
        if self.exhibit.cut and not self.everything:
            return "Approving opens when everything was opened."
        return ""

    @property
    def reject_off(self) -> str:
        """Why Reject is off, in words; empty if it is on."""
        if not self.asked.answerable:
            return UNNAMED
        if self.asked.no_reject and not self.asked.offers_answer:
            return f"Cannot be rejected, since no safe no can be sent: {self.asked.no_reject}."
        return ""

    @property
    def answer_needed(self) -> str:
        """For which verdicts an answer has to be written, in words; empty if for none."""
        if self.asked.no_reject:
            return "Needed for a yes and for a no: this agent has words of its own for both."
        return "Needed to approve: a plain yes says nothing to this agent." if self.asked.needs_answer else ""

    @property
    def inspectable(self) -> bool:
        """Whether the arguments can be shown for what they are; then a problem is the wire's, not theirs."""
        return not self.asked.arguments.strip() or not jsontext.problem(self.asked.arguments)

    @property
    def limits(self) -> list[str]:
        """What else to know of answers to it."""
        return self.asked.limits.splitlines()

    @property
    def edit_off(self) -> str:
        """Why no changed arguments are offered, where that is a limit of its framework; else empty."""
        return dialects.NO_EDIT.format(why=self.asked.no_edit) if self.asked.no_edit and not self.asked.problem else ""

    @property
    def reason_off(self) -> str:
        """Why a reason stays here, where that is a limit of its framework; else empty."""
        return dialects.NO_REASON.format(why=self.asked.no_reason) if self.asked.no_reason else ""

    @property
    def refuses_reason(self) -> bool:
        """Whether words beside the verdict would spoil the answer, so that none are taken."""
        return checks.refuses_reason(self.asked)

    @property
    def ran_otherwise(self) -> bool:
        """Whether something else ran than what was approved."""
        return self.asked.ran == Ran.OTHERWISE

    @property
    def ran_as_approved(self) -> bool:
        return self.asked.ran == Ran.AS_APPROVED

    @property
    def ran_changes(self) -> list[Change]:
        """What ran, against what was approved."""
        approved = (self.decision.edited if self.decision else "") or self.asked.arguments
        return changes.between(approved, self.asked.ran_arguments) if self.ran_otherwise else []

    @property
    def ran_run(self) -> UUID:
        """The run whose stream showed it."""
        return (self.delivery.answering_run_id if self.delivery else None) or self.asked.run_id

    @property
    def frozen(self) -> bool:
        """Decided by somebody else, or over: nothing here can be pressed any more."""
        if self.pending or self.unknown:
            return False
        return not self.own or self.asked.status in (S.EXPIRED, S.WITHDRAWN, S.STALE, S.SUPERSEDED)

    @property
    def can_reoffer(self) -> bool:
        """Refused, and this person may say that the provider waits for an answer still."""
        return self.asked.status == S.REFUSED and self.newer is None and not self.run_over and not self.denied

    @property
    def offers_edit(self) -> bool:
        known = self.asked.offers_edit and not self.asked.problem and not self.read_only
        return known and len(self.asked.arguments) <= EDIT_MAX

    @property
    def steps(self) -> list[Step]:
        return track(self)

    @property
    def sent_edit(self) -> list[Change]:
        """What a given approval changed in the arguments."""
        edited = self.decision.edited if self.decision else ""
        return changes.between(self.asked.arguments, edited) if edited else []

    @property
    def exact_lines(self) -> list[str]:
        """The text of arguments that cannot be taken apart."""
        return exhibit.exact(self.asked.arguments, everything=self.everything)

    @property
    def notices(self) -> list[Notice]:
        return list(self.reading.notices)[:2]

    @property
    def run_over(self) -> bool:
        return self.asked.run.status in ENDED


def load(viewer: User, request_id: UUID, *, everything: bool = False) -> Slip:
    """The slip without its surroundings. Raises Http404."""
    access.request_or_404(viewer, request_id)
    asked = panels.with_parts(access.visible_requests(viewer)).get(pk=request_id)
    decision = panels.decision_of(asked) or _last_voided(asked)
    read = reading.read(asked.tool, asked.arguments)
    shown = exhibit.build(asked.arguments, read, everything=everything)
    slip = Slip(asked, read, shown, decision, panels.delivery_of(asked), viewer, everything=everything)
    slip.read_only = decisions.read_only(asked) if asked.status == S.PENDING else ""
    if not shown.exact:
        slip.proposals = proposals.read(asked.run.provider.kind, asked.arguments)
    slip.envelope = envelope(asked)
    slip.newer = _newer(asked)
    return slip


def surround(slip: Slip) -> Slip:
    """Add what stands around it on its page: its trail, its place in the queue, what changed since the last version."""
    slip.trail = trail(slip.asked)
    slip.place = place(panels.sight(slip.viewer), slip.asked.pk)
    if slip.asked.version > 1:
        older = ApprovalRequest.objects.filter(
            run=slip.asked.run_id, call_id=slip.asked.call_id, version=slip.asked.version - 1
        ).first()
        slip.before = changes.between(older.arguments, slip.asked.arguments) if older else None
    return slip


def edited(slip: Slip, text: str) -> Edit:
    """An edit as its author is shown it: what differs and what it would do, or what is wrong with it."""
    if problem := jsontext.problem(text):
        return Edit(text, problem=problem)
    if not isinstance(values.load(text), dict):
        return Edit(text, problem="a JSON object is needed, the complete arguments")
    if jsontext.canonical(text) == jsontext.canonical(slip.asked.arguments):
        return Edit(text, problem="nothing differs from what the agent proposed")
    return Edit(text, changes.between(slip.asked.arguments, text), reading.read(slip.asked.tool, text))


def proposed(slip: Slip) -> Edit:
    """The agent's arguments, to be changed."""
    return Edit(values.dump(values.load(slip.asked.arguments)))


def _last_voided(asked: ApprovalRequest) -> Decision | None:
    """A decision that was made and never left, where the request is over."""
    if asked.status == S.PENDING:
        return None
    voided = Decision.objects.filter(request=asked, undone_at__isnull=False).exclude(undone_why=Undone.UNDONE)
    return voided.select_related("by").order_by("-decided_at").first()


def _newer(asked: ApprovalRequest) -> UUID | None:
    """The version that counts instead of this one."""
    later = ApprovalRequest.objects.filter(run=asked.run_id, call_id=asked.call_id, version__gt=asked.version)
    return later.order_by("-version").values_list("pk", flat=True).first() if asked.status != S.PENDING else None


def envelope(asked: ApprovalRequest) -> Envelope | None:
    """The batch of a request, if it has companions."""
    if asked.batch_id is None:
        return None
    found = newest(ApprovalRequest.objects.filter(batch=asked.batch_id))
    members = [
        Member(
            one.pk,
            reading.read(one.tool, one.arguments),
            panels.glyph(one),
            words.asked(one),
            panels.decision_of(one),
            one.pk == asked.pk,
        )
        for one in found.order_by("opened_by_seq", "requested_at", "pk").prefetch_related(panels.live_decisions())
    ]
    pending = words.request(S.PENDING)
    return Envelope(members, sum(member.word != pending for member in members)) if len(members) > 1 else None


def place(seen: Sight, request_id: UUID) -> Place | None:
    """Its number among those that wait, and its neighbours."""
    waiting = list(panels.waiting_rows(seen, InboxFilter()).values_list("pk", flat=True)[: panels.ROWS_MAX])
    if request_id not in waiting:
        return Place(0, len(waiting), None, waiting[0] if waiting else None)
    at = waiting.index(request_id)
    after = waiting[at + 1] if at + 1 < len(waiting) else None
    return Place(at + 1, len(waiting), waiting[at - 1] if at else None, after)


def trail(asked: ApprovalRequest) -> Trail:
    """The last steps before the ask, and the agent's own words about it."""
    entries = runs.before(asked.run, asked.opened_by_seq)
    said = [entry for entry in entries if entry.what == "text"]
    own = asked.tool_call_id  # the call that is asked about is no step before it
    steps = [entry for entry in entries if entry.tone or (entry.what == "tool" and (not own or entry.key != own))]
    words_of_agent = [str(said[-1].body)] if said else []
    return Trail(steps[-TRAIL_ENTRIES:], "\n\n".join([*words_of_agent, asked.message]).strip())
