"""The form of a command: a field for each declared parameter, or free JSON where the device's type declares nothing."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django import forms

from devices.command_schema import NAME_PATTERN
from devices.errors import StateRefusedError
from devices.state_merge import check_state
from iiot_site.web.state_rows import UnreadableError, read_document

LIFETIMES = {"300": "5 minutes", "3600": "1 hour", "86400": "1 day", "604800": "7 days"}
PREFIX = "p-"  # of the parameters' fields, so that none is called as one of the form's own


class CommandForm(forms.Form):
    """What is sent: `parameters` is the payload, `lifetime` how long it waits for an answer."""

    lifetime_seconds = forms.ChoiceField(choices=list(LIFETIMES.items()), initial="86400", label="Give up after")
    key = forms.UUIDField(widget=forms.HiddenInput)

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, declared: Mapping[str, Any] | None, initial: dict[str, Any] | None = None
    ) -> None:
        super().__init__(data, auto_id="command-%s", initial=initial)
        self.declared = declared
        if declared is None:
            self.fields["name"] = forms.RegexField(rf"^{NAME_PATTERN}\Z", label="Command", max_length=64)
            area = forms.Textarea({"rows": 3, "spellcheck": "false", "placeholder": '{"rpm": 1450}'})
            self.fields["payload"] = forms.CharField(required=False, label="Parameters, as JSON", widget=area)
        else:
            self.fields |= {f"{PREFIX}{parameter['name']}": _make_field(parameter) for parameter in declared.get("parameters", [])}
        self.order_fields(["name", "payload", *(name for name in self.fields if name.startswith(PREFIX)), "lifetime_seconds"])
        for name, field in self.fields.items():
            is_choice = isinstance(field, forms.ChoiceField)
            field.widget.attrs["class"] = "form-select" if is_choice else "form-control"
            if self.is_bound and self.has_error(name):
                field.widget.attrs["class"] += " is-invalid"

    @property
    def name(self) -> str:
        """Return the command's name."""
        return str(self.declared["name"] if self.declared is not None else self.cleaned_data["name"])

    @property
    def parameters(self) -> dict[str, Any] | None:
        """Return the payload; parameters that were left empty are left out."""
        if self.declared is None:
            return self.cleaned_data["payload"] or None
        filled = {name.removeprefix(PREFIX): value for name, value in self.cleaned_data.items() if name.startswith(PREFIX)}
        return {name: value for name, value in filled.items() if value not in (None, "")}

    @property
    def lifetime(self) -> timedelta:
        """Return how long the command waits for an answer."""
        return timedelta(seconds=int(self.cleaned_data["lifetime_seconds"]))

    def clean_payload(self) -> dict[str, Any]:
        try:
            document = read_document(self.cleaned_data["payload"].strip())
            check_state(document)
        except (UnreadableError, StateRefusedError) as exc:
            raise forms.ValidationError(str(exc)) from exc
        return document


def find_declared(declarations: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Return the declaration of this name, else the first; None where nothing is declared."""
    return next((one for one in declarations if one["name"] == name), declarations[0] if declarations else None)


def _make_field(parameter: Mapping[str, Any]) -> forms.Field:
    bounds: dict[str, Any] = {"min_value": parameter.get("minimum"), "max_value": parameter.get("maximum")}
    common: dict[str, Any] = {"label": parameter["name"], "required": bool(parameter.get("required")), "help_text": _describe(parameter)}
    if parameter["type"] == "integer":
        return forms.IntegerField(**common, **bounds)
    if parameter["type"] == "number":
        return forms.FloatField(**common, **bounds, widget=forms.NumberInput({"step": "any"}))
    if parameter["type"] == "boolean":
        empty = [("", "choose" if common["required"] else "leave out")]
        choices = [*empty, ("true", "yes"), ("false", "no")]
        return forms.TypedChoiceField(**common, choices=choices, coerce=lambda text: text == "true", empty_value=None)
    return forms.CharField(**common, max_length=1000)


def _describe(parameter: Mapping[str, Any]) -> str:
    low, high = parameter.get("minimum"), parameter.get("maximum")
    limits = {(True, True): f"{low} to {high}", (True, False): f"at least {low}", (False, True): f"at most {high}"}
    words = [limits.get((low is not None, high is not None), ""), "" if parameter.get("required") else "may be left out"]
    return ", ".join(word for word in words if word)
