"""A form's field for JSON: read strictly, its problem named, and what was typed kept as it was."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from approvals import checks
from streams import jsontext

NAMES: Mapping[type, str] = {dict: "an object, in braces", list: "a list, in brackets"}


class JsonField(forms.CharField):
    """Text that is JSON of one shape, or nothing. Cleans to the value; None where nothing was typed."""

    def __init__(self, *, shape: type | None = None, rows: int = 3, **options: Any) -> None:
        attrs = {"class": "mono", "rows": rows, "spellcheck": "false", "autocomplete": "off"}
        super().__init__(
            required=False,
            strip=True,
            max_length=checks.JSON_MAX_BYTES,
            widget=forms.Textarea(attrs=attrs),
            **options,
        )
        self.shape = shape

    def clean(self, value: Any) -> Any:
        """The value. Refuses what not every parser reads alike: doubled keys, NaN, endless numbers, NUL."""
        text = super().clean(value)
        if not text:
            return None
        try:
            made = jsontext.strict(text)
        except ValueError as wrong:
            raise ValidationError(f"This cannot be kept: {wrong}.") from wrong
        if self.shape is not None and not isinstance(made, self.shape):
            raise ValidationError(f"This has to be {NAMES[self.shape]}.")
        return made


def written(value: Any) -> str:
    """A value as people edit it; nothing for nothing."""
    return json.dumps(value, indent=2, ensure_ascii=False) if value else ""
