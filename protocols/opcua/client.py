"""A connection to a plant's server that trusts only what somebody accepted, goes only into the plant, and takes only so much.

Source: OPC 10000-4 §6.1 (establishing a session), OPC 10000-7 (security policies).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.common.shortcuts import Shortcuts
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from cryptography import x509

from connections.certificates import fingerprint_of
from connections.opcua_types import NO_SECURITY, OpcUaTarget
from iiot_site.lib.plant_network import OutsidePlantError, resolve_in_plant
from protocols.opcua.errors import CertificateNotTrustedError, EndpointMissingError, OpcUaError, UnreachableError
from protocols.opcua.identity import APPLICATION_NAME, Identity, first_certificate
from protocols.unreachable import explain_connection_error

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
DEFAULT_PORT = 4840
CLOSE_SECONDS = 2.0
_CHUNK_BYTES = 65_535
_WATCHDOG_SECONDS = 5.0
_SESSION_MS = 5 * 60 * 1000
# By the names that the database keeps. Older policies rest on SHA-1 and are not offered.
POLICIES: dict[str, type[security_policies.SecurityPolicy]] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}


class _FixedLimits(TransportLimits):
    """asyncua lets the server choose how much it may send; here it may only ask for less."""

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        self.max_send_buffer = min(int(msg.ReceiveBufferSize) or _CHUNK_BYTES, _CHUNK_BYTES)


class _BoundedProtocol(UASocketProtocol):
    """Hangs up on a server whose unfinished chunk is larger than any may be."""

    def data_received(self, data: bytes) -> None:
        if len(self.receive_buffer or b"") > MAX_MESSAGE_BYTES and self.transport is not None:
            self.transport.abort()
            return
        super().data_received(data)


class _BoundedUaClient(UaClient):
    def _make_protocol(self) -> UASocketProtocol:
        limits = _FixedLimits(_CHUNK_BYTES, _CHUNK_BYTES, MAX_MESSAGE_BYTES // 1024, MAX_MESSAGE_BYTES)
        self.protocol = _BoundedProtocol(self._timeout, security_policy=self.security_policy, limits=limits)
        self.protocol.pre_request_hook = self._pre_request_hook
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol


class PlantClient(Client):
    """asyncua's client, connecting to `address` whatever the URL's name means by then."""

    def __init__(self, url: str, *, address: str, port: int, identity: Identity, timeout_seconds: float) -> None:
        super().__init__(url, timeout=timeout_seconds, watchdog_intervall=_WATCHDOG_SECONDS)
        self.uaclient = _BoundedUaClient(timeout_seconds)
        self.uaclient.pre_request_hook = self._wait_until_ready
        self.nodes = Shortcuts(self.uaclient.session)
        self._address = address
        self._port = port
        self.name = self.description = APPLICATION_NAME
        self.application_uri = identity.application_uri
        self.product_uri = "urn:iiot-platform"
        self.session_timeout = _SESSION_MS

    async def connect_socket(self) -> None:
        await self.uaclient.connect_socket(self._address, self._port)


@dataclass(frozen=True, slots=True)
class Offer:
    """One way that a server lets clients in."""

    security: str
    mode: str
    authentications: tuple[str, ...]
    certificate: bytes


@asynccontextmanager
async def open_session(
    target: OpcUaTarget, *, identity: Identity, networks: Sequence[str], timeout_seconds: float = 4.0
) -> AsyncIterator[PlantClient]:
    """Connect, prove who both are, and hand out the client; it is closed afterwards.

    Raises:
        OutsidePlantError: the address is not in the plant's networks.
        CertificateNotTrustedError: the server shows another certificate than the accepted one.
        OpcUaError: any other failure until the session stood.
    """
    with _in_words(target.endpoint_url):
        client = await _make_client(target.endpoint_url, identity=identity, networks=networks, timeout_seconds=timeout_seconds)
    try:
        with _in_words(target.endpoint_url):
            if target.security != NO_SECURITY:
                await _secure(client, target, identity)
            await _log_in(client, target, identity)
            await client.connect()
        yield client
    finally:
        await _close(client)


async def _close(client: PlantClient) -> None:
    """Take leave, but not for long: the library waits for each answer, and takes no cancellation meanwhile."""
    closing = asyncio.ensure_future(client.disconnect())
    await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
    client.disconnect_socket()
    await asyncio.wait({closing}, timeout=CLOSE_SECONDS)
    if closing.done() and not closing.cancelled():
        closing.exception()  # looked at, so that nobody complains; the connection is gone either way


async def list_offers(url: str, *, identity: Identity, networks: Sequence[str], timeout_seconds: float = 4.0) -> list[Offer]:
    """Ask a server how it lets clients in, before anything is trusted.

    Raises:
        OutsidePlantError: the address is not in the plant's networks.
        OpcUaError: it does not answer.
    """
    with _in_words(url):
        client = await _make_client(url, identity=identity, networks=networks, timeout_seconds=timeout_seconds)
        return [_offer(endpoint) for endpoint in await client.connect_and_get_server_endpoints()]


async def _make_client(url: str, *, identity: Identity, networks: Sequence[str], timeout_seconds: float) -> PlantClient:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORT
    address = await asyncio.wait_for(asyncio.to_thread(resolve_in_plant, host, port, networks=networks), timeout_seconds)
    return PlantClient(url, address=address, port=port, identity=identity, timeout_seconds=timeout_seconds)


async def _secure(client: PlantClient, target: OpcUaTarget, identity: Identity) -> None:
    """Look at the certificate before anything is said under it."""
    offers = [_offer(endpoint) for endpoint in await client.connect_and_get_server_endpoints()]
    offer = next((o for o in offers if o.security == target.security and o.mode == "SignAndEncrypt"), None)
    if offer is None:
        known = ", ".join(sorted({f"{o.security} ({o.mode})" for o in offers})) or "nothing"
        raise EndpointMissingError(f"The server does not offer {target.security} with SignAndEncrypt; it offers {known[:200]}.")
    check_certificate(offer.certificate, trusted=target.trusted_certificate)
    await client.set_security(
        POLICIES[target.security],
        certificate=CertProperties(identity.certificate, "der"),
        private_key=CertProperties(identity.private_key, "pem"),
        server_certificate=CertProperties(target.trusted_certificate, "der"),
        mode=ua.MessageSecurityMode.SignAndEncrypt,
    )


def check_certificate(shown: bytes, *, trusted: bytes) -> None:
    """Refuse any certificate but the accepted one.

    Raises:
        CertificateNotTrustedError: another one, or none was accepted yet.
    """
    if shown and shown == trusted:
        return
    try:
        x509.load_der_x509_certificate(shown)
    except ValueError as exc:
        raise EndpointMissingError("The server shows no readable certificate.") from exc
    what = "shows another certificate than the accepted one" if trusted else "is not trusted yet"
    raise CertificateNotTrustedError(
        f"The server {what}. Compare the fingerprint with the server's own and accept it: {fingerprint_of(shown)}", certificate=shown
    )


async def _log_in(client: PlantClient, target: OpcUaTarget, identity: Identity) -> None:
    if target.authentication == "password":
        client.set_user(target.username)
        client.set_password(target.password)
    elif target.authentication == "certificate":
        client.user_certificate = x509.load_der_x509_certificate(identity.certificate)
        await client.load_private_key(identity.private_key, extension="pem")  # type: ignore[arg-type]  # takes bytes as well


def _offer(endpoint: ua.EndpointDescription) -> Offer:
    policy = str(endpoint.SecurityPolicyUri or "").rpartition("#")[2]
    security = NO_SECURITY if policy in {"None", ""} else policy
    tokens = sorted({token.TokenType.name for token in endpoint.UserIdentityTokens or []})
    return Offer(security[:60], endpoint.SecurityMode.name.rstrip("_"), tuple(tokens), first_certificate(endpoint.ServerCertificate))


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    """Turn whatever the library and the network raise into an `OpcUaError` that says what to do."""
    try:
        yield
    except (OpcUaError, OutsidePlantError):
        raise
    except Exception as exc:  # a foreign server may bring the library to raise anything
        raise explain(exc, url) from exc


def explain(error: Exception, url: str) -> OpcUaError:
    """Say what a failure means for somebody who set up the server."""
    if isinstance(error, OSError):
        return UnreachableError(explain_connection_error(error, url))
    name = type(error).__name__
    hints = {
        "BadUserAccessDenied": "The server refused the user name or the password.",
        "BadIdentityTokenRejected": "The server refused this way to log in; choose another authentication.",
        "BadIdentityTokenInvalid": "The server refused this way to log in; choose another authentication.",
        "BadCertificateUntrusted": "The server does not trust the platform's certificate; accept it there.",
        "BadSecurityChecksFailed": "The server refused the platform's certificate; accept it there.",
        "BadCertificateUriInvalid": "The server refused the platform's certificate for its application URI.",
        "BadTooManySessions": "The server has as many sessions as it takes.",
        "BadTcpEndpointUrlInvalid": "The server does not know this path; check the end of the address.",
    }
    return OpcUaError(hints.get(name, f"The server answered: {name}: {str(error)[:200]}"))
