/* SPDX-License-Identifier: MIT */
/*
 * check_profile FILE: exits with 0 when FILE is a profile that Parca would take, else prints why
 * not and exits with 1.
 */
#include <stdio.h>
#include <stdlib.h>

#include "pp_profile.h"

int main(int argc, char **argv)
{
	static char data[1 << 20];
	const char *reason = "it cannot be read";
	FILE *file = argc > 1 ? fopen(argv[1], "rb") : NULL;
	size_t size = file ? fread(data, 1, sizeof(data), file) : 0;
	pp_profile *profile;

	if (!file || pp_unpack(data, size, 1u << 30, &profile, &reason)) {
		puts(reason);
		return 1;
	}
	pp_free(profile);
	return 0;
}
