#!/usr/bin/env bash
# The whole suite: two halves side by side, each with servers of its own, because most tests wait more than they compute.
# What the first half does not name is in the second; they take about the same time.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

doors=(tests/protocols/{amqp,codecs,modbus,mqtt,opcua,sparkplug} tests/protocols/test_*.py)
log=var/test-doors.log
mkdir -p var

half() { # NAME, then what to give pytest
  local name=$1
  shift
  COVERAGE_FILE=.coverage.$name IIOT_PG_FAST=1 .venv/bin/python manage.py with_servers --data-dir "var/test-$name" -- \
    .venv/bin/python -m pytest --cov --cov-report= --cov-fail-under=0 "$@"
}

rm -f .coverage .coverage.*
trap 'kill 0' INT TERM
half doors "${doors[@]}" >"$log" 2>&1 &
# `make check` has run the architecture tests.
half rest tests "${doors[@]/#/--ignore=}" --ignore=tests/test_architecture.py
rest=$?
echo "--- The other half, which ran meanwhile:"
tail -n +1 -f "$log" --pid=$! &
wait %1
doors_status=$?
wait
.venv/bin/python -m coverage combine -q && .venv/bin/python -m coverage report
[ $? -eq 0 ] && [ $rest -eq 0 ] && [ $doors_status -eq 0 ]
