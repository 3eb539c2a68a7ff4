"""The product's settings with what tests need otherwise: cheap password hashes, plain static files, own cache keys."""

import os

from iiot_site.lib import redis_guard
from iiot_site.settings import *  # noqa: F403  # the settings themselves

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
CACHES["default"]["KEY_PREFIX"] = CACHES["shared"]["KEY_PREFIX"] = f"test-{os.getpid()}"  # noqa: F405  # as above
redis_guard.TIMEOUT_SECONDS = 20.0  # a busy machine keeps Redis waiting, and what is tested is not what happens without it
CELERY_BROKER_URL = "memory://"  # no test leaves work to a worker of the next one; real processes have real settings
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True  # serve what is in the tree, not a collected folder
IIOT_SHARED_LOOKUPS = False  # each test has another database under the same names
IIOT_PLANT_NETWORKS = ["127.0.0.0/8"]  # the machines of tests run beside them
IIOT_OPCUA_PORT = 0  # tests that want our server start it on a port of its own
