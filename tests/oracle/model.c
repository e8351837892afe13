/* SPDX-License-Identifier: MIT */
/*
 * The model: what each goroutine, object and variable of a program holds, by number. It follows
 * Go's meaning of each operation as minigo's header documents it, and decides at the end by
 * DESIGN's rules
 * ("By kind of wait"), by going round until nothing changes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"

#define OBJECTS 40 /* of one program; number 0 is none */
#define CAPACITY 2
#define TRIES 40
#define PAD_LARGE                                                                                  \
	9000 /* more than two pages, so that some pointers lead into a page of their own */

struct ref {
	int object;
	int offset;
};

enum kind { NONE, BOX, CHAN, CONTEXT, TIMER, STACK };

struct object {
	enum kind kind;
	int size; /* pointers into it have smaller offsets */
	struct ref slots[SLOTS];
	/* of a box; actors from 1 */
	int owner[2];
	int writer;
	int readers[ACTORS + 1];
	int group;
	int semaphore;
	/* of a channel */
	int capacity;
	int count;
	struct ref buffer[CAPACITY];
	bool closed;
	bool reserved; /* the done channel of a context: only received from */
	bool pending;  /* a timer will send on it, cancel it, or is it */
	/* of a context, as its memory has them; of a timer: its channel is DONE */
	int parent;
	int first_child;
	int next;
	int done;
	bool cancelled;
	/* of a stack */
	int actor;

	bool reached;
};

enum state { ABSENT, IDLE, BLOCKED, READY, ENDED };
enum wait {
	W_CHAN,
	W_MUTEX,
	W_COND_MUTEX,
	W_READ,
	W_WRITE,
	W_GROUP,
	W_COND,
	W_ACQUIRE,
	W_LIVE,
	W_NEVER
};

struct wait_case {
	int object; /* 0: NULL */
	bool send;
	struct ref value;
};

struct actor {
	enum state state;
	struct ref locals[LOCALS];
	struct ref argument;
	bool address_taken;
	int finished; /* orders */
	enum wait wait;
	enum op op;
	unsigned since;
	int case_count;
	struct wait_case cases[CASES];
	int to; /* where a received value goes; -1: nowhere */
	struct ref held;
	struct ref received; /* not yet in its variable */
	bool live;
	bool linked;	     /* reached by a queue's link */
	bool live_by_a_link; /* live if those links are followed */
};

struct model {
	uint64_t random;
	int threads;
	struct object objects[OBJECTS];
	int object_count;
	struct actor actors[ACTORS + 1]; /* from 1 */
	int actor_count;
	struct ref globals[GLOBALS];
	struct ref placed[2];
	int places[2]; /* numbers of those that are this program's; -1: none */
	unsigned clock;
	bool follow_links;
	bool ending; /* the last steps: who is woken does not run any more */
	int woken;
};

static struct model models[PROGRAMS_MAX];
static int next_place;

static const char *const op_names[OP_COUNT] = {
	[OP_SEND] = "send",
	[OP_RECEIVE] = "receive",
	[OP_SELECT] = "select",
	[OP_RECEIVE_HOLDING] = "receive, holding",
	[OP_LOCK] = "lock",
	[OP_READ_LOCK] = "read lock",
	[OP_WRITE_LOCK] = "write lock",
	[OP_GROUP_WAIT] = "wait for group",
	[OP_COND_WAIT] = "condition",
	[OP_ACQUIRE] = "acquire",
	[OP_SLEEP] = "sleep",
	[OP_READ] = "read",
	[OP_PARK] = "park",
	[OP_SEND_NIL] = "send on NULL",
};

static int pick(struct model *model, int below)
{
	model->random ^= model->random << 13;
	model->random ^= model->random >> 7;
	model->random ^= model->random << 17;
	return (int)((model->random >> 11) % (uint64_t)below);
}

static bool chance(struct model *model, int percent)
{
	return pick(model, 100) < percent;
}

/* --- Operands --- */

static struct object *object_of(struct model *model, struct ref ref)
{
	return &model->objects[ref.object];
}

static int new_object(struct model *model, enum kind kind, int size)
{
	struct object *object;

	if (model->object_count == OBJECTS)
		return 0;
	object = &model->objects[model->object_count];
	*object = (struct object){.kind = kind, .size = size};
	return model->object_count++;
}

/* A local variable of ACTOR that leads to an object of KIND; -1: there is none. */
static int local_of_kind(struct model *model, const struct actor *actor, enum kind kind)
{
	int start = pick(model, LOCALS);
	int i;

	for (i = 0; i < LOCALS; i++) {
		int local = (start + i) % LOCALS;

		if (object_of(model, actor->locals[local])->kind == kind)
			return local;
	}
	return -1;
}

