from datetime import timedelta

import pytest
from django.core.cache import caches
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from iiot_site.live_access import authenticate_socket
from tenants.login_limits import LoginLimit, count_attempt, give_back
from tenants.models import LoginFailures, Membership, Tenant, TokenFamily, User
from tenants.selectors import clear_tenant_cache
from tenants.services import ensure_membership, set_suspended
from tenants.tokens import end_login, issue_tokens
from tests.concurrency import run_at_once
from tests.conftest import PASSWORD, MakeApi, MakePerson

LOGIN = "/api/v1/auth/login"
ME = "/api/v1/auth/me"


@pytest.fixture
def client() -> APIClient:
    return APIClient()


def bearer(client: APIClient, token: str) -> APIClient:
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_a_login_answers_with_tokens_the_person_and_their_tenants(client: APIClient, acme_operator: User) -> None:
    answer = client.post(LOGIN, {"email": "Operator@Acme.example", "password": PASSWORD})
    assert answer.status_code == 200, answer.data
    assert set(answer.data) == {"access", "refresh", "user", "tenant", "tenants"}
    assert answer.data["tenant"]["slug"] == "acme"
    assert [tenant["slug"] for tenant in answer.data["tenants"]] == ["acme"]
    me = bearer(client, answer.data["access"]).get(ME).data
    assert me["roles"] == ["operator"]
    assert "incident:write" in me["permissions"]


def test_of_several_tenants_the_first_by_name_is_taken_unless_one_is_asked_for(
    client: APIClient, acme_operator: User, globex: Tenant
) -> None:
    ensure_membership(user=acme_operator, tenant=globex, role_names=["viewer"])
    credentials = {"email": acme_operator.email, "password": PASSWORD}
    assert client.post(LOGIN, credentials).data["tenant"]["slug"] == "acme"
    assert client.post(LOGIN, {**credentials, "tenant": "globex"}).data["tenant"]["slug"] == "globex"


def test_a_platform_admin_gets_a_token_without_tenant(client: APIClient, platform_admin: User) -> None:
    answer = client.post(LOGIN, {"email": platform_admin.email, "password": PASSWORD})
    assert answer.data["tenant"] is None
    assert answer.data["tenants"] == []


@pytest.mark.parametrize(
    "credentials",
    [
        {"email": "operator@acme.example", "password": "wrong"},
        {"email": "nobody@acme.example", "password": PASSWORD},
        {"email": "", "password": PASSWORD},
        {"email": "nobody\0@acme.example", "password": PASSWORD},
        {"email": "operator@acme.example", "password": "x" * 257},
    ],
)
def test_known_and_unknown_people_get_the_same_answer(client: APIClient, acme_operator: User, credentials: dict[str, str]) -> None:
    answer = client.post(LOGIN, credentials)
    if credentials["email"] and "\0" not in credentials["email"] and len(credentials["password"]) < 257:
        assert (answer.status_code, answer.data["code"]) == (401, "login_failed")
    else:
        code = "parse_error" if "\0" in credentials["email"] else "invalid"
        assert (answer.status_code, answer.data["code"]) == (400, code)


@pytest.mark.parametrize(("email", "password"), [("nobody\0@acme.example", PASSWORD), ("operator@acme.example", "x" * 100_000)])
def test_odd_credentials_on_the_login_page_are_just_wrong(acme_operator: User, email: str, password: str) -> None:
    answer = Client().post("/login", {"email": email, "password": password})
    assert answer.status_code == 401


def test_a_disabled_person_cannot_log_in(client: APIClient, acme_operator: User) -> None:
    User.objects.update(is_active=False)
    assert client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).status_code == 401


@pytest.mark.parametrize("slug", ["globex", "unknown", "ACME", "a b"])
def test_a_tenant_that_is_not_the_persons_looks_like_one_that_does_not_exist(client: APIClient, acme_operator: User, slug: str) -> None:
    answer = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD, "tenant": slug})
    assert (answer.status_code, answer.data["code"]) == (401, "login_failed")


