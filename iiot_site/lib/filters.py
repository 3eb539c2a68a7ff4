"""Filters of the API's lists: whoever sends none of the choices is told them."""

from typing import Any

from django import forms
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.request import Request

from iiot_site.lib.serializers import MOST_CHOICES_NAMED


class ChoiceNamingFilterBackend(DjangoFilterBackend):
    """`DjangoFilterBackend`, but an error names the choices."""

    def get_filterset(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        filterset = super().get_filterset(request, queryset, view)
        for field in filterset.form.fields.values() if filterset is not None else ():
            if isinstance(field, forms.ChoiceField) and not isinstance(field, forms.ModelChoiceField):
                _name_choices(field)
        return filterset


def _name_choices(field: forms.ChoiceField) -> None:
    choices: Any = field.choices
    names = [str(value) for value, _ in choices if value not in (None, "")]
    if 0 < len(names) <= MOST_CHOICES_NAMED:
        listed = ", ".join(names).replace("%", "%%")
        field.error_messages["invalid_choice"] = f'"%(value)s" is not one of {listed}.'
