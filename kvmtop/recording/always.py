"""Where this host's own recorder writes, if it has one: the directory of kvmtop-record.service."""

from pathlib import Path

ALWAYS = Path("/var/lib/kvmtop")
