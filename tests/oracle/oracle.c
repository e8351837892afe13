/* SPDX-License-Identifier: MIT */
/*
 * oracle SEED COUNT [PROGRAM]     runs COUNT random programs, made from SEED, in one process,
 * prints for each goroutine that is left, in the order of their creation, EXPECT live|leaked|linked
 * PROGRAM.ACTOR WHAT IT DOES (linked: leaked, but for model_may_be_hidden) and exits: what leakprof
 * finds then is for judge.c to compare. With PROGRAM it prints the steps of that one.
 *
 * Nothing but what the model knows of may hold a pointer when it ends: actors wipe the stack below
 * their frame before they wait, and the driver never sees a pointer.
 */
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"

#define STEPS_MIN 30
#define STEPS_MORE 60
#define KEEPERS 16			  /* OS threads that keep pointers */
#define TLS_PLACES (PLACES / KEEPERS - 2) /* the rest are two registers */
#define WIPED_WORDS 384 /* below the frame of an actor: more than any call of minigo takes */
#define LITTER_WORDS 128
#define WAKE_EVERY 4  /* one in so many programs ends while goroutines become ready */
#define PATIENCE_S 20 /* until an order is taken for stuck */

struct actor {
	struct semaphore mailbox;
	struct order order;
	int done; /* orders */
};

static struct actor actors[PROGRAMS_MAX][ACTORS + 1];
static void *globals[PROGRAMS_MAX][GLOBALS];
static int threads;
static int trace = -1;

/* --- OS threads that keep pointers --- */

struct keeper {
	uint32_t turn; /* futex: odd when there is something to do */
	int place;
	void *value;
	void *in_registers[2];
};

static struct keeper keepers[KEEPERS];
static __thread void *volatile kept[TLS_PLACES];

/* Sleeps until the word at TURN is no longer SEEN, with FIRST and SECOND in registers alone, as
 * those of *FROM, which are cleared. Puts them back. */
void sleep_with_registers(uint32_t *turn, uint32_t seen, void **from);

__asm__(".text\n"
	".type sleep_with_registers, @function\n"
	"sleep_with_registers:\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	movq %rdx, %r12\n"
	"	movq (%r12), %rbx\n"
	"	movq 8(%r12), %xmm5\n"
	"	movq $0, (%r12)\n"
	"	movq $0, 8(%r12)\n"
	"	movl %esi, %r8d\n"
	"1:	movl $202, %eax\n" /* futex(turn, FUTEX_WAIT, seen, NULL) */
	"	xorl %esi, %esi\n"
	"	movl %r8d, %edx\n"
	"	xorl %r10d, %r10d\n"
	"	syscall\n"
	"	cmpl %r8d, (%rdi)\n"
	"	je 1b\n"
	"	movq %rbx, (%r12)\n"
	"	movq %xmm5, 8(%r12)\n"
	"	pxor %xmm5, %xmm5\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	ret\n"
	".size sleep_with_registers, . - sleep_with_registers\n");

