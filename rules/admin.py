"""Rules with the threshold as plain form fields; what rules know, to look at."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from rules.conditions.errors import ConditionInvalidError
from rules.conditions.threshold import MAX_METRIC_KEY_CHARACTERS, OPERATORS
from rules.errors import RuleInvalidError
from rules.models import Rule, RuleState
from rules.selectors import list_comparable_metrics
from rules.services import check_rule, delete_rule, save_rule, set_rule_enabled
from tenants.admin_base import ReadOnlyMixin, TenantModelAdmin

OFFERED_METRICS = 500
CONDITION_FIELDS = ("metric", "operator", "threshold", "clear_threshold")


class MetricKeyWidget(UnfoldAdminTextInputWidget):
    """A text field that offers the metrics that can be compared with a number, each with the types that have it."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        field = super().render(name, value, {**(attrs or {}), "list": "known-metrics", "autocomplete": "off"}, renderer)
        options = format_html_join("", '<option value="{}">{}</option>', list_comparable_metrics(limit=OFFERED_METRICS))
        return format_html('{}<datalist id="known-metrics">{}</datalist>', field, options)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]  # generic in the stubs only
    """Shows and reads the condition field by field."""

    metric = forms.CharField(
        max_length=MAX_METRIC_KEY_CHARACTERS,
        widget=MetricKeyWidget,
        help_text="Key of the metric. Begin to type: the known ones are offered.",
    )
    operator = forms.ChoiceField(choices=[(operator, operator) for operator in OPERATORS], widget=UnfoldAdminSelectWidget)
    threshold = forms.FloatField(widget=UnfoldAdminDecimalFieldWidget)
    clear_threshold = forms.FloatField(
        required=False, widget=UnfoldAdminDecimalFieldWidget, help_text="Once firing, clear only beyond this. Empty: at the threshold."
    )

    class Meta:
        model = Rule
        fields = ["name", "description", "is_enabled", "severity", "device", "device_type", "site"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(self.instance.condition, dict):
            self.initial.update({name: self.instance.condition.get(name) for name in CONDITION_FIELDS})

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # Django's own hook, missing from the stubs
        if self.errors:
            return
        values = {name: self.cleaned_data[name] for name in CONDITION_FIELDS if self.cleaned_data[name] is not None}
        self.instance.condition = {"type": "threshold", **values}
        try:
            check_rule(self.instance)
        except ConditionInvalidError as exc:
            self.add_error(exc.field if exc.field in CONDITION_FIELDS else None, exc.detail)
        except RuleInvalidError as exc:
            self.add_error(None, exc.detail)


@admin.register(Rule)
class RuleAdmin(TenantModelAdmin):
    form = RuleForm
    list_display = ["name", "severity", "condition_text", "device", "device_type", "site", "is_enabled", "version"]
    list_filter = ["is_enabled", "severity"]
    list_select_related = ["device", "device_type", "site"]
    search_fields = ["name", "description", "device__name", "device__key"]
    readonly_fields = ["version", "created_at", "updated_at"]
    autocomplete_fields = ["device", "device_type", "site"]
    actions = ["enable", "disable"]
    fieldsets = [
        (None, {"fields": ["name", "description", "severity", "is_enabled"]}),
        ("Condition", {"fields": list(CONDITION_FIELDS)}),
        (
            "Where it applies",
            {"fields": ["device", "device_type", "site"], "description": "Leave all empty for the whole tenant. Several must all match."},
        ),
        ("About", {"fields": ["version", "created_at", "updated_at"]}),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Rule | None = None) -> Any:
        """A rule that does not exist yet has no version and no dates."""
        shown = super().get_fieldsets(request, obj)
        return shown if obj else [part for part in shown if part[0] != "About"]

    @admin.display(description="Condition")
    def condition_text(self, rule: Rule) -> str:
        """Write the condition as one would say it."""
        fires = " ".join(str(rule.condition.get(name, "")) for name in ("metric", "operator", "threshold"))
        clears_at = rule.condition.get("clear_threshold")
        return fires if clears_at is None else f"{fires}, clears at {clears_at}"

    def save_model(self, request: HttpRequest, obj: Rule, form: Any, change: bool) -> None:
        save_rule(rule=obj, now=timezone.now())

    def delete_model(self, request: HttpRequest, obj: Rule) -> None:
        delete_rule(rule_id=obj.pk, now=timezone.now())

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> None:
        for rule_id in queryset.order_by("pk").values_list("pk", flat=True):
            delete_rule(rule_id=rule_id, now=timezone.now())

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[Rule]) -> None:
        self._set_enabled(request, queryset, is_enabled=True)

    @admin.action(description="Disable: ends what they have firing", permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[Rule]) -> None:
        self._set_enabled(request, queryset, is_enabled=False)

    def _set_enabled(self, request: HttpRequest, rules: QuerySet[Rule], *, is_enabled: bool) -> None:
        for rule in rules.order_by("pk"):
            try:
                set_rule_enabled(rule_id=rule.pk, is_enabled=is_enabled, now=timezone.now())
            except (ConditionInvalidError, RuleInvalidError) as exc:
                self.message_user(request, f"{rule.name}: {exc.detail}", "warning")


@admin.register(RuleState)
class RuleStateAdmin(ReadOnlyMixin, TenantModelAdmin):
    list_display = ["rule", "device", "metric", "verdict", "since", "last_reading_at", "last_value"]
    list_filter = ["is_firing"]
    list_select_related = ["rule", "device", "metric"]
    search_fields = ["rule__name", "device__name", "device__key"]

    @display(description="State", label={"firing": "danger", "clear": "success"}, ordering="is_firing")
    def verdict(self, state: RuleState) -> str:
        return "firing" if state.is_firing else "clear"

    @display(description="Last reading at", ordering="last_ts")
    def last_reading_at(self, state: RuleState) -> datetime:
        return state.last_ts

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell the pages of rules and devices that states go with them; on its own pages nothing is deleted."""
        match = request.resolver_match
        is_own_page = match is not None and (match.url_name or "").startswith("rules_rulestate_")
        return not is_own_page and bool(request.user.has_perm("rules.delete_rulestate"))
