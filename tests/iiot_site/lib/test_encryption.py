"""Secrets that must be read again: unreadable in the database, and only for what they were sealed for."""

import pytest
from pytest_django import Settings

from iiot_site.lib.encryption import UnreadableSecretError, seal, unseal


def test_a_secret_comes_back_for_its_own_purpose_only() -> None:
    sealed = seal(b"s3cret", purpose="opcua password")
    assert unseal(sealed, purpose="opcua password") == b"s3cret"
    assert "s3cret" not in sealed
    with pytest.raises(UnreadableSecretError):
        unseal(sealed, purpose="oscore key")


def test_the_same_secret_never_looks_the_same() -> None:
    assert seal(b"s3cret", purpose="p") != seal(b"s3cret", purpose="p")


@pytest.mark.parametrize("sealed", ["", "v1.", "v1.AAAA", "v2.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "s3cret", "v1.ä"])
def test_what_is_no_sealed_secret_is_refused(sealed: str) -> None:
    with pytest.raises(UnreadableSecretError):
        unseal(sealed, purpose="p")


def test_a_changed_secret_is_refused() -> None:
    sealed = seal(b"s3cret", purpose="p")
    changed = sealed[:-2] + ("A" if sealed[-2] != "A" else "B") + sealed[-1]
    with pytest.raises(UnreadableSecretError):
        unseal(changed, purpose="p")


def test_a_former_key_still_opens_while_it_is_a_fallback(settings: Settings) -> None:
    sealed = seal(b"s3cret", purpose="p")
    former = settings.SECRET_KEY
    settings.SECRET_KEY = "another-secret-key-of-more-than-32-bytes"
    with pytest.raises(UnreadableSecretError):
        unseal(sealed, purpose="p")
    settings.SECRET_KEY_FALLBACKS = [former]
    assert unseal(sealed, purpose="p") == b"s3cret"
