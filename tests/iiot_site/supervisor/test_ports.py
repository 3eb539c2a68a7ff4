"""Ports stay the same across starts, and move when a foreign process sits on one."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from iiot_site.supervisor.errors import SupervisorError
from iiot_site.supervisor.ports import PortBook, is_free


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_is_remembered_across_starts(tmp_path: Path) -> None:
    first = PortBook(tmp_path / "ports.json").port_for("redis")
    assert PortBook(tmp_path / "ports.json").port_for("redis") == first
    assert 20_000 <= first < 30_000


def test_the_preferred_port_is_used_if_it_is_free(tmp_path: Path) -> None:
    assert PortBook(tmp_path / "a.json", is_free=lambda _: True).port_for("mqtt", preferred=1883) == 1883
    assert PortBook(tmp_path / "b.json", is_free=lambda port: port != 1883).port_for("mqtt", preferred=1883) != 1883


def test_a_remembered_port_wins_over_the_preferred_one(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json", is_free=lambda _: True)
    remembered = book.port_for("mqtt")
    assert book.port_for("mqtt", preferred=1883) == remembered


def test_another_port_is_picked_when_a_foreign_process_took_ours(tmp_path: Path, taken_port: int) -> None:
    (tmp_path / "ports.json").write_text(f'{{"redis": {taken_port}}}')
    moved = PortBook(tmp_path / "ports.json").port_for("redis")
    assert moved != taken_port
    assert PortBook(tmp_path / "ports.json").port_for("redis") == moved


def test_two_servers_never_share_a_port(tmp_path: Path) -> None:
    book = PortBook(tmp_path / "ports.json", is_free=lambda _: True)
    assert book.port_for("mqtt", preferred=1883) == 1883
    assert book.port_for("other", preferred=1883) != 1883


def test_it_says_so_when_no_port_is_free(tmp_path: Path) -> None:
    with pytest.raises(SupervisorError, match="No free port"):
        PortBook(tmp_path / "ports.json", is_free=lambda _: False).port_for("redis")


def test_it_sees_that_a_port_is_taken(taken_port: int) -> None:
    assert not is_free(taken_port)


def test_a_port_that_another_platform_has_chosen_is_left_to_it_before_it_listens(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"amqp": 29998}')
    script = "from iiot_site.supervisor.ports import claim; print(claim(29998), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        assert PortBook(tmp_path / "ports.json").port_for("amqp") != 29998
        other.communicate("\n")
    (tmp_path / "ports.json").write_text('{"amqp": 29998}')
    assert PortBook(tmp_path / "ports.json").port_for("amqp") == 29998
    assert PortBook(tmp_path / "ports.json").port_for("amqp") == 29998, "what this process has stays its own"
