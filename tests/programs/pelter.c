/* SPDX-License-Identifier: MIT */
/*
 * Sends the process argv[1] requests for snapshots that nobody waits for, as fast as it can,
 * argv[2] times or until the process is gone. With argv[3] it rests in between, so that the process
 * gets somewhere.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	long sent = 0;
	long count = argc > 2 ? atol(argv[2]) : 0;
	const struct timespec pause = {0, 25000000};

	while (sent < count) {
		if (!sigqueue(atoi(argv[1]), 62, (union sigval){.sival_int = (int)sent}))
			sent++;
		else if (errno != EAGAIN)
			break;
		if (argc > 3)
			nanosleep(&pause, NULL);
	}
	printf("%ld\n", sent);
	return 0;
}
