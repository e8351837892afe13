#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The randomized oracle. oracle.py oracle BUILD runs fixed and fresh seeds; oracle.py soak BUILD PROGRAMS runs so many programs
with fresh seeds and prints the sum; oracle.py faults BUILD plants faults in the marker, each of which must be noticed."""
import concurrent.futures
import os
import random
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import *

FOLDER_OF = os.path.join(BUILD, "tests", "oracle")
PROGRAMS = 1000  # in one process
PROGRAMS_THREADS = 60

LOOKUP, VERDICT, COLLECT = ("leakprof/core/%s.c" % name for name in ("mark_lookup", "verdict", "collect"))
STACK = "lp_mark_range(state->mark, node->scan_low, node->scan_high);"

# What a marker could get wrong, as changes of its source, and the difference that must show.
FAULTS = {
    "skips interior pointers": ("REPORTED", (LOOKUP, "return address - start < *size ? start : 0;",
                                             "return address == start ? start : 0;")),
    "forgets thread-local variables": (
        "REPORTED", (COLLECT, "root(collection, tls_low(input, thread), thread->thread_pointer + input->descriptor_size);",
                     "(void)input;"), (COLLECT, "root(collection, top, thread->stack_high);", "(void)top;"),
        (COLLECT, "root(collection, sp, thread->stack_high);", "root(collection, sp, native_top(collection, thread));")),
    "forgets registers of threads": (
        "REPORTED", (COLLECT, "mark_words(collection, thread->registers, thread->register_count * sizeof(uint64_t));", "")),
    "forgets vector registers": (
        "REPORTED", (COLLECT, "mark_words(collection, thread->vector, thread->vector_size);", "")),
    "forgets registers of goroutines": (
        "REPORTED", (VERDICT, STACK, "lp_mark_range(state->mark, node->wait ? (uintptr_t)node->wait->frame : node->scan_low, "
                                     "node->scan_high);"),
        (VERDICT, "lp_mark_word(state->mark, registers[i]);", "(void)registers;")),
    "scans below the stack pointer": ("HIDDEN", (VERDICT, STACK, STACK.replace("scan_low", "stack_low"))),
}


def run_one(seed, programs, threads, leakprof=LEAKPROF):
    """Returns the counts of judge.c (live, reported, leaked, hidden, explained) and its lines about differences."""
    raw = os.path.join(FOLDER, "%d.%d.raw" % (seed, threads))
    ran = run(leakprof, "run", "-q", "-o", raw, "--", os.path.join(FOLDER_OF, "oracle"), str(seed), str(programs),
              env=dict(os.environ, MINIGO_THREADS=str(threads)), timeout=120)
    check(ran.returncode == 0, "seed %d: exit %d: %s%s" % (seed, ran.returncode, ran.stdout[-300:], ran.stderr[-300:]))
    judged = run(os.path.join(FOLDER_OF, "judge"), raw, input=ran.stdout)
    check(judged.returncode in (0, 1), judged.stderr)
    os.unlink(raw)
    lines = judged.stdout.splitlines()
    return [int(count) for count in lines[-1].split()], lines[:-1]


def run_all(seeds, programs, threads):
    """Sums over SEEDS, two processes at a time. Fails with the seeds where a verdict is wrong."""
    total = [0] * 5
    wrong = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for seed, (counts, differences) in zip(seeds, pool.map(lambda seed: run_one(seed, programs, threads), seeds)):
            wrong += ["oracle %d %d, %d threads: %s" % (seed, programs, threads, line) for line in differences]
            total = [a + b for a, b in zip(total, counts)]
    print("     %d programs: %d live, %d of them reported; %d leaked, %d of them hidden (%d explained)" %
          (len(seeds) * programs, *total))
    check(not wrong, "\n     ".join(wrong[:20]))
    check(total[0] > len(seeds) and total[2] > len(seeds), "hardly anything was tried")


def fresh(count):
    seeds = [random.SystemRandom().randrange(10**6, 10**9) for _ in range(count)]
    print("     fresh seeds: %s" % " ".join(str(seed) for seed in seeds[:8]))
    return seeds


def suite_oracle():
    @test
    def fixed_seeds():
        run_all(range(1, 21), PROGRAMS, 1)

    @test
    def fresh_seeds():
        run_all(fresh(5), PROGRAMS, 1)

    @test
    def fixed_seeds_on_four_threads():
        run_all(range(1, 9), PROGRAMS_THREADS, 4)

    @test
    def fresh_seeds_on_four_threads():
        run_all(fresh(4), PROGRAMS_THREADS, 4)


def suite_soak():
    programs = int(sys.argv[3]) if len(sys.argv) > 3 else 1000000

    @test
    def soak():
        run_all(fresh(programs // PROGRAMS), PROGRAMS, 1)


def plant(changes):
    """A build of leakprof with some changes. Returns its program."""
    source = os.path.join(FOLDER, "source")
    build = os.path.join(source, "build")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("build", ".git"))
    for file, before, after in changes:
        path = os.path.join(source, file)
        with open(path) as opened:
            text = opened.read()
        equal(text.count(before), 1, "places to plant it in %s" % file)
        with open(path, "w") as opened:
            opened.write(text.replace(before, after))
    for command in (["meson", "setup", build, source], ["ninja", "-C", build, "leakprof/leakprof", "runtime_hooks/libleakprof.so"]):
        built = run(*command, timeout=300, env=dict(os.environ, PATH="/usr/bin:" + os.environ["PATH"]))
        check(built.returncode == 0, built.stdout[-500:] + built.stderr[-500:])
    return os.path.join(build, "leakprof", "leakprof")


def suite_faults():
    for name, (outcome, *changes) in FAULTS.items():
        def is_noticed():
            program = plant(changes)
            for seed in range(1, 21):
                _, differences = run_one(seed, PROGRAMS, 1, program)
                found = [line for line in differences if line.startswith(outcome)]
                if found:
                    break
            check(found, "%d differences, none of them %s" % (len(differences), outcome))
            print("     after %d programs; in the last %d: %d goroutines, the first: %s" %
                  (seed * PROGRAMS, PROGRAMS, len(found), found[0]))
        is_noticed.__name__ = "a marker that %s is noticed" % name
        test(is_noticed)


main({"oracle": suite_oracle, "soak": suite_soak, "faults": suite_faults})
