"""Composition root: settings, urls, ASGI, Celery, the admin site, the supervisor and the operators' web shell."""

from iiot_site.celery import app as celery_app

__all__ = ["celery_app"]