def test_fields_that_do_not_exist_are_refused(client: APIClient, acme_operator: User) -> None:
    answer = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD, "is_platform_admin": True})
    assert answer.status_code == 400
    assert "is_platform_admin" in answer.data["errors"]


def test_the_sixth_attempt_after_five_failures_has_to_wait_also_with_the_right_password(client: APIClient, acme_operator: User) -> None:
    for _ in range(5):
        assert client.post(LOGIN, {"email": acme_operator.email, "password": "wrong"}).status_code == 401
    answer = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD})
    assert answer.status_code == 429
    assert set(answer.data) == {"code", "detail", "errors"}
    assert int(answer.headers["Retry-After"]) > 0
    elsewhere = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}, REMOTE_ADDR="10.0.0.9")
    assert elsewhere.status_code == 200


def test_a_forged_forwarded_for_does_not_buy_more_attempts(client: APIClient, acme_operator: User) -> None:
    statuses = [
        client.post(LOGIN, {"email": acme_operator.email, "password": "wrong"}, HTTP_X_FORWARDED_FOR=f"10.0.0.{n}").status_code
        for n in range(6)
    ]
    assert statuses == [401] * 5 + [429]


def test_people_can_log_in_while_redis_is_away(client: APIClient, acme_operator: User, settings: object) -> None:
    dead = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = {"default": dead, "shared": dead}  # type: ignore[attr-defined]
    assert client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).status_code == 200


def test_a_redis_that_was_emptied_has_forgotten_no_failure(client: APIClient, acme_operator: User) -> None:
    for _ in range(5):
        client.post(LOGIN, {"email": acme_operator.email, "password": "wrong"})
    caches["shared"].clear()
    assert client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).status_code == 429


def test_one_address_may_fail_thirty_times_and_what_is_refused_leaves_no_rows(client: APIClient, db: None) -> None:
    statuses = [client.post(LOGIN, {"email": f"{n}@acme.example", "password": "wrong"}).status_code for n in range(33)]
    assert statuses == [401] * 30 + [429] * 3
    assert LoginFailures.objects.count() == 61


def test_failures_are_forgotten_when_their_time_is_over(db: None) -> None:
    limit, now = LoginLimit("account", 2, timedelta(minutes=15), "somebody"), timezone.now()
    assert [count_attempt(limits=[limit], now=now).wait_seconds for _ in range(3)] == [0, 0, 900]
    later = count_attempt(limits=[limit], now=now + timedelta(minutes=15))
    assert later.wait_seconds == 0
    count_attempt(limits=[LoginLimit("account", 2, timedelta(minutes=15), "another")], now=now + timedelta(hours=1))
    assert LoginFailures.objects.count() == 1


def test_many_attempts_at_once_get_no_more_than_the_limit(acme: Tenant, transactional_db: None) -> None:
    limits = [LoginLimit(name, 5, timedelta(minutes=15), "somebody") for name in ("a", "b", "c")]
    now, waits = timezone.now(), []

    def attempt() -> None:
        counted = count_attempt(limits=limits, now=now)
        waits.append(counted.wait_seconds)
        if counted.wait_seconds == 0 and len(waits) % 2:
            give_back(counted)
            count_attempt(limits=limits[::-1], now=now)

    assert run_at_once(acme, [attempt] * 12) == [None] * 12
    assert {row.failures for row in LoginFailures.objects.all()} == {5}


def test_a_refresh_token_works_once_and_its_second_use_ends_the_login(client: APIClient, acme_operator: User) -> None:
    first = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).data["refresh"]
    second = client.post("/api/v1/auth/refresh", {"refresh": first})
    assert second.status_code == 200
    assert client.post("/api/v1/auth/refresh", {"refresh": first}).status_code == 401
    assert client.post("/api/v1/auth/refresh", {"refresh": second.data["refresh"]}).status_code == 401
    assert TokenFamily.objects.get().revoked_at is not None


