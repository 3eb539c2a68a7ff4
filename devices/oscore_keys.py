"""Key material of a device's OSCORE security context (RFC 8613 §3.2), and the text it is kept as. Pure."""

import json
import secrets
from dataclasses import dataclass

# AES-CCM-16-64-128 has a 13-byte nonce, which leaves at most 7 bytes for an id (RFC 8613 §3.3).
_CLIENT_ID_BYTES = 7
_SECRET_BYTES = 16
_SALT_BYTES = 8
_SERVER_ID = b"\x01"


@dataclass(frozen=True, slots=True)
class OscoreKeys:
    """What both sides derive their keys from. The device sends as `client_id` and receives as `server_id`, the platform vice versa.

    AEAD AES-CCM-16-64-128, HKDF SHA-256 (the defaults of RFC 8613). `id_context` may be empty.
    """

    master_secret: bytes
    master_salt: bytes
    client_id: bytes
    server_id: bytes
    id_context: bytes

    def to_text(self) -> str:
        """Return the parameters as JSON with hexadecimal values."""
        return json.dumps(self.to_hex())

    def to_hex(self) -> dict[str, str]:
        """Return the parameters by name in hex, as people copy them."""
        return {
            "master_secret": self.master_secret.hex(),
            "master_salt": self.master_salt.hex(),
            "client_id": self.client_id.hex(),
            "server_id": self.server_id.hex(),
            "id_context": self.id_context.hex(),
        }


def make_oscore_keys() -> OscoreKeys:
    """Return random keys (128 bits) and a random client id, so that the id alone finds the context."""
    return OscoreKeys(
        secrets.token_bytes(_SECRET_BYTES), secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_CLIENT_ID_BYTES), _SERVER_ID, b""
    )


def read_oscore_keys(text: str) -> OscoreKeys:
    """Return what `to_text` wrote."""
    return OscoreKeys(**{name: bytes.fromhex(value) for name, value in json.loads(text).items()})
