"""How root starts PostgreSQL, which refuses to run as root.

Best inside a user namespace that maps root to nobody: it works below a 0700 home and gives no rights away. Where
namespaces are forbidden (a chroot, many containers) as another user; and where that user may not enter the folder, as
another user with the one capability that opens folders.
"""

import asyncio
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from iiot_site.supervisor.commands import run_command
from iiot_site.supervisor.errors import StepFailedError, SupervisorError

_NOBODY = 65534


@dataclass(frozen=True)
class Way:
    """Words to put before a command, and the user id (seen from outside) that then owns the files."""

    prefix: tuple[str, ...] = ()
    owner: int = 0

    def give(self, path: Path) -> None:
        """Hand a path with all below it to the owner, unless it is theirs."""
        if self.prefix and path.exists() and path.stat().st_uid != self.owner:
            for item in (path, *path.rglob("*")):
                os.chown(item, self.owner, -1, follow_symlinks=False)


async def find_way(*, folder: Path, program: Path) -> Way:
    """Return the first way in which the program runs and may enter the folder.

    Raises: SupervisorError where there is none.
    """
    if os.geteuid() != 0:
        return Way()
    users = await asyncio.to_thread(pwd.getpwall)
    uid = next((user.pw_uid for user in users if user.pw_name == "postgres"), _NOBODY)
    namespace = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--")
    other_user = ("setpriv", f"--reuid={uid}", f"--regid={_NOBODY}", "--clear-groups")
    enters_anywhere = ("--securebits", "+no_setuid_fixup", "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override")
    ways = (Way(namespace, 0), Way((*other_user, "--"), uid), Way((*other_user, *enters_anywhere, "--"), uid))
    for way in ways:
        try:
            await run_command(*way.prefix, str(program), "--version", timeout_seconds=5)
            await run_command(*way.prefix, "test", "-x", str(folder), timeout_seconds=5)
        except (StepFailedError, OSError):
            continue
        return way
    raise SupervisorError(
        f"PostgreSQL refuses to run as root, user namespaces are forbidden here, and no other user may enter {folder}. "
        f"Run as an ordinary user, set IIOT_DATA_DIR to a folder that others may enter (such as /srv/iiot), or set DATABASE_URL."
    )
