"""What the worker, beat and the listeners have in common, loaded once: the supervisor's fork server imports this module.

Nothing here may open a connection or start a thread: forks would share the one and lack the other.
"""

import importlib
import logging
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iiot_site.settings")
os.environ["CELERY_SKIP_CHECKS"] = "1"  # the supervisor runs them once, when all serve; they would load all pages
django.setup()

from iiot_site.celery import app  # noqa: E402 - models can be imported only once Django is set up
from iiot_site.checks import require_secret_key  # noqa: E402 - as above
from protocols.management.commands.listen import PROTOCOLS  # noqa: E402 - as above

_CELERY = ("celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "celery.worker.components", "celery.concurrency.prefork")
_BEAT = "django_celery_beat.schedulers"

require_secret_key()
for module in (*_CELERY, _BEAT):
    importlib.import_module(module)
app.loader.import_default_modules()
app.finalize()
for protocol in PROTOCOLS:
    try:
        importlib.import_module(f"protocols.{protocol}.factory")
    except ImportError:  # a listener that cannot be loaded fails by itself, and only itself
        logging.getLogger(__name__).exception("the %s listener cannot be loaded", protocol)
