"""A directory that looks like /proc."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class Proc:
    """Processes, and what their threads are asleep in. A thread's own directory is beside those of processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "sys").mkdir()
        (path / "uptime").write_text("1 1\n")

    def add(self, pid: int, comm: str = "cat", argv: Sequence[str | bytes] = (), vcpus: int = 0) -> None:
        directory = self.path / str(pid)
        (directory / "fd").mkdir(parents=True)
        (directory / "task" / str(pid)).mkdir(parents=True)
        (directory / "comm").write_text(comm + "\n")
        (directory / "status").write_text(f"Name:\t{comm}\nTgid:\t{pid}\nvoluntary_ctxt_switches:\t7\n")
        arguments = [a.encode() if isinstance(a, str) else a for a in argv]
        (directory / "cmdline").write_bytes(b"".join(a + b"\0" for a in arguments))
        targets = ["/dev/null", "anon_inode:kvm-vm", "anon_inode:[eventfd]"]
        for fd, target in enumerate([*targets, *(f"anon_inode:kvm-vcpu:{n}" for n in range(vcpus))]):
            (directory / "fd" / str(fd)).symlink_to(target)

    def remove(self, pid: int) -> None:
        (self.path / str(pid)).rename(self.path / f"gone-{pid}-{len(list(self.path.iterdir()))}")

    def thread(self, pid: int, tid: int, call: str = "running", stack: str | None = None, state: str = "S") -> None:
        """A thread of a process, or the process's first: its system call, the frames of its stack, the state of stat."""
        directory = self.path / str(tid)
        directory.mkdir(exist_ok=True)
        (self.path / str(pid) / "task" / str(tid)).mkdir(exist_ok=True)
        if tid != pid and not (directory / "fd").exists():
            (directory / "fd").symlink_to(self.path / str(pid) / "fd")
        (directory / "syscall").write_text(call + "\n")
        (directory / "stat").write_text(f"{tid} (CPU {tid} (x) T) {state} 1 1 1\n")
        (directory / "status").write_text(
            f"Name:\tCPU {tid}\nTgid:\t{pid}\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t3\n"
        )
        if stack is not None:
            (directory / "stack").write_text("".join(f"[<0>] {frame}+0x5a/0xc0 [kvm]\n" for frame in stack.split()))

    def schedule(
        self, pid: int, tid: int, comm: str, cpu_ns: int = 1, wait_ns: int = 0, cpu: int = 0, kernel: bool = False
    ) -> None:
        """What schedstat and stat say of a thread of a process; of a kernel thread its pid is its tid."""
        directory = self.path / str(pid) if kernel else self.path / str(pid) / "task" / str(tid)
        directory.mkdir(exist_ok=True)
        flags = 0x208040 if kernel else 0x400040
        before = f"{tid} ({comm}) S 1 {pid} {pid} 0 -1 {flags} {'7 ' * 29}"
        for place in {directory, self.path / str(pid)} if tid == pid else {directory}:
            (place / "stat").write_text(f"{before.rstrip()} {cpu} 0 0 0\n")
            (place / "schedstat").write_text(f"{cpu_ns} {wait_ns} 3\n")
        if kernel:
            (directory / "comm").write_text(comm + "\n")
