/* SPDX-License-Identifier: MIT */
/*
 * Locks and the like. Whoever gives one back hands it to the first that waits, so nobody can
 * overtake.
 *
 * For leakprof a mutex and a read-write lock belong to those who hold them: a goroutine that waits
 * for one can go on only if a holder can. Wait groups, conditions and semaphores belong to nobody.
 */
#include <stdlib.h>

#include "internal.h"

/* Waits in QUEUE, with the lock, which is gone afterwards. */
static void wait_in_locked(struct wait_queue *queue, bool reader)
{
	struct waiter waiter = {.goroutine = go_self(), .reader = reader};

	queue_add(queue, &waiter);
	go_leave_locked();
}

/* --- Mutexes --- */

static const void *mutex_owner(const void *object, const void *waiter, void **cursor)
{
	const struct mutex *mutex = object;

	(void)waiter;
	if (*cursor)
		return NULL;
	*cursor = (void *)(uintptr_t)mutex;
	return mutex->owner;
}

static const struct leakprof_kind mutex_kind = {.size = sizeof(mutex_kind),
						.rule = LEAKPROF_OWNER,
						.name = "sync.Mutex.Lock",
						.owner = mutex_owner,
						.queue_offset = offsetof(struct mutex, owner),
						.queue_size = sizeof(struct mutex)};

static void own(struct mutex *mutex, struct goroutine *owner)
{
	mutex->owner = owner;
	owner->owned++;
}

void mutex_lock(struct mutex *mutex)
{
	struct goroutine *self = go_self();
	struct leakprof_wait wait;

	go_lock();
	if (!mutex->owner) {
		own(mutex, self);
		go_unlock();
		return;
	}
	leakprof_wait_begin(self->profile, &wait, &mutex_kind, mutex, 0, 0);
	wait_in_locked(&mutex->waiters, false);
	leakprof_wait_end(self->profile);
}

bool mutex_try_lock(struct mutex *mutex)
{
	bool locked;

	go_lock();
	locked = !mutex->owner;
	if (locked)
		own(mutex, go_self());
	go_unlock();
	return locked;
}

static void unlock_locked(struct mutex *mutex)
{
	struct waiter *next = mutex->waiters.first;

	if (mutex->owner != go_self())
		go_abort("unlock of a mutex that another goroutine holds, or nobody");
	mutex->owner->owned--;
	mutex->owner = NULL;
	if (!next)
		return;
	own(mutex, next->goroutine);
	wake_locked(next);
}

void mutex_unlock(struct mutex *mutex)
{
	go_lock();
	unlock_locked(mutex);
	go_unlock();
}

/* --- Read-write locks --- */

/* Who holds it: a writer, or readers, of which the cursor is the last one named. A reader that
 * queues behind a writer waits for the same readers as the writer does. */
static const void *rwmutex_owner(const void *object, const void *waiter, void **cursor)
{
	const struct rwmutex *lock = object;
	const struct hold *hold = *cursor;

	(void)waiter;
	if (lock->writer) {
		*cursor = (void *)(uintptr_t)lock;
		return hold ? NULL : lock->writer;
	}
	hold = hold ? hold->next : lock->readers;
	*cursor = (void *)(uintptr_t)hold;
	return hold ? hold->reader : NULL;
}

#define RWMUTEX_KIND(text)                                                                         \
	{                                                                                          \
		.size = sizeof(struct leakprof_kind), .rule = LEAKPROF_OWNER, .name = text,        \
		.owner = rwmutex_owner, .queue_offset = 0, .queue_size = sizeof(struct rwmutex)    \
	}

static const struct leakprof_kind rlock_kind = RWMUTEX_KIND("sync.RWMutex.RLock");
static const struct leakprof_kind lock_kind = RWMUTEX_KIND("sync.RWMutex.Lock");

static struct hold *free_hold(struct goroutine *reader)
{
	struct hold *hold;
	size_t i;

	for (i = 0; i < HOLDS; i++)
		if (!reader->holds[i].lock)
			return &reader->holds[i];
	for (hold = reader->overflow; hold; hold = hold->overflow)
		if (!hold->lock)
			return hold;
	hold = calloc(1, sizeof(*hold));
	if (!hold)
		go_abort("no memory for a read lock");
	hold->overflow = reader->overflow;
	reader->overflow = hold;
	return hold;
}

static void hold_locked(struct rwmutex *lock, struct goroutine *reader)
{
	struct hold *hold = free_hold(reader);

	hold->lock = lock;
	hold->reader = reader;
	hold->previous = NULL;
	hold->next = lock->readers;
	if (hold->next)
		hold->next->previous = hold;
	lock->readers = hold;
	reader->owned++;
}

static bool drop_locked(struct rwmutex *lock, struct goroutine *reader)
{
	struct hold *hold = lock->readers;

	while (hold && hold->reader != reader)
		hold = hold->next;
	if (!hold)
		return false;
	if (hold->previous)
		hold->previous->next = hold->next;
	else
		lock->readers = hold->next;
	if (hold->next)
		hold->next->previous = hold->previous;
	hold->lock = NULL;
	reader->owned--;
	return true;
}

