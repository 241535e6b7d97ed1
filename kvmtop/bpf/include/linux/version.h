/* Only kprobes of kernels before 5.0 compare it; bcc asks for 4.8 or later. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 4, 0)