static int local_in_use(struct model *model, const struct actor *actor)
{
	int start = pick(model, LOCALS);
	int i;

	for (i = 0; i < LOCALS; i++)
		if (actor->locals[(start + i) % LOCALS].object)
			return (start + i) % LOCALS;
	return -1;
}

/* Free ones rather than others. */
static int local_to_fill(struct model *model, const struct actor *actor)
{
	int i;

	for (i = 0; i < 3; i++) {
		int local = pick(model, LOCALS);

		if (!actor->locals[local].object)
			return local;
	}
	return pick(model, LOCALS);
}

/* --- Waiting and going on --- */

static void block(struct model *model, struct actor *actor, enum wait wait, int object)
{
	actor->state = BLOCKED;
	actor->wait = wait;
	actor->since = ++model->clock;
	actor->case_count = object ? 1 : 0;
	actor->cases[0] = (struct wait_case){.object = object};
}

static void go_on(struct model *model, struct actor *actor)
{
	actor->state = IDLE;
	actor->finished++;
	actor->case_count = 0;
	actor->held = (struct ref){0};
	model->woken++;
}

/* As go_on, for one that waits: in the end it may be made ready and not run any more. */
static void wake(struct model *model, struct actor *actor)
{
	if (!model->ending) {
		go_on(model, actor);
		return;
	}
	actor->state = READY;
	model->woken++;
}

static void go_on_with(struct model *model, struct actor *actor, struct ref value)
{
	if (actor->state == BLOCKED && model->ending) {
		actor->received = value;
		wake(model, actor);
		return;
	}
	if (actor->to >= 0)
		actor->locals[actor->to] = value;
	go_on(model, actor);
}

/* Who has waited longest as WAIT for OBJECT; NULL: nobody. */
static struct actor *first_waiter(struct model *model, enum wait wait, int object)
{
	struct actor *first = NULL;
	int i;

	for (i = 1; i <= model->actor_count; i++) {
		struct actor *actor = &model->actors[i];

		if (actor->state == BLOCKED && actor->wait == wait &&
		    actor->cases[0].object == object && (!first || actor->since < first->since))
			first = actor;
	}
	return first;
}

static int number_of(struct model *model, const struct actor *actor)
{
	return (int)(actor - model->actors);
}

/* --- Channels --- */

/* Who has waited longest to send on (or receive from) CHAN, and by which of its cases. */
static struct actor *first_on_chan(struct model *model, int chan, bool send,
				   struct wait_case **found)
{
	struct actor *first = NULL;
	int i, j;

	for (i = 1; i <= model->actor_count; i++) {
		struct actor *actor = &model->actors[i];

		for (j = 0;
		     actor->state == BLOCKED && actor->wait == W_CHAN && j < actor->case_count;
		     j++) {
			if (actor->cases[j].object != chan || actor->cases[j].send != send ||
			    (first && actor->since >= first->since))
				continue;
			first = actor;
			*found = &actor->cases[j];
		}
	}
	return first;
}

static bool can_send(struct model *model, int chan)
{
	struct wait_case *unused;
	struct object *object = &model->objects[chan];

	return chan &&
	       (first_on_chan(model, chan, false, &unused) || object->count < object->capacity);
}

static bool can_receive(struct model *model, int chan)
{
	struct wait_case *unused;
	struct object *object = &model->objects[chan];

	return chan &&
	       (object->count || object->closed || first_on_chan(model, chan, true, &unused));
}

static void push(struct object *chan, struct ref value)
{
	chan->buffer[chan->count++] = value;
}

static void send_now(struct model *model, int chan, struct ref value)
{
	struct wait_case *unused;
	struct actor *receiver = first_on_chan(model, chan, false, &unused);

	if (receiver)
		go_on_with(model, receiver, value);
	else
		push(&model->objects[chan], value);
}

static struct ref receive_now(struct model *model, int chan)
{
	struct object *object = &model->objects[chan];
	struct wait_case *sending;
	struct actor *sender = first_on_chan(model, chan, true, &sending);
	struct ref value = {0};

	if (object->count) {
		value = object->buffer[0];
		memmove(object->buffer, object->buffer + 1,
			sizeof(object->buffer[0]) * (CAPACITY - 1));
		object->count--;
		if (sender)
			push(object, sending->value);
	} else if (sender) {
		value = sending->value;
	}
	if (sender) {
		sender->to = -1;
		wake(model, sender);
	}
	return value;
}

