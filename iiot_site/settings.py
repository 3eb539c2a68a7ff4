"""Settings, read top to bottom by theme. Own settings start with IIOT_ and end with their unit."""

from datetime import timedelta
from typing import Any

from csp.constants import NONCE, NONE, SELF
from django.templatetags.static import static
from django.urls import reverse_lazy

from iiot_site import environment
from iiot_site.environment import BASE_DIR, DATA_DIR, env, read_secret_key, server_setting
from iiot_site.lib.plant_network import DEFAULT_NETWORKS

# --- Basics
DEBUG = env.bool("IIOT_DEBUG", default=False)
SECRET_KEY = read_secret_key() or "unset-" + "0" * 44  # `iiot_site.checks` refuses to serve with it
ALLOWED_HOSTS = env.list("IIOT_ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("IIOT_CSRF_TRUSTED_ORIGINS", default=[])
IIOT_DATA_DIR = DATA_DIR
IIOT_HTTP_PORT = env.int("IIOT_HTTP_PORT", default=8000)
# Listeners, workers and beat do without the admin, which takes 7 MiB of each. The supervisor names its processes.
IIOT_SERVES_ADMIN = env.str("IIOT_PROCESS", default="web") == "web"
ROOT_URLCONF = "iiot_site.urls"
ASGI_APPLICATION = "iiot_site.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
APPEND_SLASH = False

# --- Apps: what is shared by all tenants, and what each has in a schema of its own
SHARED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "django_tenants",
    "tenants",
    "protocols",
    "iiot_site",
    "iiot_site.apps.PlatformAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django_celery_beat",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "channels",
    "django_htmx",
    "csp",
]
TENANT_APPS = ["devices", "connections", "telemetry", "alerting", "rules"]
INSTALLED_APPS = [*SHARED_APPS, *TENANT_APPS]
TENANT_MODEL = "tenants.Tenant"
TENANT_DOMAIN_MODEL = "tenants.Domain"

MIDDLEWARE = [
    "iiot_site.web.health_middleware.HealthMiddleware",
    "iiot_site.web.metrics_middleware.MetricsMiddleware",
    "protocols.amqp.access_middleware.BrokerAccessMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "tenants.middleware.TenantMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "iiot_site.web.hostile_middleware.HostileInputMiddleware",
    "iiot_site.web.reader_zone_middleware.ReaderZoneMiddleware",
    "tenants.middleware.MembershipMiddleware",
]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "iiot_site.context_processors.shell",
            ],
        },
    },
]

# --- Database: one PostgreSQL, a schema per tenant
# The web process has a pool: it answers in any number of threads, each of whose connections would stay open after a request.
# Other processes have one connection per thread; pools do not survive forks.
IIOT_DB_POOL_SIZE = env.int("IIOT_DB_POOL_SIZE", default=20)
# One tenant has half of it at most, and of that so many for what takes long (iiot_site.lib.turns).
IIOT_TENANT_LONG_REQUESTS = env.int("IIOT_TENANT_LONG_REQUESTS", default=3)
# A pool that cannot connect waits longer and longer by itself; one that gives up tries again with the next request. Whoever
# waits meanwhile waits for the whole time-out, so it is shorter than the ten seconds within which all has to go on again.
_POOL_OPTIONS = {"min_size": 1, "max_size": IIOT_DB_POOL_SIZE, "timeout": 6, "reconnect_timeout": 1}
_DATABASE = env.db_url_config(server_setting("DATABASE_URL", "postgres://iiot@127.0.0.1:5432/iiot"))
_DATABASE_OPTIONS: dict[str, Any] = _DATABASE.get("OPTIONS", {})
# What ingest repeats for each tenant is planned once per connection, for so many statements; each keeps some 0.3 MB in PostgreSQL.
IIOT_PREPARED_STATEMENTS = env.int("IIOT_PREPARED_STATEMENTS", default=40 if environment.is_web_process else 400)
# Nobody waits longer for an answer, and one who asks for too much must not keep the pool from the others.
IIOT_QUERY_SECONDS = env.float("IIOT_QUERY_SECONDS", default=10.0)
_SESSION = [_DATABASE_OPTIONS.get("options", "")]
if IIOT_PREPARED_STATEMENTS:
    # None of them depends on its parameters so much that a plan of its own each time would be worth making.
    _SESSION.append("-c plan_cache_mode=force_generic_plan")
if environment.is_web_process:
    _DATABASE_OPTIONS = {**_DATABASE_OPTIONS, "pool": _POOL_OPTIONS}
    if IIOT_QUERY_SECONDS:
        # Who waits for a lock holds a connection meanwhile, and they are for all tenants.
        _SESSION.append(f"-c statement_timeout={IIOT_QUERY_SECONDS * 1000:.0f} -c lock_timeout={min(IIOT_QUERY_SECONDS, 2.0) * 1000:.0f}")
