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
        "messages_a_second",
        "bytes_a_second",
        "to_commit",
        "buffer",
        "host",
        "clock_offset",
        "last_error",
    )

    @admin.display(description="Messages/s", ordering="messages_per_second")
    def messages_a_second(self, state: ListenerState) -> str:
        return f"{state.messages_per_second:,.1f}"

    @admin.display(description="Bytes/s", ordering="bytes_per_second")
    def bytes_a_second(self, state: ListenerState) -> str:
        return f"{state.bytes_per_second:,.0f}"

    @admin.display(description="To commit, p99", ordering="latency_p99_ms")
    def to_commit(self, state: ListenerState) -> str:
        return "-" if state.latency_p99_ms is None else f"{state.latency_p99_ms:,.0f} ms"

    @admin.display(description="Buffer", ordering="buffer_fill")
    def buffer(self, state: ListenerState) -> str:
        return f"{state.buffer_percent} %"

    @admin.display(description="Clock offset", ordering="clock_offset_seconds")
    def clock_offset(self, state: ListenerState) -> str:
        return f"{state.clock_offset_seconds:.1f} s"


@admin.register(OutageGap)
class OutageGapAdmin(ReadOnlyMixin, SharedModelAdmin):
    """When the platform could not hear devices; it does not count as their silence."""

    list_display = ("started_at", "ended_at", "listener", "reason")
    list_filter = ("listener", "reason")


@admin.register(HeldBacklog)
class HeldBacklogAdmin(ReadOnlyMixin, SharedModelAdmin):
    """What waits for organisations whose tables fail, and why they do."""

    list_display = ("tenant", "messages", "bytes", "since", "last_error")
