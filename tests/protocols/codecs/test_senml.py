"""SenML (RFC 8428): its own examples, resolution, relative times, and whose record it is."""

from datetime import UTC, datetime, timedelta

import cbor2
import pytest

from protocols.codecs.names import metric_of
from protocols.errors import OtherDeviceError
from protocols.types import Sample
from tests.protocols.codecs.frames import FRAMES, NOW, decode, verdict

BASE_TIME = datetime(2010, 6, 8, 18, 1, 16, 1_000, tzinfo=UTC)


def frame(name: str) -> bytes:
    return (FRAMES / name).read_bytes()


@pytest.mark.parametrize("codec", ["senml", "auto"])
def test_it_reads_the_examples_of_the_rfc(codec: str) -> None:
    thermometer = {"device": "10e2073a01080063"}
    assert decode(frame("rfc8428_5_1_1.senml.json"), codec, **thermometer) == [Sample("temperature", 23.1, None, 0, "°C")]
    assert decode(frame("rfc8428_5_1_2.senml.json"), codec, **thermometer) == [
        Sample("voltage", 120.1, None, 0, "V"),
        Sample("current", 1.2, None, 0, "A"),
    ]


@pytest.mark.parametrize("name", ["rfc8428_5_1_2_times.senml.json", "rfc8428_6.senml.cbor"])
def test_base_values_hold_until_they_change_in_both_forms(name: str) -> None:
    samples = decode(frame(name), "auto", device="10e2073a0108006")
    assert samples[0] == Sample("voltage", 120.1, BASE_TIME, 0, "V")
    currents = [1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
    assert samples[1:] == [Sample("current", value, BASE_TIME - timedelta(seconds=5 - i), 0, "A") for i, value in enumerate(currents)]


@pytest.mark.parametrize("name", ["rfc8428_5_1_3.senml.json", "rfc8428_5_1_4.senml.json"])
def test_a_device_that_moves_is_read_the_same_before_and_after_resolution(name: str) -> None:
    samples = decode(frame(name), "auto", device="10e2073a01080063", sole_metric="value")
    start = datetime(2011, 10, 31, 13, 24, 24, tzinfo=UTC)
    expected = {
        "value": ("%", [(0, 20.0), (60, 20.3), (120, 20.7), (180, 21.2)]),
        "lon": ("lon", [(0, 24.30621), (60, 24.30622), (120, 24.30623), (180, 24.30628)]),
        "lat": ("lat", [(0, 60.07965), (60, 60.07965), (120, 60.07966), (180, 60.07967)]),
        "battery": ("%EL", [(150, 98.0)]),
    }
    assert len(samples) == 13
    for metric, (unit, values) in expected.items():
        found = [(sample.ts, sample.value, sample.unit) for sample in samples if sample.metric == metric]
        assert found == [(start + timedelta(seconds=seconds), value, unit) for seconds, value in values]


def test_values_of_several_types_are_read_and_binary_data_is_none() -> None:
    samples = decode(frame("rfc8428_5_1_5.senml.json"), "auto", device="10e2073a01080063")
    assert samples == [
        Sample("temp", 23.1, None, 0, "°C"),
        Sample("label", "Machine Room", None),
        Sample("open", False, None),
        Sample("nfc-reader", None, None),
    ]


def test_a_collection_of_others_is_refused_unless_the_sender_is_unknown() -> None:
    pack = frame("rfc8428_5_1_6.senml.json")
    assert verdict(pack, device="gateway-1") == "other_device"
    at = datetime(2011, 10, 31, 16, 27, 9, tzinfo=UTC)
    assert decode(pack, device="") == [
        Sample("2001:db8::2/temperature", 25.2, at, 0, "°C"),
        Sample("2001:db8::2/humidity", 30.0, at, 0, "%"),
        Sample("2001:db8::1/temperature", 12.3, at, 0, "°C"),
        Sample("2001:db8::1/humidity", 67.0, at, 0, "%"),
    ]


def test_base_value_and_base_sum_are_added() -> None:
    samples = decode('[{"n": "energy", "bv": 100, "bs": 10, "v": 1.5, "s": 2}, {"n": "energy", "s": 3}]')
    assert samples == [Sample("energy", 101.5, None), Sample("energy.sum", 12.0, None), Sample("energy.sum", 13.0, None)]


def test_texts_and_booleans_are_values_too() -> None:
    assert decode('[{"n": "state", "vs": "idle"}, {"n": "running", "vb": true}]') == [
        Sample("state", "idle", None),
        Sample("running", True, None),
    ]


def test_small_times_count_from_the_receipt() -> None:
    assert decode('[{"n": "a", "v": 1, "t": -30}]') == [Sample("a", 1.0, NOW - timedelta(seconds=30), counts_from_receipt=True)]
    assert decode('[{"bn": "pump-7", "bt": -60}, {"n": ":a", "v": 1, "t": 60}]', "senml") == [Sample("a", 1.0, None)]
    assert verdict('[{"n": "a", "v": 1, "t": -1e300}]') == "invalid_timestamp"


@pytest.mark.parametrize(
    ("name", "base", "metric"),
    [
        ("temperature", "", "temperature"),
        ("motor/current", "", "motor/current"),
        ("pump-7", "", "value"),
        ("pump-7:temperature", "pump-7:", "temperature"),
        ("pump-7/motor/current", "pump-7/", "motor/current"),
        ("urn:dev:ow:pump-7:temperature", "urn:dev:ow:pump-7:", "temperature"),
        ("urn:dev:ow:pump-7", "", "value"),
        ("pump-70", "", "pump-70"),
        ("pump-70:temperature", "pump-70:", None),
        ("pump-8:temperature", "pump-8:", None),
        ("urn:dev:ow:pump-8:temperature", "", None),
        ("urn:dev:ow:xpump-7:temperature", "", None),
    ],
)
def test_a_record_for_another_device_is_refused(name: str, base: str, metric: str | None) -> None:
    if metric is None:
        with pytest.raises(OtherDeviceError):
            metric_of(name, base=base, device="pump-7", sole_metric="value")
    else:
        assert metric_of(name, base=base, device="pump-7", sole_metric="value") == metric


@pytest.mark.parametrize(
    ("pack", "code"),
    [
        ("[]", "invalid_shape"),
        ('{"n": "a", "v": 1}', "invalid_shape"),
        ("[1]", "invalid_shape"),
        ('[{"bn": "pump-7:"}]', "invalid_shape"),
        ('[{"n": "a"}]', "invalid_shape"),
        ('[{"n": "a", "v": 1, "vs": "x"}]', "invalid_shape"),
        ('[{"n": "a", "v": "1"}]', "invalid_shape"),
        ('[{"n": "a", "v": true}]', "invalid_shape"),
        ('[{"n": "a", "vb": 1}]', "invalid_shape"),
        ('[{"n": "a", "v": null}]', "invalid_shape"),
        ('[{"n": "a", "vd": "aGk", "v": 1}]', "invalid_shape"),
        ('[{"n": "a", "u": "V", "v": 1}, {"n": "a", "u": "A", "v": 2}]', "invalid_shape"),
        ('[{"n": "a", "v": 1, "must_": 1}]', "invalid_shape"),
        ('[{"n": "a", "v": 1, "may": 1}]', "ok"),
        ('[{"n": "a", "v": 1, "bver": 11}]', "invalid_shape"),
        ('[{"n": "a b", "v": 1}]', "invalid_shape"),
        ('[{"n": "", "v": 1}]', "invalid_shape"),
        ('[{"n": "a", "v": 1, "u": "' + "x" * 25 + '"}]', "invalid_shape"),
        ('[{"n": "a", "v": 1e308, "bv": 1e308}]', "not_finite"),
        ('[{"n": "a", "v": NaN}]', "not_finite"),
        ('[{"n": "a", "v": 1, "v": 2}]', "duplicate_key"),
        ('[{"n": "a", "v": 1, "t": 1e15}]', "invalid_timestamp"),
        ('[{"bn": "pump-8:", "n": "a", "v": 1}]', "other_device"),
    ],
)
def test_what_is_wrong_has_a_name(pack: str, code: str) -> None:
    assert verdict(pack, "senml") == code


def test_integer_labels_and_their_names_are_the_same_key() -> None:
    assert verdict(cbor2.dumps([{0: "a", "n": "b", 2: 1}]), "senml") == "duplicate_key"
    assert verdict(cbor2.dumps([{0: "a", 2: 1, 99: 1}]), "senml") == "invalid_shape"


def test_telemetry_json_is_not_taken_for_senml() -> None:
    assert decode('[{"n": 5, "v": 3}]') == [Sample("n", 5.0, None), Sample("v", 3.0, None)]
    assert decode('[{"n": "a", "temperature": 3}]') == [Sample("n", "a", None), Sample("temperature", 3.0, None)]
