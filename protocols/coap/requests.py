"""Reads a request's options, and refuses those that we do not understand but would have to (RFC 7252 §5.4.1)."""

from dataclasses import dataclass
from typing import Any

from aiocoap.numbers.optionnumbers import OptionNumber

from protocols.coap.blocks import Block
from protocols.coap.refusals import BAD_OPTION, PROXYING_NOT_SUPPORTED, Refused

_URI_HOST, _URI_PATH, _URI_PORT, _URI_QUERY = (
    int(OptionNumber.URI_HOST),
    int(OptionNumber.URI_PATH),
    int(OptionNumber.URI_PORT),
    int(OptionNumber.URI_QUERY),
)
_ACCEPT, _BLOCK1, _BLOCK2 = int(OptionNumber.ACCEPT), int(OptionNumber.BLOCK1), int(OptionNumber.BLOCK2)
_ONCE = {_URI_HOST, _URI_PORT, _ACCEPT, _BLOCK1, _BLOCK2}  # one more of these counts as an option that nobody understands
_UNDERSTOOD = {*_ONCE, _URI_PATH, _URI_QUERY}
_PROXY = {int(OptionNumber.PROXY_URI), int(OptionNumber.PROXY_SCHEME)}
_TOKEN_PARAMETERS = ("token=", "k=")


@dataclass(slots=True)
class Asked:
    """What a request asks for. `request_tag` keeps bodies apart that one sender sends at once (RFC 9175 §3)."""

    path: tuple[str, ...]
    query: tuple[str, ...]
    content_format: int | None = None
    accept: int | None = None
    observe: int | None = None
    block1: Block | None = None
    block2: Block | None = None
    etags: tuple[bytes, ...] = ()
    request_tag: bytes = b""

    @property
    def token(self) -> str:
        """The device's token in the query; "" without one."""
        for parameter in self.query:
            for name in _TOKEN_PARAMETERS:
                if parameter.startswith(name):
                    return parameter[len(name) :]
        return ""


def read_request(request: Any) -> Asked:
    """Return what the request asks for.

    Raises:
        Refused: 4.02 for a critical option that is unknown here or repeated, 5.05 for a request to a proxy.
    """
    options: dict[int, list[Any]] = {}
    for option in request.opt.option_list():
        options.setdefault(int(option.number), []).append(option.value)
    for number, values in options.items():
        if number in _PROXY:
            raise Refused("no_proxy", code=PROXYING_NOT_SUPPORTED)
        if number & 1 and (number not in _UNDERSTOOD or (number in _ONCE and len(values) > 1)):
            raise Refused("bad_option", f"Option {number} is not understood.", code=BAD_OPTION)

    def first(number: OptionNumber) -> Any:
        return options.get(int(number), (None,))[0]

    return Asked(
        path=tuple(options.get(_URI_PATH, ())),
        query=tuple(options.get(_URI_QUERY, ())),
        content_format=first(OptionNumber.CONTENT_FORMAT),
        accept=first(OptionNumber.ACCEPT),
        observe=first(OptionNumber.OBSERVE),
        block1=_block(first(OptionNumber.BLOCK1)),
        block2=_block(first(OptionNumber.BLOCK2)),
        etags=tuple(options.get(int(OptionNumber.ETAG), ())),
        request_tag=first(OptionNumber.REQUEST_TAG) or b"",
    )


def _block(value: Any) -> Block | None:
    return None if value is None else Block(value.block_number, bool(value.more), value.size_exponent)
