/* SPDX-License-Identifier: MIT */
/*
 * Statistics: what the goroutines do at the moment, without stopping anything. Counted when asked
 * for, from the goroutines' records, so that a wait and switch costs nothing for it.
 *
 * Who asks from outside (protocol.h) is answered by a process that shares our memory (CLONE_VM) but
 * not our descriptors: no copy of page tables is made, and the socket is never among the target's
 * descriptors. The handler's thread only makes it and goes on. It blocks every signal (the target's
 * handlers must not run in it), makes system calls only, waits for nothing and exits.
 *
 * Wait records lie on stacks that may be unmapped at any time, so they are read by
 * process_vm_readv of the reader's own memory, which fails where a load would fault; and a record
 * counts only if the goroutine still had the same wait afterwards.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "core/own.h"
#include "core/sys.h"
#include "leakprof.h"
#include "runtime_hooks/adapters/adapters.h"
#include "runtime_hooks/target.h"

#define BATCH 32u  /* goroutines at a time */
#define HELPERS 4u /* processes that answer, at a time */
#define HELPER_STACK (32u << 10)

/* --- Reading what may be gone --- */

/* Reads SIZE bytes at ADDRESS, wherever that is. Returns the bytes read. */
static size_t peek(const void *address, void *copy, size_t size)
{
	struct iovec to = {copy, size};
	struct iovec from = {(void *)(uintptr_t)address, size};
	long n = LP_SYS6(SYS_process_vm_readv, LP_SYS0(SYS_getpid), &to, 1, &from, 1, 0);

	return n > 0 ? (size_t)n : 0;
}

/* The first word at each of COUNT ADDRESSES; 0 where there is none. */
static void peek_words(const void *const *addresses, uintptr_t *words, size_t count)
{
	struct iovec from[BATCH];
	size_t done = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		words[i] = 0;
		from[i] = (struct iovec){(void *)(uintptr_t)addresses[i], sizeof(*words)};
	}
	while (done < count) {
		struct iovec to = {words + done, (count - done) * sizeof(*words)};
		long n = LP_SYS6(SYS_process_vm_readv, LP_SYS0(SYS_getpid), &to, 1, from + done,
				 count - done, 0);

		/* It stops at the first that cannot be read: that one is skipped. */
		if (n == -ENOSYS || n == -EPERM)
			return;
		done += n > 0 ? (size_t)n / sizeof(*words) : 0;
		if (done < count)
			done++;
	}
}

/* --- Counting --- */

/* Where a kind comes from: an adapter's own constant; one that a wait record of an adapter, or of
 * the program, named when it was read. */
enum origin { FROM_ADAPTER, FROM_WAIT, FROM_PROGRAM };

struct counted_kind {
	uintptr_t kind;
	enum origin origin;
	uint64_t count;
};

struct count {
	struct leakprof_stats *stats;
	struct counted_kind kinds[LEAKPROF_STATS_KINDS];
	size_t kind_count;
	const struct lp_goroutine *batch[BATCH];
	const void *waits[BATCH];
	uint32_t serials[BATCH]; /* of the waits */
	size_t batch_count;
	bool ready[LP_ANNOTATED_MAX + 8]; /* by runtime: has one that could run */
};

static void count_kind(struct count *count, uintptr_t kind, enum origin origin)
{
	size_t i;

	for (i = 0; i < count->kind_count; i++)
		if (count->kinds[i].kind == kind)
			break;
	if (i == LEAKPROF_STATS_KINDS) {
		count->stats->waiting++;
		return;
	}
	if (i == count->kind_count)
		count->kinds[count->kind_count++] = (struct counted_kind){kind, origin, 0};
	count->kinds[i].count++;
}

static size_t runtime_number(const struct lp_runtime *runtime)
{
	size_t i;

	for (i = 0; i + 1 < lp_runtime_count && lp_runtimes[i] != runtime; i++)
		;
	return i;
}

/* One that does not wait. Of an interposed runtime, which has one thread, one runs at a time. */
static void count_ready(struct count *count, const struct lp_goroutine *goroutine)
{
	bool *ready = &count->ready[runtime_number(goroutine->runtime)];
	bool running = goroutine->runtime->shared ? !goroutine->sp : !*ready;

	*ready = true;
	count->stats->running += running;
	count->stats->runnable += !running;
}

static void flush(struct count *count)
{
	uintptr_t kinds[BATCH];
	size_t i;

	peek_words(count->waits, kinds, count->batch_count);
	for (i = 0; i < count->batch_count; i++) {
		const struct lp_goroutine *goroutine = count->batch[i];
		bool same =
			__atomic_load_n(&goroutine->wait, __ATOMIC_ACQUIRE) == count->waits[i] &&
			goroutine->waits == count->serials[i];

		if (!same)
			count_ready(count, goroutine);
		else if (kinds[i])
			count_kind(count, kinds[i],
				   goroutine->runtime->shared ? FROM_PROGRAM : FROM_WAIT);
		else
			count->stats->waiting++;
	}
	count->batch_count = 0;
}