static void close_now(struct model *model, int chan)
{
	struct wait_case *unused;
	struct actor *receiver;

	model->objects[chan].closed = true;
	while ((receiver = first_on_chan(model, chan, false, &unused)))
		go_on_with(model, receiver, (struct ref){0});
}

/* --- Contexts, as their memory is --- */

static void cancel_now(struct model *model, int number)
{
	struct object *context = &model->objects[number];
	int *at = context->parent ? &model->objects[context->parent].first_child : NULL;

	if (context->cancelled)
		return;
	context->cancelled = true;
	context->pending = false;
	close_now(model, context->done);
	while (context->first_child) {
		struct object *child = &model->objects[context->first_child];
		int which = context->first_child;

		context->first_child = child->next;
		child->parent = 0;
		cancel_now(model, which);
	}
	while (at && *at && *at != number)
		at = &model->objects[*at].next;
	if (at && *at)
		*at = context->next;
	context->parent = 0;
}

static bool new_context(struct model *model, struct actor *actor, struct order *order, bool timed)
{
	int parent = local_of_kind(model, actor, CONTEXT);
	int number;
	int done;
	struct object *context;

	if (model->object_count + 2 > OBJECTS)
		return false;
	number = new_object(model, CONTEXT, 40);
	done = new_object(model, CHAN, 40);
	context = &model->objects[number];
	context->done = done;
	model->objects[done].reserved = true;
	context->pending = timed;
	if (parent >= 0 && chance(model, 70)) {
		int above = actor->locals[parent].object;

		order->on = parent;
		order->offset = actor->locals[parent].offset;
		if (model->objects[above].cancelled) {
			cancel_now(model, number);
		} else {
			context->parent = above;
			context->next = model->objects[above].first_child;
			model->objects[above].first_child = number;
		}
	}
	order->to = local_to_fill(model, actor);
	actor->locals[order->to] = (struct ref){number, 0};
	return true;
}

/* --- Locks --- */

static void own(struct model *model, struct object *box, int mutex, struct actor *actor)
{
	box->owner[mutex] = number_of(model, actor);
}

static void unlock_now(struct model *model, int box, int mutex)
{
	struct actor *next = first_waiter(model, W_MUTEX + (enum wait)mutex, box);

	model->objects[box].owner[mutex] = 0;
	if (!next)
		return;
	own(model, &model->objects[box], mutex, next);
	wake(model, next);
}

/* ACTOR gets the mutex or waits for it. */
static void lock_now(struct model *model, struct actor *actor, int box, int mutex)
{
	if (!model->objects[box].owner[mutex]) {
		own(model, &model->objects[box], mutex, actor);
		go_on(model, actor);
		return;
	}
	block(model, actor, W_MUTEX + (enum wait)mutex, box);
}

static bool has_readers(const struct object *box)
{
	int i;

	for (i = 1; i <= ACTORS; i++)
		if (box->readers[i])
			return true;
	return false;
}

/* Who has waited longest for the read-write lock, as reader or writer. */
static struct actor *first_for_rwmutex(struct model *model, int box)
{
	struct actor *reader = first_waiter(model, W_READ, box);
	struct actor *writer = first_waiter(model, W_WRITE, box);

	return !reader || (writer && writer->since < reader->since) ? writer : reader;
}

static void let_in(struct model *model, int number)
{
	struct object *box = &model->objects[number];
	struct actor *next;

	while (!box->writer && (next = first_for_rwmutex(model, number))) {
		if (next->wait == W_READ)
			box->readers[number_of(model, next)]++;
		else if (has_readers(box))
			return;
		else
			box->writer = number_of(model, next);
		wake(model, next);
	}
}

/* --- Steps: each fills the order and applies it, or returns false --- */

static bool step_pointer(struct model *model, struct actor *actor, struct order *order)
{
	int from = local_in_use(model, actor);
	struct ref ref = from >= 0 ? actor->locals[from] : (struct ref){0};
	struct object *object = object_of(model, ref);

	order->from = from;
	order->to = local_to_fill(model, actor);
	switch (order->op) {
	case OP_COPY:
		if (from < 0)
			return false;
		if (object->size) {
			int offset = chance(model, 50) ? pick(model, object->size) : 0;

			order->add = offset - ref.offset;
			ref.offset = offset;
		}
		break;
	case OP_CLEAR:
		if (from < 0)
			return false;
		order->to = from;
		ref = (struct ref){0};
		break;
	case OP_FETCH:
		order->slot = pick(model, GLOBALS);
		ref = model->globals[order->slot];
		if (!ref.object)
			return false;
		break;
	case OP_ADDRESS:
		ref = (struct ref){new_object(model, STACK, 0), 0};
		if (!ref.object)
			return false;
		model->objects[ref.object].actor = number_of(model, actor);
		actor->address_taken = true;
		order->from = pick(model, LOCALS);
		break;
	default:
		return false;
	}
	actor->locals[order->to] = ref;
	go_on(model, actor);
	return true;
}

