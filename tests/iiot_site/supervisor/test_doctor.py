"""The doctor: every finding has a verdict, every problem a line to run."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from iiot_site.supervisor import cli
from iiot_site.supervisor.data_folder import DataFolder
from iiot_site.supervisor.doctor import Finding, Verdict, examine, run_doctor

PROJECT = Path(__file__).resolve().parents[3]


def examine_here(folder: Path, **environment: str) -> dict[str, Finding]:
    findings = asyncio.run(examine(base=PROJECT, folder=DataFolder(folder), environment=environment))
    return {finding.subject: finding for finding in findings}


def test_it_looks_at_servers_packages_folder_port_and_clock(tmp_path: Path) -> None:
    findings = examine_here(tmp_path)
    assert {"Python", "Python packages", "Web assets", "postgres", "redis", "mqtt", "amqp", "Disk", "Clock", "Chromium"} <= set(findings)
    assert findings["postgres"].verdict == Verdict.OK
    assert all(finding.fix for finding in findings.values() if finding.verdict != Verdict.OK)


def test_a_server_that_does_not_answer_is_missing_unless_it_is_optional(tmp_path: Path) -> None:
    findings = examine_here(tmp_path, REDIS_URL="redis://127.0.0.1:1", AMQP_URL="amqp://127.0.0.1:1")
    assert (findings["redis"].verdict, findings["redis"].fix) == (Verdict.MISSING, "check REDIS_URL")
    assert findings["amqp"].verdict == Verdict.WARNING


def test_a_data_folder_of_another_postgresql_is_named(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("9\n")
    finding = examine_here(tmp_path)["postgres"]
    assert finding.verdict == Verdict.MISSING
    assert "made by PostgreSQL 9" in finding.detail


def test_a_missing_environment_is_told_with_the_line_that_makes_it(tmp_path: Path) -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "package-lock.json"):
        (tmp_path / name).write_text("")
    findings = asyncio.run(examine(base=tmp_path, folder=DataFolder(tmp_path / "var"), environment={}))
    by_subject = {finding.subject: finding for finding in findings}
    assert by_subject["Web assets"].verdict == Verdict.MISSING
    assert by_subject["Python packages"].fix == "scripts/setup.sh"


def test_a_taken_port_is_missing_and_open_secrets_are_a_warning(tmp_path: Path) -> None:
    DataFolder(tmp_path).create()
    (tmp_path / "secrets").chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        findings = examine_here(tmp_path, IIOT_HTTP_PORT=str(port))
    assert findings[f"Port {port}"].verdict == Verdict.MISSING
    assert findings["Data folder"].verdict == Verdict.WARNING


def test_it_exits_with_1_only_when_something_required_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"REDIS_URL": "redis://127.0.0.1:1"}
    assert asyncio.run(run_doctor(base=PROJECT, folder=DataFolder(tmp_path), environment=bad, as_json=False)) == 1
    assert "→ check REDIS_URL" in capsys.readouterr().out


def test_it_speaks_json_and_the_command_line_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["doctor", "--json"])
    assert {finding["subject"] for finding in json.loads(capsys.readouterr().out)} >= {"Python", "postgres"}
