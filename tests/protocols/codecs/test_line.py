"""InfluxDB line protocol: types, escapes, precision, and which metric a field is."""

import pytest

from protocols.types import Sample
from tests.protocols.codecs.frames import AT, FRAMES, decode, verdict


@pytest.mark.parametrize("codec", ["line", "auto"])
def test_it_reads_every_type(codec: str) -> None:
    site = "/site:hall 1"
    assert decode((FRAMES / "types.line").read_bytes(), codec) == [
        Sample(f"temperature{site}", 21.5, AT),
        Sample(f"count{site}", 12.0, AT),
        Sample(f"total{site}", 7.0, AT),
        Sample(f"running{site}", True, AT),
        Sample(f"state{site}", 'idle, "warm"', AT),
    ]


def test_series_that_tags_tell_apart_stay_apart() -> None:
    assert [(s.metric, s.value) for s in decode((FRAMES / "telegraf_cpu.line").read_bytes())] == [
        ("cpu.usage_idle/cpu:cpu0", 98.2),
        ("cpu.usage_user/cpu:cpu0", 1.1),
        ("cpu.usage_idle/cpu:cpu1", 97.5),
        ("cpu.usage_user/cpu:cpu1", 1.9),
    ]


@pytest.mark.parametrize(
    ("line", "metric"),
    [
        ("pump-7 temperature=1", "temperature"),
        ("temperature value=1", "temperature"),
        ("motor current=1", "motor.current"),
        ("pump-7,host=pump-7 a=1", "a"),
        ("pump-7,z=1,b=2 a=1", "a/b:2/z:1"),
        (r"my\ motor the\ current=1", "my motor.the current"),
    ],
)
def test_the_metric_is_the_field_with_what_tells_it_apart(line: str, metric: str) -> None:
    assert [s.metric for s in decode(line, "line")] == [metric]


@pytest.mark.parametrize(("precision", "stamp"), [("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)])
def test_times_are_in_the_precision_of_the_type(precision: str, stamp: int) -> None:
    line = f"pump-7 a=1 {1763600000 * 10**9 // stamp}"
    assert decode(line, "line", line_precision=precision) == [Sample("a", 1.0, AT)]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "invalid_shape"),
        ("# nothing\n\n", "invalid_shape"),
        ("pump-7", "malformed_line"),
        ("pump-7 ", "malformed_line"),
        ("pump-7 a", "malformed_line"),
        ("pump-7 a=", "malformed_line"),
        ("pump-7 a=1,", "malformed_line"),
        ("pump-7 a=1 b=2", "malformed_line"),
        ("pump-7 a=1 1.5", "malformed_line"),
        ("pump-7 a=1\nnonsense\n", "malformed_line"),
        (",tag=1 a=1", "malformed_line"),
        ("pump-7,tag a=1", "malformed_line"),
        ("pump-7 a=word", "malformed_line"),
        ('pump-7 a="open', "malformed_line"),
        ("pump-7 a=-1u", "malformed_line"),
        ("pump-7 a=1.5i", "malformed_line"),
        ("pump-7 a=i", "malformed_line"),
        ("pump-7 a=1_0", "malformed_line"),
        ("pump-7 a=-12i", "ok"),
        ("pump-7 a=1\r\npump-7 b=2\r\n", "ok"),
        ("pump-7 a=NaN", "not_finite"),
        ("pump-7 a=1e999", "not_finite"),
        ("pump-7 a=" + "9" * 400 + "i", "not_finite"),
        ("pump-7 a=1,a=2", "duplicate_key"),
        ("pump-7,t=1,t=2 a=1", "duplicate_key"),
        ("pump-7 a=1 -1", "invalid_timestamp"),
        ("pump-7 a=1 " + "9" * 30, "invalid_timestamp"),
        ("pump-7,device=pump-8 a=1", "other_device"),
        ('pump-7 a="\0"', "forbidden_character"),
        (b'pump-7 a="\xff"', "not_utf8"),
        ("\ufeffpump-7 a=1", "not_utf8"),
    ],
)
def test_what_is_wrong_has_a_name(frame: bytes | str, code: str) -> None:
    assert verdict(frame, "line") == code


def test_long_nonsense_is_refused_at_once() -> None:
    for nonsense in ("\\" * 200_000, "a" * 200_000, "a " * 100_000, 'a b="' + "\\" * 200_000, "a,b=" * 50_000):
        assert verdict(nonsense, "line") in {"malformed_line", "duplicate_key"}
        assert verdict(nonsense) != "ok"
