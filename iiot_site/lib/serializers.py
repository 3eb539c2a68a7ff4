"""What our serializers share: they refuse what they do not know, and name related objects by UUID."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import Model
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.plumbing import build_basic_type, build_object_type
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers

MOST_CHOICES_NAMED = 30


class ChoiceNamingSerializer(serializers.Serializer[Any]):
    """Lists the choices to whoever sends none of them."""

    def get_fields(self) -> dict[str, Any]:
        fields = super().get_fields()
        for field in fields.values():
            if isinstance(field, serializers.ChoiceField) and len(field.choices) <= MOST_CHOICES_NAMED:
                field.error_messages["invalid_choice"] = f'"{{input}}" is not one of {", ".join(map(str, field.choices))}.'
        return fields


class StrictSerializer(ChoiceNamingSerializer):
    """Refuses fields that it does not know or that only the platform sets."""

    # Fields that are set once: a change is refused, the same value again is not.
    create_only: tuple[str, ...] = ()

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            writable = {name for name, field in self.fields.items() if not field.read_only}
            if refused := [str(name) for name in data if name not in writable]:
                raise serializers.ValidationError({name: ["This field cannot be set."] for name in refused})
        return super().to_internal_value(data)

    def validate(self, attrs: Any) -> Any:
        if isinstance(self.instance, Model):
            for name in self.create_only:
                source = self.fields[name].source or name
                if source in attrs and attrs[source] != getattr(self.instance, source):
                    raise serializers.ValidationError({name: ["This cannot be changed afterwards."]})
        return super().validate(attrs)


class StrictModelSerializer(StrictSerializer, serializers.ModelSerializer[Any]):
    """`StrictSerializer` for a model. Its validators are the model's: services call `full_clean`."""


class NamedRef(serializers.RelatedField[Any, Any, Any]):
    """A related object: read as `{"id": uuid, "name"}`, written as the UUID. Unknown and foreign ids look the same."""

    default_error_messages = {"not_found": "Not found."}

    def __init__(self, *, id_field: str = "uuid", name_field: str = "name", **kwargs: Any) -> None:
        self.id_field = id_field
        self.name_field = name_field
        super().__init__(**kwargs)

    def use_pk_only_optimization(self) -> bool:
        return False

    def to_internal_value(self, data: Any) -> Any:
        wanted = data.get("id") if isinstance(data, Mapping) else data
        found, queryset = None, self.get_queryset()
        if isinstance(wanted, str) and queryset is not None:
            try:
                found = queryset.filter(**{self.id_field: wanted}).first()
            except (ValueError, DjangoValidationError):
                found = None
        if found is None:
            self.fail("not_found")
        return found

    def to_representation(self, value: Any) -> dict[str, str]:
        return {"id": str(getattr(value, self.id_field)), "name": str(getattr(value, self.name_field))}


class NamedRefSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # the library registers it there
    """Tells the OpenAPI schema what `NamedRef` reads and writes."""

    target_class = NamedRef
    match_subclasses = True

    def map_serializer_field(self, auto_schema: Any, direction: str) -> Any:
        uuid_type = build_basic_type(OpenApiTypes.UUID)
        if direction == "request":
            return uuid_type
        return build_object_type(properties={"id": uuid_type, "name": build_basic_type(OpenApiTypes.STR)}, required=["id", "name"])


class SecondsField(serializers.FloatField):
    """A duration as a number of seconds."""

    def to_internal_value(self, data: Any) -> Any:
        seconds = super().to_internal_value(data)
        try:
            return timedelta(seconds=seconds)
        except (OverflowError, ValueError) as exc:
            raise serializers.ValidationError("This duration is out of range.") from exc

    def to_representation(self, value: Any) -> Any:
        return float(value.total_seconds())
