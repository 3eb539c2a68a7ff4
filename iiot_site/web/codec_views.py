"""The codec bench: paste a frame, see what the platform reads from it."""

from datetime import datetime

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from devices.models import Codec, DeviceType, validate_key
from protocols.bench import ENCODINGS, judge_pasted
from protocols.errors import InvalidShapeError, MessageError
from tenants.page_access import page

SAMPLES_SHOWN = 200


def make_examples(now: datetime) -> list[tuple[str, str]]:
    """Return frames to try, by their formats; those with a time have this one."""
    seconds = int(now.timestamp())
    values = '"values": {"temperature": {"value": 21.5, "quality": "uncertain", "unit": "°C"}}'
    return [
        ("JSON", '{"temperature": 21.5, "running": true}'),
        ("JSON with its time", f'{{"ts": {seconds * 1000}, {values}}}'),
        ("SenML", '[{"bn": "pump-7:", "n": "temperature", "u": "Cel", "v": 21.5}]'),
        ("Line protocol", f"pump-7 temperature=21.5,running=t {seconds * 1_000_000_000}"),
        ("Plain value", "21.5"),
    ]


@page("telemetry:read")
@require_http_methods(["GET", "HEAD", "POST"])
def show_codec_bench(request: HttpRequest) -> HttpResponse:
    """The form; after it was sent, with the samples or what is wrong. Nothing is stored."""
    chosen = {
        "payload": request.POST.get("payload", ""),
        "device": request.POST.get("device", "").strip(),
        "codec": _choose(request, "codec", Codec.values),
        "encoding": _choose(request, "encoding", list(ENCODINGS)),
        "line_precision": _choose(request, "line_precision", DeviceType.LinePrecision.values),
    }
    context: dict[str, object] = {
        "chosen": chosen,
        "codecs": Codec.choices,
        "encodings": ENCODINGS.items(),
        "precisions": DeviceType.LinePrecision.choices,
        "examples": make_examples(timezone.now()),
    }
    if request.method == "POST":
        context |= _decode(chosen)
    return render(request, "protocols/codec_bench.html", context)


def _choose(request: HttpRequest, name: str, known: list[str]) -> str:
    value = request.POST.get(name, "")
    return value if value in known else known[0]


def _decode(chosen: dict[str, str]) -> dict[str, object]:
    try:
        if chosen["device"]:
            validate_key(chosen["device"])
        # A browser sends line ends as CRLF, whatever was pasted.
        frame = judge_pasted(**{**chosen, "payload": chosen["payload"].replace("\r\n", "\n")}, now=timezone.now())
    except ValidationError as exc:
        return {"error": InvalidShapeError(f"The device key is not one. {exc.message}")}
    except MessageError as error:
        return {"error": error}
    samples = frame.samples[:SAMPLES_SHOWN]
    return {"frame": frame, "codec_name": Codec(frame.codec).label, "samples": samples, "left_out": len(frame.samples) - len(samples)}
