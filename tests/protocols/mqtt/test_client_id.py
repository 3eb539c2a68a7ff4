"""The listener's client id."""

from pathlib import Path

from protocols.mqtt.client_id import load_client_id


def test_it_is_kept_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    first = load_client_id(tmp_path / "secrets")
    assert load_client_id(tmp_path / "secrets") == first
    assert (tmp_path / "secrets" / "mqtt_client_id").stat().st_mode & 0o077 == 0


def test_no_two_installations_share_one(tmp_path: Path) -> None:
    assert load_client_id(tmp_path / "a") != load_client_id(tmp_path / "b")