def test_after_logging_out_the_refresh_token_is_worthless(client: APIClient, acme_operator: User) -> None:
    refresh = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).data["refresh"]
    assert client.post("/api/v1/auth/logout", {"refresh": refresh}).status_code == 204
    assert client.post("/api/v1/auth/refresh", {"refresh": refresh}).status_code == 401
    assert client.post("/api/v1/auth/logout", {"refresh": "nonsense"}).status_code == 204


def test_a_refresh_token_is_no_access_token_nor_the_other_way_round(client: APIClient, acme_operator: User) -> None:
    tokens = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).data
    assert client.post("/api/v1/auth/refresh", {"refresh": tokens["access"]}).status_code == 401
    assert bearer(client, tokens["refresh"]).get(ME).status_code == 401


@pytest.mark.parametrize(("claim", "value"), [("aud", "somebody-else"), ("iss", "somebody-else"), ("exp", 1), ("sub", "x"), ("tenant", 7)])
def test_a_token_with_a_wrong_claim_is_refused(acme_operator: User, acme: Tenant, claim: str, value: object) -> None:
    client = APIClient()
    token = AccessToken(issue_tokens(user=acme_operator, tenant=acme, now=timezone.now()).access)  # type: ignore[arg-type]
    token[claim] = value
    # encode() puts audience and issuer in by itself, so they are changed on the backend
    if claim in {"aud", "iss"}:
        backend = token.get_token_backend()
        attribute = {"aud": "audience", "iss": "issuer"}[claim]
        before = getattr(backend, attribute)
        setattr(backend, attribute, value)
        raw = str(token)
        setattr(backend, attribute, before)
    else:
        raw = str(token)
    assert bearer(client, raw).get(ME).status_code in {401, 404}


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Bearer iiot_key_x", "Bearer iiot_dev_a.b.c", "Bearer ü"]
)
def test_a_malformed_token_is_a_401_that_says_how_to_authenticate(client: APIClient, db: None, header: str) -> None:
    client.credentials(HTTP_AUTHORIZATION=header)
    answer = client.get(ME)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert set(answer.data) == {"code", "detail", "errors"}


def test_a_disabled_person_a_changed_password_and_an_ended_membership_count_at_once(
    make_person: MakePerson, acme: Tenant, api: MakeApi
) -> None:
    disabled, changed, removed = (make_person(f"{name}@acme.example", acme, "viewer") for name in ("a", "b", "c"))
    clients = [api(person, acme) for person in (disabled, changed, removed)]
    assert [client.get(ME).status_code for client in clients] == [200, 200, 200]
    User.objects.filter(pk=disabled.pk).update(is_active=False)
    changed.set_password("another long enough password")
    changed.save()
    Membership.objects.filter(user=removed).update(is_active=False)
    assert [client.get(ME).status_code for client in clients] == [401, 401, 404]


def test_rights_are_read_per_request_not_from_the_token(acme_viewer: User, acme: Tenant, api: MakeApi) -> None:
    client = api(acme_viewer, acme)
    assert client.post("/api/v1/sites", {"name": "Hall"}).status_code == 403
    ensure_membership(user=acme_viewer, tenant=acme, role_names=["developer"])
    assert client.post("/api/v1/sites", {"name": "Hall"}).status_code == 201


def test_switching_gives_a_token_for_another_of_ones_tenants(acme_viewer: User, acme: Tenant, globex: Tenant, api: MakeApi) -> None:
    client = api(acme_viewer, acme)
    assert client.post(f"/api/v1/tenants/{globex.pk}/switch").status_code == 404
    ensure_membership(user=acme_viewer, tenant=globex, role_names=["viewer"])
    answer = client.post(f"/api/v1/tenants/{globex.pk}/switch")
    assert answer.data["tenant"]["slug"] == "globex"
    assert bearer(client, answer.data["access"]).get(ME).data["tenant"]["slug"] == "globex"


