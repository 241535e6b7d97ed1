"""Emulated machines whose KVM is real: `python -m tests.hosts.amd -- COMMAND` runs COMMAND as root in one."""
