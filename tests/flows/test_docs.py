"""The commands in the documentation, run as they stand against a running platform."""

import os
import re
import shutil
import subprocess

import pytest

from tests.platform import FOREIGN_VARIABLES, ROOT, Platform
from tests.ports import free_port
from tests.waiting import WAIT_SECONDS, wait_until

SHELL_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shell_blocks(page: str, blocks: int | None) -> str:
    """Return the page's shell examples as one script, or the first `blocks` of them."""
    return "\n".join(SHELL_BLOCK.findall((ROOT / page).read_text())[:blocks])


def run_page(page: str, platform: Platform, *, blocks: int | None = None) -> str:
    """Run the page's examples (or the first `blocks`) from the top of the repository, as the page assumes; return what they print."""
    env = {name: value for name, value in os.environ.items() if name not in FOREIGN_VARIABLES}
    env |= {"IIOT_DATA_DIR": str(platform.folder)}
    script = f"set -euo pipefail\n{shell_blocks(page, blocks).replace('5020', str(free_port()))}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, timeout=3 * WAIT_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="needs mosquitto_pub (Debian: mosquitto-clients)")
def test_the_mqtt_page_stores_what_it_publishes(platform: Platform) -> None:
    before = platform.values("pump-7", "temperature").count(99)
    run_page("docs/protocols/mqtt.md", platform)
    wait_until(lambda: platform.values("pump-7", "temperature").count(99) == before + 1)


@pytest.mark.skipif(shutil.which("amqp-publish") is None, reason="needs amqp-publish (Debian: amqp-tools)")
def test_the_amqp_page_stores_what_it_publishes(platform: Platform) -> None:
    if "amqp" not in platform.demo:
        pytest.skip("RabbitMQ is not installed")
    wait_until(lambda: platform.is_ready("listen-amqp"))  # RabbitMQ starts last
    before = [platform.values("pump-7", "temperature").count(value) for value in (98, 97)]
    run_page("docs/protocols/amqp.md", platform)
    wait_until(lambda: [platform.values("pump-7", "temperature").count(value) for value in (98, 97)] == [n + 1 for n in before])


@pytest.mark.skipif(shutil.which("coap-client-notls") is None, reason="needs coap-client-notls (Debian: libcoap3-bin)")
def test_the_coap_page_stores_what_it_sends(platform: Platform) -> None:
    before = [platform.values("pump-7", "temperature").count(value) for value in (96, 95)]
    output = run_page("docs/protocols/coap.md", platform)
    assert "</t>" in output
    assert '"name":"set_speed","payload":{"rpm":1450}' in output
    assert [platform.values("pump-7", "temperature").count(value) for value in (96, 95)] == [before[0] + 1, before[1] + 100]


def test_the_http_page_stores_and_reads_back(platform: Platform) -> None:
    before = platform.values("pump-7", "temperature").count(21.5)
    output = run_page("docs/protocols/http.md", platform)
    assert '"stored":1' in output
    assert '"metric":"temperature"' in output
    assert platform.values("pump-7", "temperature").count(21.5) == before + 1


def test_the_queries_page_reads_and_downloads(platform: Platform) -> None:
    output = run_page("docs/queries.md", platform)
    assert '"results":[' in output
    assert '"errors"' not in output
    assert "device,metric,time,value,text,quality" in output
    assert "'metric': 'temperature'" in output


def test_the_commands_page_queues_a_command(platform: Platform) -> None:
    output = run_page("docs/commands.md", platform)
    assert '"state":"queued"' in output
    assert '{"commands":[{"id":"' in output


@pytest.mark.skipif(shutil.which("coap-client-notls") is None, reason="needs coap-client-notls (Debian: libcoap3-bin)")
def test_the_state_page_desires_and_reports(platform: Platform) -> None:
    output = run_page("docs/state.md", platform)
    assert '"delta":{"mode":"full","interval_s":10}' in output or '"delta":{"interval_s":10,"mode":"full"}' in output
    assert platform.query("SELECT reported FROM t_acme.devices_desiredstate WHERE reported <> '{}'") != []


def test_the_status_page_sets_a_timeout_and_shows_health_and_frames(platform: Platform) -> None:
    output = run_page("docs/devices-status.md", platform)
    for sign in ('"inactivity_timeout_seconds":120', '"findings":', '"is_collecting":'):
        assert sign in output, sign


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_devices_page_issues_rotates_registers_and_imports(platform: Platform) -> None:
    output = run_page("docs/devices.md", platform)
    for sign in ('"kind":"x509"', '"topic":"t/acme/pump-', '"dry_run":true', '"created":2'):
        assert sign in output


def test_the_modbus_page_polls_pymodbus_server(platform: Platform) -> None:
    output = run_page("docs/protocols/modbus.md", platform, blocks=1)  # the second wants an environment of its own
    assert '"state":"connected"' in output
    assert '"value":21.5' in output


def test_the_rules_page_fires_a_rule_and_takes_it_back(platform: Platform) -> None:
    output = run_page("docs/rules.md", platform)
    assert "Discharge pressure 12 bar is above 10 bar" in output


def test_the_incidents_page_takes_an_incident_through_its_life(platform: Platform) -> None:
    output = run_page("docs/incidents.md", platform)
    for sign in ('"state":"acknowledged"', "The bearing is dry.", "Resolved by itself"):
        assert sign in output, sign


def test_the_page_on_api_keys_reads_with_a_login_instead(platform: Platform) -> None:
    assert '"key":"pump-7"' in run_page("docs/api-keys.md", platform)


def test_the_opcua_page_names_a_server_and_its_nodes(platform: Platform) -> None:
    output = run_page("docs/protocols/opcua.md", platform, blocks=2)  # what follows wants node-opcua
    assert '"offered_fingerprint":""' in output
    assert '"command":"set_speed"' in output
