/* SPDX-License-Identifier: MIT */
/*
 * See stream_names.h.
 */
#include "core/stream_names.h"

#include <stddef.h>

const struct lp_figure_name lp_figure_names[] = {
	{LP_FIG_PAUSE_NS, "pause_ns", "program stopped for", LP_UNIT_NANOSECONDS},
	{LP_FIG_STOP_NS, "stop_ns", "  until all threads stopped", LP_UNIT_NANOSECONDS},
	{LP_FIG_CLONE_NS, "clone_ns", "  making the snapshot", LP_UNIT_NANOSECONDS},
	{LP_FIG_MARK_NS, "mark_ns", "marking", LP_UNIT_NANOSECONDS},
	{LP_FIG_TOTAL_NS, "total_ns", "trigger to result", LP_UNIT_NANOSECONDS},
	{LP_FIG_THREADS, "threads", "OS threads", LP_UNIT_COUNT},
	{LP_FIG_HEAP_OBJECTS, "heap_objects", "heap blocks", LP_UNIT_COUNT},
	{LP_FIG_HEAP_MARKED, "heap_marked", "  reached", LP_UNIT_COUNT},
	{LP_FIG_BYTES_SCANNED, "bytes_scanned", "memory scanned", LP_UNIT_BYTES},
	{LP_FIG_ROOT_BYTES, "root_bytes", "  roots, touched or not", LP_UNIT_BYTES},
	{LP_FIG_GOROUTINES, "goroutines", "goroutines", LP_UNIT_COUNT},
	{LP_FIG_LEAKED, "leaked", "  leaked", LP_UNIT_COUNT},
	{LP_FIG_CREATED, "created", "  ever created", LP_UNIT_COUNT},
	{LP_FIG_FINISHED, "finished", "  ever finished", LP_UNIT_COUNT},
	{LP_FIG_TARGET_BYTES, "target_bytes", "leakprof's memory in the program", LP_UNIT_BYTES},
	{LP_FIG_SNAPSHOT_BYTES, "snapshot_bytes", "memory of the snapshot", LP_UNIT_BYTES},
	{LP_FIG_CONFIRM, "confirm", "snapshots that must agree", LP_UNIT_COUNT},
	{LP_FIG_UNCONFIRMED, "unconfirmed", "leaks not confirmed yet", LP_UNIT_COUNT},
	{LP_FIG_CONTRADICTIONS, "contradictions", "contradictions", LP_UNIT_COUNT},
	{LP_FIG_FAILURES, "failures", "snapshots that failed before", LP_UNIT_COUNT},
};

const uint32_t lp_figure_name_count = sizeof(lp_figure_names) / sizeof(lp_figure_names[0]);

const char *lp_trigger_name(uint32_t trigger)
{
	switch (trigger) {
	case LP_TRIGGER_SIGNAL:
		return "on request";
	case LP_TRIGGER_INTERVAL:
		return "at an interval";
	case LP_TRIGGER_EXIT:
		return "at exit";
	case LP_TRIGGER_API:
		return "on the program's call";
	case LP_TRIGGER_CHECK:
		return "for a leak check";
	}
	return "by an unknown trigger";
}

const char *lp_measured_reason(uint32_t measured)
{
	switch (measured) {
	case LP_MEASURED:
		return NULL;
	case LP_MEASURED_NO_RUNTIME:
		return "no coroutine library that leakprof knows was started in the program "
		       "(linked "
		       "statically, perhaps?)";
	case LP_MEASURED_NO_GOROUTINE:
		return "the coroutine library was started, but the program created no goroutine";
	case LP_MEASURED_FAILED:
		return "the collection failed";
	}
	return "the result is of a kind that this version does not know";
}

const char *lp_state_name(uint32_t state)
{
	switch (state) {
	case LP_STATE_RUNNING:
		return "running";
	case LP_STATE_RUNNABLE:
		return "runnable";
	case LP_STATE_IO:
		return "IO wait";
	case LP_STATE_SLEEP:
		return "sleep";
	}
	return "waiting";
}
