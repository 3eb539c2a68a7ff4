"""Forms for credentials, shared by the admin and the pages."""

from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator
from django.utils import timezone

from devices.certificates import MAX_PEM_CHARACTERS
from iiot_site.lib.times import LAST_MOMENT

OVERLAPS = {"0": "at once", "1": "in 1 hour", "24": "in 24 hours", "168": "in 7 days", "720": "in 30 days"}


class CredentialForm(forms.Form):
    """What may be chosen when a credential is issued. `cleaned_data` has `expires_at` and `certificate`."""

    last_day = forms.DateField(
        required=False,
        label="Valid through",
        validators=[MaxValueValidator(LAST_MOMENT.date())],
        widget=forms.DateInput({"type": "date"}),
    )
    certificate = forms.CharField(
        required=False,
        strip=True,
        max_length=MAX_PEM_CHARACTERS,
        label="Certificate (PEM)",
        help_text="The certificate alone, never its private key. Its common name is <tenant>/<device> or the device's key.",
        widget=forms.Textarea({"rows": 6, "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, takes_certificate: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["last_day"].help_text = f"Last day, in {timezone.get_current_timezone_name()}. Empty: for ever."
        if takes_certificate:
            self.fields["certificate"].required = True
        else:
            del self.fields["certificate"]

    @property
    def expires_at(self) -> datetime | None:
        """Return the end of the last day where the reader is."""
        last_day = self.cleaned_data.get("last_day")
        return None if last_day is None else timezone.make_aware(datetime.combine(last_day + timedelta(days=1), time()))

    @property
    def pem(self) -> str:
        """Return the PEM text, empty where none was asked for."""
        return str(self.cleaned_data.get("certificate", ""))


class RotationForm(CredentialForm):
    """The same for a successor, and how long the old one goes on working."""

    overlap_hours = forms.TypedChoiceField(choices=list(OVERLAPS.items()), coerce=int, initial="24", label="The old one ends")
    field_order = ["overlap_hours", "last_day", "certificate"]

    @property
    def overlap(self) -> timedelta:
        """Return how long both work."""
        return timedelta(hours=self.cleaned_data["overlap_hours"])