static bool step_outside(struct model *model, struct actor *actor, struct order *order)
{
	int which = pick(model, 2);

	order->from = chance(model, 80) ? local_in_use(model, actor) : -1;
	if (order->op == OP_PUBLISH) {
		order->slot = pick(model, GLOBALS);
		model->globals[order->slot] =
			order->from >= 0 ? actor->locals[order->from] : (struct ref){0};
	} else {
		if (model->places[which] < 0)
			return false;
		order->slot = model->places[which];
		model->placed[which] =
			order->from >= 0 ? actor->locals[order->from] : (struct ref){0};
	}
	go_on(model, actor);
	return true;
}

static bool step_spawn(struct model *model, struct actor *actor, struct order *order)
{
	struct actor *new;

	if (model->actor_count == ACTORS)
		return false;
	order->from = local_in_use(model, actor);
	order->number = ++model->actor_count;
	new = &model->actors[order->number];
	*new = (struct actor){.state = IDLE, .finished = 1, .to = -1};
	if (order->from >= 0)
		new->argument = new->locals[0] = actor->locals[order->from];
	go_on(model, actor);
	return true;
}

static bool step_object(struct model *model, struct actor *actor, struct order *order)
{
	int local = -1;
	int number = 0;
	int chan;

	switch (order->op) {
	case OP_BOX:
		order->pad = chance(model, 20) ? PAD_LARGE : pick(model, 64);
		number = new_object(model, BOX, (int)sizeof(struct box) + order->pad);
		break;
	case OP_CHAN:
		order->pad = pick(model, CAPACITY + 1);
		number = new_object(model, CHAN, 40);
		if (number)
			model->objects[number].capacity = order->pad;
		break;
	case OP_CONTEXT:
	case OP_TIMEOUT:
		if (!new_context(model, actor, order, order->op == OP_TIMEOUT))
			return false;
		go_on(model, actor);
		return true;
	case OP_AFTER:
		number = new_object(model, CHAN, 40);
		if (number) {
			model->objects[number].capacity = 1;
			model->objects[number].pending = true;
		}
		break;
	case OP_TIMER:
		if (model->object_count + 2 > OBJECTS)
			return false;
		chan = new_object(model, CHAN, 40);
		model->objects[chan].capacity = 1;
		number = new_object(model, TIMER, 40);
		model->objects[number].done = chan;
		model->objects[number].pending = true;
		break;
	case OP_DONE:
		local = local_of_kind(model, actor, CONTEXT);
		break;
	case OP_TIMER_CHAN:
	case OP_TIMER_STOP:
		local = local_of_kind(model, actor, TIMER);
		break;
	default:
		break;
	}
	if (local >= 0) {
		order->on = local;
		order->offset = actor->locals[local].offset;
		if (order->op == OP_TIMER_STOP) {
			object_of(model, actor->locals[local])->pending = false;
			go_on(model, actor);
			return true;
		}
		number = object_of(model, actor->locals[local])->done;
	}
	if (!number)
		return false;
	order->to = local_to_fill(model, actor);
	actor->locals[order->to] = (struct ref){number, 0};
	go_on(model, actor);
	return true;
}

static bool choose_case(struct model *model, struct actor *actor, struct order *order)
{
	struct select_case *one = &order->cases[order->case_count];
	struct wait_case *wait = &actor->cases[order->case_count];
	int chan;

	*one = (struct select_case){.on = chance(model, 80) ? local_of_kind(model, actor, CHAN)
							    : -1};
	chan = one->on >= 0 ? actor->locals[one->on].object : 0;
	*wait = (struct wait_case){.object = chan};
	if (one->on >= 0)
		one->offset = actor->locals[one->on].offset;
	if (chance(model, 40) &&
	    !(chan && (model->objects[chan].closed || model->objects[chan].reserved))) {
		one->send = wait->send = true;
		one->from = local_in_use(model, actor);
		if (one->from >= 0)
			wait->value = actor->locals[one->from];
	}
	order->case_count++;
	return chan && (wait->send ? can_send(model, chan) : can_receive(model, chan));
}

