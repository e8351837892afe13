# SPDX-License-Identifier: MIT
"""A daisy chain: each goroutine is reached only through the one before it (heap.c: State Threads; many.c: annotated, stacks of 1 KiB; leaks.go)."""
import os


def run(bench):
    go = bench.go_program("leaks")
    for count in (1000,) if bench.quick else (1000, 20000, 100000):
        case = "chain of {:,}".format(count)
        results = bench.snapshots([os.path.join(bench.programs, "heap"), "chain", str(count)])
        bench.row("chain", case, "leakprof, marking", "ms", [facts["mark_ns"] / 1e6 for facts in results])
        if go and count <= 20000:
            (seconds,) = bench.numbers(go, "chain", str(count))
            bench.row("chain", case, "Go, whole profile", "ms", [1000 * second for second in seconds])
    for count in (1000,) if bench.quick else (1000, 100000, 1000000):
        results = bench.snapshots([os.path.join(bench.programs, "many"), "chain", str(count)])
        bench.row("chain", "chain of {:,}, annotated".format(count), "leakprof, marking", "ms",
                  [facts["mark_ns"] / 1e6 for facts in results])
