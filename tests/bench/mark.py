# SPDX-License-Identifier: MIT
"""The fixpoint over heaps of several shapes (graph.c, graph.go), beside collectors that mark the same heap: how long the snapshot
marks, LeakSanitizer checks, Boehm's collector collects, Go collects and makes its whole goroutineleak profile."""
import os
import subprocess
import sys
import time

# Name, nodes, bytes, pointers.
SHAPES = [
    ("1,000,000 random nodes of 128 B", 1000000, 128, 4),
    ("300,000 random nodes of 1 KiB", 300000, 1024, 4),
    ("100,000 random nodes of 8 KiB", 100000, 8192, 4),
    ("a list of 1,000,000 nodes of 128 B", 1000000, 128, 1),
    ("1 GiB without pointers", 1000000, 1024, 0),
    ("10,000,000 random nodes of 128 B", 10000000, 128, 4),
]


def leakprof(bench, shape):
    """Seconds of each of five snapshots, which graph takes for a line each, and the bytes that they scanned."""
    pattern = os.path.join(bench.folder, "mark.%n.pb.gz")
    program = subprocess.Popen([os.path.join(bench.programs, "graph")] + shape, env=bench.under(output=pattern),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    results = []
    for serial in range(1, 6):
        program.stdin.write("\n")
        program.stdin.flush()
        program.stdout.readline()
        path = pattern.replace("%n", str(serial))
        end = time.monotonic() + 100
        while not os.path.exists(path):
            if time.monotonic() > end:
                sys.exit("mark: no profile came")
            time.sleep(0.001)
        results.append(bench.facts(path))
        os.unlink(path)
    program.wait()
    return [facts["mark_ns"] / 1e6 for facts in results], results[-1]["bytes_scanned"]


def run(bench):
    lsan = bench.program("graph_lsan", "gcc's LeakSanitizer")
    boehm = bench.program("graph_boehm", "libgc-dev")
    go = bench.go_program("graph")
    for name, *numbers in SHAPES[:1] if bench.quick else SHAPES:
        shape = [str(number) for number in numbers]
        times, scanned = leakprof(bench, shape)
        bench.row("mark", name, "leakprof, marking", "ms", times)
        bench.row("mark", name, "leakprof, marking", "GB/s", [scanned / (time * 1e6) for time in times])
        for engine, program in (("LeakSanitizer", lsan), ("Boehm's collector", boehm)):
            if program:
                (seconds,) = bench.numbers(program, *shape)
                bench.row("mark", name, engine, "ms", [1000 * second for second in seconds])
        if go:
            profile, collection = bench.numbers(go, *shape)
            bench.row("mark", name, "Go, whole profile", "ms", [1000 * second for second in profile])
            bench.row("mark", name, "Go, runtime.GC", "ms", [1000 * second for second in collection])
