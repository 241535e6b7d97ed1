/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a guest's user space does, in one static file for an initramfs: `program WHAT [ARGUMENT]`, for ever.
 */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void some(long turns)
{
    for (volatile long i = 0; i < turns; i++)
        ;
}

/* A service that stamps all that it does. */
static void clocks(long turns)
{
    struct timespec now;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        some(turns);
    }
}

static void cpuid(long turns)
{
    for (;;) {
        unsigned a = 0, b, c = 0, d;
        asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        some(turns);
    }
}

/* Registers of a device, at this physical address. */
static void device(unsigned long address)
{
    int memory = open("/dev/mem", O_RDWR | O_SYNC);
    volatile unsigned *registers = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, address);
    if (registers == MAP_FAILED)
        err(1, "/dev/mem");
    for (;;) {
        (void)registers[2]; /* of an e1000: STATUS */
        some(2000);
    }
}

static void *spin(void *nothing)
{
    for (;;)
        some(1000000);
    return nothing;
}

/* Threads that share memory whose protection changes: each change is an IPI to all of them. */
static void tlb(void)
{
    pthread_t thread;
    char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_create(&thread, 0, spin, 0);
    for (;;) {
        *page = 1;
        mprotect(page, 4096, PROT_READ);
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
        some(2000);
    }
}

/* As a compiler: short processes that take memory, work, and give it back. */
static void compile(void)
{
    for (;;) {
        if (!fork()) {
            size_t size = 4 << 20;
            memset(malloc(size), 1, size);
            some(20000000);
            _exit(0);
        }
        wait(0);
    }
}

int main(int argc, char **argv)
{
    const char *what = argv[1], *argument = argc > 2 ? argv[2] : "2000";
    if (!strcmp(what, "clocks"))
        clocks(atol(argument));
    else if (!strcmp(what, "cpuid"))
        cpuid(atol(argument));
    else if (!strcmp(what, "device"))
        device(strtoul(argument, 0, 0));
    else if (!strcmp(what, "tlb"))
        tlb();
    else if (!strcmp(what, "compile"))
        compile();
    else if (!strcmp(what, "spin"))
        spin(0);
    errx(1, "%s?", what);
}
