"""Makes this protocol's listener from the settings."""

from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError

from protocols.amqp.listener import AmqpListener
from protocols.amqp.logins import BrokerControl, ConnectionEnder
from protocols.broker_address import parse_amqp_url
from protocols.login_sync import LoginSync


def make_listener(ready_file: Path | None) -> AmqpListener:
    """Return the listener of the broker in AMQP_URL."""
    try:
        address = parse_amqp_url(settings.AMQP_URL)
    except ValueError as exc:
        raise CommandError(str(exc)) from exc
    folder = Path(settings.IIOT_DATA_DIR) / "rabbitmq"
    control = BrokerControl(folder / "control.json")
    is_ours = (folder / "control.json").exists()
    login_sync = LoginSync(ConnectionEnder(folder / "logins.json", control.end_connections)) if is_ours else None
    return AmqpListener(address, ready_file=ready_file, login_sync=login_sync)
