"""Web assets come from an allow-list over node_modules."""

from pathlib import Path

from django.contrib.staticfiles import finders
from django.test import override_settings

from iiot_site.npm_finder import FILES, NpmFinder


def make_packages(root: Path, *names: str) -> None:
    for name in names:
        (root / "node_modules" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "node_modules" / name).write_text("x")


def test_only_listed_files_are_found(tmp_path: Path) -> None:
    make_packages(tmp_path, *FILES, "evil/index.js")
    with override_settings(BASE_DIR=tmp_path):
        finder = NpmFinder()
        assert [name for name, _ in finder.list([])] == list(FILES)
        assert finder.find(f"npm/{FILES[0]}") == str(tmp_path / "node_modules" / FILES[0])
        assert finder.find("npm/evil/index.js") == []
        assert finder.find(FILES[0]) == []
        assert finder.find(f"npm/{FILES[0]}", find_all=True) == [str(tmp_path / "node_modules" / FILES[0])]
        assert finder.check() == []


def test_missing_packages_are_a_warning_with_the_command(tmp_path: Path) -> None:
    with override_settings(BASE_DIR=tmp_path):
        [warning] = NpmFinder().check()
    assert warning.hint == "Run `npm ci --ignore-scripts`."


def test_every_source_map_that_is_named_is_listed() -> None:
    for name in (name for name in FILES if not name.endswith(".map")):
        path = finders.find(f"npm/{name}")
        assert path, f"{name}: run npm ci --ignore-scripts"
        tail = Path(path).read_text(errors="replace")[-300:]
        if "sourceMappingURL=" in tail:
            assert f"{name}.map" in FILES
