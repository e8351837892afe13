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


main({"cases": suite_cases})
