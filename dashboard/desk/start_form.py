"""The form that starts a run: the fields of one kind of provider, read into what runs.start() takes."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import QueryDict

from dashboard.desk.jsonfield import JsonField
from dashboard.desk.kinds import Asked, Kind
from dashboard.desk.pages import DeskForm, OnceForm, line
from streams.providers import addresses
from streams.runs import StartRefused

TASK_MAX = 100_000
NEEDED = {"required": "It cannot start without this."}
SHAPES: Mapping[str, type | None] = {"object": dict, "list": list, "json": None}


class StartForm(OnceForm):
    """What one kind of provider asks for, and a title."""

    title = line(
        "Title", hint="Only for the lists here; without one, the first line of the task.", required=False, most=120,
        attrs={"spellcheck": "true", "autocapitalize": "sentences"},
    )  # fmt: skip

    def __init__(self, kind: Kind, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.kind = kind
        for asked in kind.start:
            self.add(asked.name, _field(asked))
        self.order_fields([*(asked.name for asked in kind.start), "title"])

    @property
    def main(self) -> list[Any]:
        """What is asked first."""
        return [self[asked.name] for asked in self.kind.start if asked.into in ("task", "workflow")]

    @property
    def others(self) -> list[Any]:
        """The options."""
        return [self[asked.name] for asked in self.kind.start if asked.into in ("option", "options")]

    @property
    def others_open(self) -> bool:
        """Whether one of the options holds something, or is wrong."""
        return any(field.errors or field.value() for field in self.others)

    def start(self) -> dict[str, Any]:
        """The cleaned fields as runs.start() takes them; options that were left empty stay away."""
        made: dict[str, Any] = {"task": "", "workflow": "", "options": {}}
        for asked in self.kind.start:
            value = self.cleaned_data[asked.name]
            if asked.into == "options":
                made["options"] = value or {}
            elif asked.into != "option":
                made[asked.into] = value.replace("\r\n", "\n")
            elif value not in (None, ""):
                made["options"][asked.name] = value
        return made

    def refused(self, wrong: StartRefused) -> None:
        """What the provider could not take, at the field that it names first."""
        found: dict[str, str] = {}
        for name, why in wrong.problems.items():
            first = why.split()[0].rstrip(":")
            found[first if name == "options" and first in self.fields else name] = why
        self.refuse(found)


def _field(asked: Asked) -> forms.Field:
    if asked.shape in SHAPES:
        return JsonField(shape=SHAPES[asked.shape], label=asked.label, help_text=asked.hint)
    if asked.shape == "line":
        return line(asked.label, hint=asked.hint, required=asked.required, most=255, error_messages=NEEDED)
    return forms.CharField(
        label=asked.label,
        help_text=asked.hint,
        required=asked.required,
        max_length=TASK_MAX,
        widget=forms.Textarea(attrs={"rows": 5}),
        error_messages=NEEDED,
    )


class WatchForm(DeskForm):
    """Somebody else's run, by the id that its provider gave it."""

    provider = forms.ChoiceField(label="Provider", error_messages={"invalid_choice": "There is no such provider."})
    external_id = line(
        "Run", hint="The provider's id of it, exactly as the provider shows it.", most=255,
        error_messages={"required": "Without the run's id nothing can be found."},
    )  # fmt: skip

    def __init__(self, names: Sequence[str], data: QueryDict | None = None, initial: str = "") -> None:
        super().__init__(data, initial={"provider": initial})
        choice = self.fields["provider"]
        assert isinstance(choice, forms.ChoiceField)
        choice.choices = [(name, name) for name in names]

    def clean_external_id(self) -> str:
        """One that can go into a path."""
        found = str(self.cleaned_data["external_id"])
        if why := addresses.id_problem(found, limit=255):
            raise forms.ValidationError(f"This cannot be the id of a run: {why}.")
        return found
