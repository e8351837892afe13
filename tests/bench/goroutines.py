# SPDX-License-Identifier: MIT
"""Many leaked goroutines, from the trigger to the finished profile: at one site in State Threads (heap.c), which gives each 64 KiB of stack; at
1 to 1,000 sites on stacks of 1 KiB that the program itself cuts (many.c), as many as a million; and in Go (leaks.go)."""
import os


def measure(bench, case, command, turns=None):
    results = bench.snapshots(command, turns)
    bench.row("goroutines", case, "leakprof, trigger to profile", "ms", [1000 * facts["seconds"] for facts in results])
    bench.row("goroutines", case, "leakprof, program stopped", "ms", [facts["pause_ns"] / 1e6 for facts in results])
    bench.row("goroutines", case, "leakprof, snapshot", "MiB", [facts["snapshot_bytes"] / 2**20 for facts in results])
    bench.row("goroutines", case, "leakprof, reporter", "MiB", [facts["reporter_kib"] / 1024 for facts in results])


def run(bench):
    go = bench.go_program("leaks")
    many = os.path.join(bench.programs, "many")
    for count in (1000,) if bench.quick else (1000, 10000, 100000):
        measure(bench, "{:,} leaked, State Threads".format(count), [os.path.join(bench.programs, "heap"), "leak", str(count)])
    for count, sites in ((1000, 100),) if bench.quick else ((1000, 1), (10000, 1), (100000, 1), (100000, 1000), (1000000, 1),
                                                             (1000000, 1000)):
        case = "{:,} leaked at {:,} sites, annotated".format(count, sites).replace("at 1 sites", "at 1 site")
        measure(bench, case, [many, "leak", str(count), str(sites)])
        if go:
            (seconds,) = bench.numbers(go, "leak", str(count), str(sites))
            bench.row("goroutines", case, "Go, whole profile", "ms", [1000 * second for second in seconds])
