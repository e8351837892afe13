/* SPDX-License-Identifier: MIT */
/*
 * Opens the library argv[1] and lets it leak a goroutine; with argv[2] it closes it again, so that
 * the goroutine's code is gone when the snapshot comes.
 */
#include <dlfcn.h>

#include "common.h"
#include "runtime.h"

int main(int argc, char **argv)
{
	void (*start)(void);
	void *library;
	int i;

	unbuffer();
	runtime_init();
	library = dlopen(argc > 1 ? argv[1] : "", RTLD_NOW);
	if (!library)
		return 1;
	start = (void (*)(void))dlsym(library, "plugin_start");
	start();
	for (i = 0; i < 10; i++)
		yield();
	if (argc > 2 && dlclose(library))
		return 2;
	scrub();
	return 0;
}
