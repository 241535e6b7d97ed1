"""What each exit reason means: the texts. exit_reasons.py looks them up.

One Meaning serves both vendors where the same thing makes a vCPU leave; what differs stands in its notes. Names are the
kernel's own, as the print fmt of kvm_exit has them (arch/x86/include/uapi/asm/{vmx,svm}.h). Handlers named below are in
arch/x86/kvm/. Sections of Intel's manual go by title, since their numbers change from edition to edition.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Meaning:
    """One reason to leave the guest, on one vendor's CPUs or on both."""

    title: str
    vmx: Mapping[int, str]  # basic exit reason, the kernel's name for it
    svm: Mapping[int, str]  # exit code, the kernel's name for it
    what: str
    causes: str
    advice: str
    source: str
    notes: Mapping[str, str] = field(default_factory=dict)  # of a vendor or of one name
    see: tuple[str, ...] = ()  # names of related reasons; each of them names one of these in turn


MEANINGS: tuple[Meaning, ...] = (
    Meaning(
        "The guest is idle",
        {12: "HLT"},
        {0x78: "hlt", 0xA6: "idle-halt"},
        what="The guest executed HLT: it has nothing to do on this vCPU and waits for an interrupt. KVM polls for a"
        " moment (halt_poll_ns), then puts the vCPU's thread to sleep. The time shown is waiting, not overhead.",
        causes="Normal for every vCPU that is not fully busy. Many short ones mean that work comes in small pieces:"
        " request and answer over the network, ticks, locks handed from one vCPU to another.",
        advice="Nothing, unless wake-up latency matters. Then let the host poll longer"
        " (/sys/module/kvm/parameters/halt_poll_ns), or the guest: the cpuidle-haltpoll driver, or idle=poll. With one"
        " host CPU for each vCPU, QEMU's -overcommit cpu-pm=on lets the guest halt the CPU itself: no exit, but the"
        " host's CPU looks 100 % busy.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. AMD APM vol. 2, 15.9. x86.c:"
        " kvm_emulate_halt(); Documentation/virt/kvm/halt-polling.rst; Documentation/virt/guest-halt-polling.rst.",
        notes={
            "idle-halt": "Leaves only if no virtual interrupt waits (Idle HLT intercept: Zen 5, Linux 6.15 and later).",
            "Intel": "A TDX guest's request to halt, a TDVMCALL, shows under this name too.",
        },
        see=("MWAIT_INSTRUCTION", "vmgexit_ap_hlt_loop", "TDCALL"),
    ),
    Meaning(
        "MWAIT",
        {36: "MWAIT_INSTRUCTION"},
        {0x8B: "mwait"},
        what="The guest executed MWAIT, the other way to go idle. KVM emulates it as an instruction that does nothing,"
        " so the guest does not sleep: it comes straight back and spins.",
        causes="A guest that uses MWAIT though its CPUID does not offer it: macOS, or another system that does not"
        " ask. KVM hides MONITOR/MWAIT unless it is allowed to run in the guest.",
        advice="Let it idle with HLT, the default of Linux and Windows guests. With one host CPU for each vCPU, QEMU's"
        " -overcommit cpu-pm=on offers MWAIT to the guest, which then runs it without an exit.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. AMD APM vol. 2, 15.9. x86.c:"
        " kvm_emulate_mwait(); KVM_CAP_X86_DISABLE_EXITS in Documentation/virt/kvm/api.rst.",
        see=("HLT", "MONITOR_INSTRUCTION", "UMWAIT"),
    ),
    Meaning(
        "MONITOR",
        {39: "MONITOR_INSTRUCTION"},
        {0x8A: "monitor"},
        what="The guest executed MONITOR, which arms the address that the next MWAIT watches. KVM emulates it as an"
        " instruction that does nothing.",
        causes="A guest that idles with MONITOR and MWAIT though its CPUID does not offer them. It comes in pairs with"
        " MWAIT, and the vCPU spins between the two.",
        advice="Let it idle with HLT. With one host CPU for each vCPU, QEMU's -overcommit cpu-pm=on lets the guest run"
        " MONITOR and MWAIT itself, without an exit.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. AMD APM vol. 2, 15.9. x86.c:"
        " kvm_emulate_monitor(); KVM_CAP_X86_DISABLE_EXITS in Documentation/virt/kvm/api.rst.",
        see=("MWAIT_INSTRUCTION",),
    ),
    Meaning(
        "UMWAIT or TPAUSE",
        {67: "UMWAIT", 68: "TPAUSE"},
        {},
        what="A program waited for a short time with UMWAIT or TPAUSE (WAITPKG). They leave the guest only where RDTSC"
        " does too, and KVM never asks for that: seen only for a guest of a guest.",
        causes="A nested hypervisor (L1) that intercepts RDTSC for its own guest. On a host without nested guests it"
        " does not occur.",
        advice="Nothing on this host. If they are frequent, look at what the nested hypervisor intercepts, or take"
        " WAITPKG from its CPU model: -cpu …,-waitpkg.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally (RDTSC exiting). vmx/vmx.c:"
        " vmx_secondary_exec_control(); vmx/nested.c: nested_vmx_l1_wants_exit().",
        see=("MWAIT_INSTRUCTION", "RDTSC"),
    ),
    Meaning(
        "A spin loop (PAUSE)",
        {40: "PAUSE_INSTRUCTION"},
        {0x77: "pause"},
        what="The vCPU spun in a loop with PAUSE for longer than a window (pause-loop exiting). KVM takes it as a sign"
        " that who holds the lock is not running, and yields to another vCPU of the VM.",
        causes="More vCPUs than CPUs: the holder of a spinlock has lost its host CPU, and the others spin. A guest"
        " without paravirtual spinlocks. With CPUs to spare: a program that polls with PAUSE (DPDK, a database).",
        advice="Overcommit less, or pin vCPUs. Keep kvm-pv-unhalt (Linux) or hv_spinlocks=0x1fff (Windows) in -cpu. If"
        " every vCPU has its own CPU, the exits are waste: load kvm_intel with ple_gap=0 or kvm_amd with"
        " pause_filter_count=0, or start QEMU with -overcommit cpu-pm=on.",
        source="Intel SDM vol. 3, Controls for PAUSE-Loop Exiting. AMD APM vol. 2, 15.14.4. vmx/vmx.c: handle_pause();"
        " svm/svm.c: pause_interception(); virt/kvm/kvm_main.c: kvm_vcpu_on_spin().",
    ),
    Meaning(
        "An interrupt of the host",
        {1: "EXTERNAL_INTERRUPT"},
        {0x60: "interrupt"},
        what="A physical interrupt came while the guest ran: the host takes it, then the guest goes on. It belongs to"
        " the host, not to the guest.",
        causes="The host's timer tick; its disks and network cards; inter-processor interrupts, among them the kick"
        " that makes a vCPU look at a new interrupt of its own. Time that the scheduler gives to others falls in it.",
        advice="Normal up to some hundred a second. More: see /proc/interrupts, keep device interrupts off the vCPUs'"
        " CPUs (/proc/irq/N/smp_affinity), and for pinned vCPUs boot the host with nohz_full= and isolcpus=. For"
        " passed-through devices, posted interrupts (VT-d) or AVIC with the AMD IOMMU avoid the exit.",
        source="Intel SDM vol. 3, Other Causes of VM Exits. AMD APM vol. 2, 15.13.1. vmx/vmx.c:"
        " handle_external_interrupt_irqoff(); svm/svm.c: intr_interception().",
        notes={
            "Intel": "The host's own work on the interrupt is included.",
            "AMD": "Before Linux 6.5 the host takes the interrupt before kvm_exit fires, so its work is not included.",
        },
        see=("nmi", "PREEMPTION_TIMER"),
    ),
    Meaning(
        "An NMI of the host",
        {},
        {0x61: "nmi"},
        what="A non-maskable interrupt came while the guest ran: the host handles it. Intel reports NMIs together with"
        " exceptions, as EXCEPTION_NMI.",
        causes="perf on the host: each overflow of a counter is an NMI, so a profiler makes as many of these as it"
        " takes samples. The host's NMI watchdog makes one every few seconds.",
        advice="Stop the profiler, or take fewer samples (perf record -F 99). The watchdog can be switched off with"
        " sysctl kernel.nmi_watchdog=0. Neither is worth more than a look.",
        source="AMD APM vol. 2, 15.13.2. svm/svm.c: svm_vcpu_run(), and SVM_EXIT_NMI in svm_exit_handlers[].",
        see=("EXCEPTION_NMI", "EXTERNAL_INTERRUPT"),
    ),
    Meaning(
        "An exception, or on Intel an NMI",
        {0: "EXCEPTION_NMI"},
        {
            0x40: "DE excp",
            0x44: "OF excp",
            0x45: "BR excp",
            0x47: "NM excp",
            0x48: "DF excp",
            0x4A: "TS excp",
            0x4B: "NP excp",
            0x4C: "SS excp",
            0x50: "MF excp",
            0x53: "XF excp",
        },
        what="The guest raised an exception that KVM intercepts, or, on Intel, an NMI of the host came. AMD has a code"
        " for each exception; those listed here KVM does not intercept itself, only for a nested hypervisor.",
        causes="Intel: a profiler or the NMI watchdog on the host; page faults of a guest without EPT (ept=0) or that"
        " KVM must check; #UD, #AC, #DB, #BP as with the AMD codes named below.",
        advice="See which exception it was (kvmtop --event vector)."
        " For NMIs stop perf on the host; for page"
        " faults make sure that EPT or NPT is on (cat /sys/module/kvm_intel/parameters/ept).",
        source="Intel SDM vol. 3, Other Causes of VM Exits, and VM-Exit Information for Vectored Events. AMD APM vol."
        " 2, 15.12. vmx/vmx.c: handle_exception_nmi().",
        notes={
            "EXCEPTION_NMI": "KVM intercepts #NM where the guest uses AMX with extended feature disable (XFD).",
            "NM excp": "The guest used the FPU while it was not available (#NM), as where its registers load lazily.",
        },
        see=("nmi", "PF excp", "UD excp", "GP excp", "DB excp", "AC excp", "MC excp"),
    ),
    Meaning(
        "A page fault of the guest",
        {},
        {0x4E: "PF excp"},
        what="The guest's own page fault left to KVM, which keeps shadow page tables, or hands it on to a nested"
        " hypervisor. With nested paging (NPT) the guest handles its page faults without KVM.",
        causes="kvm_amd loaded with npt=0, or a CPU without NPT; a nested hypervisor that does not use NPT for its"
        " guests; an asynchronous page fault on old kernels.",
        advice="Check cat /sys/module/kvm_amd/parameters/npt: it must be Y (1). In a nested setup make sure that the"
        " hypervisor inside uses NPT too, and that its CPU model offers npt.",
        source="AMD APM vol. 2, 15.12.15. svm/svm.c: pf_interception(); mmu/mmu.c: kvm_handle_page_fault();"
        " Documentation/virt/kvm/x86/mmu.rst.",
        see=("EXCEPTION_NMI", "npf"),
    ),
    Meaning(
        "An undefined instruction (#UD)",
        {},
        {0x46: "UD excp"},
        what="The guest executed an instruction that its CPU does not have. KVM looks at it, emulates a few (VMCALL of"
        " the other vendor, for one) and gives the exception back to the guest otherwise.",
        causes="A guest moved from an Intel host, which calls the hypervisor with VMCALL; a CPU model that promises"
        " features this CPU lacks; programs that try an instruction to see whether it exists.",
        advice="A few at boot are harmless. Many: perf record -e kvm:kvm_emulate_insn -a -- sleep 5; perf script shows"
        " the bytes. Compare the CPU model with the host (-cpu host), and let no vendor be faked with -cpu …,vendor=.",
        source="AMD APM vol. 2, 15.12.7. svm/svm.c: ud_interception(); x86.c: handle_ud(); the parameter"
        " kvm.force_emulation_prefix.",
        see=("EXCEPTION_NMI",),
    ),
    Meaning(
        "A general protection fault (#GP)",
        {},
        {0x4D: "GP excp"},
        what="The guest's general protection fault left to KVM, which intercepts it only for special purposes and"
        " gives it back to the guest otherwise.",
        causes="The VMware backdoor (kvm.enable_vmware_backdoor=1): VMware's tools read port 0x5658 from user space."
        " An erratum of some AMD CPUs with VMRUN, VMLOAD and VMSAVE in a nested hypervisor.",
        advice="If no guest needs VMware's backdoor, load kvm with enable_vmware_backdoor=0, the default. For nested"
        " guests it is KVM's workaround for the CPU: nothing to do.",
        source="AMD APM vol. 2, 15.12.14. svm/svm.c: gp_interception(), svm_set_efer(); the parameter"
        " kvm.enable_vmware_backdoor.",
        see=("EXCEPTION_NMI", "IO_INSTRUCTION", "VMLAUNCH"),
    ),
    Meaning(
        "A debug exception or breakpoint",
        {},
        {0x41: "DB excp", 0x43: "BP excp", 0x88: "icebp"},
        what="The guest hit a breakpoint or a single step while KVM watches for them: because a debugger on the host"
        " is attached to the VM, or KVM steps over one instruction to inject an NMI.",
        causes="gdb attached to QEMU's gdb stub (-s, -gdb); KVM_SET_GUEST_DEBUG by another VMM; KVM waiting for the"
        " end of an NMI handler without virtual NMI.",
        advice="Detach the debugger. Debuggers inside the guest do not cause these exits; their use of the debug"
        " registers shows as read_dr and write_dr, or DR_ACCESS.",
        source="AMD APM vol. 2, 15.12.2 and 15.12.4. svm/svm.c: db_interception(), bp_interception();"
        " KVM_SET_GUEST_DEBUG in Documentation/virt/kvm/api.rst.",
        notes={
            "icebp": "INT1; KVM does not intercept it itself, only for a nested hypervisor.",
        },
        see=("EXCEPTION_NMI", "DR_ACCESS", "NMI_WINDOW"),
    ),
    Meaning(
        "An alignment check (#AC)",
        {},
        {0x51: "AC excp"},
        what="The guest raised an alignment check. KVM intercepts it so that a guest cannot hang the CPU in an endless"
        " loop of them, and gives it back to the guest.",
        causes="A program in the guest with alignment checks on (EFLAGS.AC), or with split locks where the CPU traps"
        " them. Rare.",
        advice="Nothing on the host. In the guest, look for the program that does it: it gets a SIGBUS, or dmesg warns"
        " of a split lock and names it.",
        source="AMD APM vol. 2, 15.12.17. svm/svm.c: ac_interception(); the same on Intel: vmx/vmx.c:"
        " handle_exception_nmi(), CVE-2015-5307.",
        see=("EXCEPTION_NMI", "BUS_LOCK"),
    ),
    Meaning(
        "A machine check",
        {41: "MCE_DURING_VMENTRY"},
        {0x52: "MC excp"},
        what="The hardware reported an error (machine check) while the guest ran or was being entered. The host"
        " handles it; the guest may get it too if its memory is hit.",
        causes="Failing memory, an overheated or faulty CPU, a bad PCIe link. It is the machine, not the guest.",
        advice="Look at dmesg and rasdaemon (ras-mc-ctl --errors, ras-mc-ctl --summary), find the DIMM or CPU, move"
        " the VMs away and have it replaced.",
        source="Intel SDM vol. 3, Machine-Check Events During VM Entry. AMD APM vol. 2, 15.12.18. vmx/vmx.c:"
        " handle_machine_check(); svm/svm.c: mc_interception(), svm_handle_mce().",
        notes={
            "Intel": "A machine check while the guest runs comes as EXCEPTION_NMI.",
        },
        see=("EXCEPTION_NMI",),
    ),
    Meaning(
        "INIT or start-up IPI",
        {3: "INIT_SIGNAL", 4: "SIPI_SIGNAL"},
        {0x63: "init"},
        what="An INIT or start-up signal reached the CPU, or a vCPU that a nested hypervisor runs. The guest's own"
        " INIT and SIPI go through the virtual APIC and do not come this way.",
        causes="A nested hypervisor that starts or resets the vCPUs of its guest. On bare hosts: a CPU being reset, as"
        " in a crash dump (kexec). Rare.",
        advice="Nothing. If it repeats without end, a nested guest is being reset in a loop: look at the hypervisor"
        " inside and its guest's console.",
        source="Intel SDM vol. 3, Other Causes of VM Exits. AMD APM vol. 2, 15.13.4. vmx/nested.c:"
        " vmx_check_nested_events(); svm/nested.c: svm_check_nested_events().",
        see=("TRIPLE_FAULT",),
    ),
    Meaning(
        "System management mode",
        {},
        {0x62: "smi", 0x73: "rsm"},
        what="smi: a system management interrupt of the host came while the guest ran; the host's firmware handles it."
        " rsm: the guest's own firmware left system management mode, which KVM emulates.",
        causes="smi: the host's firmware at work: power and heat, corrected memory errors, USB keyboards as legacy"
        " devices. rsm: guest firmware with SMM, as OVMF with Secure Boot has, at each access to its EFI variables.",
        advice="smi: many of them steal time from everybody; count them with perf stat -a -e ls_smi_rx, and look for"
        " an update and the settings of the firmware. rsm: normal at boot and when EFI variables are written; a guest"
        " without Secure Boot can do with -machine smm=off.",
        source="AMD APM vol. 2, 15.13.3, and 15.22. svm/svm.c: smi_interception(), rsm_interception(); smm.c:"
        " emulator_leave_smm(); the parameter kvm_amd.intercept_smi.",
        see=("IO_INSTRUCTION",),
    ),
    Meaning(
        "The guest is ready for an interrupt",
        {7: "INTERRUPT_WINDOW"},
        {0x64: "vintr"},
        what="KVM had an interrupt for the guest while it had interrupts off, and asked to be told as soon as it"
        " turned them on. Now it did, and KVM injects the interrupt.",
        causes="Interrupts that come while the guest is busy with one, on hosts without APICv or AVIC: each such"
        " interrupt costs one of these. Those of the 8259 (PIC) always do.",
        advice="Let the CPU deliver interrupts: cat /sys/module/kvm_intel/parameters/enable_apicv or"
        " /sys/module/kvm_amd/parameters/avic should be Y (1). Fewer interrupts help too: virtio with event index,"
        " interrupt coalescing of the network card.",
        source="Intel SDM vol. 3, Other Causes of VM Exits (interrupt-window exiting). AMD APM vol. 2, 15.21.6."
        " vmx/vmx.c: handle_interrupt_window(); svm/svm.c: interrupt_window_interception().",
        see=("NMI_WINDOW", "TPR_BELOW_THRESHOLD", "EOI_INDUCED"),
    ),
    Meaning(
        "The guest is ready for an NMI",
        {8: "NMI_WINDOW"},
        {0x74: "iret"},
        what="KVM had an NMI for the guest while it was still in the handler of one, and asked to be told when it is"
        " done (AMD: at its IRET). Now it injects the NMI.",
        causes="NMIs inside the guest: perf or the NMI watchdog in the guest with a virtual PMU; a VMM's inject-nmi;"
        " sysrq style crash dumps.",
        advice="Harmless. Many: stop the profiler in the guest, or its watchdog (sysctl kernel.nmi_watchdog=0 in the"
        " guest). AMD CPUs with virtual NMI (Zen 4, kvm_amd.vnmi) do without.",
        source="Intel SDM vol. 3, Other Causes of VM Exits (NMI-window exiting). AMD APM vol. 2, 15.21.9 and 15.21.10."
        " vmx/vmx.c: handle_nmi_window(); svm/svm.c: iret_interception().",
        see=("INTERRUPT_WINDOW", "DB excp", "vmgexit_nmi_complete"),
    ),
    Meaning(
        "A triple fault: the vCPU is dead",
        {2: "TRIPLE_FAULT"},
        {0x7F: "shutdown"},
        what="The guest could not even deliver a double fault, and its CPU shut down. KVM tells the VMM, which resets"
        " or ends the machine.",
        causes="A guest kernel or firmware that crashed early; a way to reboot (Linux's reboot=t, or as its last try);"
        " a broken migration or snapshot; a nested guest that fell over.",
        advice="One at a reboot is normal. Otherwise keep the machine for a look: QEMU with -action"
        " reboot=shutdown,shutdown=pause, then `info registers` in the monitor, and read the guest's serial console.",
        source="Intel SDM vol. 3, Other Causes of VM Exits. AMD APM vol. 2, 15.14.3. vmx/vmx.c: handle_triple_fault();"
        " svm/svm.c: shutdown_interception(); KVM_EXIT_SHUTDOWN in Documentation/virt/kvm/api.rst.",
        see=("INIT_SIGNAL", "INVALID_STATE"),
    ),
    Meaning(
        "A task switch by hardware",
        {9: "TASK_SWITCH"},
        {0x7D: "task_switch"},
        what="A 32-bit guest switched tasks by the hardware mechanism (TSS), which virtual CPUs do not have. KVM does"
        " it in software.",
        causes="Very old systems (DOS extenders, OS/2), and the task gate of a 32-bit kernel's double fault handler,"
        " which then usually ends in a panic.",
        advice="Nothing for the old systems: it is correct, only slow. In a 32-bit Linux guest one of these means a"
        " double fault: look at its console.",
        source="Intel SDM vol. 3, Other Causes of VM Exits. AMD APM vol. 2, 15.14.1. vmx/vmx.c: handle_task_switch();"
        " svm/svm.c: task_switch_interception(); x86.c: kvm_task_switch().",
    ),
    Meaning(
        "CPUID",
        {10: "CPUID"},
        {0x72: "cpuid"},
        what="The guest asked what the CPU can do. KVM answers from the table that the VMM gave it; Intel CPUs cannot"
        " run CPUID in a guest at all, and on AMD KVM always intercepts it.",
        causes="Booting, and programs starting: libraries choose their fastest routines by it. In a loop: code that"
        " uses CPUID to serialise around RDTSC (benchmarks, timing code), or asks for the vCPU's number with it.",
        advice="Harmless at start-up: about 1 µs each. If it goes on, find who:"
        " kvmtop --event cpuid,rip tells the leaf and the guest's code. Have the program cache the answer, and"
        " serialise with LFENCE or RDTSCP.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Unconditionally. AMD APM vol. 2, 15.9. cpuid.c:"
        " kvm_emulate_cpuid(); Documentation/virt/kvm/x86/cpuid.rst.",
        see=("vmgexit", "TDCALL"),
    ),
    Meaning(
        "Port I/O",
        {30: "IO_INSTRUCTION"},
        {0x7B: "io"},
        what="The guest read or wrote an I/O port. Few ports are handled in KVM (the interrupt controllers and timer,"
        " ports with an ioeventfd); for all others the VMM must emulate a device, which costs far more.",
        causes="A busy serial console (0x3f8); the ACPI PM timer (0x608) as clock; emulated IDE (0x1f0); PCI"
        " configuration (0xcf8) and firmware (0x510, 0x402) at boot; legacy virtio doorbells (0xc000 and up).",
        advice="What fits the port, which its page names. Clock: clocksource=tsc or"
        " kvm-clock in Linux guests, hv_time for Windows, not acpi_pm. Console: loglevel=4, or virtio (console=hvc0)."
        " Disk and network: virtio instead of IDE and rtl8139. Timers: keep -machine kernel-irqchip=on.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. AMD APM vol. 2, 15.10. vmx/vmx.c:"
        " handle_io(); svm/svm.c: io_interception(); x86.c: kvm_fast_pio(); KVM_EXIT_IO in api.rst.",
        see=("EPT_MISCONFIG", "GP excp", "smi", "vmgexit", "TDCALL"),
    ),
    Meaning(
        "MSR access",
        {31: "MSR_READ", 32: "MSR_WRITE", 84: "MSR_READ_IMM", 85: "MSR_WRITE_IMM"},
        {0x7C: "msr"},
        what="The guest read or wrote a model-specific register that KVM does not pass through: most of all the timer"
        " (TSC_DEADLINE, 0x6e0) and the x2APIC (0x800 to 0x8ff: EOI 0x80b, interrupts to other vCPUs 0x830).",
        causes="Timers armed on every sleep and tick; wake-ups of other vCPUs; end of interrupt without APICv or AVIC;"
        " Hyper-V's registers (0x40000000 and up) of Windows guests; profiling inside the guest.",
        advice="See which (kvmtop --event msr). EOI and IPIs go with"
        " kvm_intel.enable_apicv (enable_ipiv on newer CPUs) or kvm_amd.avic. Timers: let programs wake less often,"
        " guest kernel with NO_HZ, and for Windows hv_stimer, hv_synic and hv_time in -cpu. A few are harmless.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally (MSR bitmaps). AMD APM vol. 2, 15.11."
        " x86.c: kvm_emulate_rdmsr(), kvm_emulate_wrmsr().",
        notes={
            "AMD": "Reads and writes have the same code; the tracepoint kvm_msr tells them apart.",
            "MSR_READ_IMM": "The form of the instruction with the register's number in it (Linux 6.18 and later).",
        },
        see=("APIC_WRITE", "avic_incomplete_ipi", "PREEMPTION_TIMER", "EOI_INDUCED", "write_efer_trap", "TDCALL"),
    ),
    Meaning(
        "Guest memory that is not mapped",
        {48: "EPT_VIOLATION"},
        {0x400: "npf"},
        what="The guest touched memory that its second-level page tables (EPT, NPT) do not map, or not for this use."
        " KVM maps the page, or takes the access for one to a device and emulates it.",
        causes="First touch of memory after the start; pages swapped out, ballooned, merged (KSM), moved by NUMA"
        " balancing or split by the host; dirty logging in a migration; and devices' registers, on AMD all of them.",
        advice="Back the guest with huge pages, allocated first: -object memory-backend-memfd,hugetlb=on,prealloc=on,…"
        " or transparent huge pages. For fixed placement: sysctl kernel.numa_balancing=0, no swap (-overcommit"
        " mem-lock=on), no KSM. Many with USER% high: an emulated device, use virtio. kvm:kvm_page_fault shows where.",
        source="Intel SDM vol. 3, EPT Violations. AMD APM vol. 2, 15.25.6. vmx/vmx.c: handle_ept_violation();"
        " svm/svm.c: npf_interception(); mmu/mmu.c: kvm_mmu_page_fault(); Documentation/virt/kvm/x86/mmu.rst.",
        notes={
            "AMD": "Emulated devices, also virtio's doorbells, come as npf; kvm:kvm_mmio shows their addresses.",
            "Intel": "Known devices come as EPT_MISCONFIG instead. Code in huge pages is split where the CPU has the"
            " multi-hit erratum (kvm.nx_huge_pages).",
        },
        see=("EPT_MISCONFIG", "PF excp", "PML_FULL", "vmgexit_page_state_change"),
    ),
    Meaning(
        "Memory-mapped I/O",
        {49: "EPT_MISCONFIG"},
        {},
        what="The guest touched a device's registers. KVM marks such pages on purpose with an EPT entry that the CPU"
        " calls misconfigured: it tells a device's page from missing memory without a look-up.",
        causes="Virtio doorbells, one for each kick of a queue; emulated devices (e1000, AHCI, NVMe, VGA, USB); the"
        " HPET as clock; the IOAPIC; a passed-through device's MSI-X table.",
        advice="A doorbell with an ioeventfd is cheap and normal. If USER% is high the VMM emulates a device: use"
        " virtio with vhost, or VFIO. HPET: -machine hpet=off, and clocksource=tsc in the guest. Which device: perf"
        " record -e kvm:kvm_mmio -a -- sleep 5; perf script, then `info mtree -f` in QEMU's monitor.",
        source="Intel SDM vol. 3, EPT Misconfigurations. vmx/vmx.c: handle_ept_misconfig(); mmu/spte.c:"
        " make_mmio_spte(); mmu/mmu.c: handle_mmio_page_fault(); KVM_IOEVENTFD in api.rst.",
        notes={
            "Intel": "MMIO that a TDX guest asks for by TDVMCALL shows under this name too.",
        },
        see=("EPT_VIOLATION", "IO_INSTRUCTION", "APIC_ACCESS", "vmgexit_mmio_read", "TDCALL"),
    ),
    Meaning(
        "Control registers",
        {28: "CR_ACCESS"},
        {
            0x00: "read_cr0",
            0x02: "read_cr2",
            0x03: "read_cr3",
            0x04: "read_cr4",
            0x10: "write_cr0",
            0x12: "write_cr2",
            0x13: "write_cr3",
            0x14: "write_cr4",
            0x65: "cr0_sel_write",
        },
        what="The guest accessed a control register whose bits KVM must see: CR0 and CR4, and CR3 (the page table)"
        " only without EPT or NPT. The task priority, CR8, has codes of its own on AMD.",
        causes="Booting; kernels that flip CR4.PGE to flush the TLB; write_cr3 at every context switch means shadow"
        " paging, which is slow.",
        advice="Some hundred a second are harmless. write_cr3, or CR_ACCESS to CR3, in masses: turn on nested paging"
        " (cat /sys/module/kvm_intel/parameters/ept, kvm_amd's npt). Which register:"
        " kvmtop --event cr. An INVPCID-capable CPU model spares the flushes through CR4.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. AMD APM vol. 2, 15.8.1 and 15.9."
        " vmx/vmx.c: handle_cr(); svm/svm.c: cr_interception().",
        notes={
            "cr0_sel_write": "Only writes that change more of CR0 than TS and MP.",
        },
        see=("write_cr0_trap", "TPR_BELOW_THRESHOLD", "INVLPG"),
    ),
    Meaning(
        "Control registers of an SEV-ES guest",
        {},
        {0x8F: "write_efer_trap", 0x90: "write_cr0_trap", 0x94: "write_cr4_trap", 0x98: "write_cr8_trap"},
        what="A guest with encrypted registers (SEV-ES, SEV-SNP) has written EFER, CR0, CR4 or CR8. The write is done"
        " already; the trap only tells KVM the new value, which it cannot read.",
        causes="Booting of the vCPUs, and changes of the paging mode. CR8 is the task priority, which Windows changes"
        " often.",
        advice="Normal and rare after the boot. There is nothing to configure: KVM needs the values to emulate"
        " interrupts and paging modes rightly.",
        source="AMD APM vol. 2, 15.35 and appendix C. svm/svm.c: efer_trap(), cr_trap(); svm/sev.c:"
        " sev_es_init_vmcb().",
        see=("CR_ACCESS", "MSR_WRITE", "TPR_BELOW_THRESHOLD", "vmgexit"),
    ),
    Meaning(
        "Task priority",
        {43: "TPR_BELOW_THRESHOLD"},
        {0x08: "read_cr8", 0x18: "write_cr8"},
        what="The guest changed its task priority (TPR, CR8), and an interrupt that was held back by it may now be"
        " delivered. Intel leaves only if it fell below that interrupt's priority; AMD at each write while one waits.",
        causes="Windows guests, which raise and lower the priority all the time. Linux guests do not use it.",
        advice="APICv or AVIC makes them go: check cat /sys/module/kvm_intel/parameters/enable_apicv or kvm_amd's"
        " avic. For 32-bit Windows QEMU patches the guest's code (kvmvapic) to spare them.",
        source="Intel SDM vol. 3, Virtualizing CR8-Based TPR Accesses. AMD APM vol. 2, 15.21.2. vmx/vmx.c:"
        " handle_tpr_below_threshold(); svm/svm.c: cr8_write_interception(); lapic.c: kvm_lapic_set_tpr().",
        see=("INTERRUPT_WINDOW", "CR_ACCESS", "write_cr8_trap", "APIC_ACCESS"),
    ),
    Meaning(
        "Debug registers",
        {29: "DR_ACCESS"},
        {**{0x20 + n: f"read_dr{n}" for n in range(8)}, **{0x30 + n: f"write_dr{n}" for n in range(8)}},
        what="The guest read or wrote a debug register. KVM loads them only on first use, so one exit comes with the"
        " first access, and then no more until the vCPU leaves the guest for another reason.",
        causes="Hardware breakpoints and watchpoints inside the guest: gdb, perf's mem: events, kgdb; some anti-cheat"
        " and anti-debugging code.",
        advice="Nothing; remove the breakpoints in the guest if it is too slow. A debugger on the host that owns the"
        " registers (-s, -gdb) makes every access leave: detach it.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally (MOV DR). AMD APM vol. 2, 15.8.1."
        " vmx/vmx.c: handle_dr(); svm/svm.c: dr_interception().",
        see=("DB excp",),
    ),
    Meaning(
        "A hypercall",
        {18: "VMCALL"},
        {0x81: "hypercall"},
        what="The guest called the hypervisor on purpose (VMCALL, VMMCALL) to ask for what would cost more otherwise:"
        " KVM's own calls, or Hyper-V's or Xen's where the guest was offered those.",
        causes="Linux: wake a vCPU that waits for a lock (KICK_CPU), send interrupts to many (SEND_IPI), yield"
        " (SCHED_YIELD). Windows: flush other vCPUs' TLBs, send interrupts, SignalEvent of VMBus.",
        advice="Normal. Which: kvmtop --event hypercall, or hyperv for Windows."
        " Many KICK_CPU and SCHED_YIELD mean more vCPUs than CPUs. With one CPU for each vCPU,"
        " kvm-hint-dedicated=on in -cpu makes Linux guests do without most.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Unconditionally. AMD APM vol. 2, 15.9. x86.c:"
        " kvm_emulate_hypercall(); hyperv.c: kvm_hv_hypercall(); Documentation/virt/kvm/x86/hypercalls.rst.",
        see=("TDCALL", "vmgexit", "avic_incomplete_ipi"),
    ),
    Meaning(
        "Reading a performance counter",
        {15: "RDPMC"},
        {0x6F: "rdpmc"},
        what="The guest read a performance counter with RDPMC. The counters of a guest are emulated with perf events"
        " of the host, so each read asks KVM.",
        causes="perf, VTune or uProf inside the guest; libraries that read counters from user space; a Linux guest's"
        " NMI watchdog on some CPUs.",
        advice="Nothing while somebody profiles. If nobody should, start the guest without a PMU: -cpu …,pmu=off, or"
        " load kvm with enable_pmu=N.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. AMD APM vol. 2, 15.9. x86.c:"
        " kvm_emulate_rdpmc(); pmu.c: kvm_pmu_rdpmc().",
    ),
    Meaning(
        "Reading the time stamp counter",
        {16: "RDTSC", 51: "RDTSCP"},
        {0x6E: "rdtsc", 0x87: "rdtscp"},
        what="The guest read the time stamp counter and left for it. KVM lets guests read it directly, so this is a"
        " guest of a guest, or RDTSCP in a guest whose CPU model does not have it.",
        causes="A nested hypervisor (L1) that intercepts RDTSC for its guest. RDTSCP with a CPU model that hides it:"
        " KVM then gives the guest an undefined instruction.",
        advice="Look at the nested hypervisor's settings for TSC emulation. For RDTSCP: -cpu host, or …,+rdtscp. A"
        " guest clock that falls back from tsc is another matter: give it -cpu …,+invtsc, and see"
        " /sys/devices/system/clocksource/clocksource0/current_clocksource in the guest.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. AMD APM vol. 2, 15.9. svm/svm.c:"
        " svm_recalc_instruction_intercepts(); vmx/nested.c: nested_vmx_l1_wants_exit().",
        see=("UMWAIT",),
    ),
    Meaning(
        "TLB invalidation",
        {14: "INVLPG", 58: "INVPCID"},
        {0x79: "invlpg", 0xA2: "invpcid"},
        what="The guest invalidated TLB entries. With EPT or NPT the CPU does that without KVM; the exit comes with"
        " shadow paging, or for INVPCID where the CPU model does not have it.",
        causes="ept=0 or npt=0, or a CPU without them; a nested hypervisor that shadows its guest's page tables;"
        " INVPCID used by a guest that was not offered it.",
        advice="Turn on nested paging: cat /sys/module/kvm_intel/parameters/ept, /sys/module/kvm_amd/parameters/npt."
        " In nested setups make sure that the hypervisor inside uses EPT or NPT as well.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. AMD APM vol. 2, 15.9. vmx/vmx.c:"
        " handle_invlpg(), handle_invpcid(); svm/svm.c: invlpg_interception(), invpcid_interception().",
        see=("CR_ACCESS", "INVEPT"),
    ),
    Meaning(
        "Cache write-back",
        {54: "WBINVD", 13: "INVD"},
        {0x89: "wbinvd", 0x76: "invd"},
        what="The guest flushed all caches (WBINVD) or threw them away (INVD). KVM always ignores INVD, and WBINVD"
        " unless the VM has a device with DMA that is not cache-coherent: then it flushes on all CPUs where the vCPU"
        " has run.",
        causes="Firmware and kernels at boot; changes of memory types (MTRR) and page attributes; graphics drivers of"
        " passed-through GPUs; CPUs going offline; ACPI sleep.",
        advice="Harmless in small numbers. With a passed-through GPU and many WBINVD each flush may take a"
        " millisecond: check whether the IOMMU enforces snooping (coherent DMA), and update the guest's driver.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits (WBINVD exiting; INVD). AMD APM vol. 2, 15.9."
        " x86.c: kvm_emulate_wbinvd(), kvm_emulate_invd(); kvm_arch_has_noncoherent_dma().",
    ),
    Meaning(
        "XSETBV: which registers are in use",
        {55: "XSETBV"},
        {0x8D: "xsetbv"},
        what="The guest changed XCR0, the mask of register sets (SSE, AVX, AMX) that it uses. KVM must check the"
        " value, so each change leaves.",
        causes="Booting: once or twice for each vCPU. A nested hypervisor whose guests use other masks changes it at"
        " each switch between them.",
        advice="Nothing at boot. For nested guests, give the inner guests the same CPU model as the hypervisor inside"
        " has, so that their masks are equal.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Unconditionally. AMD APM vol. 2, 15.9. x86.c:"
        " kvm_emulate_xsetbv(), __kvm_set_xcr().",
        see=("XSAVES",),
    ),
    Meaning(
        "XSAVES or XRSTORS",
        {63: "XSAVES", 64: "XRSTORS"},
        {},
        what="The guest saved or restored supervisor register state that its hypervisor wants to see. KVM asks for"
        " none of it, so this comes only from a guest of a guest.",
        causes="A nested hypervisor (L1) that sets its XSS exiting bitmap, or offers no XSAVES to its guest.",
        advice="Nothing on this host. Give the nested hypervisor a CPU model with xsaves, and let it pass that on to"
        " its guests.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally (XSS-exiting bitmap). vmx/nested.c:"
        " nested_vmx_l1_wants_exit(), nested_cpu_has_xsaves().",
        see=("XSETBV",),
    ),
    Meaning(
        "Descriptor tables",
        {46: "GDTR_IDTR", 47: "LDTR_TR"},
        {
            0x66: "read_idtr",
            0x67: "read_gdtr",
            0x68: "read_ldtr",
            0x69: "read_rt",
            0x6A: "write_idtr",
            0x6B: "write_gdtr",
            0x6C: "write_ldtr",
            0x6D: "write_rt",
        },
        what="The guest loaded or stored a descriptor table register (SGDT, LIDT, STR …; rt stands for TR). KVM needs"
        " that only to emulate UMIP, which hides these values from user space.",
        causes="Intel: a guest with UMIP on a CPU without it, where KVM emulates it. AMD: KVM does not intercept"
        " these; they come from a nested hypervisor, as some introspection tools are.",
        advice="Give the guest no UMIP where the CPU has none: -cpu …,-umip. With -cpu host it follows the host. For"
        " nested guests look at what the hypervisor inside intercepts.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally (descriptor-table exiting). AMD APM"
        " vol. 2, 15.9. vmx/vmx.c: handle_desc(), vmx_set_cr4().",
    ),
    Meaning(
        "The APIC's page",
        {44: "APIC_ACCESS"},
        {0x402: "avic_unaccelerated_access"},
        what="The guest touched the page of its local APIC (0xfee00000) in a way that the CPU does not virtualise, so"
        " KVM emulates the access.",
        causes="A guest that uses the xAPIC instead of the x2APIC: each timer, each interrupt to another vCPU, without"
        " APICv each end of interrupt as well. AMD: also writes of registers that AVIC leaves to software.",
        advice="Offer the x2APIC: -cpu …,+x2apic (QEMU with KVM does), and do not boot the guest with nox2apic. Turn"
        " on APICv or AVIC (kvm_intel.enable_apicv, kvm_amd.avic). Windows guests: hv_vapic in -cpu.",
        source="Intel SDM vol. 3, APIC-Access VM Exits. AMD APM vol. 2, 15.29. vmx/vmx.c: handle_apic_access();"
        " svm/avic.c: avic_unaccelerated_access_interception(); lapic.c.",
        see=("APIC_WRITE", "EOI_INDUCED", "EPT_MISCONFIG", "TPR_BELOW_THRESHOLD", "avic_incomplete_ipi"),
    ),
    Meaning(
        "APIC write, after the fact",
        {56: "APIC_WRITE"},
        {},
        what="The guest wrote a register of its virtual APIC; the CPU has stored the value, and KVM now does what it"
        " stands for. It exists only with APICv.",
        causes="Interrupts to other vCPUs (ICR), arming the timer in xAPIC mode (TMICT), changes of the local vector"
        " table. One for each, so a guest with many IPIs has many.",
        advice="Normal with APICv, and cheaper than APIC_ACCESS. On CPUs with IPI virtualization (Sapphire Rapids and"
        " later, kvm_intel.enable_ipiv) most of the IPIs go. The x2APIC, -cpu …,+x2apic, spares the timer's.",
        source="Intel SDM vol. 3, APIC-Write VM Exits, and IPI Virtualization. vmx/vmx.c: handle_apic_write();"
        " lapic.c: kvm_apic_write_nodecode().",
        see=("APIC_ACCESS", "MSR_WRITE", "avic_incomplete_ipi"),
    ),
    Meaning(
        "End of interrupt that others must know of",
        {45: "EOI_INDUCED"},
        {},
        what="The guest ended a level-triggered interrupt. The CPU does the end of others itself (APICv); this one"
        " must be told to the IOAPIC, because the device may still hold the line.",
        causes="Devices with legacy interrupt lines (INTx) instead of MSI: emulated IDE, USB, sound, e1000; a"
        " passed-through device whose driver uses INTx; the PIT.",
        advice="Use devices with MSI or MSI-X: virtio, NVMe, and in the guest no pci=nomsi. See /proc/interrupts in"
        " the guest for lines with IO-APIC … fasteoi.",
        source="Intel SDM vol. 3, EOI Virtualization (EOI-exit bitmap). vmx/vmx.c: handle_apic_eoi_induced(); lapic.c:"
        " kvm_apic_set_eoi_accelerated(); ioapic.c.",
        notes={
            "AMD": "AVIC reports the same as avic_unaccelerated_access; KVM keeps lines in mind that need it.",
        },
        see=("APIC_ACCESS", "INTERRUPT_WINDOW", "MSR_WRITE"),
    ),
    Meaning(
        "An IPI that AVIC could not deliver",
        {},
        {0x401: "avic_incomplete_ipi"},
        what="The guest sent an interrupt to another vCPU, and AVIC could not finish it: KVM wakes the target or"
        " delivers it.",
        causes="The target does not run: it is halted or waits for a CPU, so somebody must wake it. That is the usual"
        " case. Also broadcasts, and logical destinations that the hardware cannot look up.",
        advice="Normal for vCPUs that sleep and wake each other: the cost is that of the wake-up. Fewer wake-ups help:"
        " the guest's cpuidle-haltpoll, kvm.halt_poll_ns on the host. For a guest in x2APIC mode AVIC needs a CPU with"
        " x2AVIC (Zen 4).",
        source="AMD APM vol. 2, 15.29 (AVIC incomplete IPI). svm/avic.c: avic_incomplete_ipi_interception(),"
        " avic_kick_target_vcpus().",
        see=("APIC_WRITE", "APIC_ACCESS", "MSR_WRITE", "VMCALL"),
    ),
    Meaning(
        "The log of dirty pages is full",
        {62: "PML_FULL"},
        {},
        what="The CPU keeps a list of 512 pages that the guest has written to, while somebody wants to know (dirty"
        " logging). It is full, and KVM empties it. KVM also does so at other exits.",
        causes="Live migration, a snapshot of memory, or a display that tracks the frame buffer. Their number says how"
        " fast the guest writes: 512 pages each.",
        advice="Normal while a migration runs; it ends with it. If the migration does not finish, slow the guest down"
        " (migrate_set_capability auto-converge on), or use multifd and more bandwidth.",
        source="Intel SDM vol. 3, Page-Modification Logging. vmx/vmx.c: handle_pml_full(), vmx_flush_pml_buffer(); the"
        " parameter kvm_intel.pml.",
        notes={
            "AMD": "Without such a list each first write to a page comes as npf.",
        },
        see=("EPT_VIOLATION",),
    ),
    Meaning(
        "The guest's timer fired",
        {52: "PREEMPTION_TIMER"},
        {},
        what="KVM lets the CPU's VMX preemption timer run for the guest's own APIC timer, and it has expired while the"
        " guest ran. The guest gets its timer interrupt.",
        causes="Ticks and timers of a busy guest. It replaces a timer of the host and an EXTERNAL_INTERRUPT, so it is"
        " the cheaper way. KVM also uses it to leave at once when an event waits.",
        advice="Normal. Fewer: NO_HZ_FULL in the guest for CPU-bound work, or programs that set fewer timers. Turning"
        " it off (kvm_intel.preemption_timer=0) only makes them EXTERNAL_INTERRUPTs.",
        source="Intel SDM vol. 3, VMX-Preemption Timer. vmx/vmx.c: handle_preemption_timer(),"
        " handle_fastpath_preemption_timer(); lapic.c: kvm_lapic_expired_hv_timer().",
        see=("MSR_WRITE", "EXTERNAL_INTERRUPT"),
    ),
    Meaning(
        "A single step of the hypervisor",
        {37: "MONITOR_TRAP_FLAG"},
        {},
        what="A hypervisor asked to be called after each instruction of its guest (monitor trap flag). KVM uses it"
        " only on behalf of a nested hypervisor.",
        causes="A debugger or an introspection tool in a nested hypervisor that steps through its guest.",
        advice="Nothing on this host. It ends when the debugger inside lets its guest run. A debugger attached to this"
        " host's QEMU steps another way.",
        source="Intel SDM vol. 3, Monitor Trap Flag. vmx/vmx.c: handle_monitor_trap(); vmx/nested.c:"
        " vmx_check_nested_events().",
    ),
    Meaning(
        "A bus lock",
        {74: "BUS_LOCK"},
        {0xA5: "buslock"},
        what="The guest made an atomic access across two cache lines, or to uncached memory: the CPU locks the whole"
        " bus for it, which slows every other CPU of the machine. KVM was asked to report it.",
        causes="Programs with badly aligned atomic variables: old games and binaries, packed structures, some JITs."
        " The VMM turned the report on (KVM_CAP_X86_BUS_LOCK_EXIT).",
        advice="QEMU slows such guests down with -machine bus-lock-ratelimit=N (bus locks a second). The rip of"
        " kvm_exit shows where in the guest it happens; the program's data must be aligned.",
        source="Intel SDM vol. 3, Bus-Lock Detection (VMM bus-lock detection). AMD APM vol. 2, 15.14.5. vmx/vmx.c:"
        " handle_bus_lock_vmexit(); svm/svm.c: bus_lock_exit(); KVM_CAP_X86_BUS_LOCK_EXIT in api.rst.",
        notes={
            "Intel": "If another reason comes at the same moment, that one is reported, with the flag BUS_LOCK.",
        },
        see=("AC excp",),
    ),
    Meaning(
        "No event window for too long",
        {75: "NOTIFY"},
        {},
        what="The guest ran so long without a moment in which the CPU could take an interrupt that it would have held"
        " up the host. The CPU left it (notify VM exit).",
        causes="A malicious or badly broken guest, for instance an endless loop of exceptions (CVE-2015-5307 was one)."
        " A window that is set too small.",
        advice="Take it seriously: find out what runs in that guest. QEMU decides what follows: -accel"
        " kvm,notify-vmexit=run|internal-error|disable,notify-window=N.",
        source="Intel SDM vol. 3, Other Causes of VM Exits (notify VM exits). vmx/vmx.c: handle_notify();"
        " KVM_CAP_X86_NOTIFY_VMEXIT in Documentation/virt/kvm/api.rst.",
    ),
    Meaning(
        "The guest could not be entered",
        {33: "INVALID_STATE", 34: "MSR_LOAD_FAIL"},
        {0xFFFFFFFF: "invalid_guest_state"},
        what="The CPU refused to enter the guest because its state breaks a rule. It did not run at all; KVM gives up,"
        " and the VMM stops the VM (QEMU: KVM: entry failed, hardware error …).",
        causes="A VMM that set impossible registers; a damaged snapshot or migration between unlike CPUs; a bug of KVM"
        " or of a nested hypervisor; on Intel CPUs before Westmere real-mode code that they cannot run.",
        advice="Load kvm_intel with dump_invalid_vmcs=1 or kvm_amd with dump_invalid_vmcb=1, make it happen again, and"
        " read the dump in dmesg. Compare versions of kernel, firmware and QEMU on both hosts of a migration, and"
        " report it with the dump.",
        source="Intel SDM vol. 3, VM-Entry Failures During or After Loading Guest State. AMD APM vol. 2, 15.5.1 and"
        " appendix C (VMEXIT_INVALID). vmx/vmx.c: __vmx_handle_exit(), dump_vmcs(); svm/svm.c: dump_vmcb().",
        notes={
            "Intel": "Shown with the flag FAILED_VMENTRY (bit 31): 0x80000021 is 33 with it.",
        },
        see=("TRIPLE_FAULT",),
    ),
    Meaning(
        "A nested guest is entered",
        {20: "VMLAUNCH", 24: "VMRESUME"},
        {0x80: "vmrun"},
        what="A hypervisor inside the guest (L1) entered its own guest (L2). KVM builds the state for it and runs it:"
        " one of the most expensive exits, and one follows for each exit of the inner guest.",
        causes="KVM, Hyper-V or VirtualBox inside the guest. In Windows often without anybody asking: WSL2, Docker"
        " Desktop, memory integrity (VBS), Credential Guard.",
        advice="If nested virtualization is not wanted, take it away: -cpu …,-vmx or -svm. In Windows turn off memory"
        " integrity. For Hyper-V inside: hv-evmcs (Intel), hv-tlbflush-direct. Reduce what makes the inner guest exit:"
        " virtio, huge pages, APICv inside.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Unconditionally. AMD APM vol. 2, 15.5."
        " vmx/nested.c: nested_vmx_run(); svm/nested.c: nested_svm_vmrun(); Documentation/virt/kvm/x86/nested-vmx.rst.",
        see=("VMREAD", "INVEPT", "GP excp"),
    ),
    Meaning(
        "Instructions of a nested hypervisor",
        {19: "VMCLEAR", 21: "VMPTRLD", 22: "VMPTRST", 23: "VMREAD", 25: "VMWRITE", 26: "VMOFF", 27: "VMON"},
        {0x82: "vmload", 0x83: "vmsave", 0x84: "stgi", 0x85: "clgi", 0x86: "skinit"},
        what="A hypervisor inside the guest handled its own guest's control structure (VMCS, VMCB). KVM emulates what"
        " the CPU does not take over.",
        causes="Nested virtualization: several of these for each exit of the inner guest, where the CPU has no help"
        " for them or it is off.",
        advice="Let the CPU help: kvm_intel.enable_shadow_vmcs=1 makes most VMREAD and VMWRITE go, hv-evmcs for"
        " Hyper-V inside all of them; kvm_amd.vls=1 and vgif=1 do so for vmload, vmsave, stgi and clgi. They are on by"
        " default where the CPU has them.",
        source="Intel SDM vol. 3, VMCS Shadowing. AMD APM vol. 2, 15.33 (virtual VMLOAD, VMSAVE, GIF). vmx/nested.c:"
        " handle_vmread(), handle_vmptrld(); svm/svm.c: vmload_vmsave_interception(), stgi_interception().",
        notes={
            "skinit": "Secure start of a hypervisor: KVM gives the guest an undefined instruction.",
        },
        see=("VMLAUNCH", "INVEPT"),
    ),
    Meaning(
        "TLB invalidation of a nested hypervisor",
        {50: "INVEPT", 53: "INVVPID", 59: "VMFUNC"},
        {0x7A: "invlpga"},
        what="A hypervisor inside the guest invalidated translations of its own guest, or (VMFUNC) the inner guest"
        " switched its EPT. KVM does it on the shadow copies that it keeps.",
        causes="Nested virtualization: changes of the inner guests' memory, such as start-up, ballooning and"
        " migration, and switches between them.",
        advice="Fewer changes of memory inside: huge pages for the inner guests, no ballooning. For Hyper-V inside,"
        " hv-evmcs and hv-tlbflush-direct in -cpu reduce them.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Unconditionally. AMD APM vol. 2, 15.16."
        " vmx/nested.c: handle_invept(), handle_invvpid(), handle_vmfunc(); svm/svm.c: invlpga_interception().",
        see=("VMLAUNCH", "VMREAD", "INVLPG"),
    ),
    Meaning(
        "Random numbers from the CPU",
        {57: "RDRAND", 61: "RDSEED"},
        {},
        what="The guest asked the CPU for a random number though its CPU model does not offer that. KVM gives it an"
        " undefined instruction. Otherwise the instruction runs without an exit.",
        causes="A CPU model without rdrand or rdseed, and a program that does not ask CPUID first. Or a nested"
        " hypervisor that intercepts it.",
        advice="Offer it: -cpu host, or …,+rdrand,+rdseed. If it was hidden on purpose (an erratum), give the guest a"
        " virtio-rng device and correct the program.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally. vmx/vmx.c:"
        " vmx_secondary_exec_control(), kvm_handle_invalid_op().",
    ),
    Meaning(
        "SGX enclave management",
        {60: "ENCLS"},
        {},
        what="The guest's kernel managed an SGX enclave with ENCLS. KVM checks those leaves that create and initialise"
        " enclaves, and forbids the instruction where the guest has no SGX.",
        causes="Starting of enclaves in a guest with virtual EPC memory. Programs that only run enclaves do not leave"
        " for it.",
        advice="Normal when enclaves start. If they start all the time, let the program keep them. A guest without SGX"
        " that tries it gets an undefined instruction: harmless.",
        source="Intel SDM vol. 3, Instructions That Cause VM Exits Conditionally (ENCLS-exiting bitmap). vmx/sgx.c:"
        " handle_encls(); Documentation/arch/x86/sgx.rst.",
    ),
    Meaning(
        "A TDX guest's call",
        {77: "TDCALL"},
        {},
        what="A trust domain (TDX guest) asked the host for something with TDG.VP.VMCALL that is no instruction: to"
        " share or unshare memory (MapGPA), for a quote, or to report a fatal error. Calls for CPUID, HLT, port I/O,"
        " MSRs and MMIO show under those names.",
        causes="Booting, which shares memory for device buffers; attestation (GetQuote); a guest that ends with an"
        " error.",
        advice="Normal at boot. Many later: the guest shares memory for DMA again and again; give its bounce buffers"
        " more (swiotlb=N in the guest). A fatal error ends the VM: see QEMU's log.",
        source="Intel TDX Guest-Hypervisor Communication Interface. vmx/tdx.c: tdcall_to_vmx_exit_reason(),"
        " handle_tdvmcall(); Documentation/virt/kvm/x86/intel-tdx.rst; KVM_EXIT_TDX in api.rst.",
        see=("HLT", "CPUID", "IO_INSTRUCTION", "MSR_READ", "EPT_MISCONFIG", "VMCALL", "vmgexit"),
    ),
    Meaning(
        "An SEV-ES or SEV-SNP guest's call",
        {},
        {0x403: "vmgexit"},
        what="A guest with encrypted registers handed an exit to the host through its communication block (GHCB). The"
        " real reason stands in there: CPUID, I/O, an MSR, MMIO, or one of the vmgexit_ codes.",
        causes="Whatever makes other guests leave: such a guest gets a #VC exception for it and then calls the host"
        " with VMGEXIT. So this is most of what such a guest shows.",
        advice="See the real reasons (kvmtop --event vmgexit), then read on"
        " there. All cost more than in other guests, so it pays to have fewer: virtio, MSI, no port I/O, x2APIC.",
        source="AMD APM vol. 2, 15.35 and 15.36. AMD's GHCB specification (56421). svm/sev.c: sev_handle_vmgexit(),"
        " sev_es_validate_vmgexit(); Documentation/virt/kvm/x86/amd-memory-encryption.rst.",
        see=(
            "CPUID",
            "IO_INSTRUCTION",
            "VMCALL",
            "TDCALL",
            "write_efer_trap",
            "vmgexit_mmio_read",
            "vmgexit_nmi_complete",
            "vmgexit_ap_hlt_loop",
            "vmgexit_page_state_change",
            "vmgexit_guest_request",
            "vmgexit_hypervisor_feature",
        ),
    ),
    Meaning(
        "MMIO of an SEV-ES guest",
        {},
        {0x80000001: "vmgexit_mmio_read", 0x80000002: "vmgexit_mmio_write"},
        what="A guest with encrypted registers read or wrote a device's registers, and passed address and value to the"
        " host itself. kvm_exit calls it vmgexit; this code stands in kvm_vmgexit_enter.",
        causes="What is npf in other guests: virtio doorbells, emulated devices, the IOAPIC, the HPET.",
        advice="As for MMIO: virtio or VFIO devices instead of emulated ones, no HPET (-machine hpet=off)."
        " kvm:kvm_mmio shows the address.",
        source="AMD's GHCB specification (56421), NAE events: MMIO access. svm/sev.c: sev_handle_vmgexit(),"
        " setup_vmgexit_scratch(); x86.c: kvm_sev_es_mmio_read().",
        see=("vmgexit", "EPT_MISCONFIG"),
    ),
    Meaning(
        "End of an NMI in an SEV-ES guest",
        {},
        {0x80000003: "vmgexit_nmi_complete"},
        what="A guest with encrypted registers tells that it has finished its NMI handler, since the host cannot see"
        " its IRET. kvm_exit calls it vmgexit; this code stands in kvm_vmgexit_enter.",
        causes="NMIs in the guest: its watchdog, perf, or inject-nmi by the VMM. One for each NMI.",
        advice="Harmless. If there are many, somebody profiles in the guest with NMIs; its watchdog goes off with"
        " sysctl kernel.nmi_watchdog=0.",
        source="AMD's GHCB specification (56421), NAE events: NMI complete. svm/sev.c: sev_handle_vmgexit();"
        " svm/svm.c: svm_complete_interrupts().",
        see=("vmgexit", "NMI_WINDOW"),
    ),
    Meaning(
        "Starting vCPUs of an SEV-ES guest",
        {},
        {0x80000004: "vmgexit_ap_hlt_loop", 0x80000005: "vmgexit_ap_jump_table", 0x80000013: "vmgexit_ap_creation"},
        what="A guest with encrypted registers starts, stops or parks its vCPUs. The host cannot set their registers,"
        " so the guest brings them up by calls. kvm_exit calls it vmgexit; the code stands in kvm_vmgexit_enter.",
        causes="Booting; CPU hotplug; kexec. In ap_hlt_loop a vCPU waits until it is started: that is idle time,"
        " however long.",
        advice="Nothing. A guest that hangs with all but one vCPU in ap_hlt_loop has not started them: see its"
        " console, and whether firmware and kernel know SEV-ES or SEV-SNP.",
        source="AMD's GHCB specification (56421), NAE events: AP reset hold, AP jump table, SNP AP creation."
        " svm/sev.c: sev_handle_vmgexit(), sev_snp_ap_creation(); KVM_EXIT_AP_RESET_HOLD in api.rst.",
        see=("vmgexit", "HLT"),
    ),
    Meaning(
        "Memory made shared or private",
        {},
        {0x80000010: "vmgexit_page_state_change"},
        what="An SEV-SNP guest asks the host to make pages shared or private. The VMM does it for each range. kvm_exit"
        " calls it vmgexit; this code stands in kvm_vmgexit_enter.",
        causes="Booting, which accepts memory piece by piece; buffers for devices, which must be shared.",
        advice="Normal at boot; lazy acceptance spreads it over the first use. Later, many of them mean that buffers"
        " for DMA are shared again and again: give the guest larger bounce buffers (swiotlb=N).",
        source="AMD's GHCB specification (56421), NAE events: SNP page state change. svm/sev.c: snp_begin_psc();"
        " KVM_HC_MAP_GPA_RANGE in Documentation/virt/kvm/x86/hypercalls.rst.",
        see=("vmgexit", "EPT_VIOLATION"),
    ),
    Meaning(
        "A request to AMD's security processor",
        {},
        {0x80000011: "vmgexit_guest_request", 0x80000012: "vmgexit_ext_guest_request"},
        what="An SEV-SNP guest sends an encrypted message to the security processor: for an attestation report or a"
        " key. kvm_exit calls it vmgexit; this code stands in kvm_vmgexit_enter.",
        causes="Attestation: at boot, and whenever a program asks /dev/sev-guest. The processor is slow, and it serves"
        " all guests of the host one after the other.",
        advice="Some milliseconds each are normal. If a guest asks often, others wait longer for their answers: let"
        " its agent keep the report.",
        source="AMD's GHCB specification (56421), NAE events: SNP guest request. svm/sev.c: snp_handle_guest_req(),"
        " snp_handle_ext_guest_req(); Documentation/virt/coco/sev-guest.rst.",
        see=("vmgexit",),
    ),
    Meaning(
        "Which hypervisor features there are",
        {},
        {0x8000FFFD: "vmgexit_hypervisor_feature"},
        what="An SEV-ES or SEV-SNP guest asks which parts of the protocol the host knows. kvm_exit calls it vmgexit;"
        " this code stands in kvm_vmgexit_enter.",
        causes="Booting of firmware and kernel: a few times for each vCPU that starts, then no more while the guest"
        " runs.",
        advice="Nothing. A guest that stops after it wants a feature that this KVM does not have: SEV-SNP guests need"
        " Linux 6.11 or later on the host.",
        source="AMD's GHCB specification (56421), NAE events: hypervisor feature support. svm/sev.c:"
        " sev_handle_vmgexit(), GHCB_HV_FT_SUPPORTED.",
        see=("vmgexit",),
    ),
    Meaning(
        "Instructions that only a nested hypervisor intercepts",
        {},
        {0x70: "pushf", 0x71: "popf", 0x75: "swint", 0x7E: "ferr_freeze"},
        what="PUSHF, POPF, a software interrupt (INT n), or an FPU error in the old way. KVM intercepts none of them"
        " itself, so they come from a guest of a guest.",
        causes="A nested hypervisor (L1) that wants to see them, for debugging, introspection, or to run old code.",
        advice="Nothing on this host: look at the hypervisor inside, and at why it intercepts them.",
        source="AMD APM vol. 2, 15.9 and 15.14.2. svm/nested.c: nested_svm_intercept(), nested_svm_exit_handled();"
        " svm/svm.c: svm_exit_handlers[].",
    ),
)
