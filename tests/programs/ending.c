/* SPDX-License-Identifier: MIT */
/*
 * Ends while a goroutine has still a little to do: it sleeps, then ends by itself.
 */
#include <stdio.h>

#ifdef USE_ST
#include <st.h>
#else
#include <pth.h>
#endif

static void *end_soon(void *unused)
{
	(void)unused;
#ifdef USE_ST
	st_usleep(20000);
#else
	pth_usleep(20000);
#endif
	return NULL;
}

int main(void)
{
#ifdef USE_ST
	st_init();
	st_thread_create(end_soon, NULL, 0, 0);
#else
	pth_attr_t attributes;

	pth_init();
	attributes = pth_attr_new();
	pth_attr_set(attributes, PTH_ATTR_JOINABLE, 0);
	pth_spawn(attributes, end_soon, NULL);
#endif
	puts("ends");
	return 0;
}
