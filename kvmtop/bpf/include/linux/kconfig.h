/* Read before anything else. bcc refuses to compile without this. */
#define CONFIG_BPF_SYSCALL 1
