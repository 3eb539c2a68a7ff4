from django.apps import AppConfig


class IIoTSiteConfig(AppConfig):
    name = "iiot_site"
    verbose_name = "IIoT platform"
