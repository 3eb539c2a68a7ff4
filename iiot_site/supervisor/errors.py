"""What can go wrong while starting: each message says what to do about it."""


class SupervisorError(Exception):
    """A start that cannot go on; the text is shown to the person at the terminal."""


class AlreadyRunningError(SupervisorError):
    """Another supervisor serves this data folder."""

    def __init__(self, *, folder: str, pid: int) -> None:
        super().__init__(f"Already running: process {pid} serves {folder}. Stop it with Ctrl-C there, or: kill {pid}")
        self.pid = pid


class ServerMissingError(SupervisorError):
    """A server is neither configured nor found on this machine."""


class StepFailedError(SupervisorError):
    """A one-shot step (migrations, static files, demo) or a server's start failed."""


class StoppedError(SupervisorError):
    """A signal asked to stop before everything was up."""