_DATABASE_OPTIONS = {**_DATABASE_OPTIONS, "options": " ".join(filter(None, _SESSION))}
DATABASES = {
    "default": {
        **_DATABASE,
        "ENGINE": "django_tenants.postgresql_backend",
        "CONN_MAX_AGE": 0 if environment.is_web_process else 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": _DATABASE_OPTIONS,
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
TENANT_LIMIT_SET_CALLS = True

# Live sockets of one person, and of one tenant, in each web process.
IIOT_LIVE_SOCKETS_PER_PERSON = env.int("IIOT_LIVE_SOCKETS_PER_PERSON", default=20)
IIOT_LIVE_SOCKETS_PER_TENANT = env.int("IIOT_LIVE_SOCKETS_PER_TENANT", default=300)

# --- Redis: cache 0, channels 1, Celery broker 2, results 3
REDIS_URL = server_setting("REDIS_URL", "redis://127.0.0.1:6379")
_GUARDED_CACHE = {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "LOCATION": f"{REDIS_URL}/0",
    "OPTIONS": {"pool_class": "iiot_site.lib.redis_guard.GuardedPool"},
}
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        **_GUARDED_CACHE,
        "KEY_FUNCTION": "django_tenants.cache.make_key",
        "REVERSE_KEY_FUNCTION": "django_tenants.cache.reverse_key",
    },
    "shared": {**_GUARDED_CACHE, "KEY_PREFIX": "shared"},
}
IIOT_SHARED_LOOKUPS = True  # off in tests, whose databases change under the same names
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [f"{REDIS_URL}/1"], "prefix": "iiot"},
    }
}

# --- Celery: JSON only; the schema travels in a header
CELERY_BROKER_URL = f"{REDIS_URL}/2"
CELERY_RESULT_BACKEND = f"{REDIS_URL}/3"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 4
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"rules.*": {"queue": "rules"}, "alerting.*": {"queue": "alerting"}}
CELERY_TASK_TENANT_CACHE_SECONDS = 30
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A sender gives up soon when Redis is away or hangs (kombu's own pauses add up to 6 s): requests and listeners must not hang
# on it. `iiot_site.celery` lets workers wait longer.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_connect_timeout": 1,
    "socket_timeout": 1,
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
}
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# Ticks only; each task hands on to one task per tenant. A tick that waited longer than its period is dropped.
CELERY_BEAT_SCHEDULE = {
    "reopen-still-firing": {"task": "alerting.tasks.reopen_still_firing_task", "schedule": 30.0, "options": {"expires": 30}},
    "sweep-rules": {"task": "rules.tasks.sweep_rules_task", "schedule": 30.0, "options": {"expires": 30}},
    "expire-commands": {"task": "devices.tasks.expire_commands_task", "schedule": 5.0, "options": {"expires": 5}},
    "watch-devices": {"task": "protocols.tasks.watch_devices_task", "schedule": 5.0, "options": {"expires": 5}},
    "create-partitions": {"task": "telemetry.tasks.create_partitions_task", "schedule": 3600.0, "options": {"expires": 3600}},
    "roll-up": {"task": "telemetry.tasks.roll_up_task", "schedule": 30.0, "options": {"expires": 30}},
    "warn-of-expiry": {"task": "protocols.tasks.warn_of_expiry_task", "schedule": 600.0, "options": {"expires": 600}},
    "put-back-held": {"task": "protocols.tasks.put_back_held_task", "schedule": 5.0, "options": {"expires": 5}},
    "trim-rejections": {"task": "telemetry.tasks.trim_rejections_task", "schedule": 60.0, "options": {"expires": 60}},
    "thin-unrouted": {"task": "protocols.tasks.thin_unrouted_task", "schedule": 3600.0, "options": {"expires": 3600}},
    "thin-ledger": {"task": "telemetry.tasks.thin_ledger_task", "schedule": 3600.0, "options": {"expires": 3600}},
}

