"""Other packages' admin pages in our clothes: Celery beat's schedule for platform admins; groups are not used here."""

from typing import Any

import django_celery_beat.admin  # noqa: F401  # registers, before we replace
from django.contrib import admin
from django.contrib.auth import admin as auth_admin  # noqa: F401  # registers Group, before we take it out
from django.contrib.auth.models import Group
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from tenants.admin_base import SharedModelAdmin

admin.site.unregister(Group)


# Their page templates run inline scripts, which our Content-Security-Policy refuses.
_PLAIN_PAGES = {"change_form_template": None, "change_list_template": None}

for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    _theirs: Any = type(admin.site.get_model_admin(_model))
    admin.site.unregister(_model)
    admin.site.register(_model, type(f"Platform{_theirs.__name__}", (SharedModelAdmin, _theirs), _PLAIN_PAGES))
