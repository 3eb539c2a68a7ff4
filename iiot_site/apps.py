from importlib import import_module

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class IIoTSiteConfig(AppConfig):
    name = "iiot_site"
    verbose_name = "IIoT platform"
    default = True

    def ready(self) -> None:
        import_module("iiot_site.checks")


class PlatformAdminConfig(admin_apps.AdminConfig):
    """Makes our admin site the default one, so that apps register with plain `django.contrib.admin`."""

    default = False
    default_site = "iiot_site.admin_site.PlatformAdminSite"