/* Only where at most one case is ready: minigo would choose at random. */
static bool step_select(struct model *model, struct actor *actor, struct order *order)
{
	int ready = -1;
	int count = 1 + pick(model, CASES);
	int i;

	for (i = 0; i < count; i++) {
		if (!choose_case(model, actor, order))
			continue;
		if (ready >= 0)
			return false;
		ready = i;
	}
	actor->to = order->to = local_to_fill(model, actor);
	if (ready < 0) {
		actor->state = BLOCKED;
		actor->wait = W_CHAN;
		actor->since = ++model->clock;
		actor->case_count = count;
	} else if (actor->cases[ready].send) {
		send_now(model, actor->cases[ready].object, actor->cases[ready].value);
		go_on(model, actor);
	} else {
		go_on_with(model, actor, receive_now(model, actor->cases[ready].object));
	}
	return true;
}

static bool step_chan(struct model *model, struct actor *actor, struct order *order)
{
	int local = local_of_kind(model, actor, CHAN);
	struct wait_case *unused;
	struct ref value = {0};
	struct object *object;
	int chan;

	if (local < 0)
		return false;
	chan = actor->locals[local].object;
	object = &model->objects[chan];
	order->on = local;
	order->offset = actor->locals[local].offset;
	switch (order->op) {
	case OP_CLOSE:
		if (object->closed || object->reserved || object->pending ||
		    first_on_chan(model, chan, true, &unused))
			return false;
		close_now(model, chan);
		go_on(model, actor);
		return true;
	case OP_SEND:
		if (object->closed || object->reserved)
			return false;
		order->from = local_in_use(model, actor);
		if (order->from >= 0)
			value = actor->locals[order->from];
		if (can_send(model, chan)) {
			send_now(model, chan, value);
			go_on(model, actor);
			return true;
		}
		block(model, actor, W_CHAN, chan);
		actor->cases[0].send = true;
		actor->cases[0].value = value;
		actor->to = -1;
		return true;
	case OP_RECEIVE_HOLDING:
		order->from = local_in_use(model, actor);
		if (order->from < 0 || order->from == local || can_receive(model, chan))
			return false;
		value = actor->locals[order->from];
		actor->locals[order->from] = (struct ref){0};
		block(model, actor, W_CHAN, chan);
		actor->held = value;
		order->to = order->from;
		return true;
	default:
		actor->to = order->to = local_to_fill(model, actor);
		if (can_receive(model, chan))
			go_on_with(model, actor, receive_now(model, chan));
		else
			block(model, actor, W_CHAN, chan);
		return true;
	}
}

static bool step_lock(struct model *model, struct actor *actor, struct order *order, int number)
{
	struct object *box = &model->objects[number];
	int self = number_of(model, actor);

	switch (order->op) {
	case OP_LOCK:
		order->slot = pick(model, 2);
		lock_now(model, actor, number, order->slot);
		return true;
	case OP_UNLOCK:
		order->slot = pick(model, 2);
		if (box->owner[order->slot] != self)
			return false;
		unlock_now(model, number, order->slot);
		break;
	case OP_READ_LOCK:
		if (box->writer || first_for_rwmutex(model, number)) {
			block(model, actor, W_READ, number);
			return true;
		}
		box->readers[self]++;
		break;
	case OP_WRITE_LOCK:
		if (box->writer || has_readers(box)) {
			block(model, actor, W_WRITE, number);
			return true;
		}
		box->writer = self;
		break;
	case OP_READ_UNLOCK:
		if (!box->readers[self])
			return false;
		box->readers[self]--;
		let_in(model, number);
		break;
	case OP_WRITE_UNLOCK:
		if (box->writer != self)
			return false;
		box->writer = 0;
		let_in(model, number);
		break;
	default:
		return false;
	}
	go_on(model, actor);
	return true;
}

