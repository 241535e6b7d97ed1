"""Whoever has started kvmtop, also by sudo: their files are read and written with their rights, not with root's."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import pwd
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_SETGROUPS = {"x86_64": 116, "aarch64": 159}  # glibc's setgroups() is for all threads, the system call for its own
_UNCHANGED = ctypes.c_uint32(-1)


@dataclass(frozen=True)
class Owner:
    """The user behind sudo; None in all places where kvmtop is itself theirs."""

    uid: int | None = None
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: Path | None = None

    @classmethod
    def of_this_run(cls) -> Owner:
        """Who that is."""
        uid = os.environ.get("SUDO_UID", "")
        if os.geteuid() or not (uid.isascii() and uid.isdigit() and 0 < int(uid[:10]) < 1 << 32):
            return cls(home=_absolute(os.path.expanduser("~")))
        try:
            user = pwd.getpwuid(int(uid[:10]))
        except KeyError:
            return cls(int(uid[:10]), 65534)  # a user who has no home, and is of no group
        groups = os.getgrouplist(user.pw_name, user.pw_gid)
        return cls(user.pw_uid, user.pw_gid, tuple(groups), _absolute(user.pw_dir))

    @property
    def configuration(self) -> Path | None:
        """The folder for it; None where there is none."""
        return _absolute(os.environ.get("XDG_CONFIG_HOME", "")) or (self.home and self.home / ".config")

    def does(self, task: Callable[[], T]) -> T:
        """Run this, which calls the system and imports nothing, with the user's rights. Raises OSError, and what it
        raises.

        In a thread of its own, since the kernel knows rights by thread: the others go on with root's.
        """
        if self.uid is None:
            return task()
        done: list[T] = []
        failed: list[BaseException] = []

        def act() -> None:
            try:
                self._become()
                done.append(task())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=act)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return done[0]

    def _become(self) -> None:
        """Of this thread, for files: the user's id and groups, without root's capabilities. Raises OSError."""
        libc, number = ctypes.CDLL(None, use_errno=True), _SETGROUPS.get(platform.machine())
        groups = (ctypes.c_uint32 * len(self.groups))(*self.groups)
        if number is None or libc.syscall(ctypes.c_long(number), ctypes.c_long(len(groups)), groups):
            raise OSError(ctypes.get_errno() or errno.ENOSYS, f"cannot act as user {self.uid}")
        libc.setfsgid(ctypes.c_uint32(self.gid))
        libc.setfsuid(ctypes.c_uint32(self.uid or 0))
        if (libc.setfsgid(_UNCHANGED), libc.setfsuid(_UNCHANGED)) != (self.gid, self.uid):  # they tell no failure
            raise PermissionError(errno.EPERM, f"cannot act as user {self.uid}")


def _absolute(path: str) -> Path | None:
    return Path(path) if os.path.isabs(path) else None
