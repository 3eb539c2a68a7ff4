"""The only way to change OPC UA servers and their nodes. Listeners hear of each change when its transaction commits."""

from datetime import datetime

from django.db import transaction
from django.db.models import Case, F, Value, When

from connections.certificates import fingerprint_of
from connections.errors import CertificateChangedError, TooManyConnectionsError
from connections.opcua_models import OpcUaNode, OpcUaServer
from connections.opcua_types import OpcUaReport
from connections.services import CONNECTIONS_LOCK, notify_connections_changed
from iiot_site.lib.encryption import seal
from iiot_site.lib.schemas import lock_in_schema

PASSWORD_PURPOSE = "opcua password"  # noqa: S105  # what it is for, not one
MAX_SERVERS = 100
MAX_NODES_PER_SERVER = 5_000
# What people may change; the rest is how the server does, which the listener writes.
SERVER_FIELDS = (
    "name",
    "endpoint_url",
    "security",
    "authentication",
    "username",
    "sealed_password",
    "trusted_certificate",
    "offered_certificate",
    "publishing_interval",
    "sampling_interval",
    "is_enabled",
)
NODE_FIELDS = ("node_id", "device", "metric", "scale", "offset", "deadband", "command")


@transaction.atomic
def save_opcua_server(*, server: OpcUaServer, password: str | None = None) -> OpcUaServer:
    """Create a server, or write its `SERVER_FIELDS`. `password` None keeps the one there is.

    A new address forgets the password and the certificate: they were meant for the machine at the old one.

    Raises:
        ValidationError: a field is wrong, or the name is taken.
        TooManyConnectionsError: the tenant has as many servers as it may.
    """
    is_new = server._state.adding  # noqa: SLF001  # Django's documented way to ask
    if is_new:
        lock_in_schema(CONNECTIONS_LOCK)
        if OpcUaServer.objects.count() >= MAX_SERVERS:
            raise TooManyConnectionsError(f"A tenant may have {MAX_SERVERS} OPC UA servers. Delete one first.")
    elif OpcUaServer.objects.filter(pk=server.pk).exclude(endpoint_url=server.endpoint_url).exists():
        server.sealed_password, server.trusted_certificate, server.offered_certificate = "", b"", b""
    if password is not None:
        server.sealed_password = seal(password.encode(), purpose=PASSWORD_PURPOSE) if password else ""
    server.full_clean()
    server.save(update_fields=None if is_new else SERVER_FIELDS)
    notify_connections_changed()
    return server


@transaction.atomic
def delete_opcua_server(*, server: OpcUaServer) -> None:
    """Stop reading a server and forget its nodes; their readings stay."""
    server.delete()
    notify_connections_changed()


@transaction.atomic
def offer_certificate(*, server: OpcUaServer, certificate: bytes) -> None:
    """Note what the server showed, for somebody to accept; the accepted one itself is nothing new."""
    server.offered_certificate = b"" if certificate == bytes(server.trusted_certificate or b"") else certificate
    server.save(update_fields=["offered_certificate"])


@transaction.atomic
def trust_certificate(*, server: OpcUaServer, fingerprint: str) -> OpcUaServer:
    """Accept the certificate that the server showed, which has to be the one that somebody compared.

    Raises:
        CertificateChangedError: it shows none, or another one by now.
    """
    current = OpcUaServer.objects.select_for_update(no_key=True).get(pk=server.pk)
    offered = bytes(current.offered_certificate or b"")
    if not offered or fingerprint_of(offered) != fingerprint.strip().upper():
        raise CertificateChangedError("The server shows another certificate by now, or none. Ask it again and compare.")
    current.trusted_certificate, current.offered_certificate = offered, b""
    current.save(update_fields=["trusted_certificate", "offered_certificate"])
    notify_connections_changed()
    return current


@transaction.atomic
def save_opcua_node(*, node: OpcUaNode) -> OpcUaNode:
    """Map a node, or write its `NODE_FIELDS`.

    Raises:
        ValidationError: a field is wrong, or another node is that device's metric.
        TooManyConnectionsError: the server has as many nodes as it may.
    """
    is_new = node._state.adding  # noqa: SLF001  # Django's documented way to ask
    if is_new:
        lock_in_schema(CONNECTIONS_LOCK)
        if OpcUaNode.objects.filter(server=node.server_id).count() >= MAX_NODES_PER_SERVER:
            raise TooManyConnectionsError(f"A server may have {MAX_NODES_PER_SERVER} mapped nodes. Delete one first.")
    node.full_clean()
    node.save(update_fields=None if is_new else NODE_FIELDS)
    notify_connections_changed()
    return node


@transaction.atomic
def delete_opcua_node(*, node: OpcUaNode) -> None:
    """Read a node no longer; its readings stay."""
    node.delete()
    notify_connections_changed()


@transaction.atomic
def record_opcua_report(*, report: OpcUaReport, now: datetime) -> None:
    """Write how a server of the current tenant does; listeners hear nothing of it."""
    rows = OpcUaServer.objects.filter(id=report.server_id)
    rows.update(
        state_at=Case(When(state=report.state, then=F("state_at")), default=Value(now)),
        state=report.state,
        last_error=report.error.replace("\0", "")[:500],
        item_count=report.item_count,
        heard_at=report.heard_at,
    )
    if report.offered_certificate:
        rows.exclude(trusted_certificate=report.offered_certificate).update(offered_certificate=report.offered_certificate)
    nodes = OpcUaNode.objects.filter(server=report.server_id)
    nodes.exclude(problem="").exclude(id__in=report.problems).update(problem="")
    for mapping_id, problem in report.problems.items():
        text = problem.replace("\0", "")[:300]
        nodes.filter(id=mapping_id).exclude(problem=text).update(problem=text)
