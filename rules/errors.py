"""What can go wrong with rules on purpose."""

from iiot_site.lib.errors import IIoTError, NotFoundError


class RuleNotFoundError(NotFoundError):
    """No such rule in this tenant."""


class RuleInvalidError(IIoTError):
    """A rule that could never do what it says; `errors` names the fields."""

    code = "rule_invalid"