static void *keep(void *argument)
{
	struct keeper *self = argument;

	for (;;) {
		uint32_t seen = __atomic_load_n(&self->turn, __ATOMIC_ACQUIRE);

		if (seen % 2 == 0) {
			sleep_with_registers(&self->turn, seen, self->in_registers);
			continue;
		}
		if (self->place < TLS_PLACES)
			kept[self->place] = self->value;
		else
			self->in_registers[self->place - TLS_PLACES] = self->value;
		self->value = NULL;
		__atomic_store_n(&self->turn, seen + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void start_keepers(void)
{
	pthread_t thread;
	size_t i;

	for (i = 0; i < KEEPERS; i++)
		if (pthread_create(&thread, NULL, keep, &keepers[i]))
			abort();
}

/* One order is under way at a time, so nobody else uses the keeper. */
static void place(int slot, void *value)
{
	struct keeper *keeper = &keepers[slot % KEEPERS];
	uint32_t turn = keeper->turn;

	keeper->place = slot / KEEPERS;
	keeper->value = value;
	__atomic_store_n(&keeper->turn, turn + 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &keeper->turn, FUTEX_WAKE, 1, NULL, NULL, 0);
	while (__atomic_load_n(&keeper->turn, __ATOMIC_ACQUIRE) != turn + 2)
		;
}

/* --- Actors --- */

/* Receives from CHAN with VALUE in a callee-saved register alone. Returns VALUE. */
void *receive_holding(struct chan *chan, void *value);

__asm__(".text\n"
	".type receive_holding, @function\n"
	"receive_holding:\n"
	"	pushq %r13\n"
	"	movq %rsi, %r13\n"
	"	xorl %esi, %esi\n"
	"	call chan_receive\n"
	"	movq %r13, %rax\n"
	"	popq %r13\n"
	"	ret\n"
	".size receive_holding, . - receive_holding\n");

/*
 * Overwrites what earlier calls left below the caller's frame, as far as calls go that wait; and
 * leaves the variables of the actor still further down, below any stack pointer, where nothing may
 * count.
 */
static __attribute__((noinline)) void wipe(void *volatile *local)
{
	static unsigned turn;
	void *volatile below[LITTER_WORDS + WIPED_WORDS];
	size_t i;

	for (i = 0; i < WIPED_WORDS; i++)
		below[LITTER_WORDS + i] = NULL;
	for (i = 0; i < LOCALS; i++)
		below[turn++ % LITTER_WORDS] = local[i];
	__asm__ volatile("" : : "r"(below));
}

static void *zero(size_t size)
{
	void *memory = calloc(1, size);

	if (!memory)
		abort();
	return memory;
}

static void *object(void *volatile *local, int which, int offset)
{
	return which < 0 ? NULL : (char *)local[which] - offset;
}

static __attribute__((noinline)) void obey_pointer(int program, const struct order *order,
						   void *volatile *local)
{
	struct box *box;
	void *value = order->from >= 0 ? local[order->from] : NULL;

	switch (order->op) {
	case OP_COPY:
		local[order->to] = (char *)value + order->add;
		break;
	case OP_CLEAR:
		local[order->to] = NULL;
		break;
	case OP_STORE:
		box = object(local, order->on, order->offset);
		box->slots[order->slot] = value;
		break;
	case OP_LOAD:
		box = object(local, order->on, order->offset);
		local[order->to] = box->slots[order->slot];
		break;
	case OP_PUBLISH:
		globals[program][order->slot] = value;
		break;
	case OP_FETCH:
		local[order->to] = globals[program][order->slot];
		break;
	case OP_PLACE:
		place(order->slot, value);
		break;
	default:
		local[order->to] = (void *)&local[order->from];
	}
}

static __attribute__((noinline)) void obey_object(const struct order *order, void *volatile *local)
{
	void *on = object(local, order->on, order->offset);
	struct context *parent = on ? on : context_background();

	switch (order->op) {
	case OP_BOX:
		local[order->to] = zero(sizeof(struct box) + (size_t)order->pad);
		break;
	case OP_CHAN:
		local[order->to] = chan_make((size_t)order->pad);
		break;
	case OP_CONTEXT:
		local[order->to] = context_with_cancel(parent);
		break;
	case OP_TIMEOUT:
		local[order->to] = context_with_timeout(parent, HOUR);
		break;
	case OP_DONE:
		local[order->to] = context_done(on);
		break;
	case OP_AFTER:
		local[order->to] = time_after(HOUR);
		break;
	case OP_TIMER:
		local[order->to] = timer_new(HOUR);
		break;
	case OP_TIMER_CHAN:
		local[order->to] = timer_chan(on);
		break;
	default:
		timer_stop(on);
	}
}

static __attribute__((noinline)) void obey_select(const struct order *order, void *volatile *local)
{
	struct chan_case cases[CASES] = {0};
	size_t chosen;
	int i;

	for (i = 0; i < order->case_count; i++) {
		const struct select_case *one = &order->cases[i];

		cases[i].chan = object(local, one->on, one->offset);
		cases[i].send = one->send;
		if (one->send && one->from >= 0)
			cases[i].value = local[one->from];
	}
	wipe(local);
	chosen = chan_select(cases, (size_t)order->case_count);
	if (!cases[chosen].send)
		local[order->to] = cases[chosen].value;
}

static __attribute__((noinline)) void obey_chan(const struct order *order, void *volatile *local)
{
	struct chan *chan = object(local, order->on, order->offset);
	void *value = order->from >= 0 ? local[order->from] : NULL;

	switch (order->op) {
	case OP_SEND:
	case OP_SEND_NIL:
		chan_send(chan, value);
		break;
	case OP_RECEIVE:
		local[order->to] = chan_receive(chan, NULL);
		break;
	case OP_RECEIVE_HOLDING:
		local[order->from] = NULL;
		receive_holding(chan, value);
		local[order->to] = NULL;
		break;
	case OP_CLOSE:
		chan_close(chan);
		break;
	default:
		context_cancel((void *)chan);
	}
}

static __attribute__((noinline)) void obey_box(const struct order *order, void *volatile *local)
{
	struct box *box = object(local, order->on, order->offset);

	switch (order->op) {
	case OP_LOCK:
		mutex_lock(&box->mutexes[order->slot]);
		break;
	case OP_UNLOCK:
		mutex_unlock(&box->mutexes[order->slot]);
		break;
	case OP_READ_LOCK:
		rwmutex_rlock(&box->rwmutex);
		break;
	case OP_READ_UNLOCK:
		rwmutex_runlock(&box->rwmutex);
		break;
	case OP_WRITE_LOCK:
		rwmutex_lock(&box->rwmutex);
		break;
	case OP_WRITE_UNLOCK:
		rwmutex_unlock(&box->rwmutex);
		break;
	case OP_GROUP_ADD:
		wait_group_add(&box->group, 1);
		break;
	case OP_GROUP_DONE:
		wait_group_done(&box->group);
		break;
	case OP_GROUP_WAIT:
		wait_group_wait(&box->group);
		break;
	case OP_COND_WAIT:
		cond_wait(&box->cond, &box->mutexes[1]);
		break;
	case OP_SIGNAL:
		cond_signal(&box->cond);
		break;
	case OP_BROADCAST:
		cond_broadcast(&box->cond);
		break;
	case OP_ACQUIRE:
		semaphore_acquire(&box->semaphore);
		break;
	default:
		semaphore_release(&box->semaphore);
	}
}

static void act(void *argument);

static __attribute__((noinline)) void obey_spawn(int program, const struct order *order,
						 void *argument);

static int silent_pipe(void)
{
	static int ends[2];

	if (!ends[1] && pipe(ends))
		abort();
	return ends[0];
}

static void obey(int program, const struct order *order, void *volatile *local)
{
	char byte;

	switch (order->op) {
	case OP_SLEEP:
		go_sleep(HOUR);
		break;
	case OP_READ:
		go_read(silent_pipe(), &byte, 1);
		break;
	case OP_PARK:
		go_park();
	case OP_SPAWN:
		obey_spawn(program, order, order->from >= 0 ? local[order->from] : NULL);
		break;
	case OP_SELECT:
		obey_select(order, local);
		break;
	case OP_SEND:
	case OP_SEND_NIL:
	case OP_RECEIVE:
	case OP_RECEIVE_HOLDING:
	case OP_CLOSE:
	case OP_CANCEL:
		obey_chan(order, local);
		break;
	default:
		if (order->op < OP_SPAWN)
			obey_pointer(program, order, local);
		else if (order->op < OP_SEND)
			obey_object(order, local);
		else
			obey_box(order, local);
	}
}

/* Who the goroutine that starts next is: set by who starts it, one at a time. */
static int next_program;
static int next_actor;

static void obey_spawn(int program, const struct order *order, void *argument)
{
	next_program = program;
	next_actor = order->number;
	go(act, argument);
}

static void act(void *argument)
{
	void *volatile local[LOCALS] = {argument};
	int program = next_program;
	struct actor *self = &actors[program][next_actor];

	for (;;) {
		__atomic_store_n(&self->done, self->done + 1, __ATOMIC_RELEASE);
		wipe(local);
		semaphore_acquire(&self->mailbox);
		if (self->order.op == OP_EXIT)
			break;
		wipe(local);
		obey(program, &self->order, local);
	}
	__atomic_store_n(&self->done, self->done + 1, __ATOMIC_RELEASE);
}

/* --- The driver --- */

static bool all_done(int program)
{
	int i;

	for (i = 1; i <= ACTORS; i++)
		if (__atomic_load_n(&actors[program][i].done, __ATOMIC_ACQUIRE) <
		    model_finished(program, i))
			return false;
	return true;
}

static void check_nobody_ahead(int program)
{
	int i;

	for (i = 1; i <= ACTORS; i++)
		if (actors[program][i].done > model_finished(program, i)) {
			printf("DISAGREE %d.%d did more than it could\n", program, i);
			exit(3);
		}
}

/* Until all has happened that the model says. */
static void wait_for_it(int program)
{
	time_t end = time(NULL) + PATIENCE_S;

	do {
		go_yield();
		if (time(NULL) > end) {
			printf("DISAGREE %d: somebody waits that could go on\n", program);
			exit(3);
		}
	} while (!all_done(program));
	if (threads > 1 && model_waits(program))
		go_settle(0);
	else
		go_yield();
	check_nobody_ahead(program);
}

static void post(int program, int actor, const struct order *order)
{
	if (program == trace)
		printf("%d.%d: op %d on %d+%d from %d to %d slot %d number %d pad %d\n", program,
		       actor, order->op, order->on, order->offset, order->from, order->to,
		       order->slot, order->number, order->pad);
	actors[program][actor].order = *order;
	semaphore_release(&actors[program][actor].mailbox);
}

static void run_program(int program, uint64_t seed)
{
	struct order order = {.number = 1};
	int steps = STEPS_MIN + (int)(seed * 0x9e3779b97f4a7c15ull >> 40) % STEPS_MORE;
	int actor = 1;

	model_begin(program, seed, threads);
	obey_spawn(program, &order, NULL);
	wait_for_it(program);
	while (steps-- > 0 && (actor = model_step(program, &order)) > 0) {
		post(program, actor, &order);
		wait_for_it(program);
	}
	if (program % WAKE_EVERY == 0)
		return;
	for (steps = 0; steps < 2 * ACTORS && (actor = model_wind_up(program, &order)) > 0;
	     steps++) {
		post(program, actor, &order);
		wait_for_it(program);
	}
}

/* Lets some goroutines be ready, but not run, when the process ends. */
static void wake_some(int count)
{
	struct order order;
	int actor;
	int i;

	if (threads > 1)
		return;
	for (i = 0; i < count; i += WAKE_EVERY) {
		actor = model_wake(i, &order);
		if (actor > 0)
			post(i, actor, &order);
	}
	go_yield();
}

static const char *expected(int program, int actor)
{
	if (!model_leaked(program, actor))
		return "live";
	return model_may_be_hidden(program, actor) ? "linked" : "leaked";
}

static void print_expectations(int count)
{
	int i, actor;

	for (i = 0; i < count; i++) {
		model_judge(i);
		for (actor = 1; actor <= ACTORS; actor++)
			if (model_state(i, actor))
				printf("EXPECT %s %d.%d %s\n", expected(i, actor), i, actor,
				       model_state(i, actor));
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static char output[1 << 16];
	const char *text = getenv("MINIGO_THREADS");
	uint64_t seed;
	int count;
	int i;

	if (argc < 3) {
		fprintf(stderr, "usage: %s SEED COUNT [PROGRAM]\n", argv[0]);
		return 2;
	}
	/* stdio's own buffer would be a block that holds what was freed. */
	setvbuf(stdout, output, _IOFBF, sizeof(output));
	seed = strtoull(argv[1], NULL, 10);
	count = atoi(argv[2]);
	if (count < 1 || count > PROGRAMS_MAX)
		return 2;
	if (argc > 3)
		trace = atoi(argv[3]);
	threads = text ? atoi(text) : 1;
	start_keepers();
	minigo_init();
	silent_pipe();
	for (i = 0; i < count; i++)
		run_program(i, seed * PROGRAMS_MAX + (uint64_t)i);
	go_settle(0);
	wake_some(count);
	print_expectations(count);
	return 0;
}
