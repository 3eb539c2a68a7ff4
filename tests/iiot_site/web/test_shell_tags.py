"""How pages write ages, numbers and reasons."""

import pytest

from iiot_site.templatetags.shell import explain, format_age, number


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "0 s"), (59.9, "59 s"), (60, "1 min"), (3600, "1 h"), (3700, "1 h 1 min"), (86_400, "1 d"), (2 * 86_400 + 7200, "2 d 2 h")],
)
def test_ages_have_at_most_two_units(seconds: float, words: str) -> None:
    assert format_age(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (21.0, "21"),
        (21.25, "21.25"),
        (1234567.0, "1.23457e+06"),
        (12345.6, "12,345.6"),
        (1e-9, "1e-09"),
        ("open", "open"),
        (0, "0"),
        (12_345_678, "12,345,678"),
    ],
)
def test_values_have_six_digits_and_counts_all_of_theirs(value: object, words: str) -> None:
    assert number(value) == words


def test_an_unknown_source_is_explained_with_its_own_words() -> None:
    details = {"score": 0.97, "inputs": {"low": 1, "high": None}, "list": [1, 2], "note": "", "condition": {"type": "other", "window": 60}}
    assert explain(details) == [
        ("Condition", "type other, window 60"),
        ("Score", "0.97"),
        ("Inputs", "low 1"),
        ("List", "1, 2"),
    ]
