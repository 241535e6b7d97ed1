"""What Textual is kept from."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ..support.program import KVMTOP, ROOT


def test_the_environment_names_no_module_and_no_file(tmp_path: Path) -> None:
    """Textual's variables would, and kvmtop runs as root."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass D: pass\n")
    master, slave = os.openpty()
    env = {
        **os.environ,
        "TEXTUAL_DRIVER": "evil:D",
        "TEXTUAL_LOG": str(tmp_path / "log"),
        "TERM": "xterm",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
    }
    with subprocess.Popen(
        [*KVMTOP, "demo"], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=tmp_path, start_new_session=True
    ) as process:
        os.close(slave)
        drawn = b""
        while b"quit" not in drawn:
            drawn += os.read(master, 65536)
        process.terminate()
        with pytest.raises(OSError):  # the terminal has gone when the process has
            while True:
                os.read(master, 65536)
        assert process.wait(20) == 0
    assert sorted(os.listdir(tmp_path)) == ["evil.py"]
