# SPDX-License-Identifier: MIT
"""How long a program is stopped, by size of its heap, size of its pages, and number of its threads; and what copy-on-write takes
from a program that writes all over its heap afterwards (heap.c)."""
import os
import statistics

ROOM = 2  # of free memory, to a heap: the snapshot copies what is written
SIZES = {100: 100, 1000: 100, 4000: 20, 8000: 10}  # MiB: snapshots
PASSES = 3  # of the writing program: so many see a snapshot


def huge_pages(bench):
    return dict(bench.under(), GLIBC_TUNABLES="glibc.malloc.hugetlb=1")


def free_mebibytes():
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) // 1024


def stopped(bench, case, results):
    bench.percentiles("pause", case, "stopped", "ms", [facts["pause_ns"] / 1e6 for facts in results])


def by_heap(bench, heap):
    for mebibytes, turns in ({100: 3} if bench.quick else SIZES).items():
        if ROOM * mebibytes > free_mebibytes():
            bench.missing["a heap of %d MiB" % mebibytes] = "it needs %d MiB of free memory" % (ROOM * mebibytes)
            continue
        for pages, env in (("4 KiB pages", None), ("huge pages", huge_pages(bench))):
            results = bench.snapshots([heap, "hold", str(mebibytes)], turns, env)
            stopped(bench, "%d MiB, %s" % (mebibytes, pages), results)


def just_written(bench, heap):
    """The first snapshot, and any that finds all pages written since the one before, has more to do."""
    for mebibytes in (10,) if bench.quick else (100, 1000):
        for pages, env in (("4 KiB pages", None), ("huge pages", huge_pages(bench))):
            results = bench.snapshots([heap, "hold", str(mebibytes)], 2 if bench.quick else 10, env, rewrite=True)
            stopped(bench, "%d MiB, %s, all just written" % (mebibytes, pages), results)


def by_threads(bench, heap):
    for threads in (1, 64) if bench.quick else (1, 4, 16, 64):
        results = bench.snapshots([heap, "threads", str(threads)], 3 if bench.quick else 100)
        stopped(bench, "%d more threads" % threads, results)


def passes(program, count):
    """Of the writing program, the next: (milliseconds that its writes took, by how many the latest step was late)."""
    return [tuple(map(float, program.stdout.readline().split())) for _ in range(count)]


def lost_to_copies(bench, heap):
    count = 1 if bench.quick else PASSES
    for mebibytes in (10,) if bench.quick else (100, 1000):
        for pages, env in (("4 KiB pages", None), ("huge pages", huge_pages(bench)))[:1 if bench.quick else 2]:
            lost, stalls, calm = [], [], []
            with bench.running([heap, "write", str(mebibytes)], env) as program:
                passes(program, 1)
                for _ in range(1 if bench.quick else 5):
                    alone = passes(program, count)
                    bench.snapshot(program)
                    after = passes(program, count)
                    calm += [worst for _, worst in alone]
                    lost.append(sum(busy for busy, _ in after) - count * statistics.median(busy for busy, _ in alone))
                    stalls.append(max(worst for _, worst in after))
            case = "%d MiB, %s, written in a second" % (mebibytes, pages)
            bench.row("pause", case, "time lost to one snapshot", "ms", lost)
            bench.row("pause", case, "worst stall, alone", "ms", calm)
            bench.row("pause", case, "worst stall, snapshot", "ms", stalls)


def run(bench):
    heap = os.path.join(bench.programs, "heap")
    by_heap(bench, heap)
    just_written(bench, heap)
    by_threads(bench, heap)
    lost_to_copies(bench, heap)
