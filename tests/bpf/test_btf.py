"""Where the kernel's structures have their members: libbpf's answer against a reading of the same file by this test."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.bpf import btf
from kvmtop.bpf.btf import TYPEDEF, Btf

KERNEL = Path("/sys/kernel/btf/vmlinux")
# Of kinds, the bytes that follow each of their entries (Documentation/bpf/btf.rst); what is not here has none.
_EACH = {4: 12, 5: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_ONCE = {1: 4, 3: 12, 14: 4, 17: 4}
STRUCT, UNION = 4, 5
_SAME = (8, 9, 10)  # typedef, volatile, const


class Reading:
    """A BTF file's types, each with its kind, name, the type or size that follows, and its members."""

    def __init__(self, data: bytes) -> None:
        magic, _, _, header, types, length, strings, size = struct.unpack_from("<HBBIIIII", data)
        assert magic == 0xEB9F
        self.text = data[header + strings : header + strings + size]
        self.types: list[tuple[int, str, int, list[tuple[str, int, int]]]] = [(0, "", 0, [])]
        at, end = header + types, header + types + length
        while at < end:
            name, info, other = struct.unpack_from("<III", data, at)
            kind, count, at = info >> 24 & 31, info & 0xFFFF, at + 12
            members = []
            if kind in (STRUCT, UNION):
                for number in range(count):
                    label, type, offset = struct.unpack_from("<III", data, at + 12 * number)
                    members.append((self._name(label), type, offset & 0xFFFFFF if info >> 31 else offset))
            at += _EACH.get(kind, 0) * count + _ONCE.get(kind, 0)
            self.types.append((kind, self._name(name), other, members))

    def _name(self, at: int) -> str:
        return self.text[at : self.text.index(b"\0", at)].decode()

    def places(self, type: int, start: int = 0) -> Iterator[tuple[str, int, int]]:
        """Names, offsets in bits and types of a structure's members, those of anonymous ones within it, too."""
        while self.types[type][0] in _SAME:
            type = self.types[type][2]
        for name, inner, offset in self.types[type][3]:
            if name:
                yield name, start + offset, inner
            else:
                yield from self.places(inner, start + offset)

    def offset(self, structure: str, path: str) -> int:
        type = next(i for i, (kind, name, _, _) in enumerate(self.types) if (kind, name) == (STRUCT, structure))
        at = 0
        for part in path.split("."):
            at, type = next((at + offset, inner) for name, offset, inner in self.places(type) if name == part)
        return at // 8


@pytest.fixture(scope="module")
def types() -> Iterator[Btf]:
    with btf.load() as found:
        if not found:
            pytest.skip("this kernel tells no types, or libbpf is missing")
        yield found


@pytest.fixture(scope="module")
def reading(types: Btf) -> Reading:
    return Reading(KERNEL.read_bytes())


@pytest.mark.parametrize(
    ("structure", "path"),
    [
        ("task_struct", "pid"),
        ("task_struct", "tgid"),
        ("task_struct", "thread_info.flags"),
        ("task_struct", "se.cfs_rq"),
        ("task_struct", "se.avg.last_update_time"),
        ("cfs_rq", "rq"),
        ("rq", "clock"),
        ("page", "lru.next"),  # in anonymous structures and unions
        ("sk_buff", "len"),
    ],
)
def test_members_are_where_the_file_says(types: Btf, reading: Reading, structure: str, path: str) -> None:
    assert types.offset(structure, path) == reading.offset(structure, path)


@pytest.mark.parametrize(
    ("structure", "path"),
    [
        ("task_struct", "no_such_member"),
        ("task_struct", "pid.more"),
        ("task_struct", "se.no_such_member"),
        ("task_struct", ""),
        ("no_such_structure", "pid"),
        ("pid_t", "pid"),  # a typedef
        ("", ""),
    ],
)
def test_what_is_not_there_is_none(types: Btf, structure: str, path: str) -> None:
    assert types.offset(structure, path) is None


def test_ids_of_types(types: Btf, reading: Reading) -> None:
    for name in ("btf_trace_sched_switch", "btf_trace_sched_wakeup"):
        found = types.id(name, TYPEDEF)
        assert found and reading.types[found][:2] == (TYPEDEF, name)
    assert types.id("btf_trace_sched_switch", btf.STRUCT) is None
    assert types.id("btf_trace_no_such_event", TYPEDEF) is None


@pytest.mark.parametrize(
    ("event", "names"),
    [
        # What include/trace/events/{sched,timer,workqueue}.h have; since 5.18 sched_switch ends with one more.
        ("sched_switch", ("bool", "task_struct", "task_struct", "unsigned int")),
        ("sched_process_exit", ("task_struct", "bool")),
        ("sched_wakeup", ("task_struct",)),
        ("no_such_event", None),
    ],
)
def test_arguments_of_events(types: Btf, event: str, names: tuple[str, ...] | None) -> None:
    found = types.arguments(event)
    assert found == names or (found and names and found == names[: len(found)] and event != "sched_wakeup")


def test_the_names_of_an_enums_values(types: Btf) -> None:
    found = types.enumerators("bpf_map_type")  # include/uapi/linux/bpf.h
    assert [found[f"BPF_MAP_TYPE_{name}"] for name in ("UNSPEC", "HASH", "LRU_HASH")] == [0, 1, 9]
    assert types.enumerators("no_such_enum") == {}


class Library:
    """libbpf, but for what it is told to lack or to fail at."""

    def __init__(self, kernel: int, **modules: int) -> None:
        self.kernel, self.modules, self.freed = kernel, modules, 0

    def btf__load_vmlinux_btf(self) -> int:
        return self.kernel

    def btf__load_module_btf(self, name: bytes, base: int) -> int:
        assert base == self.kernel
        return self.modules.get(name.decode(), 2**64 - 2)

    def btf__free(self, which: int) -> None:
        self.freed += which

    def btf__find_by_name_kind(self, which: int, name: bytes, kind: int) -> int:
        return -2


@pytest.mark.parametrize(
    ("kernel", "modules", "there", "freed"),
    [
        (1000, {"kvm": 2000}, True, 3000),
        (1000, {"kvm": 2000, "kvm_amd": 100}, True, 3100),
        (1000, {"kvm": 2000, "kvm_intel": 50, "other": 9}, True, 3050),
        (1000, {"kvm": 0, "kvm_intel": 0}, True, 1000),  # KVM is built in, or not loaded
        (1000, {}, True, 1000),  # -ENOENT, as libbpf before 1.0 says it
        (2**64 - 2, {"kvm": 2000}, False, 0),
        (0, {"kvm": 2000}, False, 0),
    ],
)
def test_what_was_loaded_is_freed(
    monkeypatch: pytest.MonkeyPatch, kernel: int, modules: dict[str, int], there: bool, freed: int
) -> None:
    library = Library(kernel, **modules)
    monkeypatch.setattr(btf, "_library", lambda: library)
    with btf.load() as found:
        assert (found is not None) == there
        assert library.freed == 0
        if found:
            assert found.id("any", TYPEDEF) is None and found.offset("any", "member") is None
            assert found.arguments("any") is None
    assert library.freed == freed


@pytest.mark.parametrize(
    "failure", [OSError("libbpf.so.1: cannot open shared object file"), AttributeError("btf__free")]
)
def test_no_libbpf_or_one_that_lacks_a_function(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail() -> None:
        raise failure

    monkeypatch.setattr(btf, "_library", fail)
    with btf.load() as found:
        assert found is None
