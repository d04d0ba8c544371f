"""What a way of asking is known by, and what its reviewers are offered."""

from dataclasses import dataclass, field
from typing import Any, Literal

EMAIL = {"to": "ana@shop.example", "subject": "Invoice", "body": "Hello Ana,\nhere it is. 🤖"}
DELETION = {"table": "orders", "where": "id = 7"}


@dataclass(frozen=True)
class Case:
    """One way in which one framework asks.

    several: how two gated calls of one turn are answered. each: any mix. bundle: all or nothing, as one request.
    turns: one after the other. none: no such turn can be approved. single: it asks for one call at a time by design.
    """

    name: str
    framework: str  # of `agents/`
    path: str
    dialect: str
    edit: bool
    reason: bool
    several: Literal["each", "bundle", "turns", "none", "single"]
    turns_reasons_away: bool = False  # it refuses an answer that holds one, so that none may be given
    tool: str = "send_email"  # how the e-mail's call is shown
    shown: Any = field(default_factory=lambda: EMAIL)
    kind: str = "agui"
    family: str = ""  # what the account is pinned to by the first pause; empty: the dialect
    workflow: str = ""
    posts_to_start: int = 1
    chains: bool = False  # its script knows "then", one call after the other, and the letter
    reads: str = ""  # how the path ends of a POST that only reads
    outcome: str | None = "success"  # of a run that went well; None: it ends without a word on it
    pin: str = ""  # what the provider's settings must say, where a pause alone does not show it
    options: dict[str, Any] = field(default_factory=dict)  # of a run
    settings: dict[str, Any] = field(default_factory=dict)  # of the account
    answer: Any = None  # what approves, where only the agent's author knows it
    refusal: Any = None
    long: bool = False  # only tried in the long form: a variant of another one, or heavy to install

    def says(self, answer: Any) -> dict[str, Any]:
        """What a decision carries besides its verdict."""
        return {} if answer is None else {"answer": answer}
