// SPDX-License-Identifier: MIT
// leakprof.h in C++: compiles without a warning, links without the shim, and says so.
#include <cstdio>
#include "leakprof.h"

int main()
{
	struct leakprof_new info = {};
	struct leakprof_wait wait;
	static const struct leakprof_kind kind = {sizeof(kind), LEAKPROF_ANY, LEAKPROF_WAITING, 0, "chan receive", 0, 0, nullptr};
	leakprof_goroutine *goroutine = leakprof_created(leakprof_runtime("C++"), &info);

	leakprof_wait_begin(goroutine, &wait, &kind, &info, 0, 0);
	leakprof_wait_end(goroutine);
	leakprof_finished(goroutine);
	std::printf("%d %d\n", leakprof_available(), leakprof_collect());
}
