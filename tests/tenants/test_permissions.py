from tenants.permissions import BUILT_IN_ROLES, PERMISSIONS, allows, allows_all, is_permission, permission_of_codename


def test_an_admin_may_do_everything() -> None:
    assert allows_all(BUILT_IN_ROLES["admin"], PERMISSIONS)


def test_a_viewer_reads_the_plant_but_neither_people_nor_secrets() -> None:
    viewer = BUILT_IN_ROLES["viewer"]
    assert allows(viewer, "device:read")
    assert not any(allows(viewer, f"{resource}:read") for resource in ("member", "api_key", "credential"))
    assert not any(allows(viewer, permission) for permission in PERMISSIONS if permission.endswith(":write"))


def test_an_operator_works_on_incidents_and_commands_devices_and_changes_nothing_else() -> None:
    written = {permission for permission in PERMISSIONS if permission.endswith(":write") and allows(BUILT_IN_ROLES["operator"], permission)}
    assert written == {"incident:write", "command:write", "state:write"}


def test_a_developer_configures_the_plant_but_not_its_people() -> None:
    developer = BUILT_IN_ROLES["developer"]
    assert allows_all(developer, ["device:write", "rule:write", "credential:write", "telemetry:write", "incident:write"])
    assert not allows(developer, "member:write")
    assert not allows(developer, "api_key:read")


def test_an_auditor_reads_all_and_writes_nothing() -> None:
    auditor = BUILT_IN_ROLES["auditor"]
    assert [permission for permission in PERMISSIONS if allows(auditor, permission)] == [p for p in PERMISSIONS if p.endswith(":read")]


def test_writing_does_not_imply_reading() -> None:
    assert not allows({"device:write"}, "device:read")


def test_an_unknown_permission_is_nobodys_and_no_name_for_a_role() -> None:
    assert not allows(BUILT_IN_ROLES["auditor"], "spaceship:write")
    assert not is_permission("spaceship:write")
    assert all(is_permission(name) for permissions in BUILT_IN_ROLES.values() for name in permissions)


def test_django_codenames_map_to_resources() -> None:
    assert permission_of_codename("view_devicetype") == "device_type:read"
    assert permission_of_codename("delete_rejectedmessage") == "telemetry:write"
    assert permission_of_codename("change_site") == "site:write"
