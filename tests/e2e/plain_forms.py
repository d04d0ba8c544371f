"""The forms of a page as a browser without JavaScript would send them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

Attributes = list[tuple[str, str | None]]


@dataclass(slots=True)
class Form:
    """One form: where it goes, what it sends without being touched, what may be pressed or chosen."""

    id: str
    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)
    choices: dict[str, list[str]] = field(default_factory=dict)  # radio buttons and selects
    buttons: list[tuple[str, str]] = field(default_factory=list)  # (name, value) of those that can be pressed

    def offers(self, name: str, value: str) -> bool:
        """Whether a button that says this can be pressed."""
        return (name, value) in self.buttons


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self._elsewhere: list[tuple[str, str, str]] = []  # fields that name their form: (form's id, name, value)
        self._open: Form | None = None
        self._area: tuple[Form, str] | None = None
        self._select: str = ""

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._open = Form(told.get("id", ""), told.get("action", ""), told.get("method", "get").lower())
            self.forms.append(self._open)
        elif tag == "input" and told.get("form"):
            self._elsewhere.append((told["form"], told.get("name", ""), told.get("value", "")))
        elif self._open is not None:
            self._inside(self._open, tag, told)

    def _inside(self, form: Form, tag: str, told: dict[str, str]) -> None:
        name, off = told.get("name", ""), "disabled" in told or told.get("aria-disabled") == "true"
        if tag == "button" and told.get("type", "submit") == "submit" and not off:
            form.buttons.append((name, told.get("value", "")))
        elif tag == "textarea" and name:
            form.fields[name] = ""
            self._area = (form, name)
        elif tag == "select" and name:
            self._select = name
            form.choices[name] = []
        elif tag == "option" and self._select:
            form.choices[self._select].append(told.get("value", ""))
            if "selected" in told or self._select not in form.fields:
                form.fields[self._select] = told.get("value", "")
        elif tag == "input" and name and not off:
            self._input(form, name, told)

    def _input(self, form: Form, name: str, told: dict[str, str]) -> None:
        kind, value = told.get("type", "text"), told.get("value", "")
        if kind in ("radio", "checkbox"):
            form.choices.setdefault(name, []).append(value)
            if "checked" in told:
                form.fields[name] = value
        elif kind not in ("submit", "button", "image", "file"):
            form.fields[name] = value

    def handle_data(self, data: str) -> None:
        if self._area is not None:
            form, name = self._area
            form.fields[name] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None
        elif tag == "textarea":
            self._area = None
        elif tag == "select":
            self._select = ""

    def close(self) -> None:
        super().close()
        for form in self.forms:
            form.fields |= {name: value for wanted, name, value in self._elsewhere if wanted == form.id and name}
            for name, text in form.fields.items():
                form.fields[name] = text.removeprefix("\n")  # as browsers read a text area


def forms(html: str) -> list[Form]:
    """All forms of a page, in its order."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.forms


def form_to(html: str, action: str) -> Form | None:
    """The first form of a page whose address ends so."""
    return next((form for form in forms(html) if form.action.endswith(action)), None)
