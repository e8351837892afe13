#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The option max_pause: a snapshot that would stop the program for too long is refused, with the reason, and leaves nothing behind."""
from harness import *

HEAP = os.path.join(BUILD, "tests", "bench", "heap")
HUGE = "/sys/kernel/mm/transparent_hugepage/enabled"
REASON = re.compile(r"would stop the program for about \d+(us|ms), more than max_pause=1us: ")


def snapshot(program, code):
    result = run(LEAKPROF, "snapshot", "-o", "now.pb.gz", str(program.process.pid))
    equal(result.returncode, code, "snapshot: " + result.stderr)
    return result.stderr


def own_memory(pid):
    """Bytes that are mapped in a program that holds still: refusals must not add to them."""
    status = open("/proc/%d/status" % pid).read()
    return int(re.search(r"VmSize:\s+(\d+)", status).group(1))


def refused(profile):
    result = run(LEAKPROF, "report", profile)
    equal(result.returncode, 3, "report: " + result.stdout + result.stderr)
    check(REASON.search(result.stdout), result.stdout)


def suite_pause():
    @test
    def a_stop_that_would_be_too_long_is_refused():
        with Running(HEAP, "hold", "64", env=preload(at_exit=0, max_pause="1us")) as program:
            pid = program.process.pid
            sizes = []
            for _ in range(3):
                check(REASON.search(snapshot(program, 5)), "the reason is not told")
                refused("now.pb.gz")
                wait_for(lambda: not children_of(pid))
                sizes.append(own_memory(pid))
            equal(sizes[2], sizes[1], "KiB mapped after the second and third refusal")
            equal(program.process.poll(), None, "the program must live")

    @test
    def one_that_is_short_enough_is_made():
        with Running(HEAP, "hold", "64", env=preload(at_exit=0, max_pause="10s")) as program:
            for _ in range(2):
                snapshot(program, 0)
                equal(sites("now.pb.gz"), [("wait_forever", COND, 1)], "leaks")

    @test
    def huge_pages_are_seen():
        """4 KiB pages would take too long: what is asked of the scout comes back as a snapshot."""
        if "[never]" in open(HUGE).read():
            print("     (no huge pages here)")
            return
        env = dict(preload(at_exit=0, max_pause="4ms"), GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
        with Running(HEAP, "hold", "500", env=env) as program:
            snapshot(program, 0)
            equal(sites("now.pb.gz"), [("wait_forever", COND, 1)], "leaks")

    def logged(output):
        with open(output + ".log") as file:
            check(REASON.search(file.read()), "the log")

    @test
    def at_exit_and_at_an_interval_the_profile_or_the_log_says_it():
        leaks = os.path.join(EXAMPLES, "pth_leaks")
        result = run(LEAKPROF, "run", "--max-pause=1us", "-o", "exit.pb.gz", "--", leaks)
        check(REASON.search(result.stderr), result.stderr)
        equal(result.returncode, 0, "exit code of the program")
        refused("exit.pb.gz")
        output = os.path.join(FOLDER, "preload.pb.gz")
        equal(run(leaks, env=preload(max_pause="1us", output=output)).returncode, 0, "exit code of the program")
        logged(output)
        output = os.path.join(FOLDER, "interval.pb.gz")
        env = preload(at_exit=0, interval="50ms", max_pause="1us", output=output)
        with Running(HEAP, "hold", "1", env=env):
            wait_for(lambda: os.path.exists(output + ".log"))
            logged(output)


main({"pause": suite_pause})
