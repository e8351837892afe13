/* SPDX-License-Identifier: MIT */
/*
 * A library that holders.c opens while it runs: its thread-local and its static memory.
 */
void **tls_library_local(void);
void **tls_library_static(void);

static __thread void *local;
static void *in_data;

void **tls_library_local(void)
{
	return &local;
}

void **tls_library_static(void)
{
	return &in_data;
}
