"""What `make up` says of where devices connect to."""

from iiot_site.supervisor.up import list_doors


def test_it_names_the_doors_that_are_open() -> None:
    environment = {
        "MQTT_PUBLIC_HOST": "localhost",
        "MQTT_PUBLIC_PORT": "21550",
        "COAP_PUBLIC_HOST": "127.0.0.1",
        "COAP_PUBLIC_PORT": "5683",
        "OPCUA_PUBLIC_HOST": "localhost",
        "OPCUA_PUBLIC_PORT": "0",
    }
    assert list_doors(environment) == ["MQTT localhost:21550", "CoAP 127.0.0.1:5683"]
    assert list_doors(environment | {"IIOT_MQTT_TLS_CERT": "x.pem"})[-1] == "MQTT over TLS localhost:8883"
