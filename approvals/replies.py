"""What a provider's HTTP answer to a decision means for its delivery. Pure."""

from enum import Enum


class Meaning(Enum):
    """What becomes of the delivery."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    LATER = "later"
    PARKED = "parked"
    UNKNOWN = "unknown"


MOVED = (301, 307, 308)  # nothing was done there; a redirect is never followed with a decision
LATER = (408, 425, 429)
CREDENTIAL = (401, 403)


def meaning(status: int) -> Meaning:
    """By status class. Other redirections: somebody answered, but not to our question, so nobody knows."""
    if 200 <= status < 300:
        return Meaning.DELIVERED
    if status in CREDENTIAL:
        return Meaning.PARKED
    if status in LATER:
        return Meaning.LATER
    if status in MOVED or 400 <= status < 500:
        return Meaning.REFUSED
    return Meaning.UNKNOWN
