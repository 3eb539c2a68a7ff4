"""What the API's JSON parser lets through."""

import pytest
from django.conf import LazySettings
from rest_framework.test import APIClient

LOGIN = "/api/v1/auth/login"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b'{"email": "\xff"}', 400),
        (b'{"email": NaN, "password": "x"}', 400),
        (b'{"email": "a\\u0000@example.com", "password": "x"}', 400),
        (b'{"email": "a@example.com", "password": "\\ud800"}', 400),
        (b"not json", 400),
    ],
)
def test_nonsense_gets_a_clear_error_before_anything_looks_at_it(db: None, body: bytes, status: int) -> None:
    answer = APIClient().post(LOGIN, body, content_type="application/json")
    assert answer.status_code == status
    assert answer.json()["code"] == "parse_error"


def test_a_body_beyond_the_limit_is_not_read(db: None, settings: LazySettings) -> None:
    settings.IIOT_MAX_MESSAGE_BYTES = 1_000
    answer = APIClient().post(LOGIN, b'{"email": "' + b"a" * 1_000 + b'"}', content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_letters_of_all_the_world_pass(db: None) -> None:
    answer = APIClient().post(
        LOGIN, '{"email": "J\\u00fcrgen@example.com", "password": "p\\ud83d\\ude00"}', content_type="application/json"
    )
    assert answer.status_code == 401
