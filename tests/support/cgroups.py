"""CPU quotas of cgroups, in a directory that looks like a mount point of theirs."""

from __future__ import annotations

from .proc import Proc


class Groups:
    """A mount point of cgroups."""

    def __init__(self, proc: Proc, kind: str = "cgroup2", root: str = "/", point: str = "cg") -> None:
        self.proc, self.point, self.v1 = proc, proc.path / point, kind != "cgroup2"
        (proc.path / "self").mkdir(exist_ok=True)
        with open(proc.path / "self/mountinfo", "a") as file:
            file.write("22 1 0:21 / /proc rw,nosuid shared:5 - proc proc rw\n")
            file.write(f"31 23 0:28 {root} {self.point} rw shared:9 - {kind} cgroup rw,{'cpu,cpuacct' * self.v1}\n")

    def set(self, group: str, quota: str, period: int = 100_000, throttled: int = 0) -> None:
        path = self.point / group
        path.mkdir(parents=True, exist_ok=True)
        if self.v1:
            (path / "cpu.cfs_quota_us").write_text(f"{quota}\n")
            (path / "cpu.cfs_period_us").write_text(f"{period}\n")
        else:
            (path / "cpu.max").write_text(f"{quota} {period}\n")
        self.throttle(group, throttled, 3)

    def throttle(self, group: str, periods: int, us: int) -> None:
        """In how many periods it was throttled so far, and for how long."""
        lasted = f"throttled_time {us}000" if self.v1 else f"throttled_usec {us}"
        text = f"usage_usec 7\nnr_periods 99\nnr_throttled {periods}\n{lasted}\n"
        (self.point / group / "cpu.stat").write_text(text)

    def join(self, tid: int, *lines: str) -> None:
        (self.proc.path / str(tid)).mkdir(exist_ok=True)
        (self.proc.path / str(tid) / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def hold(self, group: str, *tids: int) -> None:
        """Which threads are in it, as it says itself; each says it, too."""
        (self.point / group).mkdir(parents=True, exist_ok=True)
        name = "tasks" if self.v1 else "cgroup.threads"
        (self.point / group / name).write_text("".join(f"{tid}\n" for tid in tids))
        for tid in tids:
            self.join(tid, f"{'3:cpu,cpuacct' if self.v1 else '0:'}:/{group}")