# --- Device protocols
MQTT_URL = server_setting("MQTT_URL")
IIOT_MQTT_VERSION = env.str("IIOT_MQTT_VERSION", default="3.1.1")
IIOT_MQTT_SHARED_GROUP = env.str("IIOT_MQTT_SHARED_GROUP", default="")
# The TLS door before our own broker; without a certificate it stays shut, without a client CA devices show none.
IIOT_MQTT_TLS_CERT = env.str("IIOT_MQTT_TLS_CERT", default="")
IIOT_MQTT_TLS_KEY = env.str("IIOT_MQTT_TLS_KEY", default="")
IIOT_MQTT_TLS_CLIENT_CA = env.str("IIOT_MQTT_TLS_CLIENT_CA", default="")
IIOT_MQTT_TLS_BIND = env.str("IIOT_MQTT_TLS_BIND", default="127.0.0.1")
IIOT_MQTT_TLS_PORT = env.int("IIOT_MQTT_TLS_PORT", default=8883)
IIOT_MQTT_PUBLIC_HOST = server_setting("MQTT_PUBLIC_HOST", "localhost")
IIOT_MQTT_PUBLIC_PORT = int(server_setting("MQTT_PUBLIC_PORT", "1883"))
AMQP_URL = server_setting("AMQP_URL")
IIOT_AMQP_PUBLIC_HOST = server_setting("AMQP_PUBLIC_HOST", "localhost")
IIOT_AMQP_PUBLIC_PORT = int(server_setting("AMQP_PUBLIC_PORT", "5672"))
IIOT_COAP_BIND = env.str("IIOT_COAP_BIND", default="127.0.0.1")
IIOT_COAP_PORT = int(server_setting("IIOT_COAP_PORT", "5683"))
IIOT_COAP_PUBLIC_HOST = server_setting("COAP_PUBLIC_HOST", "127.0.0.1")
IIOT_COAP_PUBLIC_PORT = int(server_setting("COAP_PUBLIC_PORT", "5683"))
IIOT_BROKER_SECRET = environment.read_secret("IIOT_BROKER_SECRET", "broker_access")
IIOT_PLANT_NETWORKS = env.list("IIOT_PLANT_NETWORKS", default=list(DEFAULT_NETWORKS))
# The demo's simulated machines stand on this host; 0: there are none. Nothing else here is open to tenants.
IIOT_DEMO_OPCUA_PORT = int(server_setting("IIOT_DEMO_OPCUA_PORT", "0"))
IIOT_DEMO_MODBUS_PORT = int(server_setting("IIOT_DEMO_MODBUS_PORT", "0"))
IIOT_PLANT_NETWORKS += [f"127.0.0.1:{port}" for port in (IIOT_DEMO_OPCUA_PORT, IIOT_DEMO_MODBUS_PORT) if port]
# Our own OPC UA server: port 0 keeps it shut.
IIOT_OPCUA_BIND = env.str("IIOT_OPCUA_BIND", default="127.0.0.1")
IIOT_OPCUA_PORT = int(server_setting("IIOT_OPCUA_PORT", "4840"))
IIOT_OPCUA_PUBLIC_HOST = server_setting("OPCUA_PUBLIC_HOST", "localhost")
IIOT_OPCUA_PUBLIC_PORT = int(server_setting("OPCUA_PUBLIC_PORT", str(IIOT_OPCUA_PORT)))
IIOT_OPCUA_MAX_CLIENTS = env.int("IIOT_OPCUA_MAX_CLIENTS", default=100)
IIOT_OPCUA_MAX_NODES = env.int("IIOT_OPCUA_MAX_NODES", default=20_000)
IIOT_OPCUA_ANONYMOUS_TENANT = env.str("IIOT_OPCUA_ANONYMOUS_TENANT", default="")
IIOT_OPCUA_MAX_SERVERS = env.int("IIOT_OPCUA_MAX_SERVERS", default=500)
IIOT_MODBUS_MAX_CONNECTIONS = env.int("IIOT_MODBUS_MAX_CONNECTIONS", default=2_000)
IIOT_MAX_MESSAGE_BYTES = env.int("IIOT_MAX_MESSAGE_BYTES", default=256 * 1024)
# What is kept, committed, of a tenant whose tables fail, until it can be stored; beyond it messages are refused.
IIOT_HELD_MAX_BYTES = env.int("IIOT_HELD_MAX_BYTES", default=1024**3)
IIOT_HELD_MAX_TOTAL_BYTES = env.int("IIOT_HELD_MAX_TOTAL_BYTES", default=8 * 1024**3)  # of all tenants together
IIOT_HELD_MAX_AGE_DAYS = env.int("IIOT_HELD_MAX_AGE_DAYS", default=7)
IIOT_DEVICE_MESSAGES_PER_SECOND = env.float("IIOT_DEVICE_MESSAGES_PER_SECOND", default=500.0)
IIOT_TENANT_MESSAGES_PER_SECOND = env.float("IIOT_TENANT_MESSAGES_PER_SECOND", default=0.0)
IIOT_LEDGER_MINUTES_KEPT_DAYS = env.int("IIOT_LEDGER_MINUTES_KEPT_DAYS", default=35)
IIOT_MAX_READING_AGE_DAYS = env.int("IIOT_MAX_READING_AGE_DAYS", default=30)
IIOT_MAX_READING_FUTURE_SECONDS = env.int("IIOT_MAX_READING_FUTURE_SECONDS", default=600)
IIOT_REJECTED_MESSAGES_KEPT_COUNT = env.int("IIOT_REJECTED_MESSAGES_KEPT_COUNT", default=10_000)
IIOT_CREDENTIAL_WARNING_DAYS = env.int("IIOT_CREDENTIAL_WARNING_DAYS", default=14)
IIOT_INCIDENT_REOPEN_SECONDS = env.int("IIOT_INCIDENT_REOPEN_SECONDS", default=300)

