"""Logging in and out with a browser."""

import itertools
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.test import Client

from tenants.models import User
from tests.conftest import PASSWORD, MakePerson

_addresses = itertools.count(1)


@pytest.fixture
def address() -> str:
    """A client address of its own per test: failures are counted by address."""
    return f"198.51.100.{next(_addresses)}"


@pytest.fixture
def person(make_person: MakePerson) -> User:
    return make_person("olga@acme.example")


def log_in(client: Client, address: str, email: str = "olga@acme.example", password: str = PASSWORD, target: str = "") -> object:
    return client.post("/login", {"email": email, "password": password, "next": target}, REMOTE_ADDR=address)


def test_a_login_leads_on_and_gets_a_new_session(person: User, client: Client, address: str) -> None:
    client.get("/login")
    session = client.session
    session["before"] = "login"
    session.save()
    answer = log_in(client, address, target="/t/acme/incidents?state=all")
    assert (answer.status_code, answer["Location"]) == (302, "/t/acme/incidents?state=all")  # type: ignore[attr-defined,index]
    assert client.session.session_key != session.session_key


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", ""])
def test_a_login_never_leaves_the_host(person: User, client: Client, address: str, target: str) -> None:
    answer = log_in(client, address, target=target)
    assert (answer.status_code, answer["Location"]) == (302, "/")  # type: ignore[attr-defined,index]


def test_every_failure_gets_the_same_answer(person: User, make_person: MakePerson, client: Client, address: str) -> None:
    make_person("left@acme.example", is_active=False)
    answers = {
        (answer.status_code, answer.context["error"])  # type: ignore[attr-defined]
        for answer in (
            log_in(client, address, password="wrong"),
            log_in(client, address, email="nobody@acme.example"),
            log_in(client, address, email="left@acme.example"),
        )
    }
    assert len(answers) == 1
    assert "_auth_user_id" not in client.session


def test_guessing_is_stopped_and_the_owner_gets_in_from_elsewhere(person: User, client: Client, address: str) -> None:
    for _ in range(5):
        log_in(client, address, password="wrong")
    stopped = log_in(client, address)
    assert stopped.status_code == 429  # type: ignore[attr-defined]
    assert "Too many attempts" in stopped.content.decode()  # type: ignore[attr-defined]
    assert log_in(Client(), f"{address[:-1]}{(int(address[-1]) + 5) % 10}9").status_code == 302  # type: ignore[attr-defined]


def test_a_form_without_its_token_is_refused_with_a_page(person: User, address: str) -> None:
    answer = Client(enforce_csrf_checks=True).post("/login", {"email": person.email, "password": PASSWORD}, REMOTE_ADDR=address)
    assert answer.status_code == 403
    assert "This form has expired" in answer.content.decode()


def test_logging_out_ends_the_session_and_takes_a_post(person: User, client: Client) -> None:
    client.force_login(person)
    assert client.get("/logout").status_code == 405
    assert client.get("/").status_code == 200
    assert client.post("/logout")["Location"] == "/login"
    assert client.get("/")["Location"] == "/login?next=/"


def test_who_is_logged_in_is_not_asked_again(person: User, client: Client) -> None:
    client.force_login(person)
    assert client.get("/login?next=/t/acme/")["Location"] == "/t/acme/"


def test_the_demo_is_mentioned_where_there_is_one(client: Client, settings: LazySettings, tmp_path: Path, db: None) -> None:
    settings.IIOT_DATA_DIR = tmp_path
    assert "demo.json" not in client.get("/login").content.decode()
    (tmp_path / "demo.json").touch()
    assert "demo.json" in client.get("/login").content.decode()