static bool step_shared(struct model *model, struct actor *actor, struct order *order, int number)
{
	struct object *box = &model->objects[number];
	struct actor *waiter;
	struct actor *second;

	switch (order->op) {
	case OP_GROUP_ADD:
		box->group++;
		break;
	case OP_GROUP_DONE:
		if (!box->group)
			return false;
		box->group--;
		while (!box->group && (waiter = first_waiter(model, W_GROUP, number)))
			wake(model, waiter);
		break;
	case OP_GROUP_WAIT:
		if (box->group) {
			block(model, actor, W_GROUP, number);
			return true;
		}
		break;
	case OP_ACQUIRE:
		if (!box->semaphore) {
			block(model, actor, W_ACQUIRE, number);
			return true;
		}
		box->semaphore--;
		break;
	case OP_RELEASE:
		waiter = first_waiter(model, W_ACQUIRE, number);
		if (waiter)
			wake(model, waiter);
		else
			box->semaphore++;
		break;
	case OP_COND_WAIT:
		if (box->owner[1] != number_of(model, actor))
			return false;
		unlock_now(model, number, 1);
		block(model, actor, W_COND, number);
		return true;
	case OP_SIGNAL:
		waiter = first_waiter(model, W_COND, number);
		if (waiter)
			lock_now(model, waiter, number, 1);
		break;
	case OP_BROADCAST:
		waiter = first_waiter(model, W_COND, number);
		if (waiter)
			lock_now(model, waiter, number, 1);
		second = first_waiter(model, W_COND, number);
		/* Which of them gets the mutex first is chance where threads are several. */
		if (second && model->threads > 1) {
			order->op = OP_SIGNAL;
			break;
		}
		while (second) {
			lock_now(model, second, number, 1);
			second = first_waiter(model, W_COND, number);
		}
		break;
	default:
		return false;
	}
	go_on(model, actor);
	return true;
}

static bool step_box(struct model *model, struct actor *actor, struct order *order)
{
	int local = local_of_kind(model, actor, BOX);
	int number;

	if (local < 0)
		return false;
	number = actor->locals[local].object;
	order->on = local;
	order->offset = actor->locals[local].offset;
	order->slot = pick(model, SLOTS);
	switch (order->op) {
	case OP_STORE:
		order->from = chance(model, 75) ? local_in_use(model, actor) : -1;
		model->objects[number].slots[order->slot] =
			order->from >= 0 ? actor->locals[order->from] : (struct ref){0};
		go_on(model, actor);
		return true;
	case OP_LOAD:
		if (!model->objects[number].slots[order->slot].object)
			return false;
		order->to = local_to_fill(model, actor);
		actor->locals[order->to] = model->objects[number].slots[order->slot];
		go_on(model, actor);
		return true;
	default:
		return step_lock(model, actor, order, number) ||
		       step_shared(model, actor, order, number);
	}
}

static bool step_cancel(struct model *model, struct actor *actor, struct order *order)
{
	int local = local_of_kind(model, actor, CONTEXT);

	if (local < 0)
		return false;
	order->on = local;
	order->offset = actor->locals[local].offset;
	cancel_now(model, actor->locals[local].object);
	go_on(model, actor);
	return true;
}

static bool step_forever(struct model *model, struct actor *actor, struct order *order)
{
	if (chance(model, 80))
		return false;
	if (order->op == OP_SEND_NIL)
		order->from = local_in_use(model, actor);
	block(model, actor, order->op == OP_SLEEP || order->op == OP_READ ? W_LIVE : W_NEVER, 0);
	if (order->op == OP_SEND_NIL && order->from >= 0)
		actor->held = actor->locals[order->from];
	return true;
}

static bool step_exit(struct model *model, struct actor *actor)
{
	(void)model;
	/* A pointer to its stack would lead into that of another one, later. */
	if (actor->address_taken)
		return false;
	*actor = (struct actor){.state = ENDED, .finished = actor->finished + 1, .to = -1};
	return true;
}

static bool step(struct model *model, struct actor *actor, struct order *order)
{
	enum op op = order->op;

	*order = (struct order){.op = op, .on = -1, .from = -1, .to = -1};
	actor->op = op;
	actor->to = -1;
	if (op == OP_EXIT)
		return step_exit(model, actor);
	if (op == OP_COPY || op == OP_CLEAR || op == OP_FETCH || op == OP_ADDRESS)
		return step_pointer(model, actor, order);
	if (op == OP_PUBLISH || op == OP_PLACE)
		return step_outside(model, actor, order);
	if (op == OP_SPAWN)
		return step_spawn(model, actor, order);
	if (op >= OP_BOX && op <= OP_TIMER_STOP)
		return step_object(model, actor, order);
	if (op == OP_SELECT)
		return step_select(model, actor, order);
	if (op == OP_SEND || op == OP_RECEIVE || op == OP_RECEIVE_HOLDING || op == OP_CLOSE)
		return step_chan(model, actor, order);
	if (op == OP_CANCEL)
		return step_cancel(model, actor, order);
	if (op >= OP_SLEEP)
		return step_forever(model, actor, order);
	return step_box(model, actor, order);
}

/* --- A program --- */

