#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""End-to-end tests: real programs under the real shim and program. See harness.py."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from harness import *

# What each case of tests/runtimes must report: (entry function, wait, count). Cases not named here: nothing.
EXPECTED = {
    "pth": {
        "leak_cond": [("wait_cond", COND, 1)],
        "leak_port": [("wait_port", "chan receive", 1)],
        "leak_port_beside_live": [("wait_port", "chan receive", 1)],
        "leak_barrier": [("wait_barrier", "barrier wait", 1)],
        "leak_mutex_of_leaked": [("hold_mutex", COND, 1), ("wait_mutex", MUTEX, 1)],
        "leak_ab_ba": [("lock_ab", MUTEX, 1), ("lock_ba", MUTEX, 1)],
        "leak_rwlock": [("hold_write", COND, 1), ("wait_read", "sync.RWMutex.RLock", 1),
                        ("wait_write", "sync.RWMutex.Lock", 1)],
        "leak_join": [("wait_cond", COND, 1), ("wait_join", JOIN, 1)],
        "leak_several": [("wait_several", "select", 1)],
        "leak_handle_kept": [("wait_cond", COND, 1)],
        "leak_chain": [("chain_link", COND, 2000)],
        "leak_key": [("key_of_leaked", COND, 1), ("wait_cond", COND, 1)],
    },
    "st": {
        "leak_cond": [("wait_cond", COND, 1)],
        "leak_mutex_of_ended": [("wait_mutex", MUTEX, 1)],
        "leak_mutex_of_leaked": [("hold_and_leak", COND, 1), ("wait_mutex", MUTEX, 1)],
        "leak_ab_ba": [("lock_ab", MUTEX, 1), ("lock_ba", MUTEX, 1)],
        "leak_join": [("wait_cond", COND, 1), ("wait_join", JOIN, 1)],
        "leak_suspended": [("wait_forever", "sleep (no deadline)", 1)],
        "leak_handle_kept": [("wait_forever", "sleep (no deadline)", 1)],
        "leak_handle_of_waiter_kept": [("wait_cond", COND, 1)],
        "leak_on_reused_stack": [("wait_cond", COND, 1)],
        "leak_chain": [("chain_link", COND, 20000)],
    },
    "pth_wakes": {
        "leak_notified": [("wait_cond", COND, 1)],
        "leak_barrier_complete": [("wait_barrier", "barrier wait", 1)],
        "leak_unlocked": [("wait_cond_unlocked", COND, 1)],
        "leak_rwlock_unlocked": [("wait_cond_unlocked", COND, 1)],
        "leak_message_put": [("receive", "chan receive", 1)],
        "leak_not_started": [("wait_cond", COND, 1)],
        "leak_second_of_two": [("wait_cond", COND, 1)],
        "leak_relocking": [("hold_mutex", COND, 1), ("wait_cond", COND, 1)],
        "leak_but_timed_mutex": [("hold_mutex", COND, 1)],
        "leak_but_timed_rwlock": [("hold_write", COND, 1)],
        "leak_handle_dropped": [("wait_cond", COND, 1)],
        "leak_suspended": [("sleep_long", "suspended", 1)],
        "leak_cleanup_of_leaked": [("leak_in_cleanup_scope", COND, 1), ("wait_cond", COND, 1)],
        "leak_result_joined": [("wait_cond", COND, 1)],
        "leak_message_in_dropped_port": [("wait_cond", COND, 1)],
        "leak_event_of_the_past": [("wait_cond", COND, 1)],
    },
    "st_wakes": {
        "leak_signalled": [("wait_cond", COND, 1)],
        "leak_interrupted": [("wait_forever", "sleep (no deadline)", 1)],
        "live_interrupted_mutex": [("hold_and_leak", COND, 1)],
        "leak_interrupted_mutex": [("hold_and_leak", COND, 1), ("wait_mutex", MUTEX, 1)],
        "leak_not_started": [("wait_cond", COND, 1)],
        "leak_handle_dropped": [("wait_forever", "sleep (no deadline)", 1)],
        "leak_owner_of_a_live_lock": [("hold_and_leak", COND, 1)],
        "leak_owner_of_a_wanted_live_lock": [("hold_and_leak", COND, 1), ("wait_mutex", MUTEX, 1)],
        "leak_key_of_leaked": [("leak_with_key", COND, 1), ("wait_cond", COND, 1)],
        "leak_result_joined": [("wait_cond", COND, 1)],
        "leak_descriptor_closed": [("wait_cond", COND, 1)],
        "leak_ended_stack": [("wait_cond", COND, 1)],
    },
    "st_rings": {
        "leak_several": [("wait_cond", COND, 50)],
        "leak_several_for_a_mutex": [("hold_and_leak", COND, 1), ("wait_mutex", MUTEX, 50)],
        "leak_joins_in_a_row": [("wait_cond", COND, 1), ("wait_join", JOIN, 50)],
        "leak_held_by_leaked": [("hold_and_leak", COND, 1), ("hold_leaking", MUTEX, 1), ("wait_cond", COND, 1)],
        "leak_with_callbacks": [("wait_cond", COND, 1)],
        "leak_whole": [("other", COND, 1), ("wait_cond", COND, 2)],
    },
}


