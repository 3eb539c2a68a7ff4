"""`manage.py create_platform_admin`: the first person who may create tenants."""

import secrets
from argparse import ArgumentParser
from getpass import getpass
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email

from tenants.models import User


class Command(BaseCommand):
    help = "Creates a platform admin, or makes an existing person one. Without --ask it makes up a password and shows it once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--name", default="", help="full name")
        parser.add_argument("--ask", action="store_true", help="ask for a password instead of making one up")

    def handle(self, *args: Any, **options: Any) -> None:
        email = options["email"].strip().lower()
        try:
            validate_email(email)
        except ValidationError as exc:
            raise CommandError(f"{email} is not an e-mail address.") from exc
        existing = User.objects.filter(email=email)
        if existing.update(is_platform_admin=True, is_active=True):
            self.stdout.write(f"{email} is a platform admin now; the password stays as it is.")
            return
        user = User(email=email, full_name=options["name"], is_platform_admin=True)
        password = self._ask(user) if options["ask"] else secrets.token_urlsafe(15)
        user.set_password(password)
        user.save()
        self.stdout.write(f"{email} is a platform admin." + ("" if options["ask"] else f" Password, shown once: {password}"))

    def _ask(self, user: User) -> str:
        password = getpass("Password: ")
        if password != getpass("Again: "):
            raise CommandError("The two passwords differ.")
        try:
            validate_password(password, user)
        except ValidationError as exc:
            raise CommandError(" ".join(exc.messages)) from exc
        return password