void model_begin(int number, uint64_t seed, int threads)
{
	struct model *model = &models[number];
	int i;

	*model = (struct model){.random = seed * 0x9e3779b97f4a7c15ull + 0x2545f4914f6cdd1dull,
				.threads = threads,
				.object_count = 1,
				.actor_count = 1};
	for (i = 0; i < 8; i++)
		pick(model, 2);
	for (i = 0; i < 2; i++)
		model->places[i] = next_place < PLACES && chance(model, 50) ? next_place++ : -1;
	model->actors[1] = (struct actor){.state = IDLE, .finished = 1, .to = -1};
}

/* An idle actor, those that came later rather than others; NULL: there is none. */
static struct actor *idle_actor(struct model *model)
{
	int start = pick(model, model->actor_count);
	int i;

	for (i = 0; i < model->actor_count; i++) {
		struct actor *actor = &model->actors[1 + (start + i) % model->actor_count];

		if (actor->state == IDLE)
			return actor;
	}
	return NULL;
}

static enum op random_op(struct model *model)
{
	/* What makes a program one comes more often. */
	static const enum op frequent[] = {OP_SPAWN, OP_SPAWN,	 OP_BOX,     OP_CHAN,	 OP_PUBLISH,
					   OP_FETCH, OP_FETCH,	 OP_STORE,   OP_LOAD,	 OP_SEND,
					   OP_LOCK,  OP_RECEIVE, OP_ADDRESS, OP_CONTEXT, OP_CLEAR};

	if (model->places[0] >= 0 && chance(model, 5))
		return OP_PLACE;
	if (chance(model, 45))
		return frequent[pick(model, (int)(sizeof(frequent) / sizeof(frequent[0])))];
	return 1 + (enum op)pick(model, OP_COUNT - 1);
}

int model_step(int number, struct order *order)
{
	struct model *model = &models[number];
	struct model before = *model;
	struct actor *actor = idle_actor(model);
	int tries;

	for (tries = 0; actor && tries < TRIES; tries++) {
		bool stepped;

		order->op = random_op(model);
		model->woken = 0;
		stepped = step(model, actor, order);
		/* That the last idle one waits ends the program: mostly not yet. */
		if (stepped && (idle_actor(model) || chance(model, 10)))
			return number_of(model, actor);
		before.random = model->random;
		*model = before;
	}
	return -1;
}

int model_wind_up(int number, struct order *order)
{
	struct model *model = &models[number];
	int tries;

	for (tries = 0; tries < 2 * ACTORS; tries++) {
		struct actor *actor = idle_actor(model);
		int what = pick(model, 10);

		if (!actor)
			return -1;
		order->op = what < 3 ? OP_EXIT : what < 7 ? OP_CLEAR : OP_PUBLISH;
		if (order->op == OP_PUBLISH) {
			*order = (struct order){.op = OP_PUBLISH, .on = -1, .from = -1, .to = -1};
			order->slot = pick(model, GLOBALS);
			model->globals[order->slot] = (struct ref){0};
			go_on(model, actor);
		} else if (!step(model, actor, order)) {
			continue;
		}
		return number_of(model, actor);
	}
	return -1;
}

int model_wake(int number, struct order *order)
{
	struct model *model = &models[number];
	struct model before = *model;
	int tries;

	before.ending = model->ending = true;
	for (tries = 0; tries < TRIES; tries++) {
		int actor = model_step(number, order);
		uint64_t random = model->random;

		/* Itself and another, but for one that would have to get a mutex before it goes on.
		 */
		if (actor > 0 && model->woken > 1 && order->op != OP_SIGNAL &&
		    order->op != OP_BROADCAST)
			return actor;
		*model = before;
		model->random = random;
	}
	return -1;
}

int model_finished(int number, int actor)
{
	return models[number].actors[actor].finished;
}

bool model_waits(int number)
{
	struct model *model = &models[number];
	int i;

	/* Also one that was woken from a condition and now waits for the mutex. */
	for (i = 1; i <= model->actor_count; i++)
		if (model->actors[i].state == BLOCKED && model->actors[i].since == model->clock)
			return true;
	return false;
}

const char *model_state(int number, int actor)
{
	const struct actor *it = &models[number].actors[actor];

	if (it->state == ABSENT || it->state == ENDED)
		return NULL;
	return it->state == IDLE ? "idle" : it->state == READY ? "ready" : op_names[it->op];
}

/* --- The verdict --- */

static bool reach(struct model *model, struct ref ref);

static bool reach_number(struct model *model, int number)
{
	return reach(model, (struct ref){number, 0});
}

static bool reach_frames(struct model *model, struct actor *actor);

/* Whether both wait in one queue, so that the links of the queue on their stacks lead from one to
 * the other. */
