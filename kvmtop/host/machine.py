"""What of this machine decides how long an exit takes: its CPU, its kernel, and the kernel's mitigations."""

from __future__ import annotations

import contextlib
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from .. import bounded
from ..sanitize import clean

VULNERABILITIES = Path("/sys/devices/system/cpu/vulnerabilities")
CPUINFO, CMDLINE = Path("/proc/cpuinfo"), Path("/proc/cmdline")
ONLINE = Path("/sys/devices/system/cpu/online")
MODULES = Path("/sys/module")
MOST = 64  # vulnerabilities; Linux 6.18 knows 20; and parameters of a module, of which kvm_intel has 30


@dataclass(frozen=True)
class Machine:
    """In the kernel's words, cleaned."""

    cpu: str  # its model, "" where not known
    virtual: bool  # it is a VM itself
    kernel: str
    mitigations: str | None  # as the kernel's command line has it: "off", "auto,nosmt", …
    vulnerabilities: dict[str, str]  # by name: "Not affected", "Vulnerable…", "Mitigation: …"

    def __str__(self) -> str:
        """In a few words; of each vulnerability of this CPU the beginning of what is done about it."""
        what = f"{self.cpu or 'a CPU without a name'}{' (itself a VM)' if self.virtual else ''}, Linux {self.kernel}"
        found = [f"{name} {_short(text)}" for name, text in self.vulnerabilities.items() if text != "Not affected"]
        return f"{what}, mitigations={self.mitigations or 'default'} ({', '.join(found) or 'none needed'})"


def machine() -> Machine:
    """This one."""
    cpu = _text(CPUINFO)
    model = re.search(r"^model name\s*: (.*)$", cpu, re.MULTILINE)
    flags = re.search(r"^flags\s*: (.*)$", cpu, re.MULTILINE)
    options = re.findall(r"(?<!\S)mitigations=(\S+)", _text(CMDLINE))
    return Machine(
        cpu=clean(model[1]) if model else "",
        virtual=flags is not None and "hypervisor" in flags[1].split(),
        kernel=clean(platform.release()),
        mitigations=clean(options[-1]) if options else None,
        vulnerabilities={clean(path.name): clean(_text(path)) for path in sorted(VULNERABILITIES.glob("*"))[:MOST]},
    )


def facts() -> dict[str, str]:
    """For those who were not there: what decides how long an exit takes, by name, with KVM's modules' parameters."""
    here = machine()
    found = {
        "CPU": f"{here.cpu or 'without a name'}{' (itself a VM)' if here.virtual else ''}",
        "CPUs online": clean(_text(ONLINE)) or "not known",
        "mitigations": here.mitigations or "default",
        **{name: text for name, text in here.vulnerabilities.items() if text != "Not affected"},
    }
    for module in ("kvm", "kvm_amd", "kvm_intel"):
        for path in sorted((MODULES / module / "parameters").glob("*"))[:MOST]:
            found[f"{module}.{clean(path.name)}"] = clean(_text(path))
    return found


def _text(path: Path) -> str:
    """Its beginning; nothing where it cannot be read."""
    with contextlib.suppress(OSError):
        return bounded.head(path, 1 << 14).decode(errors="replace")
    return ""


def _short(text: str) -> str:
    """ "Mitigation: Retpolines; IBPB: conditional" → "Retpolines"."""
    return re.split(r"[;,]", text.removeprefix("Mitigation: "))[0]
