"""Static files from npm packages: an allow-list over node_modules, served below `npm/`.

Only what pages load is listed, so collectstatic copies and compresses a dozen files instead of thousands. A style
sheet or script that names a source map needs that map in the list, or the manifest storage refuses it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.contrib.staticfiles.utils import matches_patterns
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.core.files.storage import FileSystemStorage

PREFIX = "npm"
FILES = (
    "@alpinejs/csp/dist/cdn.min.js",
    "@tabler/core/dist/css/tabler.min.css",
    "@tabler/core/dist/css/tabler.min.css.map",
    "@tabler/core/dist/js/tabler.min.js",
    "@tabler/core/dist/js/tabler.min.js.map",
    "echarts/dist/echarts.common.min.js",
    "uplot/dist/uPlot.iife.min.js",
    "uplot/dist/uPlot.min.css",
)


class NpmFinder(BaseFinder):
    """Finds the files in `FILES` as `npm/<package>/<path>`."""

    def __init__(self, app_names: object = None, *args: Any, **kwargs: Any) -> None:
        self.root: Path = settings.BASE_DIR / "node_modules"
        self.storage = FileSystemStorage(location=self.root)
        self.storage.prefix = PREFIX  # type: ignore[attr-defined]  # how Django's own finders name a storage's prefix

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        missing = [name for name in FILES if not (self.root / name).is_file()]
        if not missing:
            return []
        return [CheckWarning(f"Web assets are missing: {', '.join(missing)}.", hint="Run `npm ci --ignore-scripts`.", id="iiot_site.W010")]

    def find(self, path: str, find_all: bool = False) -> Any:
        """Return the absolute path of `path`, or [] where it is not ours (a list with `find_all`)."""
        name = path.removeprefix(f"{PREFIX}/")
        found = str(self.root / name) if name != path and name in FILES and (self.root / name).is_file() else None
        if find_all:
            return [found] if found else []
        return found or []

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, FileSystemStorage]]:
        for name in FILES:
            if not matches_patterns(name, ignore_patterns or []) and (self.root / name).is_file():
                yield name, self.storage
