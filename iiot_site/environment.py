"""Where settings come from: the environment first, then what the supervisor wrote about the servers it started."""

import json
import os
from pathlib import Path

import environ

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
environ.Env.read_env(BASE_DIR / ".env")

DATA_DIR = Path(os.environ.get("IIOT_DATA_DIR") or BASE_DIR / "var").resolve()


def _read_servers_file() -> dict[str, str]:
    try:
        return {str(k): str(v) for k, v in json.loads((DATA_DIR / "run" / "servers.json").read_text()).items()}
    except FileNotFoundError:
        return {}


_SERVERS = _read_servers_file()

# Set by iiot_site.asgi before it loads the settings. Not a variable of the environment, or child processes would get it.
is_web_process = False


def server_setting(name: str, default: str = "") -> str:
    """Return the address of a server; `default` where neither the environment nor the supervisor names one."""
    return os.environ.get(name) or _SERVERS.get(name) or default


def read_secret(variable: str, file: str) -> str:
    """Return a secret of the environment, else the one that the supervisor made, else ""."""
    if secret := os.environ.get(variable):
        return secret
    try:
        return (DATA_DIR / "secrets" / file).read_text().strip()
    except FileNotFoundError:
        return ""


def read_secret_key() -> str:
    """Return the signing key, or "" where none exists yet; a system check refuses to serve without one."""
    return read_secret("IIOT_SECRET_KEY", "secret_key")
