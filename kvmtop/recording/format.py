"""The file that a run is recorded in: writer.py writes it, reader.py reads it.

The file is a SQLite database; `sqlite3 FILE` shows it:

    columns  which tables the frames hold, with which columns, in this order: layout.py and seen.py
    runs     one row: version of kvmtop, host, kernel, title, when counting began (s since 1970, and in the
             clock of the Snapshots, CLOCK_MONOTONIC in ns)
    reasons  isa (1 VMX, 2 SVM), code, the kernel's name for it
    flags    VMX's flag bits, by the kernel's names
    vms      a row for each change: from this sample on, the VM of this pid has this name and state: running,
             stopped, paused, traced (or some, with spaces between), ended, gone; before it, rows of other states,
             skipped by readers that do not know them: alias for each further name, unstarted for each vCPU
    vcpus    from this sample on there is this thread: its id in the frames, pid, tid, vCPU
    samples  a row a Snapshot: time_ns, and what could not be counted; final is the one after the last interval
    exits    by sample and reason: exits that ended since the sample before, and ns that they lasted
    frames   by sample: the counters of each vCPU and reason with their histograms, packed as in codec.py, and what
             somebody looked at
    texts    what the frames call by numbers: names of processes, kernel stacks …; each once
    slow     slow exits, by the sample before which they ended, with the columns of SLOW; what is not below 2^63 is
             negative: SELECT printf('%x', rip) FROM slow ORDER BY ns DESC LIMIT 20;
    host     what of the host decides how long an exit takes: CPU, mitigations, parameters of KVM's modules
    bases    the counters when somebody began to look at stacks, packed as a frame that stands for itself
    thinned  there only if samples were left out later (thinning.py): ns between those that are left, and how many there
             were; the counters of a sample are what they were, `exits` and `slow` are since the one before that is left

    SELECT name, sum(exits) FROM exits JOIN reasons USING (isa, code) GROUP BY name;

Sample n is packed as what changed since the one before; every 4th since the 4th before, every 16th since the 16th
before, and so on, and the first of every 512 stands for itself: so any of them is at most 14 frames away, and three of
four hold one interval's changes only.
(Formats 1 and 2: since sample n & (n - 1), the first of every 32 for itself.)

A sample is one transaction with SQLite's rollback journal and synchronous=FULL: after kill -9 or a power cut, the
file has all samples up to the last whole one. With a write-ahead log, the newest samples would be in a second
file, which is soon forgotten. FILE-journal and FILE-wal are there while FILE is being written, the one empty but for
some milliseconds a sample, the other always: so nobody else can put a file there, which SQLite would take for ours.
"""

from __future__ import annotations

