"""The supervisor behind `make up`: finds or starts the servers, starts the platform's processes, watches and stops them.

Plain asyncio without Django models, so that it works before a database exists. Called by the management commands
`up`, `with_servers` and `doctor`; nothing else imports it.
"""
