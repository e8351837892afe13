/* SPDX-License-Identifier: MIT */
/*
 * Becomes itself argv[1] times, by each call of the exec family in turn, and then the program
 * argv[2]; each time when a byte can be read from standard input, or where argv[3] is "hurry",
 * after the first time, at once. Leaks one goroutine each time.
 */
#include <errno.h>
#include <fcntl.h>

#include "common.h"
#include "runtime.h"

static void *leaked_worker(void *gate)
{
	gate_wait(gate);
	return NULL;
}

static void *start(void *unused)
{
	spawn(leaked_worker, gate_new());
	return unused;
}

static void become(unsigned way, char **argv)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *pace = argv[3];

	self[n > 0 ? n : 0] = 0;
	switch (way % 8) {
	case 0:
		execve(self, argv, environ);
		break;
	case 1:
		execv(self, argv);
		break;
	case 2:
		execvp(self, argv);
		break;
	case 3:
		execvpe(self, argv, environ);
		break;
	case 4:
		fexecve(open(self, O_RDONLY | O_CLOEXEC), argv, environ);
		break;
	case 5:
		execl(self, argv[0], argv[1], argv[2], pace, NULL);
		break;
	case 6:
		execlp(self, argv[0], argv[1], argv[2], pace, NULL);
		break;
	case 7:
		execle(self, argv[0], argv[1], argv[2], pace, NULL, environ);
		break;
	}
	perror("exec");
	exit(1);
}

int main(int argc, char **argv)
{
	unsigned left = argc > 3 ? (unsigned)atoi(argv[1]) : 0;
	char *none[] = {"none", NULL};
	char text[16];
	int i;

	if (argc < 4)
		return 2;
	unbuffer();
	runtime_init();
	spawn(start, NULL);
	for (i = 0; i < 10; i++)
		yield();
	scrub();
	/* One that fails changes nothing. */
	if (execv("/nonexistent", none) >= 0 || errno != ENOENT)
		return 3;
	if (!getenv("HURRY")) {
		puts("READY");
		read_byte(0);
	}
	if (!strcmp(argv[3], "hurry"))
		setenv("HURRY", "1", 1);
	snprintf(text, sizeof(text), "%u", left - 1);
	argv[1] = text;
	if (left)
		become(left, argv);
	execv(argv[2], argv + 2);
	return 1;
}