def test_a_suspended_tenant_is_gone_for_its_members_too(acme_admin: User, acme: Tenant, api: MakeApi) -> None:
    client = api(acme_admin, acme)
    set_suspended(tenant=acme, is_suspended=True)
    assert client.get("/api/v1/sites").status_code == 404
    set_suspended(tenant=acme, is_suspended=False)
    assert client.get("/api/v1/sites").status_code == 200


def test_an_old_refresh_token_family_expires(client: APIClient, acme_operator: User) -> None:
    refresh = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).data["refresh"]
    TokenFamily.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert client.post("/api/v1/auth/refresh", {"refresh": refresh}).status_code == 401


def test_an_unknown_api_address_answers_in_the_apis_own_shape(db: None) -> None:
    answer = Client().get("/api/v1/nothing-here")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    clear_tenant_cache()


def test_logging_out_ends_the_access_token_too(client: APIClient, acme_operator: User) -> None:
    tokens = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).data
    other = bearer(APIClient(), client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).data["access"])
    mine = bearer(APIClient(), tokens["access"])
    assert mine.get(ME).status_code == 200
    client.post("/api/v1/auth/logout", {"refresh": tokens["refresh"]})
    assert (mine.get(ME).status_code, other.get(ME).status_code) == (401, 200)


def test_logging_out_ends_what_was_switched_to(acme_operator: User, globex: Tenant) -> None:
    ensure_membership(user=acme_operator, tenant=globex, role_names=["viewer"])
    first = APIClient().post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).data
    second = bearer(APIClient(), first["access"]).post(f"/api/v1/tenants/{globex.pk}/switch").data
    assert TokenFamily.objects.count() == 1
    third = APIClient().post("/api/v1/auth/refresh", {"refresh": second["refresh"]}).data
    APIClient().post("/api/v1/auth/logout", {"refresh": third["refresh"]})
    assert [bearer(APIClient(), tokens["access"]).get(ME).status_code for tokens in (first, second, third)] == [401, 401, 401]


def test_refreshing_does_not_put_off_the_end_of_the_login(client: APIClient, acme_operator: User) -> None:
    refresh = client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).data["refresh"]
    end = timezone.now().replace(microsecond=0) + timedelta(hours=1)
    TokenFamily.objects.update(expires_at=end)
    renewed = client.post("/api/v1/auth/refresh", {"refresh": refresh}).data["refresh"]
    assert TokenFamily.objects.get().expires_at == end
    assert RefreshToken(renewed)["exp"] == int(end.timestamp())


def test_the_live_sockets_next_check_refuses_a_token_after_logout(acme: Tenant, acme_operator: User) -> None:
    tokens = issue_tokens(user=acme_operator, tenant=acme, now=timezone.now())
    headers = {"host": "localhost", "authorization": f"Bearer {tokens.access}"}
    assert authenticate_socket(headers=headers, path_slug=None) is not None
    end_login(raw=tokens.refresh, now=timezone.now())
    assert authenticate_socket(headers=headers, path_slug=None) is None


def test_attempts_count_before_the_password_is_looked_at(client: APIClient, acme_operator: User, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []

    def look_while_others_try(*_: object, **__: object) -> None:
        looked_at.append(1)
        if len(looked_at) < 10:  # nested: this attempt is under way while the next one comes in
            APIClient().post(LOGIN, {"email": acme_operator.email, "password": "wrong"})

    monkeypatch.setattr("tenants.login.authenticate", look_while_others_try)
    client.post(LOGIN, {"email": acme_operator.email, "password": "wrong"})
    assert len(looked_at) == 5


def test_successful_logins_use_up_nothing(client: APIClient, acme_operator: User) -> None:
    statuses = {client.post(LOGIN, {"email": acme_operator.email, "password": PASSWORD}).status_code for _ in range(12)}
    assert statuses == {200}
    acme_operator.refresh_from_db()
    assert acme_operator.last_login is not None
