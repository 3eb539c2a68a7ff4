from importlib import import_module

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin import apps as admin_apps


class IIoTSiteConfig(AppConfig):
    name = "iiot_site"
    verbose_name = "IIoT platform"
    default = True

    def ready(self) -> None:
        import_module("iiot_site.checks")


class PlatformAdminConfig(admin_apps.SimpleAdminConfig):
    """Makes our admin site the default one, so that apps register with plain `django.contrib.admin`."""

    default = False
    default_site = "iiot_site.admin_site.PlatformAdminSite"

    def ready(self) -> None:
        super().ready()
        if settings.IIOT_SERVES_ADMIN:
            import_module("django.contrib.admin").autodiscover()
