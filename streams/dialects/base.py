"""What a dialect is: how one kind of server asks, what its answers look like, and what they cannot carry."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Path = tuple[str | int, ...]

# form: what the schema asks for. key: an object with one boolean, where there is no schema. decision: an object whose
# `type` says it, alone or in a list `decisions` with one for each action.
Shape = Literal["form", "key", "decision", "decisions"]
# Several questions of one pause - each: any mix of answers. bundle: all approved or all refused, so they are one
# question. keyed: by their ids in a command. one: only one answer counts, so that of several none can be approved.
Several = Literal["each", "bundle", "keyed", "one"]
Channel = Literal["resume", "object", "command", "keyed", "tool"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call lies, from the dialect's root on."""

    arguments: Path
    tool: Path = ()
    call: Path = ()  # the id of the call


@dataclass(frozen=True, slots=True)
class Dialect:
    """What one kind of server says and understands."""

    name: str
    family: str = ""  # the framework, where this is a variant of it: a pin names the framework or one variant
    verified: bool = False  # our answers are those that a real server was seen to take
    recognise: Callable[[Mapping[str, Any]], bool] = lambda interrupt: False
    root: Path = ()  # from an interrupt to where the framework keeps its own
    places: Sequence[Place] = ()
    place_first: bool = False  # the call that was streamed is a made-up one: the real one lies in the place
    shape: Shape = "form"
    key: str = "approved"  # for the shape `key`
    reason_key: str = ""  # where a refusal of the shape `key` takes words; empty: nowhere
    changes_key: str = ""  # where an approval of the shape `key` has the arguments, changed or not
    answer_key: str = ""  # where an approval of the shape `key` has what a person writes
    several: Several = "each"
    one_message: bool = False  # several answers count together only where one message holds the calls that asked
    remembers: bool = False  # the server keeps what waits: the conversation does not go back
    owns_state: bool = False  # the state that it shows is its own record: it does not go back either
    cancelled_is_safe: bool = False  # `cancelled` was seen to run nothing: else a refusal says that nobody answered
    bare_boolean: bool = False  # a `confirmation` without a schema is answered by true or false alone
    own_answer: bool = False  # without a schema only the agent's author knows the answer: a person writes it
    options: bool = False  # a list of texts to choose from may have one for yes and one for no
    call_in_id: Callable[[str], str] = lambda interrupt_id: ""  # the call's id, where it lies in the question's own
    words: Path = ()  # from the root to what else is asked, where the interrupt has no message
    one_id: bool = False  # all questions of a thread have one id: the next one is not the same once more
    made_up: str = ""  # name of a call that it makes up to ask with, beside its interrupt
    asks_silently: bool = False  # a call without a result in a run without an outcome is a question; to be pinned
    proves_by_call: bool = False  # a run that ends without a word of the call proves nothing
    no_edit: str = ""  # why edited arguments are not offered; empty: they are, where the schema or shape has them
    no_reason: str = ""  # why a reviewer's reason stays here
    refuses_reason: bool = False  # an answer with a reason is turned away, or read as something else
    remark: str = ""  # what else a reviewer should know
    not_accepted: frozenset[str] = frozenset()  # codes of a RUN_ERROR before which nothing was done
    not_accepted_texts: Sequence[str] = ()  # the same for servers that give no code: pieces of the message

    @property
    def framework(self) -> str:
        return self.family or self.name

    def shape_for(self, schema: str) -> Shape:
        """The shape of an answer to a question with this schema; where a server begins to send one, it counts."""
        return "form" if self.shape == "key" and schema else self.shape

    @property
    def edit(self) -> bool:
        """Whether edited arguments are honoured where they are offered."""
        return not self.no_edit

    @property
    def reason(self) -> bool:
        """Whether a reason is understood where there is a place for it."""
        return not self.no_reason
