"""Refusals that say what would have been right."""

from tenants.models import Tenant, User
from tests.conftest import MakeApi


def test_a_wrong_choice_is_answered_with_the_right_ones(acme: Tenant, acme_viewer: User, api: MakeApi) -> None:
    answer = api(acme_viewer, acme).get("/api/v1/telemetry/ledger?bucket=week")
    assert answer.status_code == 400
    assert answer.json()["errors"]["bucket"] == ['"week" is not one of minute, hour, day.']


def test_a_403_names_the_permission_that_is_missing(acme: Tenant, acme_viewer: User, api: MakeApi) -> None:
    answer = api(acme_viewer, acme).post("/api/v1/devices", {"key": "pump-1"})
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert "device:write" in answer.json()["detail"]


def test_a_wrong_choice_in_a_filter_is_answered_with_the_right_ones(acme: Tenant, acme_viewer: User, api: MakeApi) -> None:
    viewer = api(acme_viewer, acme)
    for query, name, choices in (
        ("alerts/incidents?state=acked", "state", "open, new, acknowledged, investigating, resolved"),
        ("alerts?severity=awful", "severity", "critical, high, medium, low, info"),
        ("rules?severity=awful", "severity", "critical, high, medium, low, info"),
        ("devices?status=gone", "status", "never, online, stale, offline"),
    ):
        answer = viewer.get(f"/api/v1/{query}")
        [words] = answer.json()["errors"][name]
        assert (answer.status_code, words.partition(" is not one of ")[2]) == (400, f"{choices}.")