# --- Suites ---

def suite_runtime(name):
    program = os.path.join(TESTS, name)
    source = open(os.path.join(SOURCE, "tests", "runtimes", name + ".c")).read()
    cases = re.findall(r'^\t\{"(\w+)", \w+\},', source, re.M)
    check(cases, "no cases in " + name)

    for case in cases:
        def verdicts():
            profile = os.path.join(FOLDER, "case.pb.gz")
            result = run(LEAKPROF, "run", "-q", "-o", profile, "--", program, case)
            equal(result.returncode, 0, "exit code (%s)" % result.stderr)
            equal(result.stdout, "READY\n", "output")
            # Memory that was overwritten hides what it tells of, and nothing else.
            beside = [("other", COND, 1)] if case.startswith("broken_") else []
            leaks_are(profile, EXPECTED[name].get(case, beside))
        verdicts.__name__ = "%s.%s" % (name, case)
        test(verdicts)


def suite_holders(runtime):
    """Every place that can hold a pointer, with the pointer and without: at exit, and while all goroutines are parked."""
    program = os.path.join(TESTS, "holders_" + runtime)
    source = open(os.path.join(SOURCE, "tests", "runtimes", "holders.c")).read()
    names = re.findall(r'^\t\{"(\w+)", hold_\w+, drop_\w+|^\t\{"(\w+)", hold_\w+, stop_thread', source, re.M)
    names = [name or other for name, other in names]
    check(names, "no holders")
    if runtime == "pth":
        print("     (no cases of pending signals: Pth's scheduler lets signals in that every thread blocks)")
        names = [name for name in names if not name.endswith("_signal")]
    profile = os.path.join(FOLDER, "holder.pb.gz")
    leaked = {"waiter": [("keep_and_wait", COND, 1), ("wait_at_gate", COND, 1)]}

    for name in names:
        for mode in ("live", "leak"):
            wanted = leaked.get(name, [("wait_at_gate", COND, 1)]) if mode == "leak" else []

            def verdicts():
                result = run(LEAKPROF, "run", "-q", "-o", profile, "--", program, name, mode)
                equal((result.returncode, result.stdout), (0, "READY\n"), "at exit (%s)" % result.stderr)
                leaks_are(profile, wanted)
                with Running(program, name, mode, "serve", env=preload(at_exit=0), stdin=subprocess.PIPE) as parked:
                    equal(parked.first_line, "READY\n", "output")
                    result = run(LEAKPROF, "snapshot", "-o", profile, str(parked.process.pid))
                    equal(result.returncode, 0, "snapshot (%s)" % result.stderr)
                    leaks_are(profile, wanted)
                    parked.process.communicate("x")
                    equal(parked.process.returncode, 0, "exit code")
            verdicts.__name__ = "holders_%s.%s.%s" % (runtime, name, mode)
            test(verdicts)
    remove_message_queues()


