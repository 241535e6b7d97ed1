/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A VMM in one static file, for a guest's initramfs, where there is no Python: `nested_vmm CODE` runs the machine code in
 * that file as kvmtop/host/selftest_guest.py does, until its last `out`. Prints "begun" before and "ended" after.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY 0x10000
#define CODE 0x1000
#define END_PORT 0xf4
#define NOTHING 0x100000 /* where there is no memory: what is stored there is for a device */

static int done(int result, const char *what)
{
    if (result < 0)
        err(1, "%s", what);
    return result;
}

int main(int argc, char **argv)
{
    int kvm = done(open("/dev/kvm", O_RDWR), "/dev/kvm"), vm = done(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    void *memory = mmap(0, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kvm_userspace_memory_region slot = {.memory_size = MEMORY, .userspace_addr = (unsigned long)memory};
    struct kvm_regs regs = {.rip = CODE, .rflags = 2};
    struct kvm_sregs sregs;

    done(read(done(open(argv[1], O_RDONLY), argv[1]), (char *)memory + CODE, MEMORY - CODE), "read");
    done(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
    int vcpu = done(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    struct kvm_run *run =
        mmap(0, done(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "size"), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    done(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
    sregs.cs.base = sregs.cs.selector = 0;
    sregs.ds.base = NOTHING;
    done(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
    done(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
    puts("begun");
    fflush(stdout);
    do {
        done(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
        if (run->exit_reason != KVM_EXIT_IO && run->exit_reason != KVM_EXIT_HLT && run->exit_reason != KVM_EXIT_MMIO)
            errx(1, "left with KVM exit reason %u", run->exit_reason);
    } while (run->exit_reason != KVM_EXIT_IO || run->io.port != END_PORT);
    puts("ended");
}
