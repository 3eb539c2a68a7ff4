"""`manage.py demo`: create the demo tenants, or complete them; secrets are kept in `demo.json`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from iiot_site.demo.demo_file import DemoFile, demo_path, read_demo_file, shell_exports, write_demo_file
from iiot_site.demo.seeding import is_current, seed


class Command(BaseCommand):
    """Safe to run at every start."""

    help = "Create the demo tenants acme and globex with people, devices and rules."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--shell",
            action="store_true",
            help='Only print what the examples in docs/ need, as shell variables: eval "$(manage.py demo --shell)".',
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        path = demo_path()
        known = read_demo_file(path)
        if options["shell"]:
            if known is None:
                raise CommandError("There is no demo yet; run make up first.")
            self.stdout.write(shell_exports(known))
            return
        if is_current(known):
            return
        content = seed(known=known, now=timezone.now())
        write_demo_file(path, content)
        self._print(content)

    def _print(self, content: DemoFile) -> None:
        admin = content["platform_admin"]
        self.stdout.write(f"platform administrator: {admin['email']}  {admin['password']}")
        for slug, tenant in content["tenants"].items():
            login = tenant["users"]["admin"]
            self.stdout.write(f"{slug}: {login['email']}  {login['password']}")
        self.stdout.write(f"more people, and all devices with their secrets: {demo_path()}")