/* Of a runtime whose own memory tells. */
static void count_peeked(struct count *count, const struct lp_goroutine *goroutine)
{
	const struct lp_wait_kind *kind = goroutine->runtime->adapter->peek(goroutine);

	if (kind)
		count_kind(count, (uintptr_t)kind, FROM_ADAPTER);
	else
		count_ready(count, goroutine);
}

static void count_goroutine(struct count *count, const struct lp_goroutine *goroutine)
{
	uint32_t serial = goroutine->waits;
	const void *wait = __atomic_load_n(&goroutine->wait, __ATOMIC_ACQUIRE);

	if (!__atomic_load_n(&goroutine->id, __ATOMIC_ACQUIRE) || !goroutine->runtime ||
	    goroutine->flags & (LP_T_SERVICE | LP_T_ENDING))
		return;
	if (goroutine->runtime->adapter->peek) {
		count_peeked(count, goroutine);
		return;
	}
	if (!wait) {
		count_ready(count, goroutine);
		return;
	}
	count->batch[count->batch_count] = goroutine;
	count->waits[count->batch_count] = wait;
	count->serials[count->batch_count++] = serial;
	if (count->batch_count == BATCH)
		flush(count);
}

/* The program's string WORDS, cut off where it is long. */
static void read_name(const char *words, char name[LEAKPROF_STATS_NAME])
{
	size_t most = LEAKPROF_STATS_NAME - 1;
	size_t here = LP_PAGE - (uintptr_t)words % LP_PAGE; /* the string may end with its page */

	if (words && peek(words, name, here < most ? here : most) == here && !memchr(name, 0, here))
		peek(words + here, name + here, most - here);
}

/* Printable, with nothing behind its end; "waiting" where there is none. */
static void clean_name(char name[LEAKPROF_STATS_NAME])
{
	size_t i;

	for (i = 0; name[i]; i++)
		if (name[i] < ' ' || name[i] > '~')
			name[i] = '?';
	memset(name + i, 0, LEAKPROF_STATS_NAME - i);
	if (!name[0])
		memcpy(name, "waiting", 8);
}

static uint32_t describe_adapters(const struct lp_wait_kind *kind, char name[LEAKPROF_STATS_NAME])
{
	size_t length = strlen(kind->label);

	memcpy(name, kind->label, length < LEAKPROF_STATS_NAME ? length : LEAKPROF_STATS_NAME - 1);
	return kind->state;
}

static uint32_t describe_programs(const void *address, char name[LEAKPROF_STATS_NAME])
{
	static const uint32_t states[] = {LP_STATE_WAITING, LP_STATE_IO, LP_STATE_SLEEP};
	const size_t size = offsetof(struct leakprof_kind, queue_offset);
	struct leakprof_kind kind;

	if (peek(address, &kind, size) < size || kind.state >= LP_ARRAY_SIZE(states))
		return LP_STATE_WAITING;
	read_name(kind.name, name);
	return states[kind.state];
}

/* The state of a kind of wait, and its NAME. */
static uint32_t describe(const struct counted_kind *counted, char name[LEAKPROF_STATS_NAME])
{
	uint32_t state = LP_STATE_WAITING;
	struct lp_wait_kind kind;

	memset(name, 0, LEAKPROF_STATS_NAME);
	if (counted->origin == FROM_ADAPTER)
		state = describe_adapters((const struct lp_wait_kind *)counted->kind, name);
	else if (counted->origin == FROM_PROGRAM)
		state = describe_programs((const void *)counted->kind, name);
	else if (peek((void *)counted->kind, &kind, sizeof(kind)) == sizeof(kind))
		state = describe_adapters(&kind, name);
	clean_name(name);
	return state;
}

static void add_kind(struct leakprof_stats *stats, const char name[LEAKPROF_STATS_NAME],
		     uint64_t number)
{
	size_t i;

	/* Kinds of several runtimes may have the same name. */
	for (i = 0; i < stats->kind_count; i++)
		if (!memcmp(stats->kinds[i].name, name, LEAKPROF_STATS_NAME))
			break;
	if (i == stats->kind_count)
		memcpy(stats->kinds[stats->kind_count++].name, name, LEAKPROF_STATS_NAME);
	stats->kinds[i].count += number;
}

static void add_kinds(const struct count *count)
{
	struct leakprof_stats *stats = count->stats;
	size_t i;

	for (i = 0; i < count->kind_count; i++) {
		char name[LEAKPROF_STATS_NAME];
		uint32_t state = describe(&count->kinds[i], name);

		if (state == LP_STATE_IO)
			stats->io += count->kinds[i].count;
		else if (state == LP_STATE_SLEEP)
			stats->sleeping += count->kinds[i].count;
		else
			stats->waiting += count->kinds[i].count;
		add_kind(stats, name, count->kinds[i].count);
	}
}

