"""Answers RabbitMQ's questions about logins and rights: POST /internal/broker/<secret>/{user,vhost,resource,topic}.

Before hosts, TLS and tenants are looked at: the broker knows the process by its address only. Who does not know the secret
gets the same 404 as for any other path. Every fault is a refusal: the broker takes anything but "allow" for one.
Source: the README of rabbitmq_auth_backend_http.
"""

import hmac
from collections.abc import Callable, Mapping

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django_tenants.utils import tenant_context

from devices.services import authenticate_broker_login
from iiot_site.lib.errors import TenantBusyError
from iiot_site.lib.turns import turns
from protocols.amqp.rights import may_enter, may_use_resource, may_use_topic, split_username
from tenants.selectors import get_active_tenant

PREFIX = "/internal/broker/"


class BrokerAccessMiddleware:
    """Near the top of the list; lets all other paths through."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        secret, _, subject = request.path_info.removeprefix(PREFIX).partition("/")
        answer = ANSWERS.get(subject)
        if not is_brokers_secret(secret) or answer is None or request.method != "POST":
            return self.get_response(request)  # to the 404 that every unknown path gets
        try:
            is_allowed = answer(request.POST.dict())
        except TenantBusyError:
            is_allowed = False
        return HttpResponse("allow" if is_allowed else "deny", content_type="text/plain", headers={"Cache-Control": "no-store"})


def is_brokers_secret(secret: str) -> bool:
    """Compare in constant time; nothing fits while no secret is set."""
    expected = settings.IIOT_BROKER_SECRET
    return bool(expected) and hmac.compare_digest(secret.encode(), expected.encode())


def may_log_in(question: Mapping[str, str]) -> bool:
    """Tell whether user name and password are those of a device of an active tenant."""
    username = question.get("username", "")
    own = None if "\0" in username else split_username(username)
    tenant = get_active_tenant(own[0]) if own else None
    if tenant is None:
        return False
    with turns.turn(tenant.slug), tenant_context(tenant):
        return authenticate_broker_login(username=username, password=question.get("password", ""), now=timezone.now())


ANSWERS: dict[str, Callable[[Mapping[str, str]], bool]] = {
    "user": may_log_in,
    "vhost": may_enter,
    "resource": may_use_resource,
    "topic": may_use_topic,
}
