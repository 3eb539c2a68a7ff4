"""Pages of incidents, inside a tenant."""

from django.urls import path

from alerting import views

urlpatterns = [
    path("incidents", views.show_incidents, name="incidents"),
    path("incidents/count", views.show_incident_count, name="incident-count"),
    path("incidents/<uuid:incident_id>", views.show_incident, name="incident"),
    path("incidents/<uuid:incident_id>/notes", views.add_note, name="incident-note"),
    path("incidents/<uuid:incident_id>/<slug:action>", views.act_on_incident, name="incident-action"),
]
