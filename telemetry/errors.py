"""What can go wrong with readings on purpose."""

from iiot_site.lib.errors import IIoTError


class ReadingOutsideWindowError(IIoTError):
    """A reading is older or newer than the policy allows; the caller should have rejected it."""

    code = "reading_outside_window"


class PartitionDroppedError(IIoTError):
    """A partition that this process knew of is gone: it is looked for again in the next transaction."""

    code = "partition_dropped"


class InvalidCursorError(IIoTError):
    """A page was asked for with something that is no cursor of ours."""

    code = "invalid_cursor"
