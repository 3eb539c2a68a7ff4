"""The web process: HTTP to Django, long polls before it, and WebSockets on `/ws/live` to the live consumer.

All with or without `/t/<slug>` before it.
"""

import asyncio
import os
import re

import django
from asgiref.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from iiot_site import environment
from iiot_site.checks import require_secret_key
from iiot_site.lib.garbage import collect_seldom

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")
environment.is_web_process = True
django.setup(set_prefix=False)
require_secret_key()  # a web server runs no system checks

from iiot_site.live_consumer import LiveConsumer  # noqa: E402 - models can be imported only once Django is set up
from iiot_site.long_poll import LongPoll  # noqa: E402 - as above
from iiot_site.web_handler import ThreadedHandler  # noqa: E402 - as above
from iiot_site.web_pulse import start_web_pulse  # noqa: E402 - as above
from protocols.web_door import web_door  # noqa: E402 - as above

_LIVE_PATH = re.compile(r"(?:/t/(?P<slug>[^/]+))?/ws/live\Z")
_http_application = LongPoll(ThreadedHandler())
_live_application = LiveConsumer.as_asgi()


async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Dispatch a connection; a WebSocket to any other path is refused as one to an unknown tenant is."""
    if scope["type"] == "http":
        await _http_application(scope, receive, send)
    elif scope["type"] == "websocket":
        match = _LIVE_PATH.match(scope["path"])
        if match is None:
            await receive()
            await send({"type": "websocket.close", "code": 4404, "reason": ""})
        else:
            await _live_application({**scope, "tenant_slug": match["slug"]}, receive, send)
    elif scope["type"] == "lifespan":
        await _live(receive, send)
    else:
        raise NotImplementedError(f"{scope['type']} is not served here")


async def _live(receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Begin with the server to say that this process serves and to hand on what it stores, and end with it."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            collect_seldom()
            start_web_pulse()
            web_door.open()
            await send({"type": "lifespan.startup.complete"})
        else:
            await asyncio.to_thread(web_door.close)
            await send({"type": "lifespan.shutdown.complete"})
            return
