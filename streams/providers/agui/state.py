"""The fold state of an AG-UI stream: what is open, what was said, what is asked. Frozen; text as a JSON checkpoint."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from streams import jsontext

Message = Mapping[str, Any]

FORMAT = 1
HALVES = re.compile("[\ud800-\udbff][\udc00-\udfff]")
NEW, ACTIVE, CLOSED, FAILED, REJECTED = "new", "active", "closed", "failed", "rejected"  # phases of the stream
AHEAD, LIVE, PAUSED, ENDED = "ahead", "live", "paused", "ended"  # where our own run is


class Rope:
    """Text that grows by pieces. A longer rope shares its pieces with the one it grew from, which does not change."""

    __slots__ = ("_count", "_pieces")

    def __init__(self, *pieces: str) -> None:
        self._pieces: list[str] = [piece for piece in pieces if piece]
        self._count = len(self._pieces)

    def plus(self, piece: str) -> "Rope":
        made = Rope.__new__(Rope)
        pieces = self._pieces
        if len(pieces) != self._count or not pieces:  # somebody else grew from here: the pieces part
            pieces = pieces[: self._count]
        pieces.append(piece)
        made._pieces, made._count = pieces, len(pieces)
        return made

    def __str__(self) -> str:
        return whole("".join(self._pieces[: self._count]))


def whole(joined: str) -> str:
    """Characters whose two UTF-16 halves came in different deltas, put together."""
    if joined.isascii():
        return joined
    return HALVES.sub(lambda found: found[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), joined)


class Open(NamedTuple):
    """One thing that was started and not ended: a message, a call, a reasoning message or span, a step, a subagent."""

    owner: str = ""  # subagentRunId of whoever opened it; "": the parent agent
    rope: Rope = Rope()
    name: str = ""  # of a call or a message
    role: str = ""
    parent: str = ""  # of a call: the message that holds it
    torn: bool = False  # an unreadable frame came while it was open: a piece may be missing


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as this stream told it."""

    name: str
    arguments: str
    run_id: str
    torn: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """One open question of our run, as its answer needs it."""

    key: str  # what the rest of the house calls it: the id, made storable
    id: str  # exactly as sent
    frontend: bool = False  # a call of one of our own tools: answered by a tool message
    tool_call_id: str = ""
    reason: str = ""
    schema: str = ""  # responseSchema as JSON text
    dialect: str = "plain"
    channel: str = "resume"  # how its answer travels: dialects.Channel
    tool: str = ""  # as sent: an answer may have to repeat it
    place: int = 0  # of the actions that one interrupt holds
    allows: Sequence[str] = ()  # kinds of decisions that are taken; for the shapes that name them
    event: str = ""  # what asked, as text, where the answer repeats it
    cancels: bool = False  # `cancelled` is known to run nothing
    members: Sequence["Ask"] = ()  # the questions that are one, since they can only be answered alike


@dataclass(frozen=True, slots=True)
class Opening:
    """What our own call sent: the run begins with it, and every later answer repeats it."""

    thread_id: str
    run_id: str
    tools: Sequence[Any] = ()
    context: Sequence[Any] = ()
    forwarded: Any = field(default_factory=dict)
    dialect: str = ""  # as pinned by the account
    resumes: bool = False  # it answers what an earlier run of the thread asked


class State(NamedTuple):
    """See the module's sentence. Mappings are replaced, never changed."""

    opening: Opening
    messages: Mapping[str, Message]  # by id, in order; of an open one without what is still streaming
    value: Any  # the agreed state
    phase: str = NEW
    ours: str = AHEAD
    run_id: str = ""  # of the run on the stream, the last one when none is active
    open: Mapping[str, Open] = {}  # `kind:id`
    chunked: Mapping[str, str] = {}  # lane -> key of the item that is told in chunks there
    gone: frozenset[str] = frozenset()  # subagents that ended in this run
    calls: Mapping[str, ToolCall] = {}  # told to their end on this stream
    results: frozenset[str] = frozenset()  # calls whose result came on this stream
    older: Sequence[str] = ()  # data of CUSTOM events that ask in a form from before 1.0
    thinking: tuple[int, str, str] = (0, "", "")  # ids made up for retired shapes: how many, span, message
    error: str = ""  # a RUN_ERROR that came before our run began
    asks: Sequence[Ask] = ()
    size: int = 0  # characters streamed so far


def dump(state: State) -> str:
    """The state as JSON, ASCII only."""
    plain = state._asdict()
    plain["opening"] = asdict(state.opening)
    plain["messages"] = list(state.messages.items())
    plain["open"] = {key: {**item._asdict(), "rope": str(item.rope)} for key, item in state.open.items()}
    plain["calls"] = {key: asdict(call) for key, call in state.calls.items()}
    plain["asks"] = [asdict(ask) for ask in state.asks]
    plain["gone"], plain["results"] = sorted(state.gone), sorted(state.results)
    return jsontext.dumps({"format": FORMAT, **plain})


def load(text: str) -> State:
    """The state from dump()'s text."""
    plain = json.loads(text)
    if plain.pop("format") != FORMAT:
        raise ValueError("a checkpoint of another format")
    opening = plain["opening"]
    lists = {key: tuple(opening[key]) for key in ("tools", "context")}
    plain["opening"] = Opening(**{**opening, **lists})
    plain["messages"] = dict(plain["messages"])
    plain["open"] = {key: Open(**{**item, "rope": Rope(item["rope"])}) for key, item in plain["open"].items()}
    plain["calls"] = {key: ToolCall(**call) for key, call in plain["calls"].items()}
    plain["asks"] = tuple(_ask(ask) for ask in plain["asks"])
    plain["gone"], plain["results"] = frozenset(plain["gone"]), frozenset(plain["results"])
    plain["older"], plain["thinking"] = tuple(plain["older"]), tuple(plain["thinking"])
    return State(**plain)


def _ask(plain: Mapping[str, Any]) -> Ask:
    """A question from its checkpoint, which may be an older one's."""
    members = tuple(_ask(member) for member in plain.get("members", ()))
    return Ask(**{**plain, "allows": tuple(plain.get("allows", ())), "members": members})
