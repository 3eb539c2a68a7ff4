"""The web shell: login, tenant picker, overview and the device pages, which need more than one app. Pages only, no rules."""