APPLICATION = 0x6B766D74  # "kvmt": SQLite's application_id, for file(1)
FORMAT = 3  # SQLite's user_version; format 2 had no texts, slow and bases; format1.py says what the one before was
COLUMNS = "CREATE TABLE columns (position INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL) STRICT;"
SEEN = """\
CREATE TABLE texts (text INTEGER PRIMARY KEY, content TEXT NOT NULL) STRICT;
CREATE TABLE slow (sample INTEGER NOT NULL, number INTEGER NOT NULL, time_ns INTEGER NOT NULL, pid INTEGER NOT NULL, tid INTEGER NOT NULL, vcpu INTEGER NOT NULL, isa INTEGER NOT NULL, reason INTEGER NOT NULL, ns INTEGER NOT NULL, user INTEGER NOT NULL, idle INTEGER NOT NULL, blocked INTEGER NOT NULL, wait INTEGER NOT NULL, throttled INTEGER NOT NULL, cpu INTEGER NOT NULL, rip INTEGER NOT NULL, info1 INTEGER NOT NULL, info2 INTEGER NOT NULL, kind INTEGER NOT NULL, value INTEGER NOT NULL, extra INTEGER NOT NULL) STRICT;
CREATE INDEX slow_by_sample ON slow (sample);
CREATE TABLE host (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE bases (base INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, frame BLOB NOT NULL) STRICT;
"""  # noqa: E501
SCHEMA2 = f"""\
{COLUMNS}
CREATE TABLE runs (run INTEGER PRIMARY KEY, version TEXT NOT NULL, host TEXT NOT NULL, kernel TEXT NOT NULL, title TEXT NOT NULL, began REAL NOT NULL, start_ns INTEGER NOT NULL) STRICT;
CREATE TABLE reasons (isa INTEGER NOT NULL, code INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (isa, code)) STRICT;
CREATE TABLE flags (flag INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;
CREATE TABLE vms (sample INTEGER NOT NULL, pid INTEGER NOT NULL, name TEXT NOT NULL, comm TEXT NOT NULL, state TEXT NOT NULL) STRICT;
CREATE TABLE vcpus (sample INTEGER NOT NULL, thread INTEGER NOT NULL, pid INTEGER NOT NULL, tid INTEGER NOT NULL, vcpu INTEGER NOT NULL) STRICT;
CREATE TABLE samples (sample INTEGER PRIMARY KEY, time_ns INTEGER NOT NULL, exits INTEGER NOT NULL, lost INTEGER NOT NULL, userspace INTEGER NOT NULL, unpaired INTEGER NOT NULL, overwritten INTEGER NOT NULL, expired INTEGER NOT NULL, final INTEGER NOT NULL) STRICT;
CREATE TABLE exits (sample INTEGER NOT NULL, isa INTEGER NOT NULL, code INTEGER NOT NULL, exits INTEGER NOT NULL, ns INTEGER NOT NULL, PRIMARY KEY (sample, isa, code)) STRICT, WITHOUT ROWID;
CREATE TABLE frames (sample INTEGER PRIMARY KEY, frame BLOB NOT NULL) STRICT;
"""  # noqa: E501
SCHEMA = SCHEMA2 + SEEN
THINNED = "CREATE TABLE thinned (step_ns INTEGER NOT NULL, samples INTEGER NOT NULL) STRICT;\n"
MOST_VCPUS = 4096  # of a VM
ALIAS, QUOTA, UNSTARTED = "alias", "quota", "unstarted"
STANDING = {"running", "stopped", "paused", "traced", "ended", "gone"}
STEPS = (1, 4, 16, 64, 256)  # samples that a frame is packed against: see base()
GROUP = 512  # samples; the first of each stands for itself
# Columns of samples and what a Snapshot calls them.
SCALARS = {
    "lost": "lost",
    "userspace": "userspace",
    "unpaired": "unpaired",
    "overwritten": "overwritten",
    "expired": "ended_threads",
}

# More than this is no recording: files are read that anybody may have written.
MOST_THREADS = 1 << 16
MOST_CELLS = 1 << 17  # 1.1 kB each in memory
MOST_REASONS = 1 << 10
MOST_PAIRS = 1 << 24  # of a thread and a reason
MOST_COLUMNS = 1 << 9  # of all tables
MOST_BYTES = 1 << 26  # of a frame, unpacked
MOST_SAMPLES = 5_000_000
MOST_NAMES = 1 << 14  # of reasons, of which kernels have 200, and of flags
MOST_CHANGES = 1_000_000  # of VMs: that one is there, has ended, is there no more
MOST_FACTS = 1 << 8  # of a host
MOST_VMS = MOST_THREADS  # at a time; each that does anything has a vCPU
MOST_TIME = 1 << 62  # ns
# Of what somebody looked at, in a sample:
MOST_TOUCHED = 1 << 14  # 1.2 kB each in memory; 8,192 are kept at a time
MOST_LATENCIES = 1 << 15  # vCPUs that were woken, 1.1 kB each
MOST_ROWS = 1 << 15  # of any other table
MOST_SLOW = 1 << 16  # exits
MOST_TEXTS = 1 << 20  # of a file
MOST_TEXT = 1 << 22  # characters of texts
LONGEST_TEXT = 1 << 14  # characters
MOST_LINES = 1 << 8  # of a text: functions of a stack, of which the kernel tells 127


class BadFrame(Exception):
    """This is no frame, or nothing else that a recording may hold."""


def base(sample: int, version: int = FORMAT) -> int | None:
    """The sample that another is packed against; None where it stands for itself."""
    if version < 3:
        return sample & (sample - 1) if sample % 32 else None
    return sample - max(step for step in STEPS if sample % step == 0) if sample % GROUP else None


def words(error: Exception) -> str:
    """What the system or SQLite says of it."""
    return str(getattr(error, "strerror", None) or error)