def remove_message_queues():
    """Those of our processes: whoever sent to them last is gone."""
    for line in open("/proc/sysvipc/msg").read().splitlines()[1:]:
        queue, sender = line.split()[1], line.split()[5]
        if sender != "0" and not os.path.exists("/proc/" + sender):
            run("ipcrm", "-q", queue)


def suite_both():
    @test
    def two_libraries_in_two_threads():
        profile = os.path.join(FOLDER, "both.pb.gz")
        result = run(LEAKPROF, "run", "-q", "-o", profile, "--", os.path.join(TESTS, "both"))
        equal((result.returncode, result.stdout), (0, "READY\n"), "the program (%s)" % result.stderr)
        leaks_are(profile, [("pth_held_by_st_leaked", COND, 1), ("pth_leaked", COND, 1), ("st_leaked", COND, 1)])


def suite_webs():
    """Random webs against an independent model. A live goroutine that is reported is an error; a leaked one may be hidden by
    a stale word (conservative marking), which must stay rare."""
    for runtime in ("pth", "st"):
        def verdicts_agree():
            expected = {"leaked": 0, "live": 0}
            missed = []
            profile = os.path.join(FOLDER, "webs.pb.gz")
            for seed in range(1, 101):
                result = run(LEAKPROF, "run", "-q", "-o", profile, "--", os.path.join(TESTS, "webs"), runtime,
                             str(seed), "16")
                equal(result.returncode, 0, "exit code of seed %d" % seed)
                verdicts = dict(re.findall(r"EXPECT (\w+) (\w+)", result.stdout))
                equal(len(verdicts), 64, "goroutines of seed %d" % seed)
                reported = {site[0] for site in sites(profile)}
                for name, verdict in verdicts.items():
                    expected[verdict] += 1
                    check(verdict == "leaked" or name not in reported,
                          "false positive: seed %d, %s" % (seed, name))
                    if verdict == "leaked" and name not in reported:
                        missed.append((seed, name))
            print("     %s: %r, hidden by stale words: %r" % (runtime, expected, missed))
            check(expected["leaked"] > 500 and expected["live"] > 500, "the webs are one-sided")
            check(len(missed) * 50 < expected["leaked"], "too many missed")
        verdicts_agree.__name__ += "." + runtime
        test(verdicts_agree)


def suite_threads():
    @test
    def two_hundred_snapshots_interrupt_nothing():
        with Running(os.path.join(TESTS, "threads"), "600", env=preload(at_exit=0)) as program:
            equal(program.first_line, "READY\n", "output")
            for i in range(200):
                result = run(LEAKPROF, "snapshot", "-o", "threads.pb.gz", str(program.process.pid))
                # No goroutine was created there: that is what the snapshot must say.
                equal(result.returncode, 3, "snapshot %d: %s" % (i, result.stderr))
            stat = open("/proc/%d/stat" % program.process.pid).read()
            check(") Z" not in stat, "the program has died")
            children = open("/proc/%d/task/%d/children" % (program.process.pid, program.process.pid)).read()
            time.sleep(0.2)
            left = [pid for pid in children.split()
                    if os.path.exists("/proc/%s/comm" % pid)
                    and open("/proc/%s/comm" % pid).read().strip() == "leakprof-snap"]
            equal(left, [], "snapshot processes left behind")

    @test
    def calls_are_not_interrupted_and_children_not_seen():
        # The program ends by itself; snapshots come as fast as they can until then.
        with Running(os.path.join(TESTS, "threads"), "6", env=preload(at_exit=0)) as program:
            count = 0
            while program.process.poll() is None:
                run(LEAKPROF, "snapshot", "-o", "threads.pb.gz", "--timeout=2s", str(program.process.pid))
                count += 1
            output, _ = program.process.communicate()
            equal(output, "interrupted=0 short=0 strange_children=0\n", "after %d snapshots" % count)
            equal(program.process.returncode, 0, "exit code")
            check(count >= 20, "only %d snapshots" % count)


