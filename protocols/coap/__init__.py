"""CoAP (RFC 7252): the listener, a server of its own for devices that send datagrams."""
