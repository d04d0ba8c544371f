"""States in the page's words: the word, its icon and tone, and one sentence. Pure."""

from dataclasses import dataclass
from typing import Literal

from approvals.models import ApprovalRequest, Ran, RequestStatus
from streams.models import RunStatus

Tone = Literal["", "ok", "look", "stop", "doubt", "off"]


@dataclass(frozen=True, slots=True)
class Word:
    """How a state is named and shown."""

    text: str
    icon: str
    tone: Tone = ""
    sentence: str = ""


def grouped(number: int) -> str:
    """1 284, with a space that does not break."""
    return f"{number:,}".replace(",", "\u00a0")


S = RequestStatus
REQUEST = {
    S.PENDING: Word("Pending", "clock", "", "Waits for a person."),
    S.HELD: Word("Held", "pause", "", "Decided. Nothing has left yet."),
    S.DECIDING: Word("Sending", "send", "", "On its way."),
    S.SENT: Word("Sent", "send", "", "No sign yet that it arrived."),
    S.DELIVERED: Word("Delivered", "check", "ok", "The provider confirmed it, or its stream showed it."),
    S.REFUSED: Word("Refused by provider", "ban", "stop", "The provider did not take the answer."),
    S.UNKNOWN: Word("Unknown", "q", "doubt", "Sent, no answer. It may or may not have happened."),
    S.EXPIRED: Word("Expired", "clock", "off", "Nobody answered in time. Not approved."),
    S.WITHDRAWN: Word("Withdrawn", "dash", "off", "The run ended before an answer left."),
    S.STALE: Word("Stale", "fork", "off", "This slip is no longer the one that counts."),
    S.SUPERSEDED: Word("Superseded", "fork", "off", "The arguments changed. Read the new slip."),
}

RAN_OTHERWISE = Word(
    "Ran other arguments", "halt", "stop", "Its stream shows that the agent ran other arguments than were approved."
)

R = RunStatus
RUN = {
    R.QUEUED: Word("Queued", "clock"),
    R.CONNECTING: Word("Connecting", "plug"),
    R.STREAMING: Word("Listening", "check", "ok"),
    R.WAITING: Word("Waiting for a person", "pause"),
    R.FINISHED: Word("Finished", "check"),
    R.FAILED: Word("Failed", "halt", "stop"),
    R.CANCELLED: Word("Cancelled", "dash", "off"),
    R.TRUNCATED: Word("Ended without a word", "q", "doubt"),
    R.LOST: Word("Lost", "q", "doubt"),
}

VERDICT = {"approve": Word("Approved", "check"), "reject": Word("Rejected", "x")}


def request(status: str) -> Word:
    return REQUEST[S(status)]


def asked(row: ApprovalRequest) -> Word:
    """How a request is named: by its status, unless something else than what was approved ran."""
    return RAN_OTHERWISE if row.ran == Ran.OTHERWISE else request(row.status)


def run(status: str) -> Word:
    return RUN[R(status)]


def verdict(given: str) -> Word:
    return VERDICT[given]
