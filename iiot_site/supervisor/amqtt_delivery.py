"""Keeps QoS 1 messages of amqtt until they are acknowledged, as MQTT 3.1.1 §4.4 asks.

amqtt 0.12 drops a message that is not acknowledged within five seconds, or before the reader disconnects: a listener that
was killed, or that waits for its database, would lose what it had been sent.
"""

import asyncio

from amqtt.errors import ProtocolHandlerError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.session import OUTGOING, ApplicationMessage


class KeepingHandler(BrokerProtocolHandler):  # type: ignore[misc]  # amqtt ships no types
    """Sends what is in flight again, marked DUP, when its reader is back."""

    async def _handle_qos1_message_flow(self, app_message: ApplicationMessage) -> None:
        if app_message.direction != OUTGOING:
            await super()._handle_qos1_message_flow(app_message)
            return
        packet_id = app_message.packet_id
        self.session.inflight_out[packet_id] = app_message
        acknowledged: asyncio.Future[PubackPacket] = asyncio.get_running_loop().create_future()
        self._puback_waiters[packet_id] = acknowledged
        packet = app_message.build_publish_packet(dup=app_message.publish_packet is not None)
        app_message.publish_packet = packet
        try:
            await self._send_packet(packet)
            app_message.puback_packet = await acknowledged
        except ProtocolHandlerError:
            return  # the reader left while it was being sent; kept for its return
        finally:
            self._puback_waiters.pop(packet_id, None)
        self.session.inflight_out.pop(packet_id, None)

    async def _retry_deliveries(self) -> None:
        """Send again what is in flight, without waiting for its acknowledgement before the reader is served."""
        self._retries = [asyncio.create_task(self._retry(message)) for message in list(self.session.inflight_out.values())]

    async def _retry(self, message: ApplicationMessage) -> None:
        try:
            await self._handle_message_flow(message)
        except (OSError, asyncio.CancelledError):
            return  # gone again; it stays in flight
