"""What is wrong with a condition, said so that a person knows what to change."""

from iiot_site.lib.errors import IIoTError


class ConditionInvalidError(IIoTError):
    """A condition that cannot be evaluated; `field` names the part to correct ("" for the whole)."""

    code = "condition_invalid"

    def __init__(self, field: str, detail: str) -> None:
        self.field = field
        self.by_field = {field or "non_field_errors": [detail]}
        super().__init__(detail, errors={"condition": self.by_field})
