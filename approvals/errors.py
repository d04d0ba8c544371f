"""Why a decision was not taken; each error carries the API's code."""

from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from approvals.models import Decision


class DecisionRefused(Exception):
    """Base: nothing was written. `code` is what the API answers; `decision` is the one that counts, if there is one."""

    code = "refused"

    def __init__(self, request_id: UUID, detail: str, *, decision: "Decision | None" = None) -> None:
        super().__init__(detail)
        self.request_id, self.detail, self.decision = request_id, detail, decision


class NotPending(DecisionRefused):
    """The request is no longer open (expired, withdrawn, superseded ...)."""

    code = "not_pending"


class AlreadyDecided(NotPending):
    """Somebody was quicker, or the same person pressed twice (`own`: the very same decision)."""

    code = "already_decided"

    def __init__(self, request_id: UUID, detail: str, *, decision: "Decision", own: bool = False) -> None:
        super().__init__(request_id, detail, decision=decision)
        self.own = own


class InputChanged(DecisionRefused):
    """The reviewer saw other arguments than those that are asked now."""

    code = "input_changed"


class NotAllowed(DecisionRefused):
    """This person may not decide this request, or nobody here may. `code`: own_run, not_permitted, read_only ..."""

    def __init__(self, request_id: UUID, detail: str, *, code: str = "not_permitted") -> None:
        super().__init__(request_id, detail)
        self.code = code


class InvalidDecision(DecisionRefused):
    """A field of the decision is wrong; `field` names it."""

    code = "invalid"

    def __init__(self, request_id: UUID, field: str, detail: str) -> None:
        super().__init__(request_id, detail)
        self.field = field


class UndoRefused(DecisionRefused):
    """The undo window is over, or it is somebody else's decision."""

    code = "undo_over"


class ChainBroken(Exception):
    """The audit chain does not verify; the message names the first bad row."""
