"""The page on which people try frames."""

import pytest

from tenants.models import User
from tests.conftest import MakeBrowser

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
