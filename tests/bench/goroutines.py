# SPDX-License-Identifier: MIT
"""Many leaked goroutines at one site, from the trigger to the finished profile (heap.c: State Threads; leaks.go)."""
import os


def run(bench):
    go = bench.go_program("leaks")
    for count in (1000,) if bench.quick else (1000, 10000, 100000):
        case = "{:,} leaked".format(count)
        results = bench.snapshots([os.path.join(bench.programs, "heap"), "leak", str(count)])
        bench.row("goroutines", case, "leakprof, trigger to profile", "ms", [1000 * facts["seconds"] for facts in results])
        bench.row("goroutines", case, "leakprof, program stopped", "ms", [facts["pause_ns"] / 1e6 for facts in results])
        bench.row("goroutines", case, "leakprof, snapshot", "MiB", [facts["snapshot_bytes"] / 2**20 for facts in results])
        bench.row("goroutines", case, "leakprof, reporter", "MiB", [facts["reporter_kib"] / 1024 for facts in results])
        if go:
            (seconds,) = bench.numbers(go, "leak", str(count))
            bench.row("goroutines", case, "Go, whole profile", "ms", [1000 * second for second in seconds])