def suite_cli():
    profile = os.path.join(FOLDER, "leak.pb.gz")

    @test
    def exit_status_is_the_programs():
        for command, code in (("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM),
                              ("kill -SEGV $$", -signal.SIGSEGV)):
            result = run(LEAKPROF, "run", "-q", "-o", profile, "--", "sh", "-c", command)
            equal(result.returncode, code, command)

    @test
    def output_is_the_programs():
        result = run(LEAKPROF, "run", "-q", "-o", profile, "--", "sh", "-c", "cat; echo error >&2", input="text")
        equal((result.stdout, result.stderr), ("text", "error\n"), "output")

    @test
    def a_program_that_cannot_run_is_told():
        one_line(run(LEAKPROF, "run", "--", "/no/such/program"), 127)
        one_line(run(LEAKPROF, "run", "--", "/etc/passwd"), 126)

    @test
    def nothing_measured_is_never_no_leaks():
        result = run(LEAKPROF, "run", "-o", profile, "--", "true")
        equal(result.returncode, 0, "exit code")
        check("nothing measured" in result.stderr and "no leaks" not in result.stderr, result.stderr)
        for verb in ("report", "info"):
            result = run(LEAKPROF, verb, profile)
            equal(result.returncode, 3, verb)
            check("nothing measured" in result.stdout and "no leaks" not in result.stdout, result.stdout)

    @test
    def what_the_kernel_may_hide_is_no_leak_and_no_zero():
        blind = os.path.join(TESTS, "blind")
        for mode in ("mqueue", "io_uring", "aio"):
            result = run(LEAKPROF, "run", "-o", profile, "--", blind, mode)
            if result.returncode == 77:
                print("     (the kernel here has no %s)" % mode)
                continue
            check("nothing measured" in result.stderr and "trust_kernel=1" in result.stderr, result.stderr)
            equal((run(LEAKPROF, "report", profile).returncode, sites(profile)), (3, []), mode)
            run(LEAKPROF, "run", "--trust-kernel", "-o", profile, "--", blind, mode)
            equal(sites(profile), [("wait_for_ever", COND, 1)], mode + ", trusted")
        run(LEAKPROF, "run", "-o", profile, "--", blind, "none")
        equal(sites(profile), [("wait_for_ever", COND, 1)], "nothing hidden")

    @test
    def another_build_of_state_threads_is_told():
        result = run(LEAKPROF, "run", "-o", profile, "--", os.path.join(TESTS, "other_st", "other_st"))
        equal((result.returncode, result.stdout), (0, "READY\n"), "the program (%s)" % result.stderr)
        check("nothing measured: this build of libst.so.1" in result.stderr, result.stderr)
        equal(run(LEAKPROF, "report", profile).returncode, 3, "report of it")

    @test
    def a_static_program_is_told():
        result = run(LEAKPROF, "run", "-o", profile, "--", os.path.join(TESTS, "static"))
        equal(result.returncode, 5, "exit code")
        check("linked statically" in result.stderr, result.stderr)
        equal(run(LEAKPROF, "report", profile).returncode, 3, "report of it")

    @test
    def a_profile_of_another_tool_is_refused():
        damaged = os.path.join(FOLDER, "damaged")
        for content in (b"", b"text", b"\x1f\x8b\x08garbage", b"LPRAW\r\n\x1a" + bytes(8)):
            with open(damaged, "wb") as file:
                file.write(content)
            one_line(run(LEAKPROF, "report", damaged), 6)
        one_line(run(LEAKPROF, "report", "/no/such/file"), 6)

    @test
    def a_damaged_snapshot_is_refused():
        run(LEAKPROF, "run", "-q", "--keep-raw", "-o", profile, "--", os.path.join(TESTS, "pth"), "leak_chain")
        raw = open(profile + ".raw", "rb").read()
        equal(run(LEAKPROF, "report", "--debug=2", profile + ".raw").returncode, 0, "the whole one")
        damaged = os.path.join(FOLDER, "damaged")
        for i in range(40):
            content = raw[:len(raw) * i // 40] if i % 2 else (
                raw[:len(raw) * i // 40] + bytes([raw[len(raw) * i // 40] ^ 16]) + raw[len(raw) * i // 40 + 1:])
            with open(damaged, "wb") as file:
                file.write(content)
            result = run(LEAKPROF, "report", damaged)
            check(result.returncode == 6 and result.stderr.count("\n") == 1 or
                  result.returncode == 0, "at %d: %d %s" % (i, result.returncode, result.stderr))

    @test
    def wrong_processes_are_told():
        one_line(run(LEAKPROF, "snapshot", "999999999"), 4)
        with Running("sh", "-c", "echo; exec sleep 60") as program:
            one_line(run(LEAKPROF, "snapshot", str(program.process.pid)), 4)
            equal(program.process.poll(), None, "the process must live")

    @test
    def another_users_process_is_told():
        if os.geteuid() or not shutil.which("setpriv"):
            print("     (not root, or no setpriv: the other user could not be played)")
            return
        with Running(os.path.join(TESTS, "threads"), "60", env=preload(at_exit=0)) as program:
            result = run("setpriv", "--reuid=65534", "--clear-groups", LEAKPROF, "snapshot",
                         str(program.process.pid))
            one_line(result, 4)

    @test
    def output_that_cannot_be_written_is_told():
        result = run(LEAKPROF, "run", "-o", "/no/such/folder/x", "--", os.path.join(TESTS, "pth"), "leak_cond")
        equal(result.returncode, 0, "exit code")
        check("cannot be written" in result.stderr, result.stderr)
        result = run(LEAKPROF, "run", "-o", "/dev/full", "--", os.path.join(TESTS, "pth"), "leak_cond")
        check("No space left" in result.stderr, result.stderr)

    @test
    def what_one_with_our_pid_left_is_replaced():
        result = run("sh", "-c", "touch stale.pb.gz.$$.part stale.pb.gz.raw.$$.part; "
                     "exec %s run -q --keep-raw -o stale.pb.gz -- %s leak_cond" % (LEAKPROF, os.path.join(TESTS, "pth")))
        equal(result.returncode, 0, "exit code: " + result.stderr)
        for name in ("stale.pb.gz", "stale.pb.gz.raw"):
            equal(sites(os.path.join(FOLDER, name)), [("wait_cond", COND, 1)], "leaks of " + name)
        equal([name for name in os.listdir(FOLDER) if name.startswith("stale") and "part" in name], [], "left behind")

    @test
    def without_a_reporter_the_raw_snapshot_is_left():
        for name in os.listdir(FOLDER):
            if name.startswith("alone"):
                os.unlink(os.path.join(FOLDER, name))
        env = preload(output=os.path.join(FOLDER, "alone.pb.gz"), reporter="/no/such/reporter")
        equal(run(os.path.join(TESTS, "pth"), "leak_cond", env=env).returncode, 0, "exit code")
        raw = os.path.join(FOLDER, "alone.pb.gz.raw")
        wait_for(lambda: os.path.exists(os.path.join(FOLDER, "alone.pb.gz.log")))
        check("leakprof report" in open(os.path.join(FOLDER, "alone.pb.gz.log")).read(), "the log says what to type")
        equal(sites(raw), [("wait_cond", COND, 1)], "leaks")

    @test
    def preload_alone_writes_a_profile():
        path = os.path.join(FOLDER, "preload.pb.gz")
        env = preload(output=path)
        equal(run(os.path.join(TESTS, "pth"), "leak_cond", env=env).returncode, 0, "exit code")
        wait_for(lambda: os.path.exists(path))
        equal(sites(path), [("wait_cond", COND, 1)], "leaks")

    @test
    def exports_are_the_documented_ones():
        symbols = run("nm", "-D", "--defined-only", SHIM).stdout
        got = sorted(line.split()[-1] for line in symbols.splitlines())
        script = open(os.path.join(SOURCE, "runtime_hooks", "libleakprof.map")).read()
        script = re.sub(r"/\*.*?\*/", "", script, flags=re.S)
        wanted = sorted(re.findall(r"^\t(\w+);", script.split("local:")[0], re.M))
        equal(got, wanted, "exported symbols")

    @test
    def the_shim_needs_libc_only():
        needed = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", SHIM).stdout)
        equal(sorted(set(needed) - {"ld-linux-x86-64.so.2"}), ["libc.so.6"], "libraries")


def suite_pprof():
    profile = os.path.join(FOLDER, "pprof.pb.gz")
    go = shutil.which("go")

    def raw(path):
        result = run(go, "tool", "pprof", "-raw", path)
        equal(result.returncode, 0, "go tool pprof: " + result.stderr)
        return result.stdout

    check(go, "go is not installed: ./dev setup --test")
    program = os.path.join(TESTS, "pth")
    run(LEAKPROF, "run", "-q", "-o", profile, "--", program, "leak_rwlock")

    @test
    def go_reads_functions_lines_and_build_ids():
        text = raw(profile)
        build_id = re.search(r"Build ID: (\w+)", run("readelf", "-n", program).stdout).group(1)
        check(build_id in text, "build ID")
        source = open(os.path.join(SOURCE, "tests", "runtimes", "pth.c")).read().splitlines()
        for function, call in (("wait_read", "PTH_RWLOCK_RD"), ("wait_write", "PTH_RWLOCK_RW")):
            line = int(re.search(r" %s \S+/pth.c:(\d+)" % function, text).group(1))
            check(call in source[line - 1], "%s:%d is %s" % (function, line, source[line - 1]))

    @test
    def a_file_has_one_name_also_where_a_call_was_inlined():
        run(LEAKPROF, "run", "-q", "-o", "inlined.pb.gz", "--", os.path.join(EXAMPLES, "pth_leaks"))
        names = set(re.findall(r" (\S+pth_leaks\.c):", raw("inlined.pb.gz")))
        equal(len(names), 1, "names: %r" % names)

    @test
    def top_shows_the_programs_blocking_function():
        text = run(go, "tool", "pprof", "-top", profile).stdout
        equal(sorted(re.findall(r"\s(\w+)$", text.split("flat%")[1], re.M))[-3:],
              ["hold_write", "wait_read", "wait_write"], "top")

    @test
    def no_leak_is_a_valid_profile():
        empty = os.path.join(FOLDER, "empty.pb.gz")
        result = run(LEAKPROF, "run", "-o", empty, "--", program, "live_join")
        check("no leaks" in result.stderr, result.stderr)
        check("goroutineleak/count" in raw(empty), "sample type")

    @test
    def a_stripped_program_with_a_debug_file_has_lines():
        stripped = os.path.join(FOLDER, "stripped")
        shutil.copy(program, stripped)
        run("objcopy", "--only-keep-debug", stripped, "stripped.debug")
        run("objcopy", "--strip-all", "--add-gnu-debuglink=stripped.debug", "stripped")
        run(LEAKPROF, "run", "-q", "-o", "stripped.pb.gz", "--", stripped, "leak_cond")
        check(re.search(r" wait_cond \S+/pth.c:\d+", raw("stripped.pb.gz")), "no line")
        os.unlink(os.path.join(FOLDER, "stripped.debug"))
        equal(run(LEAKPROF, "run", "-q", "-o", "stripped.pb.gz", "--", stripped, "leak_cond").returncode, 0, "exit")
        raw("stripped.pb.gz")


def suite_examples():
    @test
    def pth_leaks_has_one_of_each_and_its_twin_none():
        result = run(LEAKPROF, "run", "-o", "pth.pb.gz", "--", os.path.join(EXAMPLES, "pth_leaks"))
        equal(result.returncode, 0, "exit code")
        equal(sites("pth.pb.gz"), sorted([
            ("collect_results", "chan receive", 1), ("wait_for_config", COND, 1),
            ("move_from_checking", MUTEX, 1), ("move_from_savings", MUTEX, 1),
            ("start_together", "barrier wait", 1), ("supervise", JOIN, 1), ("audit", COND, 1), ("pay_in", MUTEX, 1),
            ("look_up", "sync.RWMutex.RLock", 1), ("rename_customer", "sync.RWMutex.Lock", 1),
            ("follow_news", "select", 1)]), "leaks")
        result = run(LEAKPROF, "run", "-o", "pth.pb.gz", "--", os.path.join(EXAMPLES, "pth_fixed"))
        check("no leaks" in result.stderr, result.stderr)

    for name, leaked in (("st_server", 5), ("st_server_fixed", 0)):
        def a_server_leaks_one_worker_a_failed_request():
            with Running(LEAKPROF, "run", "-o", "server.pb.gz", "--", os.path.join(EXAMPLES, name)) as server:
                port = int(server.first_line.split()[-1])
                # A worker takes 1 ms to its wait: that of an answered search, started last, gets there last.
                for query, status in ((b"", "400"), (b"leak", "200")) * 5:
                    with socket.create_connection(("127.0.0.1", port)) as client:
                        client.sendall(b"GET /search?q=%s\n" % query)
                        answer = client.makefile().read()
                    check(answer.startswith(status), answer)
                pid = child_of(server.process.pid)
                result = run(LEAKPROF, "snapshot", "-o", "now.pb.gz", pid)
                equal(result.returncode, 0, result.stderr)
                wanted = [("fetch_backend", COND, leaked)] if leaked else []
                equal(sites("now.pb.gz"), wanted, "while it serves")
                os.kill(int(pid), signal.SIGTERM)
                equal(server.process.wait(20), 0, "exit code")
                equal(sites("server.pb.gz"), wanted, "at its end")
        a_server_leaks_one_worker_a_failed_request.__name__ += "." + name
        test(a_server_leaks_one_worker_a_failed_request)


    @test
    def state_threads_own_server_runs_unchanged_and_has_no_leak():
        sources = st_examples()
        if not sources:
            return
        built = run("gcc", "-w", "-o", "server", os.path.join(sources, "server.c"), os.path.join(sources, "error.c"),
                    "-lst")
        equal(built.returncode, 0, built.stderr)
        os.makedirs(os.path.join(FOLDER, "logs"), exist_ok=True)
        port = free_port()
        server = subprocess.Popen([LEAKPROF, "run", "-q", "-o", "own.pb.gz", "--", "./server", "-i", "-l", "logs", "-b",
                                   "127.0.0.1:%d" % port], cwd=FOLDER, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        for _ in range(10):
            check("200 OK" in request(port, b"GET / HTTP/1.0\r\n\r\n"), "answer")
        os.kill(int(child_of(server.pid)), signal.SIGTERM)
        equal(server.wait(20), 0, "exit code")
        report = run(LEAKPROF, "report", "own.pb.gz").stdout
        check("no leaks (9 goroutines live, " in report, report)


def suite_st_steps():
    """A snapshot before each instruction with which State Threads wakes a thread: none may report it."""
    source = open(os.path.join(SOURCE, "tests", "runtimes", "st_steps.c")).read()
    ways = re.findall(r'\{"(\w+)", \w+\}', source)
    check(ways, "no ways")
    for way in ways:
        def never_reported():
            env = preload(output="steps.pb.gz", reporter="/no/such/reporter")
            result = run(os.path.join(TESTS, "st_steps"), way, env=env, timeout=240)
            equal(result.returncode, 0, "exit code (%s)" % result.stderr)
            count = int(result.stdout)
            raw = os.path.join(FOLDER, "steps.pb.gz.raw")
            wait_for(lambda: "at exit" in run(LEAKPROF, "info", raw).stdout)
            info = run(LEAKPROF, "info", raw).stdout
            check(count > 50 and "number %d, at exit" % (count + 1) in info, "%d snapshots: %s" % (count, info))
            check(re.search(r"contradictions +0$", info, re.M), info)
        never_reported.__name__ = "st_steps." + way
        test(never_reported)


suites = {"st_steps": suite_st_steps, "webs": suite_webs, "threads": suite_threads, "cli": suite_cli, "pprof": suite_pprof,
          "examples": suite_examples, "both": suite_both}
for name in EXPECTED:
    suites[name] = lambda name=name: suite_runtime(name)
for runtime in ("pth", "st"):
    suites["holders_" + runtime] = lambda runtime=runtime: suite_holders(runtime)
main(suites)