static bool are_linked(const struct actor *a, const struct actor *b)
{
	bool rwmutex = (a->wait == W_READ || a->wait == W_WRITE) &&
		       (b->wait == W_READ || b->wait == W_WRITE);
	int i, j;

	if (a->state != BLOCKED || b->state != BLOCKED || (a->wait != b->wait && !rwmutex))
		return false;
	for (i = 0; i < a->case_count; i++)
		for (j = 0; j < b->case_count; j++)
			if (a->cases[i].object && a->cases[i].object == b->cases[j].object &&
			    a->cases[i].send == b->cases[j].send)
				return true;
	return false;
}

static bool reach_by_links(struct model *model, const struct actor *actor)
{
	bool news = false;
	int i;

	for (i = 1; i <= model->actor_count; i++) {
		struct actor *other = &model->actors[i];

		if (other->linked || !are_linked(actor, other))
			continue;
		other->linked = true;
		reach_frames(model, other);
		news = true;
	}
	return news;
}

/* What lies in the frames of an actor. */
static bool reach_frames(struct model *model, struct actor *actor)
{
	bool news = reach(model, actor->held);
	int i;

	news |= reach(model, actor->received);
	if (model->follow_links)
		news |= reach_by_links(model, actor);

	for (i = 0; i < LOCALS; i++)
		news |= reach(model, actor->locals[i]);
	for (i = 0; i < actor->case_count; i++) {
		news |= reach_number(model, actor->cases[i].object);
		news |= reach(model, actor->cases[i].value);
	}
	return news;
}

/* Marks what REF leads to. Returns whether something was new. */
static bool reach(struct model *model, struct ref ref)
{
	struct object *object = object_of(model, ref);
	int i;

	if (!ref.object || object->reached)
		return false;
	object->reached = true;
	for (i = 0; i < SLOTS; i++)
		reach(model, object->slots[i]);
	for (i = 0; i < object->count; i++)
		reach(model, object->buffer[i]);
	reach_number(model, object->parent);
	reach_number(model, object->first_child);
	reach_number(model, object->next);
	reach_number(model, object->done);
	if (object->kind == STACK)
		reach_frames(model, &model->actors[object->actor]);
	return true;
}

static bool is_live(struct model *model, int actor)
{
	return actor && model->actors[actor].live;
}

static bool can_go_on(struct model *model, const struct actor *actor)
{
	const struct object *object = &model->objects[actor->cases[0].object];
	int i;

	switch (actor->wait) {
	case W_LIVE:
		return true;
	case W_NEVER:
		return false;
	case W_MUTEX:
	case W_COND_MUTEX:
		return object->reached && is_live(model, object->owner[actor->wait - W_MUTEX]);
	case W_READ:
	case W_WRITE:
		if (!object->reached)
			return false;
		for (i = 1; i <= ACTORS; i++)
			if (object->readers[i] && is_live(model, i))
				return true;
		return is_live(model, object->writer);
	default:
		for (i = 0; i < actor->case_count; i++)
			if (actor->cases[i].object &&
			    model->objects[actor->cases[i].object].reached)
				return true;
		return false;
	}
}

static bool go_round(struct model *model)
{
	bool news = false;
	int i;

	for (i = 1; i <= model->actor_count; i++) {
		struct actor *actor = &model->actors[i];

		if (actor->state == ABSENT || actor->state == ENDED)
			continue;
		if (!actor->live && (actor->state != BLOCKED || can_go_on(model, actor)))
			actor->live = news = true;
		if (actor->live) {
			news |= reach(model, actor->argument);
			news |= reach_frames(model, actor);
		}
	}
	return news;
}

static void judge(struct model *model)
{
	int i;

	for (i = 0; i < GLOBALS; i++)
		reach(model, model->globals[i]);
	for (i = 0; i < 2; i++)
		reach(model, model->placed[i]);
	for (i = 1; i < model->object_count; i++)
		if (model->objects[i].pending)
			reach_number(model, i);
	while (go_round(model))
		;
}

void model_judge(int number)
{
	struct model *model = &models[number];
	static struct model with_links;
	int i;

	with_links = *model;
	with_links.follow_links = true;
	judge(model);
	judge(&with_links);
	for (i = 1; i <= model->actor_count; i++)
		model->actors[i].live_by_a_link = with_links.actors[i].live;
}

bool model_leaked(int number, int actor)
{
	return !models[number].actors[actor].live;
}

bool model_may_be_hidden(int number, int actor)
{
	return model_leaked(number, actor) && models[number].actors[actor].live_by_a_link;
}
