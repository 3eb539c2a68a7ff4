"""Makes this protocol's listener from the settings."""

from pathlib import Path

from django.conf import settings

from protocols.coap.address import CoapAddress
from protocols.coap.listener import CoapListener


def make_listener(ready_file: Path | None) -> CoapListener:
    """Return the CoAP server at IIOT_COAP_BIND."""
    address = CoapAddress(settings.IIOT_COAP_BIND, settings.IIOT_COAP_PORT)
    return CoapListener(address, sequence_path=Path(settings.IIOT_DATA_DIR) / "oscore" / "sequence", ready_file=ready_file)
