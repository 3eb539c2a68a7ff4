"""Conditions accept just the metric keys that devices may have."""

import contextlib

from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from devices.models import validate_metric_key
from rules.conditions.errors import ConditionInvalidError
from rules.conditions.threshold import Threshold


@given(st.text(max_size=66) | st.text(alphabet="aZ_0.:/ -", max_size=66))
def test_the_pure_core_agrees_with_the_model(key: str) -> None:
    is_valid = is_accepted = False
    with contextlib.suppress(ValidationError):
        validate_metric_key(key)
        is_valid = True
    with contextlib.suppress(ConditionInvalidError):
        Threshold(key, ">", 0)
        is_accepted = True
    assert is_accepted is is_valid
