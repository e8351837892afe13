#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runtimes that annotate themselves (leakprof.h), with minigo as the example: every leak case, with one OS thread and with four."""
import os
import re

from harness import *

CASES = os.path.join(BUILD, "tests", "cases", "cases")


def parse(leaks):
    """"entry [wait] count; ..." as sites() has it."""
    return sorted((entry, wait, int(count)) for entry, wait, count in re.findall(r"(\w+) \[(.*?)\] (\d+)", leaks))


def leaks_of(path):
    """What a profile holds by entry and wait, wherever it was created."""
    total = {}
    for entry, wait, count in sites(path):
        total[entry, wait] = total.get((entry, wait), 0) + count
    return sorted((entry, wait, count) for (entry, wait), count in total.items())


def suite_cases():
    profile = os.path.join(FOLDER, "case.pb.gz")
    lines = run(CASES, "list").stdout.splitlines()
    check(len(lines) > 80, "%d cases" % len(lines))
    for line in lines:
        name, leaks, _ = line.split("\t")

        def exact():
            for threads in ("1", "4"):
                for mode, wanted in (("leaking", parse(leaks)), ("fixed", [])):
                    result = run(LEAKPROF, "run", "-q", "-o", profile, "--", CASES, name, mode,
                                 env=dict(os.environ, MINIGO_THREADS=threads))
                    equal((result.returncode, result.stdout), (0, "READY\n"),
                          "%s, %s threads (%s)" % (mode, threads, result.stderr))
                    got = leaks_of(profile)
                    check(got == wanted, "%s, %s threads: got %r, expected %r" % (mode, threads, got, wanted))
        exact.__name__ = "cases." + name
        test(exact)


WAITING = [("waits_for_object", "chan receive", 1)]

# What the program says -> what is reported.
SAID = {
    "plain": WAITING, "older": WAITING, "labels": WAITING, "renamed": WAITING, "handle_kept": WAITING, "internal": WAITING,
    "joined": [("joins", "join", 1)] + WAITING, "ignored": [], "ignored_object": [], "kept": [], "cancellable": [],
    "internal_root": [], "forgotten": [], "ready": [], "finished": [],
}

MISTAKES = {
    "wait_twice": "begins to wait, but the wait before has not ended",
    "ready_twice": "is made ready, but does not wait",
    "end_unbegun": "ends a wait that never began",
    "finished_waiting": "has finished, but still waits",
    "used_after": "is used, but has finished",
    "bad_kind": "waits with a kind whose rule is unknown",
    "record_elsewhere": "waits, but its wait record is not on its stack",
    "bad_sp": "was left with a stack pointer outside of its stack",
    "overlapping_stack": "has a stack that overlaps with a new goroutine's",
}


def suite_header():
    profile = os.path.join(FOLDER, "header.pb.gz")

    for build in ("pie", "nopie"):
        program = os.path.join(PROGRAMS, "annotations_" + build)
        for mode, wanted in SAID.items():
            def said():
                equal(run(program, mode).stdout, "shim 0\n", "without the shim")
                result = run(LEAKPROF, "run", "-q", "-o", profile, "--", program, mode)
                equal((result.returncode, result.stdout, result.stderr), (0, "shim 1\n", ""), "with it")
                equal(leaks_of(profile), sorted(wanted), "leaks")
            said.__name__ = "annotations_%s.%s" % (build, mode)
            test(said)

    for mode, message in MISTAKES.items():
        def is_told():
            program = os.path.join(PROGRAMS, "annotations_pie")
            result = run(LEAKPROF, "run", "-q", "--check-annotations", "-o", profile, "--", program, mode)
            equal((result.returncode, result.stdout), (0, "shim 1\n"), "the program")
            check(result.stderr.startswith("leakprof: annotation error: ") and message in result.stderr, result.stderr)
            result = run(LEAKPROF, "run", "-q", "-o", profile, "--", program, mode)
            equal((result.returncode, result.stdout, result.stderr), (0, "shim 1\n", ""), "unchecked")
        is_told.__name__ = "check_annotations.%s" % mode
        test(is_told)

    @test
    def minigo_passes_its_own_tests_alone_and_under_the_shim():
        for threads in ("1", "4"):
            env = dict(os.environ, MINIGO_THREADS=threads)
            program = os.path.join(EXAMPLES, "minigo", "test_minigo")
            alone = run(program, env=env)
            equal((alone.returncode, alone.stdout), (0, "38 passed, 0 failed\n"), threads + " threads")
            result = run(LEAKPROF, "run", "-o", profile, "--", program, env=env)
            equal((result.returncode, result.stdout), (0, alone.stdout), threads + " threads, under the shim")
            check("no leaks" in result.stderr, result.stderr)

    @test
    def minigo_is_clean_under_sanitizers():
        for sanitizer in ("address", "thread"):
            for threads in ("1", "4"):
                # Without randomized addresses: gcc 12's TSan does not know all that newer kernels choose.
                result = run("setarch", "-R", os.path.join(EXAMPLES, "minigo", "test_minigo_" + sanitizer),
                             env=dict(os.environ, MINIGO_THREADS=threads, ASAN_OPTIONS="detect_leaks=0"))
                equal((result.returncode, result.stdout, result.stderr), (0, "38 passed, 0 failed\n", ""),
                      "%s, %s threads" % (sanitizer, threads))

    @test
    def names_and_labels_are_in_the_profile():
        program = os.path.join(PROGRAMS, "annotations_pie")
        run(LEAKPROF, "run", "-q", "-o", profile, "--", program, "labels")
        text = run("go", "tool", "pprof", "-tags", profile).stdout
        for label in ("queue:", "mail", "shard:", "name:", "worker"):
            check(label in text, text)
        check("labels queue=mail, shard=7, name=worker" in run(LEAKPROF, "report", profile).stdout, "report")

    @test
    def a_call_of_the_program_takes_a_snapshot():
        path = os.path.join(FOLDER, "called.pb.gz")
        result = run(os.path.join(PROGRAMS, "annotations_pie"), "trigger", env=preload(output=path, at_exit=0))
        equal(result.stdout, "collect 0\nshim 1\n", "output")
        wait_for(lambda: os.path.exists(path))
        equal(leaks_of(path), WAITING, "leaks")
        equal(run(os.path.join(PROGRAMS, "annotations_pie"), "trigger").stdout, "collect -38\nshim 0\n", "without the shim")

    @test
    def the_header_is_strict_c99_and_cxx():
        include = os.path.join(SOURCE, "leakprof", "include")
        empty = os.path.join(FOLDER, "empty.c")
        with open(empty, "w") as file:
            file.write('#include "leakprof.h"\nint main(void) { return leakprof_available(); }\n')
        for compiler in ("gcc", "clang"):
            for extra in ([], ["-no-pie", "-fno-pie"], ["-O2"]):
                built = run(compiler, "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wno-language-extension-token", "-Werror",
                            "-I" + include, *extra, "-o", "empty", empty)
                equal((built.returncode, built.stderr), (0, ""), compiler)
                equal(run("./empty").returncode, 0, "without the shim")
                equal(run("./empty", env=preload(at_exit=0)).returncode, 1, "with it")
        built = run("g++", "-Wall", "-Wextra", "-Werror", "-I" + include, "-o", "header",
                    os.path.join(SOURCE, "tests", "programs", "header.cc"))
        equal((built.returncode, built.stderr), (0, ""), "g++")
        equal(run("./header").stdout, "0 -38\n", "output")


main({"cases": suite_cases, "header": suite_header})
