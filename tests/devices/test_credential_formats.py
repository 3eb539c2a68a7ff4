import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.credential_formats import (
    BearerSecret,
    hash_token_secret,
    is_token_secret,
    make_device_token,
    mqtt_username,
    parse_device_token,
    slug_of_schema,
)


@given(slug=st.from_regex(r"[a-z][a-z0-9-]{0,38}[a-z0-9]", fullmatch=True))
def test_a_token_reads_back_as_it_was_made(slug: str) -> None:
    token = make_device_token(slug)
    assert parse_device_token(str(token)) == token
    assert slug_of_schema(f"t_{slug.replace('-', '_')}") == slug


@given(text=st.text())
def test_any_other_text_is_no_token_and_no_error(text: str) -> None:
    assert parse_device_token(text) is None
    assert parse_device_token(f"iiot_dev_{text}") is None


@pytest.mark.parametrize("damage", ["\n", " ", "x", "=", "\0"])
def test_a_token_with_anything_behind_it_is_refused(damage: str) -> None:
    assert parse_device_token(str(make_device_token("acme")) + damage) is None


def test_secrets_differ_and_only_the_right_one_fits_its_hash() -> None:
    first, second = make_device_token("acme"), make_device_token("acme")
    assert isinstance(first, BearerSecret)
    assert first.secret != second.secret
    assert is_token_secret(first.secret, hash_token_secret(first.secret))
    assert not is_token_secret(second.secret, hash_token_secret(first.secret))


def test_the_mqtt_username_is_the_topic_below_t() -> None:
    assert mqtt_username("acme", "pump-7") == "acme/pump-7"
