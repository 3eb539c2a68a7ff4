"""The page on which people try frames."""

import pytest
from django_tenants.utils import tenant_context

from tenants.models import Tenant, User
from tests.conftest import MakeBrowser, MakeDevice

PAGE = "/t/acme/codec-bench"


@pytest.mark.usefixtures("acme")
def test_it_explains_itself_and_stands_below_ingest(browser: MakeBrowser, acme_viewer: User) -> None:
    body = browser(acme_viewer).get(PAGE).content.decode()
    assert "Paste a frame" in body
    assert 'href="/t/acme/ingest" aria-current="page"' in body


@pytest.mark.usefixtures("acme")
def test_it_shows_what_a_frame_holds(browser: MakeBrowser, acme_viewer: User) -> None:
    body = browser(acme_viewer).post(PAGE, {"payload": 'pump-7 temperature=21.5,running=t\r\npump-7 state="<b>"', "device": "pump-7"})
    text = body.content.decode()
    assert "InfluxDB line protocol" in text
    assert "21.5" in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"payload": '{"a": 1, "a": 2}'}, "duplicate_key"),
        ({"payload": "zz", "encoding": "hex"}, "invalid_shape"),
        ({"payload": "1", "device": "no key"}, "invalid_shape"),
        ({"payload": "", "codec": "<script>", "encoding": "none"}, "malformed_json"),
    ],
)
def test_it_names_what_is_wrong_and_keeps_what_was_pasted(browser: MakeBrowser, acme_viewer: User, form: dict[str, str], code: str) -> None:
    answer = browser(acme_viewer).post(PAGE, form)
    assert answer.status_code == 200
    assert code in answer.content.decode()


@pytest.mark.usefixtures("acme")
def test_a_long_frame_is_cut_short(browser: MakeBrowser, acme_viewer: User) -> None:
    frame = "[" + ",".join('{"a": 1}' for _ in range(250)) + "]"
    assert "and 50 more" in browser(acme_viewer).post(PAGE, {"payload": frame}).content.decode()


@pytest.mark.parametrize(
    ("form", "verdict"),
    [
        ({"payload": '{"temperature": "hot"}', "device": "pump-7"}, "wrong_type"),
        ({"payload": '{"temperature": 1}', "device": "pump-99"}, "unknown_device"),
        ({"payload": '{"ts": 946684800000, "values": {"temperature": 1}}', "device": "pump-7"}, "too_old"),
        ({"payload": '{"ts": 946684800000, "values": {"temperature": 1}}'}, "too_old"),
        ({"payload": '{"temperature": 1e200}', "device": "pump-7"}, "out_of_range"),
        ({"payload": '{"temperature": null}'}, "no_value"),
    ],
)
def test_what_the_pipeline_would_refuse_is_not_called_good(
    browser: MakeBrowser, acme: Tenant, acme_viewer: User, make_device: MakeDevice, form: dict[str, str], verdict: str
) -> None:
    with tenant_context(acme):
        make_device("pump-7", metrics=("temperature",))
    text = browser(acme_viewer).post(PAGE, form).content.decode()
    assert verdict in text
    assert "Refused" in text
    assert "Good" not in text
    assert ("Not checked, as no device is named" in text) == ("device" not in form)


def test_what_would_be_stored_is_shown_with_its_quality(
    browser: MakeBrowser, acme: Tenant, acme_viewer: User, make_device: MakeDevice
) -> None:
    with tenant_context(acme):
        pump = make_device("pump-7", metrics=("temperature",))
        pump.device_type.metrics.update(maximum=100)
    text = browser(acme_viewer).post(PAGE, {"payload": '{"temperature": 101, "fresh": 1}', "device": "pump-7"}).content.decode()
    for expected in ("Uncertain", "Good", "a new metric: it would be registered"):
        assert expected in text
    with tenant_context(acme):
        assert not pump.device_type.metrics.filter(key="fresh").exists()


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("a1 63 74 65 6d fa", "It looks like hexadecimal"),
        ("oWR0ZW1w+0A1gAAAAAAA", ""),
        ("oWR0ZW1wGCo=", "It looks like Base64"),
        ("overheated!", ""),
    ],
)
def test_a_binary_frame_pasted_as_text_is_recognised(browser: MakeBrowser, acme_viewer: User, payload: str, words: str) -> None:
    body = browser(acme_viewer).post(PAGE, {"payload": payload, "codec": "json"}).content.decode()
    assert ("It looks like" in body, words in body) == (bool(words), True)
