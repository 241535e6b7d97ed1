"""What a run leaves: a recording, JSON and CSV of each interval, the summary at its end."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import KvmtopError, tell
from ..model.snapshot import Snapshot
from ..model.source import Source
from ..model.vocabulary import UNKNOWN
from ..output import csv_rows, json_lines, stream, summary
from ..output.stream import Output
from ..recording.folder import Folder
from ..recording.store_recorder import StoreRecorder
from ..recording.writer import Recorder
from ..reference.labels import Labels
from ..tables.row_choice import RowChoice
from . import places
from .arguments import FLAVOURS, STDOUT


@dataclass(frozen=True)
class Outputs:
    """Where they go; json, csv, stacks may be STDOUT. kvm: intel or amd, for a summary whose kernel does not tell."""

    dump: Path | None = None
    kvm: str | None = None
    record: Path | None = None
    json: str | None = None
    csv: str | None = None
    stacks: str | None = None
    folder: Folder | None = None  # instead of `record`

    @property
    def flavour(self) -> int:
        """The isa of the summary, where the kernel does not tell."""
        return FLAVOURS.get(self.kvm or "", UNKNOWN)

    @property
    def programs(self) -> bool:
        """Whether there is anything for programs to read."""
        return bool(self.json or self.csv)

    @property
    def streamed(self) -> bool:
        """Whether standard output is taken, so that nothing else may go there."""
        return STDOUT in (self.json, self.csv)

    @property
    def _files(self) -> dict[str, Path]:
        """The files of --json and --csv, by option."""
        names = {"json": self.json, "csv": self.csv}
        return {option: Path(name) for option, name in names.items() if name and name != STDOUT}

    @property
    def _folded(self) -> Path | None:
        return Path(self.stacks) if self.stacks and self.stacks != STDOUT else None

    def check(self, inputs: Mapping[str, Path | None], batch: bool = False) -> None:
        """What can be told before anything is started; inputs: what is read, in words. Raises KvmtopError."""
        found = {"dump": self.dump, "stacks": self._folded, **self._files}
        outputs = {f"--{option}": path for option, path in found.items() if path}
        for path in outputs.values():
            if not os.path.isdir(path.parent):
                raise KvmtopError(f"cannot write {path}: there is no directory {path.parent}", 2)
            if path.is_dir():
                raise KvmtopError(f"cannot write {path}: it is a directory", 2)
            if not _is_stream(path) and not os.access(path.parent, os.W_OK):  # now, not after hours of counting
                raise KvmtopError(f"cannot write {path}: {path.parent} is read-only, or not this user's to write in", 2)
        if self.streamed and self.stacks == STDOUT:
            raise KvmtopError(
                "--stacks cannot share standard output with --json or --csv: give a FILE, as --stacks=FILE", 2
            )
        if batch + (self.json, self.csv).count(STDOUT) > 1:
            raise KvmtopError("--batch, --json and --csv cannot share standard output: give a FILE, as --json=FILE", 2)
        if self.record:
            outputs |= {"the recording": self.record, "the recording's journal": Path(f"{self.record}-journal")}
        places.check(outputs, {words: path for words, path in inputs.items() if path})

    def open(self, source: Source, labels: Labels, choice: RowChoice | None) -> tuple[Source, list[Output]]:
        """The source, recorded if it shall be, and the streams of --json and --csv: all of them, or a KvmtopError.

        Only now, when there is something to write, do new files take the place of old ones.
        """
        kinds: dict[str, tuple[str | None, Callable[..., Output]]] = {
            "json": (self.json, partial(json_lines.output, labels=labels, choice=choice)),
            "csv": (self.csv, partial(csv_rows.output, choice=choice)),
        }
        paths = self._files
        recorder: Recorder | StoreRecorder | None = None
        try:
            with stream.creating(*paths.values()) as files:
                if self.record:
                    recorder = Recorder(source, self.record)
                elif self.folder:
                    recorder = StoreRecorder(source, self.folder)
        except (KvmtopError, OSError) as error:
            source.close()
            if isinstance(recorder, Recorder):
                recorder.discard()
            if isinstance(error, KvmtopError):
                raise
            raise KvmtopError(f"cannot write {error.filename}: {error.strerror}") from None
        streams = dict(zip(paths, files, strict=True))
        outputs = [
            kind(streams[option], paths[option]) if option in streams else kind(sys.stdout)
            for option, (name, kind) in kinds.items()
            if name
        ]
        return recorder or source, outputs

    def deliver(self, final: Snapshot) -> int:
        """The summary to its file and to standard output, each even if the other fails; the status."""
        text, status = summary.text(final, self.flavour), 0
        files = {self.dump: text}
        if self.stacks:
            from ..output import stacks

            files[self._folded] = stacks.folded(final)
            text += stacks.text(final) if self.stacks == STDOUT else ""
        for path, content in files.items():
            try:
                if path:
                    summary.write(path, content)
            except OSError as error:
                tell(f"cannot write {path}: {error.strerror}")
                status = 1
        return status if self.streamed else _print(text) or status


def _print(text: str) -> int:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if error.errno in (errno.EIO, errno.EPIPE):  # the terminal or the reader has gone
            return 0
        if not error.__context__:  # what failed before says the same
            tell(f"cannot write the summary to standard output: {error.strerror}")
        return 1
    return 0


def _is_stream(path: Path) -> bool:
    """Whether it is written to as it is (a pipe, /dev/stdout), and not made anew in its directory."""
    return summary.descriptor(path) is not None or (os.path.exists(path) and not os.path.isfile(path))
