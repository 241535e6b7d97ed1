"""The stacks of a run as text, and folded as flamegraph.pl and speedscope read them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from kvmtop.model.vocabulary import Vm
from kvmtop.output import stacks

from ..support.fake import Host
from ..support.hostile import HOSTILE
from ..support.stacks import COMPACTION, USERFAULT, Seen

NPF = 0x400
MS = 1_000_000
# flamegraph.pl: `my ($stack, $samples) = (/^(.*)\s+?(\d+(?:\.\d*)?)$/)`, split at ';'; speedscope: /^(.*) (\d+)$/ (by line).
LINE = re.compile(r"(.*) (\d+)")


@pytest.fixture
def host() -> Host:
    one = Host()
    one.add(4000, "web01", 2)
    seen = Seen(one)
    one.exits(4001, NPF, *[10 * MS] * 10, blocked=int(7.1 * MS), wait=int(0.5 * MS))
    one.exits(4002, 0x7B, 2 * MS)
    seen.slept(4001, NPF, USERFAULT, *[int(7.6 * MS)] * 10, waited=5 * MS)
    seen.ran(4001, NPF, COMPACTION, 3)
    one.now += 10**9
    return one


def test_nothing_was_looked_at(host: Host) -> None:
    host.stacks = None
    assert stacks.text(host.read()) == stacks.folded(host.read()) == ""


def test_by_reason_in_words_and_by_stack(host: Host) -> None:
    assert stacks.text(host.read()).splitlines() == [
        "",
        "# Where in the kernel exits spent their time, in 1.0 s. 100% is a reason's time from leaving the",
        "# guest to entering it: off the CPU as measured; on it as measured, and divided by 3 samples",
        "# (99 a second on each CPU).",
        "",
        "npf: 10 exits, 100ms: 24.0% kernel, 71.0% blocked, 5.0% wait; 3 samples",
        "   71.0% blocked in userfaultfd (handle_userfault: a post-copy migration or another handler brings the page)",
        "   24.0% in the kernel in compaction (compact_zone: pages are moved to make room for a huge one)",
        "   71.0% 71.0ms, 10 times: (blocked) ← handle_userfault ← handle_mm_fault ← hva_to_pfn [kvm]"
        " ← kvm_mmu_page_fault [kvm]",
        "   24.0% 24.0ms, 3 samples: compact_zone ← do_huge_pmd_anonymous_page ← handle_mm_fault ← hva_to_pfn [kvm]"
        " ← kvm_mmu_page_fault [kvm]",
        "    5.0% 5.00ms: (waits for a CPU) ← handle_userfault ← handle_mm_fault ← hva_to_pfn [kvm]"
        " ← kvm_mmu_page_fault [kvm]",
        "",
        "io: 1 exits, 2.00ms: 100% kernel; 0 samples",
        "    100% 2.00ms: (no sample)",
    ]


def test_what_was_lost_is_told(host: Host) -> None:
    assert host.stacks
    host.stacks = replace(host.stacks, lost=7, dropped=3)
    text = stacks.text(host.read())
    assert "# 7 samples were lost." in text and "# 3 times off the CPU had no room." in text


def test_why_functions_have_no_names_is_told_and_their_time_is_there(host: Host) -> None:
    assert host.stacks
    nameless = {stack._replace(frames=()): off for stack, off in host.stacks.off.items()}
    samples = {stack._replace(frames=()): count for stack, count in host.stacks.samples.items()}
    host.stacks = replace(host.stacks, off=nameless, samples=samples, unnamed="functions have no names, since")
    text = stacks.text(host.read())
    assert "# functions have no names, since.\n" in text
    assert (
        "24.0% 24.0ms, 3 samples: (not known)\n" in text and "71.0% 71.0ms, 10 times: (blocked) ← (not known)" in text
    )


def test_folded_lines_have_vm_vcpu_reason_and_frames_with_microseconds(host: Host) -> None:
    run = "do_syscall_64;__x64_sys_ioctl;kvm_vcpu_ioctl [kvm];kvm_arch_vcpu_ioctl_run [kvm];kvm_mmu_page_fault [kvm]"
    fault = f"web01;vCPU 0;npf;{run};hva_to_pfn [kvm];handle_mm_fault"
    assert stacks.folded(host.read()).splitlines() == [
        "(all VMs);(all vCPUs);io;(no sample) 2000",
        f"{fault};do_huge_pmd_anonymous_page;compact_zone 24000",
        f"{fault};handle_userfault;(blocked) 71000",
        f"{fault};handle_userfault;(waits for a CPU) 5000",
    ]


@pytest.mark.parametrize("name", [*HOSTILE, "a;b 5", "x 12"])
def test_no_name_breaks_a_line(host: Host, name: str) -> None:
    host.vms[4000] = Vm(4000, name)
    lines = stacks.folded(host.read()).splitlines()
    assert len(lines) == 4
    for line in lines:
        found = LINE.fullmatch(line)
        assert found and line.isprintable()
        frames = found[1].split(";")
        assert all(frames) and frames[2] in ("npf", "io")


def test_the_weights_add_up_to_the_time(host: Host) -> None:
    weights = [int(line.rpartition(" ")[2]) for line in stacks.folded(host.read()).splitlines()]
    assert sum(weights) == 102_000
