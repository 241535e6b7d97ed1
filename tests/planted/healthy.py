"""VMs that nothing is wrong with, of which no cause may be claimed. What an exit costs on an emulated host is not fair to
all that a healthy guest does; where that matters, it does less of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..hosts import qemu
from . import linux
from .linux import disk, guest
from .plants import MAIL, SHOP


@dataclass(frozen=True)
class Healthy:
    """A set-up. cpus: of the host, with one for kvmtop."""

    name: str
    begin: Callable[[], contextlib.AbstractContextManager[object]]
    cpus: int = 2


@contextlib.contextmanager
def boots() -> Iterator[None]:
    """It boots while it is watched, and then idles."""
    with qemu.guest(SHOP, 2, work="sleep 100000"):
        yield


NETWORK = "ip link set lo up; ip link set eth0 up; ip addr add 10.0.0.{}/24 dev eth0"


@contextlib.contextmanager
def ping_pong() -> Iterator[None]:
    """Two guests on a virtio network of their own; ten requests a second."""
    nets = [
        ("-netdev", f"socket,id=n,{way}=127.0.0.1:4711", "-device", f"virtio-net-pci,netdev=n,mac=52:54:00:00:00:0{n}")
        for n, way in enumerate(("listen", "connect"), 1)
    ]
    answers = f"{NETWORK.format(1)}; sleep 100000"
    asks = f"{NETWORK.format(2)}; ping -i 0.1 10.0.0.1 >/dev/null"
    with (
        guest(MAIL, answers, *nets[0], modules=linux.VIRTIO_NET),
        guest(SHOP, asks, *nets[1], modules=linux.VIRTIO_NET),
    ):
        yield


@contextlib.contextmanager
def virtio_disk() -> Iterator[None]:
    """It reads, and sleeps as long as a disk would need."""
    reads = "while :; do dd if=/dev/vda of=/dev/null bs=1M count=4 iflag=direct 2>/dev/null; sleep 0.1; done"
    with (
        disk() as image,
        guest(SHOP, reads, "-drive", f"file={image},format=raw,if=virtio", modules=linux.VIRTIO_DISK),
    ):
        yield


SET_UPS = [
    Healthy("idle", lambda: guest(SHOP, "sleep 100000", cpus=2)),
    Healthy("boot", boots),
    Healthy("compile-like load", lambda: guest(SHOP, "/program compile")),
    Healthy("network ping-pong", ping_pong),
    Healthy("disk load on virtio", virtio_disk),
    Healthy("4 vCPUs busy", lambda: guest(SHOP, "for i in 1 2 3; do /program spin & done; /program spin", cpus=4), 6),
]
