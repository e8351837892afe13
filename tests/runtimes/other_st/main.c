/* SPDX-License-Identifier: MIT */
/* Creates a thread of whatever library there is, and ends. */
#include <st.h>
#include <stdio.h>

static void *start(void *argument)
{
	return argument;
}

int main(void)
{
	if (st_init() || !st_thread_create(start, NULL, 0, 0))
		return 1;
	puts("READY");
	return 0;
}
