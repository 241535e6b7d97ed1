"""A FUSE file whose pages take their time: a child of this process serves it, through /dev/fuse itself.

Interface: include/uapi/linux/fuse.h. Its root is the file, so that there is nothing to look up.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import struct
import tempfile
import time

_GETATTR, _OPEN, _READ, _INIT, _FORGET, _INTERRUPT, _BATCH_FORGET = 3, 14, 15, 26, 2, 36, 42
_HEAD = struct.Struct("<IIQQIIII")  # of a request: length, operation, its number …
_PAGE = 4096
_FILE = 0o100644
_DETACH, _SET_PDEATHSIG = 2, 1  # of umount2 and prctl


class File:
    """One page, each reading of which takes so many seconds."""

    def __init__(self, seconds: float, served: memoryview) -> None:
        """served: shared with the child, gets how many readings there were, and the ns that they took by its clock.

        Raises OSError. To be called before there are threads.
        """
        self._seconds, self._served = seconds, served
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        at, name = tempfile.mkstemp(prefix="kvmtop-fuse.")
        os.close(at)
        options = f"fd={self._device},rootmode=100000,user_id=0,group_id=0"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"kvmtop", name.encode(), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mounting FUSE")
        if not os.fork():
            libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)
            try:
                self._serve()
            finally:
                os._exit(0)  # nobody has the file open any more
        self.fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        assert os.fstat(self.fd).st_size == _PAGE  # the kernel asks for it now
        libc.umount2(name.encode(), _DETACH)
        os.close(self._device)
        os.unlink(name)

    def _serve(self) -> None:
        while True:
            request = os.read(self._device, 1 << 20)
            _, operation, number, *_ = _HEAD.unpack_from(request)
            if operation in (_FORGET, _BATCH_FORGET, _INTERRUPT):
                continue  # nobody waits for an answer
            start = time.monotonic_ns()
            answer = self._answer(operation)
            if operation == _READ:
                time.sleep(self._seconds)
                self._served[0] += 1
                self._served[1] += time.monotonic_ns() - start
            error = -errno.ENOSYS if answer is None else 0
            answer = answer or b""
            os.write(self._device, struct.pack("<IiQ", 16 + len(answer), error, number) + answer)

    def _answer(self, operation: int) -> bytes | None:
        if operation == _INIT:
            return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 8, 8, _PAGE, 1, 1, 0, 0)
        if operation == _GETATTR:
            return struct.pack("<QIIQQQ24x12xIIIIIII", 3600, 0, 0, 1, _PAGE, 8, _FILE, 1, 0, 0, 0, _PAGE, 0)
        if operation == _OPEN:
            return struct.pack("<QII", 1, 0, 0)
        return bytes(_PAGE) if operation == _READ else None
