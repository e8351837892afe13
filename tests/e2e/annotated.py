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

    for build in ("pie", "nopie", "abi1"):
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


class Told(Running):
    """The program history, or one like it, under the shim, which does what it is told."""

    def __init__(self, program="history", **options):
        self.pattern = os.path.join(FOLDER, "told.%p.%n.pb.gz")
        self.serial = 0
        super().__init__(os.path.join(PROGRAMS, program), env=preload(output=self.pattern, at_exit=0, **options),
                         stdin=subprocess.PIPE)

    def tell(self, *orders):
        for order in orders:
            self.process.stdin.write(order + "\n")
            self.process.stdin.flush()
            equal(self.process.stdout.readline(), "done\n", order)

    def collect(self):
        """Takes a snapshot. Returns the number of leaks and the profile."""
        self.tell("collect")
        self.serial += 1
        path = self.pattern.replace("%p", str(self.process.pid)).replace("%n", str(self.serial))
        wait_for(lambda: os.path.exists(path))
        return sum(count for _, _, count in sites(path)), path


def figure(path, name):
    return int(re.search(r"^  %s +(\d+)" % name, run(LEAKPROF, "info", path).stdout, re.M).group(1))


def suite_confirm():
    @test
    def a_leak_is_reported_when_enough_snapshots_agree():
        with Told(confirm=3) as program:
            program.tell("leak")
            for agreed in (1, 2):
                leaks, path = program.collect()
                equal((leaks, figure(path, "leaks not confirmed yet")), (0, 1), "snapshot %d" % agreed)
                summary = run(LEAKPROF, "report", path).stdout
                check("no leak confirmed yet: 1 waits for another snapshot (confirm=3)" in summary, summary)
            program.tell("leak")
            equal(program.collect()[0], 1, "the first one only")
            leaks, path = program.collect()
            equal((leaks, figure(path, "leaks not confirmed yet")), (1, 1), "the second one waits")
            equal(program.collect()[0], 2, "both")

    @test
    def a_wait_that_is_not_the_same_begins_anew():
        with Told(confirm=2) as program:
            program.tell("leak")
            equal(program.collect()[0], 0, "first")
            program.tell("run")
            leaks, path = program.collect()
            equal((leaks, figure(path, "contradictions")), (0, 0), "after it ran")
            equal(program.collect()[0], 1, "after it agreed")

    @test
    def what_was_reported_stays_reported_until_it_runs():
        with Told() as program:
            program.tell("leak")
            equal(program.collect()[0], 1, "first")
            program.tell("name")
            leaks, path = program.collect()
            equal((leaks, figure(path, "contradictions")), (1, 0), "with a word that leads to it")

    @test
    def one_that_runs_after_all_is_a_contradiction():
        for order, left in (("run", 1), ("end", 0)):
            with Told() as program:
                program.tell("leak")
                equal(program.collect()[0], 1, "first")
                program.tell(order)
                leaks, path = program.collect()
                equal((leaks, figure(path, "contradictions")), (left, 1), order)
                check("ran after they were reported as leaked" in run(LEAKPROF, "report", path).stdout, "no warning")
                leaks, path = program.collect()
                equal(figure(path, "contradictions"), 1, "afterwards")

    @test
    def state_threads_tell_a_place_but_not_how_often():
        with Told("st_history") as program:
            equal(program.collect()[0], 1, "first")
            program.tell("run")
            leaks, path = program.collect()
            equal((leaks, figure(path, "contradictions")), (1, 0), "back in the same place")
            program.tell("name")
            leaks, path = program.collect()
            equal((leaks, figure(path, "contradictions")), (0, 0), "with a word that leads to it")
            program.tell("end")
            leaks, path = program.collect()
            equal((leaks, figure(path, "contradictions")), (0, 1), "after it ended")

    @test
    def state_threads_waits_are_counted_where_snapshots_confirm():
        with Told("st_history", confirm=2) as program:
            equal(program.collect()[0], 0, "first")
            program.tell("run")
            equal(program.collect()[0], 0, "after it ran")
            equal(program.collect()[0], 1, "after it agreed")
            program.tell("name")
            equal(program.collect()[0], 1, "with a word that leads to it")
            program.tell("run")
            leaks, path = program.collect()
            equal((leaks, figure(path, "contradictions")), (0, 1), "after it ran again")
            output, _ = program.process.communicate()
            equal(program.process.returncode, 0, "the program's own callback is its own")
            check(int(output) > 10, "it was called %s times" % output)

    @test
    def the_snapshot_at_exit_confirms_by_itself():
        profile = os.path.join(FOLDER, "exit.pb.gz")
        result = run(LEAKPROF, "run", "-q", "--confirm=5", "-o", profile, "--", os.path.join(PROGRAMS, "history"), input="leak\n")
        equal((result.returncode, sum(count for _, _, count in sites(profile))), (0, 1), "leaks")

    @test
    def snapshot_takes_as_many_as_it_needs():
        with Told(confirm=3) as program:
            program.tell("leak")
            profile = os.path.join(FOLDER, "asked.pb.gz")
            result = run(LEAKPROF, "snapshot", "-o", profile, str(program.process.pid))
            equal(result.returncode, 0, result.stderr)
            check("1 leaked goroutine" in result.stderr, result.stderr)


main({"confirm": suite_confirm, "cases": suite_cases, "header": suite_header})
