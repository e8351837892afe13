/* SPDX-License-Identifier: MIT */
/*
 * A goroutine that waits for what only the kernel may still point to, in a place that nobody can
 * look into:
 *
 *     blind mqueue|io_uring|aio|none
 *
 * Ends with 77 where the kernel does not have it.
 */
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <st.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *wait_for_ever(void *unused)
{
	st_cond_wait(st_cond_new());
	return unused;
}

static int open_message_queue(void)
{
	char name[64];
	mqd_t queue;

	snprintf(name, sizeof(name), "/leakprof-test-%d", (int)getpid());
	queue = mq_open(name, O_RDWR | O_CREAT, 0600, NULL);
	if (queue < 0)
		return -1;
	mq_unlink(name);
	return mq_send(queue, "12345678", 8, 0);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "none";
	struct io_uring_params parameters = {0};
	aio_context_t context = 0;
	long r = 0;

	st_init();
	st_thread_create(wait_for_ever, NULL, 0, 0);
	st_usleep(0);
	if (!strcmp(mode, "mqueue"))
		r = open_message_queue();
	else if (!strcmp(mode, "io_uring"))
		r = syscall(SYS_io_uring_setup, 8, &parameters);
	else if (!strcmp(mode, "aio"))
		r = syscall(SYS_io_setup, 8, &context);
	return r < 0 ? 77 : 0;
}
