/* SPDX-License-Identifier: MIT */
/*
 * System calls as inline functions: what the shim and the snapshot use instead of libc's wrappers,
 * which may be interposed (by ourselves), set errno, are cancellation points, or take locks that a
 * stopped thread holds. Every function returns the kernel's result: 0 or more, or -errno. x86-64
 * Linux only.
 */
#ifndef LP_CORE_SYS_H
#define LP_CORE_SYS_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#if !defined(__x86_64__) || !defined(__linux__)
#error "leakprof knows x86-64 Linux only: system calls, register names and stack layout are in sys.h and arch.h"
#endif

static inline long lp_syscall6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}

#define LP_SYS0(n) lp_syscall6(n, 0, 0, 0, 0, 0, 0)
#define LP_SYS1(n, a) lp_syscall6(n, (long)(a), 0, 0, 0, 0, 0)
#define LP_SYS2(n, a, b) lp_syscall6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define LP_SYS3(n, a, b, c) lp_syscall6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define LP_SYS4(n, a, b, c, d) lp_syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define LP_SYS5(n, a, b, c, d, e)                                                                  \
	lp_syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define LP_SYS6(n, a, b, c, d, e, f)                                                               \
	lp_syscall6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline int lp_sys_open(const char *path, int flags, int mode)
{
	return (int)LP_SYS4(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, mode);
}

static inline int lp_sys_close(int fd)
{
	return (int)LP_SYS1(SYS_close, fd);
}

static inline long lp_sys_read(int fd, void *buffer, size_t size)
{
	return LP_SYS3(SYS_read, fd, buffer, size);
}

/* Reads a small file of /proc, as text: at most SIZE - 1 bytes and a 0. Returns how many, or -errno
 * with an empty text. */
static inline long lp_sys_read_text(const char *path, char *text, size_t size)
{
	int fd = lp_sys_open(path, O_RDONLY, 0);
	long n = fd < 0 ? fd : lp_sys_read(fd, text, size - 1);

	if (fd >= 0)
		lp_sys_close(fd);
	text[n > 0 ? n : 0] = 0;
	return n;
}

static inline long lp_sys_write(int fd, const void *buffer, size_t size)
{
	return LP_SYS3(SYS_write, fd, buffer, size);
}

/* For what the target itself says, with all signals blocked: a reader that has gone makes no
 * SIGPIPE for the program. */
static inline long lp_sys_write_quietly(int fd, const void *buffer, size_t size)
{
	const uint64_t pipe_signal = 1ull << (SIGPIPE - 1);
	const struct timespec none = {0};
	long n = lp_sys_write(fd, buffer, size);

	if (n == -EPIPE)
		LP_SYS4(SYS_rt_sigtimedwait, &pipe_signal, NULL, &none, sizeof(pipe_signal));
	return n;
}

static inline uint64_t lp_sys_clock_ns(int clock)
{
	struct timespec ts = {0};

	LP_SYS2(SYS_clock_gettime, clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Anonymous private memory, not reserved, zero. NULL when there is none. */
static inline void *lp_sys_map(size_t size)
{
	long r = LP_SYS6(SYS_mmap, 0, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return r < 0 && r > -4096 ? NULL : (void *)r;
}

static inline void lp_sys_unmap(void *address, size_t size)
{
	LP_SYS2(SYS_munmap, address, size);
}

static inline int lp_sys_futex(uint32_t *word, int op, uint32_t value,
			       const struct timespec *timeout)
{
	return (int)LP_SYS4(SYS_futex, word, op, value, timeout);
}

#define LP_ALIGN_UP(x, a) (((x) + (a)-1) & ~((uintptr_t)(a)-1))
#define LP_ALIGN_DOWN(x, a) ((x) & ~((uintptr_t)(a)-1))
#define LP_PAGE 4096u
#define LP_LIKELY(x) __builtin_expect(!!(x), 1)
#define LP_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define LP_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
