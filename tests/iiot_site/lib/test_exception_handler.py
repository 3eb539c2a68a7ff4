"""What the API answers when the database does not."""

import os
import subprocess
import sys

import pytest
from django.db import OperationalError, connection, transaction

from iiot_site.lib.exception_handler import handle_api_exception

SHOW_LIMIT = """
from iiot_site import environment
environment.is_web_process = True
import django, psycopg
django.setup()
from django.db import connection
with psycopg.connect(**connection.get_connection_params()) as server:
    assert server.execute("SHOW statement_timeout").fetchone() == ("7s",)
"""


@pytest.mark.django_db
def test_a_query_that_takes_too_long_is_a_503_that_says_so() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 20")
        with pytest.raises(OperationalError) as caught, transaction.atomic():
            cursor.execute("SELECT pg_sleep(5)")
    answer = handle_api_exception(caught.value, {})
    assert answer is not None
    assert (answer.status_code, answer.data["code"]) == (503, "unavailable")
    assert "too long" in answer.data["detail"]


def test_a_database_that_is_away_is_a_503() -> None:
    answer = handle_api_exception(OperationalError("connection refused"), {})
    assert answer is not None
    assert answer.status_code == 503


def test_the_web_process_limits_each_query() -> None:
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "iiot_site.settings", "IIOT_QUERY_SECONDS": "7"}
    subprocess.run([sys.executable, "-c", SHOW_LIMIT], env=env, check=True, timeout=60)
