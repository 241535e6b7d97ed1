"""What a VM is called: where the command lines of the launchers have its names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest

LONGEST = 4096  # characters of a value that are looked at

# An option of a VMM (@: any argument that begins so), and what one of its comma-separated parts looks like whose group
# is a name. The form furthest up gives the name by which the VM is shown, those below give further ones.
FORMS = [
    (frozenset(options.split()), re.compile(pattern, re.DOTALL))
    for options, pattern in (
        # QEMU (qemu-options.hx: guest= may be left out), so libvirt (qemuBuildNameCommandLine), GNOME Boxes (whose
        # title is in libvirt's XML only), Proxmox (PVE/QemuServer.pm), Incus and LXD (driver_qemu.go), Kata (qemu.go);
        # crosvm, kvmtool (builtin-run.c)
        ("-name --name", r"(?:guest=|(?!.*=))(.+)"),
        # Firecracker, also as its jailer starts it (src/jailer/src/env.rs)
        ("--id", r"(.+)"),
        # The Android emulator hands its arguments to its QEMU
        ("-avd", r"(.+)"),
        ("@", r"([\w.-]+)"),
        # Cloud Hypervisor knows no name. Under libvirt its socket is a descriptor, but not its events' pipe
        # (src/ch/ch_monitor.c); under Kata a directory has the sandbox's id (virtcontainers/clh.go, fc.go)
        ("--event-monitor", r"path=(?:.*/)?([^/]+)-event-monitor-fifo"),
        ("--api-socket --api-sock", r"(?:path=)?(?:/var)?/run/vc/(?:vm|firecracker)/([^/]+)/.+"),
        ("--api-socket", r"(?!fd=)(?:path=)?(?:.*/)?([^/]+?)(?:\.[^./]*)?"),
        # Multipass names its QEMU's directory only (ps in its issues 1964, 3612)
        ("-drive", r"file=.*/vault/instances/([^/]+)/.+"),
        # Proxmox: the VMID
        ("-id", r"(\d+)"),
        # Incus and LXD: a VM of another project than the default one has a directory PROJECT_NAME
        ("-pidfile", r".*/(?:incus|lxd)/(?:.*/)?([^/]+)/qemu\.pid"),
        # libvirt, and by it OpenStack, whose own names are in its database; Incus, LXD, Ganeti
        ("-uuid --uuid", r"([0-9A-Fa-f-]{36})"),
    )
]
# A launcher that shows in some argument by this, what its VMs' names look like, and what its users call them.
LAUNCHERS = [
    (mark, re.compile(pattern), names)
    for mark, pattern, names in (
        # kubectl: a name in a namespace (VMINamespaceKeyFunc joins them with _, which neither may have)
        ("/run/kubevirt", r"([^_]+)_([^_]+)", (r"\g<0>", r"\1/\2", r"\2")),
        # crictl pods: 13 digits of a sandbox's id
        ("", r"(?:sandbox-)?(([0-9a-f]{13})[0-9a-f]{51})", (r"\2", r"\1")),
        ("kata", r"sandbox-(.+)", (r"\1",)),
    )
]


def names_of(argv: Sequence[str]) -> list[str]:
    """All names that a VMM's arguments tell, the one to show first; none of them is clean or short."""
    found: list[tuple[int, str]] = []
    for option, value in _options(argv):
        parts = value[:LONGEST].replace(",,", "\0").split(",")  # QEMU's way of writing a comma
        fits = (
            (rank, match[1].replace("\0", ","))
            for rank, (options, form) in enumerate(FORMS)
            if option in options
            for part in parts
            if (match := form.fullmatch(part))
        )
        found += [first] if (first := next(fits, None)) else []
    names = [name for _, name in sorted(found, key=lambda item: item[0])]
    for mark, form, known_as in LAUNCHERS:
        if names and (match := form.fullmatch(names[0])) and any(mark in argument for argument in argv):
            names[:1] = [match.expand(name) for name in known_as]
    return list(dict.fromkeys(names))


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options with their values, written --option=value or as two arguments. A value is looked at as an option, too:
    which ones take none, only the VMM knows."""
    for argument, following in zip_longest(argv, argv[1:], fillvalue=""):
        option, equals, value = argument.partition("=")
        yield ("@", argument[1:]) if argument.startswith("@") else (option, value if equals else following)
