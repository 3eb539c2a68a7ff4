"""What can go wrong with incidents on purpose."""

from iiot_site.lib.errors import ConflictError, IIoTError, NotFoundError


class IncidentNotFoundError(NotFoundError):
    """No such incident in this tenant."""


class IllegalTransitionError(ConflictError):
    """The incident's state does not allow the action."""

    code = "illegal_transition"


class SameIncidentOpenError(ConflictError):
    """A resolved incident cannot be reopened beside an open one about the same thing."""

    code = "same_incident_open"


class AssigneeInvalidError(IIoTError):
    """The assignee is no active member of the tenant."""

    code = "assignee_invalid"


class NoteInvalidError(IIoTError):
    """A note without text, or too long."""

    code = "note_invalid"