static void read_all(struct leakprof_stats *stats)
{
	struct count count = {.stats = stats};
	const struct lp_goroutine *goroutine;
	const struct lp_thread *thread;
	size_t i;

	stats->version = LEAKPROF_STATS_VERSION;
	stats->time_ns = lp_sys_clock_ns(CLOCK_REALTIME);
	stats->dormant = lp_dormant_reason != NULL;
	for (i = 0; i < lp_runtime_count; i++) {
		stats->created += __atomic_load_n(&lp_runtimes[i]->created, __ATOMIC_RELAXED);
		stats->finished += __atomic_load_n(&lp_runtimes[i]->finished, __ATOMIC_RELAXED);
	}
	for (i = 0; (thread = lp_thread_at(i)); i++)
		stats->threads += __atomic_load_n(&thread->used, __ATOMIC_RELAXED);
	for (i = 0; (goroutine = lp_goroutine_at(i)); i++)
		count_goroutine(&count, goroutine);
	flush(&count);
	add_kinds(&count);
	lp_snapshot_stats(stats);
}

int lp_stats_read(struct leakprof_stats *stats)
{
	struct leakprof_stats all = {0};
	size_t size = stats->size < sizeof(all) ? stats->size : sizeof(all);

	if (size < offsetof(struct leakprof_stats, time_ns))
		return -EINVAL;
	read_all(&all);
	all.size = (uint32_t)size;
	memcpy(stats, &all, size);
	return 0;
}

/* --- For others --- */

static struct helper {
	uint32_t used;
	int pid;
	uint64_t token;
	char *stack; /* kept for the next one */
} helpers[HELPERS];

static void answer(void *argument)
{
	const struct helper *helper = argument;
	struct leakprof_stats stats = {.size = sizeof(stats)};
	int fd;

	lp_stats_read(&stats);
	fd = lp_connect_token(helper->token, false);
	if (fd >= 0)
		lp_sys_write(fd, &stats, sizeof(stats));
}

/* A process that shares our memory runs FUNCTION(ARGUMENT) on a stack of its own, whose upper end
 * is TOP, and exits. Returns its PID or -errno. */
long lp_clone_beside(long flags, char *top, void (*function)(void *), void *argument);

__asm__(".text\n"
	".hidden lp_clone_beside\n"
	".globl lp_clone_beside\n"
	".type lp_clone_beside, @function\n"
	"lp_clone_beside:\n"
	"	.cfi_startproc\n"
	"	movq %rdx, -16(%rsi)\n"
	"	movq %rcx, -8(%rsi)\n"
	"	subq $16, %rsi\n"
	"	movl $56, %eax\n" /* clone */
	"	xorl %edx, %edx\n"
	"	xorl %r10d, %r10d\n"
	"	xorl %r8d, %r8d\n"
	"	syscall\n"
	"	testq %rax, %rax\n"
	"	jz 1f\n"
	"	retq\n"
	"1:	.cfi_undefined rip\n"
	"	xorl %ebp, %ebp\n"
	"	popq %rax\n"
	"	popq %rdi\n"
	"	callq *%rax\n"
	"	xorl %edi, %edi\n"
	"	movl $231, %eax\n" /* exit_group */
	"	syscall\n"
	"	hlt\n"
	"	.cfi_endproc\n"
	".size lp_clone_beside, . - lp_clone_beside\n");

static struct helper *claim(void)
{
	size_t i;

	for (i = 0; i < HELPERS; i++) {
		uint32_t unused = 0;

		if (__atomic_compare_exchange_n(&helpers[i].used, &unused, 1, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return &helpers[i];
	}
	return NULL;
}

static void release(struct helper *helper)
{
	__atomic_store_n(&helper->used, 0, __ATOMIC_RELEASE);
}

/* Who asks while all helpers are busy asks again. */
void lp_stats_send(uint64_t token)
{
	struct helper *helper;
	long pid;

	lp_stats_reap();
	helper = claim();
	if (!helper)
		return;
	if (!helper->stack)
		helper->stack = lp_own_map(HELPER_STACK);
	if (!helper->stack) {
		release(helper);
		return;
	}
	helper->token = token;
	pid = lp_clone_beside(CLONE_VM | lp_signal, helper->stack + HELPER_STACK, answer, helper);
	if (pid < 0) {
		release(helper);
		return;
	}
	__atomic_store_n(&helper->pid, (int)pid, __ATOMIC_RELEASE);
	/* Its end may have been told before we knew its PID. */
	lp_stats_reap();
}

/* A helper's stack is free once the helper was reaped. */
void lp_stats_reap(void)
{
	size_t i;

	for (i = 0; i < HELPERS; i++) {
		int pid = __atomic_load_n(&helpers[i].pid, __ATOMIC_ACQUIRE);

		if (!pid || LP_SYS4(SYS_wait4, pid, NULL, WNOHANG | __WCLONE, NULL) != pid)
			continue;
		__atomic_store_n(&helpers[i].pid, 0, __ATOMIC_RELEASE);
		release(&helpers[i]);
	}
}

void lp_stats_after_fork(void)
{
	size_t i;

	/* Helpers are the parent's; their stacks were copied with the rest. */
	for (i = 0; i < HELPERS; i++)
		helpers[i].pid = (int)(helpers[i].used = 0);
}
