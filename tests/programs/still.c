/* SPDX-License-Identifier: MIT */
/*
 * A program that is linked statically, which loads no shim. Says how many children it has that it
 * does not know of, waits for the end of standard input, and exits with 7.
 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
	char byte;
	int strange = 0;

	while (waitpid(-1, NULL, __WALL) > 0)
		strange++;
	printf("STILL %d\n", strange);
	fflush(stdout);
	while (read(0, &byte, 1) > 0)
		;
	return 7;
}
