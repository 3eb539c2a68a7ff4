"""Listeners, for platform admins to look at."""

from django.contrib import admin

from protocols.models import HeldBacklog, ListenerState, OutageGap
from tenants.admin_base import ReadOnlyMixin, SharedModelAdmin


@admin.register(ListenerState)
class ListenerStateAdmin(ReadOnlyMixin, SharedModelAdmin):
    """They write it themselves, every few seconds."""

    list_filter = ("name", "state")

    list_display = (
        "name",
        "number",
        "state",
        "heartbeat_at",
        "restarts",
        "messages",
        "rejected",
        "messages_per_second",
        "bytes_per_second",
        "latency_p99_ms",
        "buffer_fill",
        "host",
        "clock_offset_seconds",
        "last_error",
    )


@admin.register(OutageGap)
class OutageGapAdmin(ReadOnlyMixin, SharedModelAdmin):
    """When the platform could not hear devices; it does not count as their silence."""

    list_display = ("started_at", "ended_at", "listener", "reason")
    list_filter = ("listener", "reason")


@admin.register(HeldBacklog)
class HeldBacklogAdmin(ReadOnlyMixin, SharedModelAdmin):
    """What waits for organisations whose tables fail, and why they do."""

    list_display = ("tenant", "messages", "bytes", "since", "last_error")