# --- People: login, sessions, passwords
AUTH_USER_MODEL = "tenants.User"
AUTHENTICATION_BACKENDS = ["tenants.backends.TenantPermissionBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
LOGIN_URL = "/login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login"
SESSION_COOKIE_AGE = int(timedelta(hours=8).total_seconds())
SESSION_SAVE_EVERY_REQUEST = False
SESSION_COOKIE_SAMESITE = "Lax"
IIOT_METRICS_TOKEN = env.str("IIOT_METRICS_TOKEN", default="")
IIOT_HTTPS = env.bool("IIOT_HTTPS", default=False)
IIOT_PROXY_COUNT = env.int("IIOT_PROXY_COUNT", default=0)
if IIOT_PROXY_COUNT:  # only a proxy that is there may say how the client came; without one anybody could
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = IIOT_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^health"]  # probes speak to the process itself
SECURE_HSTS_SECONDS = 31_536_000 if IIOT_HTTPS else 0
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # a plant's other host names are not ours to force to HTTPS
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
RATELIMIT_USE_CACHE = "shared"
RATELIMIT_FAIL_OPEN = True  # only limits that protect no account count in Redis (devices.request_limits)

# --- API
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "tenants.api.authentication.BearerAuthentication",
        "tenants.api.authentication.TenantSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["tenants.api.permissions.HasTenantPermission"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["iiot_site.lib.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "iiot_site.lib.pagination.Pages",
    "PAGE_SIZE": 50,
    "DEFAULT_FILTER_BACKENDS": [
        "iiot_site.lib.filters.ChoiceNamingFilterBackend",
        "rest_framework.filters.OrderingFilter",
        "rest_framework.filters.SearchFilter",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "iiot_site.lib.exception_handler.handle_api_exception",
    "NUM_PROXIES": IIOT_PROXY_COUNT,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ALGORITHM": "HS256",
    "AUDIENCE": "iiot-api",
    "ISSUER": "iiot-platform",
    "USER_ID_CLAIM": "sub",
    "CHECK_REVOKE_TOKEN": True,
    "UPDATE_LAST_LOGIN": False,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "IIoT platform",
    "DESCRIPTION": "Devices, telemetry, rules and incidents of one tenant. Log in at /auth/login or use an API key.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "PREPROCESSING_HOOKS": ["iiot_site.lib.openapi.strip_trailing_slashes"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "SeverityEnum": "alerting.models.Severity",
        "IncidentStateEnum": "alerting.models.Incident.State",
        "IncidentEventKindEnum": "alerting.models.IncidentEvent.Kind",
        "ProtocolEnum": "devices.models.Protocol",
        "SiteKindEnum": "devices.models.Site.Kind",
        "CredentialKindEnum": "devices.models.DeviceCredential.Kind",
        "TenantStatusEnum": "tenants.models.Tenant.Status",
    },
}

# --- Browser: our own files only, scripts by nonce
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": [],
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, NONCE],
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF, "data:"],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    },
}

# --- Static files: ours, and an allow-list of npm packages
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "iiot_site" / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "iiot_site.npm_finder.NpmFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True

# --- Words and time
LANGUAGE_CODE = "en"
USE_I18N = True
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = "iiot_site.formats"

# --- Admin
UNFOLD = {
    "SITE_TITLE": "IIoT platform",
    "SITE_HEADER": lambda request: request.tenant.name if request.tenant else "IIoT platform",
    "SITE_SUBHEADER": "Administration",
    "SITE_URL": reverse_lazy("home"),
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("img/icon.svg")}],
    "SCRIPTS": [lambda request: static("js/zone.js"), lambda request: static("js/admin.js")],
}

# --- Logs: one line each, no payloads, no secrets
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "without_trace": {"()": "iiot_site.lib.logs.WithoutTrace"},
        "without_paused_redis": {"()": "iiot_site.lib.redis_guard.WithoutPausedRedis"},
    },
    "formatters": {"line": {"()": "iiot_site.lib.logs.OneLineFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["without_paused_redis"]}},
    "root": {"handlers": ["stderr"], "level": env.str("IIOT_LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.security.DisallowedHost": {"filters": ["without_trace"]},  # any scanner's foreign Host header: the line says it all
        "asyncua": {"level": "CRITICAL"},  # tells every value at INFO, each failed connection with a trace at ERROR
        "pika": {"level": "CRITICAL"},  # tells ten lines of every connection; the listener says what matters
    },
}
