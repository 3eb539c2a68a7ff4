"""`POST /devices/import`: many devices from a CSV file."""

from dataclasses import asdict
from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.csv_import import MAX_BYTES
from devices.errors import ImportRefusedError
from devices.import_services import CREDENTIAL_KINDS, import_devices
from iiot_site.lib.parsers import StrictJSONParser
from iiot_site.lib.turns import count_as_long
from tenants.permissions import allows

PARAMETERS = ("dry_run", "partial", "credentials")


class CsvParser(BaseParser):
    """Hands over the bytes, one more than a file may have at most."""

    media_type = "text/csv"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        return stream.read(MAX_BYTES + 1)


class RowErrorSerializer(serializers.Serializer[Any]):
    line = serializers.IntegerField(help_text="The header is line 1.")
    column = serializers.CharField(allow_blank=True)
    detail = serializers.CharField()


class ImportedCredentialSerializer(serializers.Serializer[Any]):
    device = serializers.CharField()
    kind = serializers.CharField()
    username = serializers.CharField(allow_blank=True)
    secret = serializers.CharField(help_text="Shown this once.")


class ImportReportSerializer(serializers.Serializer[Any]):
    """What the import did; in a dry run, what it would do."""

    dry_run = serializers.BooleanField()
    rows = serializers.IntegerField()
    created = serializers.IntegerField()
    error_count = serializers.IntegerField()
    errors = RowErrorSerializer(many=True)  # type: ignore[assignment]  # a field of this name; DRF keeps it apart from the attribute
    credentials = ImportedCredentialSerializer(many=True)


class ImportView(APIView):
    """All or nothing, unless `partial` is asked for."""

    permission_resource = "device"
    parser_classes = (CsvParser, StrictJSONParser)

    @extend_schema(
        parameters=[
            OpenApiParameter("dry_run", bool, description="Check every row and write nothing."),
            OpenApiParameter("partial", bool, description="Create the rows without errors and leave the others out."),
            OpenApiParameter("credentials", str, enum=sorted(CREDENTIAL_KINDS), description="Issue each new device one of these."),
        ],
        request={"text/csv": OpenApiTypes.STR, "application/json": {"type": "object", "properties": {"csv": {"type": "string"}}}},
        responses={200: ImportReportSerializer, 201: ImportReportSerializer},
    )
    def post(self, request: Request) -> Response:
        """Create devices from CSV (UTF-8; columns in docs/devices.md), at most 10,000 rows and 5 MB."""
        query = request.query_params
        if unknown := [name for name in query if name not in PARAMETERS]:
            raise ValidationError({unknown[0]: ["There is no such parameter."]})
        kind = query.get("credentials", "")
        if kind and kind not in CREDENTIAL_KINDS:
            raise ValidationError({"credentials": ["Choose token or mqtt."]})
        if kind and not allows(request.principal.permissions, "credential:write"):  # type: ignore[attr-defined]  # set by authentication
            self.permission_denied(request, "Credentials need the permission credential:write.")
        dry_run = _read_flag(query, "dry_run")
        count_as_long(request)
        report = import_devices(
            content=_read_content(request.data),
            now=timezone.now(),
            dry_run=dry_run,
            is_partial=_read_flag(query, "partial"),
            credential_kind=kind,
        )
        answer = {
            "dry_run": dry_run,
            "rows": report.row_count,
            "created": report.created_count,
            "error_count": report.error_count,
            "errors": [asdict(error) for error in report.errors],
            "credentials": [
                {"device": one.device_key, "kind": one.issued.kind, "username": one.issued.username, "secret": one.issued.secret}
                for one in report.credentials
            ],
        }
        code = status.HTTP_200_OK if dry_run else status.HTTP_201_CREATED
        return Response(ImportReportSerializer(answer).data, status=code, headers={"Cache-Control": "no-store"})


def _read_flag(query: Any, name: str) -> bool:
    value = query.get(name, "0").lower()
    if value not in {"0", "1", "true", "false"}:
        raise ValidationError({name: ["Write 1 or 0."]})
    return value in {"1", "true"}


def _read_content(data: Any) -> bytes:
    if isinstance(data, bytes):
        return data
    text = data.get("csv") if isinstance(data, dict) else None
    if not isinstance(text, str):
        raise ImportRefusedError('Send the file as text/csv, or JSON {"csv": "key,type\\n…"}.')
    return text.encode()
