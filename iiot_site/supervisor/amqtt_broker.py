"""An MQTT broker in Python for machines without mosquitto: `python -m iiot_site.supervisor.amqtt_broker PORT FILE BIND`.

Speaks MQTT 3.1.1. Sessions and their queued messages live in memory: a restart of this broker loses them, which
mosquitto does not.
"""

import asyncio
import logging
import signal
import sys
from pathlib import Path

import amqtt.broker

from iiot_site.supervisor.amqtt_rights import Authenticated, LoginCheckingHandler, Logins, OwnTopics, RestrictedBroker


async def serve(*, port: int, password_file: Path, bind: str) -> None:
    """Run the broker until SIGTERM or SIGINT."""
    LoginCheckingHandler.logins = Logins(password_file)
    # amqtt takes no handler class as a setting; its broker module looks this name up for every connection.
    amqtt.broker.BrokerProtocolHandler = LoginCheckingHandler
    plugins: dict[str, dict[str, str]] = {f"{plugin.__module__}.{plugin.__name__}": {} for plugin in (Authenticated, OwnTopics)}
    config = {"listeners": {"default": {"type": "tcp", "bind": f"{bind}:{port}"}}, "plugins": plugins}
    broker = RestrictedBroker(config)
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    await broker.start()
    await stop.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(port=int(sys.argv[1]), password_file=Path(sys.argv[2]), bind=sys.argv[3]))