/* Lets in who can: one writer, or all readers before the next one. */
static void let_in_locked(struct rwmutex *lock)
{
	struct waiter *next;

	while ((next = lock->waiters.first) && !lock->writer) {
		if (!next->reader && lock->readers)
			return;
		if (next->reader) {
			hold_locked(lock, next->goroutine);
		} else {
			lock->writer = next->goroutine;
			next->goroutine->owned++;
		}
		wake_locked(next);
	}
}

void rwmutex_lock(struct rwmutex *lock)
{
	struct goroutine *self = go_self();
	struct leakprof_wait wait;

	go_lock();
	if (!lock->writer && !lock->readers) {
		lock->writer = self;
		self->owned++;
		go_unlock();
		return;
	}
	leakprof_wait_begin(self->profile, &wait, &lock_kind, lock, 0, 0);
	wait_in_locked(&lock->waiters, false);
	leakprof_wait_end(self->profile);
}

void rwmutex_unlock(struct rwmutex *lock)
{
	go_lock();
	if (lock->writer != go_self())
		go_abort("unlock of a lock that another goroutine holds, or nobody");
	lock->writer->owned--;
	lock->writer = NULL;
	let_in_locked(lock);
	go_unlock();
}

void rwmutex_rlock(struct rwmutex *lock)
{
	struct goroutine *self = go_self();
	struct leakprof_wait wait;

	go_lock();
	if (!lock->writer && !lock->waiters.first) {
		hold_locked(lock, self);
		go_unlock();
		return;
	}
	leakprof_wait_begin(self->profile, &wait, &rlock_kind, lock, 0, 0);
	wait_in_locked(&lock->waiters, true);
	leakprof_wait_end(self->profile);
}

void rwmutex_runlock(struct rwmutex *lock)
{
	go_lock();
	if (!drop_locked(lock, go_self()))
		go_abort("read unlock of a lock that the goroutine does not hold");
	let_in_locked(lock);
	go_unlock();
}

/* --- What belongs to nobody --- */

#define SHARED_KIND(type, text)                                                                    \
	{                                                                                          \
		.size = sizeof(struct leakprof_kind), .rule = LEAKPROF_ANY, .name = text,          \
		.queue_offset = offsetof(struct type, waiters),                                    \
		.queue_size = sizeof(struct wait_queue)                                            \
	}

static const struct leakprof_kind group_kind = SHARED_KIND(wait_group, "sync.WaitGroup.Wait");
static const struct leakprof_kind cond_kind = SHARED_KIND(cond, "sync.Cond.Wait");
static const struct leakprof_kind semaphore_kind = SHARED_KIND(semaphore, "semacquire");

void wait_group_add(struct wait_group *group, long delta)
{
	go_lock();
	group->count += delta;
	if (group->count < 0)
		go_abort("negative count of a wait group");
	while (!group->count && group->waiters.first)
		wake_locked(group->waiters.first);
	go_unlock();
}

void wait_group_done(struct wait_group *group)
{
	wait_group_add(group, -1);
}

void wait_group_wait(struct wait_group *group)
{
	struct goroutine *self = go_self();
	struct leakprof_wait wait;

	go_lock();
	if (!group->count) {
		go_unlock();
		return;
	}
	leakprof_wait_begin(self->profile, &wait, &group_kind, group, 0, 0);
	wait_in_locked(&group->waiters, false);
	leakprof_wait_end(self->profile);
}

void cond_wait(struct cond *cond, struct mutex *mutex)
{
	struct goroutine *self = go_self();
	struct leakprof_wait wait;

	go_lock();
	unlock_locked(mutex);
	leakprof_wait_begin(self->profile, &wait, &cond_kind, cond, 0, 0);
	wait_in_locked(&cond->waiters, false);
	leakprof_wait_end(self->profile);
	mutex_lock(mutex);
}

void cond_signal(struct cond *cond)
{
	go_lock();
	if (cond->waiters.first)
		wake_locked(cond->waiters.first);
	go_unlock();
}

void cond_broadcast(struct cond *cond)
{
	go_lock();
	while (cond->waiters.first)
		wake_locked(cond->waiters.first);
	go_unlock();
}

void semaphore_acquire(struct semaphore *semaphore)
{
	struct goroutine *self = go_self();
	struct leakprof_wait wait;

	go_lock();
	if (semaphore->count) {
		semaphore->count--;
		go_unlock();
		return;
	}
	leakprof_wait_begin(self->profile, &wait, &semaphore_kind, semaphore, 0, 0);
	wait_in_locked(&semaphore->waiters, false);
	leakprof_wait_end(self->profile);
}

void semaphore_release(struct semaphore *semaphore)
{
	go_lock();
	if (semaphore->waiters.first)
		wake_locked(semaphore->waiters.first);
	else
		semaphore->count++;
	go_unlock();
}

void once_do(struct once *once, void (*function)(void *), void *argument)
{
	mutex_lock(&once->mutex);
	if (!once->done) {
		function(argument);
		once->done = true;
	}
	mutex_unlock(&once->mutex);
}
