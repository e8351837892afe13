# SPDX-License-Identifier: MIT
"""How long a program is stopped: by size of its heap, size of its pages, and number of its threads (heap.c)."""
import os


def run(bench):
    heap = os.path.join(bench.programs, "heap")
    huge = bench.under()
    huge["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    turns = 3 if bench.quick else 30
    for mebibytes in (100,) if bench.quick else (100, 1000, 4000):
        for pages, env in (("4 KiB pages", bench.under()), ("huge pages", huge)):
            results = bench.snapshots([heap, "hold", str(mebibytes)], turns, env)
            bench.row("pause", "%d MiB, %s" % (mebibytes, pages), "program stopped", "ms",
                      [facts["pause_ns"] / 1e6 for facts in results])
    for threads in (1, 64):
        results = bench.snapshots([heap, "threads", str(threads)], turns)
        bench.row("pause", "%d more threads" % threads, "program stopped", "ms",
                  [facts["pause_ns"] / 1e6 for facts in results])
