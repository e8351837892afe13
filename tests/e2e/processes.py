#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""End-to-end tests of what surrounds a program: how its files were built (suite binaries), and what it and others do to
its process (suite processes). The programs are in tests/programs. See harness.py."""
import contextlib
import glob
import os
import re
import shutil
import signal
import socketserver
import subprocess
import threading

from harness import *

PROGRAM_SOURCES = os.path.join(SOURCE, "tests", "programs")
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
NOBODY = 65534
RUNTIMES = ("pth", "st")


def program(name):
    return os.path.join(PROGRAMS, name)


def inside(name):
    return os.path.join(FOLDER, name)


def leftovers(stem):
    """The files that a test left in FOLDER, by the start of their names."""
    return sorted(os.path.basename(path) for path in glob.glob(inside(stem + "*")))


def may(what, *command):
    """Whether COMMAND succeeds; otherwise says that WHAT cannot be tested here."""
    result = run(*command)
    if result.returncode:
        print("     (%s: not permitted here: %s)" % (what, result.stderr.strip()))
    return result.returncode == 0


def alive(pid):
    try:
        return open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def snapshot(pid, wanted, output="now.pb.gz"):
    """Takes one of PID, which must have the leaks WANTED."""
    result = run(LEAKPROF, "snapshot", "-o", output, str(pid))
    equal(result.returncode, 0, "snapshot: " + result.stderr)
    leaks_are(output, wanted)


def finish(running, code):
    """Closes the standard input of RUNNING, which must then end with CODE."""
    running.process.stdin.close()
    equal(running.process.wait(30), code, "exit code")


def waiting(*command, env=None):
    return Running(*command, env=env, stdin=subprocess.PIPE)


def suspended(runtime):
    """What waiter.c leaks beside what it was told to."""
    return [("suspended_worker", "sleep (no deadline)", 1)] if runtime == "st" else []


# --- binaries ---

def marked_lines():
    """Function -> (file, line), from the comments in the sources."""
    lines = {}
    for name in ("leaker.c", "plugin.c"):
        for number, text in enumerate(open(os.path.join(PROGRAM_SOURCES, name)), 1):
            mark = re.search(r"/\* line: (\w+) \*/", text)
            if mark:
                lines[mark.group(1)] = (name, number)
    return lines


def go_raw(profile):
    result = run(shutil.which("go") or "go", "tool", "pprof", "-raw", profile)
    equal(result.returncode, 0, "go tool pprof: " + result.stderr)
    return result.stdout


def go_stacks(profile):
    """The samples' stacks as go sees them: each a list of locations, each a list of (function, file, line)."""
    text = go_raw(profile)
    locations = {}
    current = None
    for line in text.split("Locations\n")[1].split("Mappings\n")[0].splitlines():
        head = re.match(r"\s+(\d+): 0x\w+ M=\d+ ?(.*)", line)
        if head:
            current = locations.setdefault(head.group(1), [])
        frame = re.match(r"\s*(\S+) (\S*?):(\d+)(?::\d+)? s=", head.group(2) if head else line)
        if frame:
            current.append((frame.group(1), os.path.basename(frame.group(2)), int(frame.group(3))))
    samples = re.findall(r"^\s+\d+: ([\d ]+)$", text.split("Samples:")[1].split("Locations")[0], re.M)
    return sorted([locations[number] for number in sample.split()] for sample in samples)


def text_stacks(profile):
    """The same from leakprof's own text, where inlined frames are frames like others."""
    result = run(LEAKPROF, "report", "--debug=1", profile)
    equal(result.returncode, 0, "report: " + result.stderr)
    stacks = []
    for record in result.stdout.split("\n\n"):
        frames = re.findall(r"^#\t0x\w+\t(\S+)\t(?:(\S*):(\d+))?", record, re.M)
        if frames:
            stacks.append([(re.sub(r"\+0x\w+$", "", function), os.path.basename(file), int(line or 0))
                           for function, file, line in frames])
    return sorted(stacks)


def names(profile):
    """The functions of all frames."""
    return {function for stack in text_stacks(profile) for function, _, _ in stack}


def elf_type(path):
    return re.search(r"Type:\s+(\w+)", run("readelf", "-h", path).stdout).group(1)


def build_id(path):
    return re.search(r"Build ID: (\w+)", run("readelf", "-n", path).stdout).group(1)


def check_mapping(profile, path):
    check(re.search(r"^\d+: 0x\w+/0x\w+/0x\w+ %s %s\b" % (re.escape(path), build_id(path)), go_raw(profile), re.M),
          "no mapping of %s with its build ID in\n%s" % (path, go_raw(profile)))


def profile_of(*command, env=None):
    result = run(LEAKPROF, "run", "-q", "-o", "binary.pb.gz", "--", *command, env=env)
    equal(result.returncode, 0, "exit code (%s)" % result.stderr)
    return "binary.pb.gz"


def check_frames(path, env=None):
    """The two leaks of leaker.c: every function and line, inlined ones as lines of one location."""
    lines = marked_lines()
    profile = profile_of(path, env=env)
    deep = [(name,) + lines[name] for name in ("wait_deep", "go_deeper", "deep_worker")]
    inlined = [(name,) + lines[name] for name in ("wait_inlined", "inline_worker")]
    stacks = go_stacks(profile)
    equal(len(stacks), 2, "stacks")
    flat = [[frame for location in stack for frame in location] for stack in stacks]
    equal(sorted(stack[-3:] for stack in flat if len(stack) > 2), [deep], "frames of the deep one")
    check([inlined] in stacks, "inlined frames are not two lines of one location: %r" % stacks)
    equal(text_stacks(profile), sorted(flat), "leakprof's own text")
    check_mapping(profile, path)


def strip(name, source, debug_file=None, link=None):
    """Makes FOLDER/NAME from SOURCE without symbols; what was taken goes to DEBUG_FILE."""
    path = inside(name)
    shutil.copy(source, path)
    if debug_file:
        os.makedirs(os.path.dirname(debug_file), exist_ok=True)
        equal(run("objcopy", "--only-keep-debug", path, debug_file).returncode, 0, "objcopy")
    link_option = ["--add-gnu-debuglink=" + link] if link else []
    equal(run("objcopy", "--strip-all", *link_option, path).returncode, 0, "objcopy")
    check("no symbols" in run("nm", path).stderr, "symbols are left")
    return path


def by_id(folder, path):
    return os.path.join(folder, ".build-id", build_id(path)[:2], build_id(path)[2:] + ".debug")


def unnamed(path, env=None):
    """Without a debug file the functions have no name, and all else is as before."""
    profile = profile_of(path, env=env)
    equal(names(profile) & set(marked_lines()), set(), "names from nowhere")
    equal(sum(count for _, _, count in sites(profile)), 2, "leaks")
    check_mapping(profile, path)


def suite_binaries():
    check(shutil.which("go"), "go is not installed: ./dev setup --test")

    for name, kind in (("pie", "DYN"), ("nopie", "EXEC"), ("o0", "DYN"), ("dwarf5", "DYN"), ("dwarf4z", "DYN")):
        def functions_lines_and_inlined_frames():
            path = program("leaker_" + name)
            equal(elf_type(path), kind, "ELF type")
            sections = run("readelf", "-SW", path).stdout
            version = re.search(r"Version:\s+(\d)", run("readelf", "--debug-dump=info", path).stdout).group(1)
            equal(version, "4" if name == "dwarf4z" else "5", "DWARF version")
            equal(bool(re.search(r"\.debug_info\s.* C\s", sections)), name == "dwarf4z", "compressed sections")
            check_frames(path)
        functions_lines_and_inlined_frames.__name__ += "." + name
        test(functions_lines_and_inlined_frames)

    for name in ("pie", "nopie", "dwarf4z"):
        def a_stripped_program_with_a_debug_file_by_build_id():
            source = program("leaker_" + name)
            folder = inside("debug-" + name)
            path = strip("by_id_" + name, source)
            env = dict(os.environ, LEAKPROF_DEBUG_PATH=folder)
            unnamed(path, env=env)
            strip("by_id_" + name, source, by_id(folder, source))
            check_frames(path, env=env)
        a_stripped_program_with_a_debug_file_by_build_id.__name__ += "." + name
        test(a_stripped_program_with_a_debug_file_by_build_id)

    @test
    def a_debug_file_of_another_build_is_refused():
        source = program("leaker_pie")
        folder = inside("debug-wrong")
        path = strip("wrong", source)
        os.makedirs(os.path.dirname(by_id(folder, source)))
        # The same code with other debug sections: its lines would fit.
        check(build_id(program("leaker_dwarf4z")) != build_id(source), "the builds are the same")
        run("objcopy", "--only-keep-debug", program("leaker_dwarf4z"), by_id(folder, source))
        unnamed(path, env=dict(os.environ, LEAKPROF_DEBUG_PATH=folder))

    @test
    def the_systems_debug_folder_is_searched():
        if not may("a private /usr/lib/debug", "unshare", "-m", "true"):
            return
        made = not os.path.exists("/usr/lib/debug")
        if made:
            os.mkdir("/usr/lib/debug")
        folder = inside("system")
        path = strip("systems", program("leaker_pie"), by_id(folder, program("leaker_pie")))
        # Where the folder of the program is repeated below /usr/lib/debug.
        linked = strip("systems_linked", program("leaker_nopie"), folder + FOLDER + "/linked.debug",
                       link=folder + FOLDER + "/linked.debug")
        try:
            for stripped, function in ((path, "deep_worker"), (linked, "inline_worker")):
                result = run("unshare", "-m", "sh", "-c", 'mount --bind "$1" /usr/lib/debug && shift && exec "$@"',
                             "sh", folder, LEAKPROF, "run", "-q", "-o", "system.pb.gz", "--", stripped)
                equal((result.returncode, result.stderr), (0, ""), "run")
                check((function,) + marked_lines()[function] in
                      [frame for stack in text_stacks("system.pb.gz") for frame in stack], "frames of " + stripped)
        finally:
            if made:
                os.rmdir("/usr/lib/debug")
        equal(glob.glob("/usr/lib/debug" + FOLDER), [], "left in /usr/lib/debug")

    for place in ("", ".debug/"):
        def a_stripped_program_with_a_debug_file_by_link():
            debug_file = inside(place + "linked.debug")
            path = strip("linked", program("leaker_dwarf5"), debug_file, link=debug_file)
            check_frames(path)
            # A file that is not the one that was linked to: its checksum differs.
            with open(debug_file, "ab") as file:
                file.write(b"x")
            unnamed(path)
            os.unlink(debug_file)
        a_stripped_program_with_a_debug_file_by_link.__name__ += "_" + (place or "beside").strip("./")
        test(a_stripped_program_with_a_debug_file_by_link)

    @test
    def a_stripped_program_has_the_names_that_it_exports():
        path = strip("exporting", program("leaker_nodebug"))
        profile = profile_of(path)
        check({"wait_deep", "go_deeper", "deep_worker", "inline_worker"} <= names(profile), "names: %r" % names(profile))
        equal({line for stack in text_stacks(profile) for _, _, line in stack}, {0}, "lines from nowhere")
        equal(sorted(frame[0] for stack in go_stacks(profile) for location in stack for frame in location if frame),
              ["deep_worker", "go_deeper", "inline_worker", "wait_deep"], "names in go")
        check_mapping(profile, path)

    @test
    def a_leak_in_a_library_that_was_opened():
        library = program("libplugin.so")
        profile = profile_of(program("opener"), library)
        wanted = [("plugin_worker",) + marked_lines()["plugin_worker"]]
        equal(go_stacks(profile), [[wanted]], "frames")
        equal(text_stacks(profile), [wanted], "frames in leakprof's text")
        check_mapping(profile, library)

    @test
    def a_leak_in_a_library_that_was_closed_again():
        profile = profile_of(program("opener"), program("libplugin.so"), "close")
        equal(sites(profile), [("?", COND, 1)], "leaks")
        go_raw(profile)

    @test
    def a_program_that_is_gone_is_reported_without_names():
        path = inside("gone")
        shutil.copy(program("leaker_pie"), path)
        equal(run(LEAKPROF, "run", "-q", "--keep-raw", "-o", "gone.pb.gz", "--", path).returncode, 0, "exit code")
        os.unlink(path)
        result = run(LEAKPROF, "report", "--debug=1", "gone.pb.gz.raw")
        equal(result.returncode, 0, result.stderr)
        check("goroutineleak profile: total 2" in result.stdout, result.stdout)
        # Another file in its place is not taken for it.
        shutil.copy(program("leaker_o0"), path)
        result = run(LEAKPROF, "report", "--debug=1", "gone.pb.gz.raw")
        equal(result.returncode, 0, result.stderr)
        check("deep_worker" not in result.stdout and "total 2" in result.stdout, result.stdout)


# --- processes ---

def memory_tests():
    for runtime in RUNTIMES:
        def a_program_with_its_own_malloc():
            with open(os.devnull) as none:
                result = run(LEAKPROF, "run", "-o", "own.pb.gz", "--", program("own_malloc_" + runtime), "3", stdin=none)
            equal((result.returncode, result.stdout), (5, "READY\n"), "the program")
            check("warning: heap untracked" in result.stderr, "run says nothing of it: " + result.stderr)
            check("heap untracked" in run(LEAKPROF, "report", "own.pb.gz").stdout, "report says nothing of it")
            # What needs no memory is still found.
            leaks_are("own.pb.gz", suspended(runtime))
        a_program_with_its_own_malloc.__name__ += "." + runtime
        test(a_program_with_its_own_malloc)

        for allocator, library in (("jemalloc", "libjemalloc.so.2"), ("tcmalloc", "libtcmalloc_minimal.so.4")):
            path = os.path.join(LIBRARIES, library)

            def behind_the_shim():
                check(os.path.exists(path), "%s is not installed: ./dev setup --test" % library)
                with open(os.devnull) as none:
                    result = run(LEAKPROF, "run", "-o", "other.pb.gz", "--", program("waiter_" + runtime), "100",
                                 stdin=none, env=dict(os.environ, LD_PRELOAD=path))
                equal((result.returncode, result.stdout), (5, "READY\n"), "the program")
                check("the allocator is not glibc's" in result.stderr, "run says nothing of it: " + result.stderr)
                got = sites("other.pb.gz")
                equal([site for site in got if site[0] == "kept_worker"], [], "a live one is reported")
                print("     %s, %s: %d of 100 leaks found" % (
                    allocator, runtime, sum(count for name, _, count in got if name == "leaked_worker")))
            behind_the_shim.__name__ = "%s_behind_the_shim.%s" % (allocator, runtime)
            test(behind_the_shim)

            def before_the_shim():
                check(os.path.exists(path), "%s is not installed: ./dev setup --test" % library)
                env = preload(output=inside("before.pb.gz"))
                env["LD_PRELOAD"] = path + ":" + SHIM
                with waiting(program("waiter_" + runtime), "3", env=env) as running:
                    result = run(LEAKPROF, "snapshot", "-o", "before.pb.gz", str(running.process.pid))
                    equal(result.returncode, 0, result.stderr)
                    leaks_are("before.pb.gz", suspended(runtime))
                    check("heap untracked" in run(LEAKPROF, "report", "before.pb.gz").stdout, "it says nothing of it")
                    finish(running, 5)
            before_the_shim.__name__ = "%s_before_the_shim.%s" % (allocator, runtime)
            test(before_the_shim)

    for mode, runtime in (("mapped", "st"), ("arena", "pth")):
        def a_reference_in_a_block_that_is_reallocated_all_the_time():
            with waiting(program("realloc_" + runtime), mode, env=preload(at_exit=0)) as running:
                equal(running.first_line, "READY\n", "output")
                for i in range(100):
                    result = run(LEAKPROF, "snapshot", "--debug=1", str(running.process.pid))
                    equal(result.returncode, 0, "snapshot %d: %s" % (i, result.stderr))
                    check("goroutineleak profile: total 0" in result.stdout,
                          "false positive in snapshot %d: %s" % (i, result.stdout))
                finish(running, 0)
        a_reference_in_a_block_that_is_reallocated_all_the_time.__name__ += "." + mode
        test(a_reference_in_a_block_that_is_reallocated_all_the_time)

    for case, wanted in (("live_there", []), ("live_lost", []), ("live_here", []), ("live_with_two", []),
                         ("leak_there", [("waiter_there", COND, 1)])):
        def on_a_user_context():
            # Binding leaves stale words on the stack: not while the test runs.
            result = run(LEAKPROF, "run", "-q", "-o", "uctx.pb.gz", "--", program("uctx"), case,
                         env=dict(os.environ, LD_BIND_NOW="1"))
            equal(result.returncode, 0, "exit code (%s)" % result.stderr)
            leaks_are("uctx.pb.gz", wanted)
        on_a_user_context.__name__ += "." + case
        test(on_a_user_context)


def child_tests():
    parent = [("parent_worker", COND, 1)]
    own = [("child_worker", COND, 1)]

    for runtime, how, inherited in (("pth", "fork", parent), ("pth", "pth_fork", []), ("st", "fork", parent)):
        def parent_and_child_of_a_fork_have_their_own_verdicts():
            stem = "fork-%s-%s" % (runtime, how)
            env = preload(output=inside(stem + ".%p.pb.gz"))
            with waiting(program("forker_" + runtime), how, env=env) as running:
                child = int(running.first_line.split()[1])
                snapshot(child, sorted(own + inherited))
                snapshot(running.process.pid, parent)
                snapshot(child, sorted(own + inherited))
                finish(running, 5)
                files = [inside("%s.%d.pb.gz" % (stem, pid)) for pid in (running.process.pid, child)]
            wait_for(lambda: all(os.path.exists(path) for path in files))
            leaks_are(files[0], parent)
            leaks_are(files[1], sorted(own + inherited))
            equal(leftovers(stem), sorted(os.path.basename(path) for path in files), "files")
        parent_and_child_of_a_fork_have_their_own_verdicts.__name__ += ".%s.%s" % (runtime, how)
        test(parent_and_child_of_a_fork_have_their_own_verdicts)

        def run_takes_both_results_of_a_fork():
            with waiting(LEAKPROF, "run", "-q", "-o", "both.pb.gz", "--", program("forker_" + runtime), how) as running:
                child = int(running.first_line.split()[1])
                finish(running, 5)
            leaks_are("both.pb.gz", parent)
            leaks_are("both.%d.pb.gz" % child, sorted(own + inherited))
        run_takes_both_results_of_a_fork.__name__ += ".%s.%s" % (runtime, how)
        test(run_takes_both_results_of_a_fork)

    leak = [("leaked_worker", COND, 1)]
    for runtime in RUNTIMES:
        children = program("children_" + runtime)

        def other_ways_to_make_a_child_break_nothing():
            for way in ("raw_fork", "raw_clone", "vfork", "vfork_exit", "posix_spawn", "clone_vm", "system", "popen"):
                stem = "way-%s-%s" % (runtime, way)
                result = run(LEAKPROF, "run", "-q", "-o", stem + ".pb.gz", "--", children, way)
                equal((result.returncode, result.stdout, result.stderr), (5, "", ""), way)
                leaks_are(stem + ".pb.gz", leak)
                equal(leftovers(stem), [stem + ".pb.gz"], "files of " + way)
        other_ways_to_make_a_child_break_nothing.__name__ += "." + runtime
        test(other_ways_to_make_a_child_break_nothing)

        def a_child_that_libc_does_not_know_of_is_left_alone():
            with waiting(children, "waiting_fork", env=preload(output=inside("raw-child.pb.gz"))) as running:
                child = int(running.first_line.split()[1])
                one_line(run(LEAKPROF, "snapshot", "--timeout=1s", "-o", "no.pb.gz", str(child)), 5)
                check(alive(child), "the child has died")
                snapshot(running.process.pid, leak)
                finish(running, 5)
            wait_for(lambda: os.path.exists(inside("raw-child.pb.gz")))
            leaks_are("raw-child.pb.gz", leak)
        a_child_that_libc_does_not_know_of_is_left_alone.__name__ += "." + runtime
        test(a_child_that_libc_does_not_know_of_is_left_alone)

        def exec_starts_afresh():
            # The new image is of the other library: nothing of the old one may show.
            other = RUNTIMES[1 - RUNTIMES.index(runtime)]
            result = run(LEAKPROF, "run", "-o", "exec.pb.gz", "--", children, "exec", program("children_" + other), "vfork")
            equal(result.returncode, 5, "exit code of the new image")
            leaks_are("exec.pb.gz", leak)
            report = run(LEAKPROF, "report", "exec.pb.gz").stdout
            equal(re.findall(r"^(.*): 2 created, 1 finished", report, re.M),
                  [{"pth": "GNU Pth", "st": "State Threads"}[other]], "runtimes")
            result = run(LEAKPROF, "run", "-o", "exec.pb.gz", "--", children, "exec", "sh", "-c", "exit 4")
            equal(result.returncode, 4, "exit code of the shell")
            check("nothing measured" in result.stderr and "no leaks" not in result.stderr, result.stderr)
        exec_starts_afresh.__name__ += "." + runtime
        test(exec_starts_afresh)

    for runtime in RUNTIMES:
        # GNU Pth aborts when its pipe is closed: it can only be started afterwards, and then has that pipe.
        for order in ([], ["library first"])[:1 if runtime == "pth" else 2]:
            def a_daemon_without_descriptors():
                stem = "daemon-%s-%d" % (runtime, len(order))
                pid_file = inside(stem + ".pid")
                # Not run(): it would wait for the daemon, which has our pipes until it closes them.
                subprocess.run([program("daemon_" + runtime), pid_file] + order, check=True, timeout=60, cwd=FOLDER,
                               env=preload(output=inside(stem + ".%p.pb.gz")))
                wait_for(lambda: os.path.exists(pid_file))
                pid = int(open(pid_file).read())
                try:
                    equal(os.readlink("/proc/%d/cwd" % pid), "/", "its folder")
                    descriptors = os.listdir("/proc/%d/fd" % pid)
                    equal(len(descriptors), 2 if runtime == "pth" else 0, "descriptors")
                    for _ in range(3):
                        snapshot(pid, leak)
                    wait_for(lambda: not children_of(pid))
                    equal(os.listdir("/proc/%d/fd" % pid), descriptors, "descriptors afterwards")
                finally:
                    os.kill(pid, signal.SIGTERM)
                output = inside("%s.%d.pb.gz" % (stem, pid))
                wait_for(lambda: os.path.exists(output))
                leaks_are(output, leak)
                equal([name for name in leftovers(stem) if ".part" in name or ".log" in name], [], "left behind")
            a_daemon_without_descriptors.__name__ += ".".join([""] + [runtime] + ["library_first" for _ in order])
            test(a_daemon_without_descriptors)


def signal_tests():
    leak = [("leaked_worker", COND, 1)]
    for runtime in RUNTIMES:
        def a_program_with_signals_of_its_own():
            with waiting(program("signals_" + runtime), env=preload(at_exit=0)) as running:
                pid = running.process.pid

                def tell(command):
                    running.process.stdin.write(command + "\n")
                    running.process.stdin.flush()
                    equal(running.process.stdout.readline(), "DONE\n", command)

                for _ in range(20):
                    tell("stir")
                    snapshot(pid, leak)
                tell("block")
                tell("stir")
                snapshot(pid, leak)
                tell("raw")
                one_line(run(LEAKPROF, "snapshot", "--timeout=1s", "-o", "no.pb.gz", str(pid)), 5)
                # The request that nobody waits for any more comes through now.
                tell("unblock")
                for _ in range(3):
                    snapshot(pid, leak)
                running.process.stdin.close()
                equal(running.process.stdout.read(), "strange=0 off_stack=0 changed=0 alarms=21\n", "what it saw")
                equal(running.process.wait(30), 0, "exit code")
        a_program_with_signals_of_its_own.__name__ += "." + runtime
        test(a_program_with_signals_of_its_own)


def privilege_tests():
    @test
    def a_set_user_id_program_is_never_said_to_have_no_leaks():
        if os.geteuid() or not shutil.which("setpriv"):
            print("     (not root, or no setpriv: the other users could not be played)")
            return
        public = tempfile.mkdtemp(prefix="leakprof-public-")
        try:
            if os.statvfs(public).f_flag & os.ST_NOSUID:
                print("     (%s is mounted nosuid)" % public)
                return
            os.chmod(public, 0o777)
            for source in (LEAKPROF, SHIM, program("waiter_st")):
                shutil.copy(source, public)
            privileged = os.path.join(public, "waiter_st")
            os.chown(privileged, NOBODY, NOBODY)
            os.chmod(privileged, 0o4755)
            command = ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", "env", "-C", public,
                       "LEAKPROF_SHIM=" + os.path.join(public, "libleakprof.so"), os.path.join(public, "leakprof")]
            with waiting(*command, "run", "-o", "leak.pb.gz", "--", privileged, "1") as running:
                pid = int(child_of(running.process.pid))
                equal(os.stat("/proc/%d" % pid).st_uid in (0, NOBODY), True, "it runs as the other user")
                one_line(run(LEAKPROF, "snapshot", str(pid)), 4)
                running.process.stdin.close()
                said = running.process.stderr.read()
                equal(running.process.wait(30), 5, "exit code")
            check("nothing measured: the program is set-user-ID" in said and "no leaks" not in said, said)
            report = run(LEAKPROF, "report", os.path.join(public, "leak.pb.gz"))
            equal(report.returncode, 3, "report of it")
            check("no leaks" not in report.stdout, report.stdout)
        finally:
            shutil.rmtree(public)

    @test
    def a_full_disk_gets_one_line_and_no_file():
        if not may("a tiny disk", "unshare", "-m", "-p", "-f", "--mount-proc", "mount", "-t", "tmpfs", "-o", "size=16k",
                   "none", FOLDER):
            return
        disk = inside("disk")
        os.mkdir(disk)

        def full(script, *arguments):
            result = run("unshare", "-m", "-p", "-f", "--mount-proc", "sh", "-c", (
                "mount -t tmpfs -o size=16k none disk || exit 99\n"
                "head -c 20000 /dev/zero >disk/filler 2>/dev/null\n"
                "%s\n"
                "status=$?\n"
                "while pgrep -x leakprof-snap >/dev/null; do sleep 0.05; done\n"
                "echo files: $(ls -A disk)\n"
                "exit $status\n") % script, "sh", *arguments, stdin=subprocess.DEVNULL)
            check(result.stdout.endswith("files: filler\n"), "left on the disk: " + result.stdout)
            return result

        result = full('"$1" run -o disk/leak.pb.gz -- "$2" 3', LEAKPROF, program("waiter_pth"))
        equal(result.returncode, 5, "run: " + result.stderr)
        equal(len(re.findall(r"No space left", result.stderr)), 1, "lines of run: " + result.stderr)
        check("profile in" not in result.stderr, result.stderr)
        with waiting(program("waiter_pth"), "3", env=preload(at_exit=0)) as running:
            # /proc there has no process of ours: so the profile comes from a raw snapshot.
            equal(run(LEAKPROF, "snapshot", "-o", "full.raw", str(running.process.pid)).returncode, 0, "snapshot")
            result = full('"$1" report --from-snapshot=disk/leak.pb.gz <full.raw', LEAKPROF)
            one_line(result, 7)
            check("No space left" in result.stderr, result.stderr)
            result = run("unshare", "-m", "sh", "-c",
                         "mount -t tmpfs -o size=16k none disk && head -c 20000 /dev/zero >disk/filler 2>/dev/null\n"
                         '"$1" snapshot -o disk/leak.pb.gz "$2"; status=$?; ls -A disk; exit $status',
                         "sh", LEAKPROF, str(running.process.pid))
            one_line(result, 7)
            equal(result.stdout, "filler\n", "left on the disk")
            finish(running, 5)
        for log in (inside("full.log"), inside("disk/own.log"), ""):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(log)
            options = "output=%s/leak.pb.gz:log=%s" % (disk, log)
            result = full('LD_PRELOAD="$1" LEAKPROF_OPTIONS="$2" "$3" 3', SHIM, options, program("waiter_pth"))
            equal((result.returncode, result.stderr), (5, ""), "the program")
        said = open(inside("full.log")).read()
        equal(said.count("No space left"), 1, "lines in the log: " + said)


def killed_tests():
    for runtime in RUNTIMES:
        waiter = program("waiter_" + runtime)
        wanted = sorted([("leaked_worker", COND, 3000)] + suspended(runtime))

        def a_reporter_that_is_killed_half_way():
            stem = "reporter-" + runtime
            reporter = inside("reporter")
            with open(reporter, "w") as file:
                file.write("#!/bin/sh\nhead -c 100 >/dev/null\nkill -9 $$\n")
            os.chmod(reporter, 0o755)
            env = preload(output=inside(stem + ".pb.gz"), reporter=reporter, interval="200ms", at_exit=0)
            with waiting(waiter, "3000", env=env) as running:
                pid = running.process.pid
                raw, log = inside(stem + ".pb.gz.raw"), inside(stem + ".pb.gz.log")
                # After a failure it goes on, until there is a snapshot of the whole.
                wait_for(lambda: os.path.exists(log) and open(log).read().count("\n") >= 3 and sites(raw) == wanted)
                equal(set(open(log).read().splitlines()),
                      {"leakprof: the reporter failed; type: leakprof report " + raw}, "the log")
                snapshot(pid, wanted)
                finish(running, 5)
            # A snapshot that had begun outlives the program.
            wait_for(lambda: all(name.endswith((".raw", ".log")) for name in leftovers(stem)))
        a_reporter_that_is_killed_half_way.__name__ += "." + runtime
        test(a_reporter_that_is_killed_half_way)

        def run_is_killed():
            stem = "killed-run-" + runtime
            script = '"$1" 3; echo $? >"$2.new"; mv "$2.new" "$2"'
            status = inside("status-" + runtime)
            with waiting(LEAKPROF, "run", "-o", stem + ".pb.gz", "--", "sh", "-c", script, "sh", waiter, status) as running:
                pid = int(child_of(int(child_of(running.process.pid))))
                running.process.kill()
                running.process.wait()
                snapshot(pid, sorted([("leaked_worker", COND, 3)] + suspended(runtime)))
                wait_for(lambda: not children_of(pid))
                running.process.stdin.close()
                wait_for(lambda: os.path.exists(status))
            equal(open(status).read(), "5\n", "exit code of the program")
            equal(leftovers(stem), [], "left behind")
        run_is_killed.__name__ += "." + runtime
        test(run_is_killed)

        def snapshot_is_killed():
            stem = "killed-snapshot-" + runtime
            with waiting(waiter, "3000", env=preload(at_exit=0)) as running:
                pid = running.process.pid
                for moment in range(6):
                    requester = subprocess.Popen([LEAKPROF, "snapshot", "-o", stem + ".pb.gz", str(pid)], cwd=FOLDER,
                                                 stderr=subprocess.DEVNULL)
                    if moment:
                        wait_for_child(pid, requester)
                    requester.kill()
                    requester.wait()
                    wait_for(lambda: not children_of(pid))
                    check(alive(pid), "the program has died")
                    left = [name for name in leftovers(stem) if name != stem + ".pb.gz"]
                    equal(left, [], "left behind")
                snapshot(pid, wanted)
                finish(running, 5)
        snapshot_is_killed.__name__ += "." + runtime
        test(snapshot_is_killed)


def wait_for_child(pid, requester):
    """Until PID has its snapshot process, or REQUESTER is done."""
    while not children_of(pid) and requester.poll() is None:
        pass


class Backend(socketserver.ThreadingTCPServer):
    """What the proxy stands before: answers one line."""
    allow_reuse_address = True
    daemon_threads = True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"answer to " + self.rfile.readline())

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


def processes_of(path):
    """The PIDs of the processes that run the file PATH."""
    found = []
    for link in glob.glob("/proc/[0-9]*/exe"):
        with contextlib.suppress(OSError):
            if os.readlink(link) == path:
                found.append(int(link.split("/")[2]))
    return found


# In namespaces of its own: a name server on the loopback, which resolv.conf names, and then the command.
RESOLVING = r"""
import fcntl, socket, struct, subprocess, sys, threading
with socket.socket() as any_socket:  # the loopback, up
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1 | 64))
open("resolv.conf", "w").write("nameserver 127.0.0.1\n")
subprocess.run(["mount", "--bind", "resolv.conf", "/etc/resolv.conf"], check=True)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
def serve():
    while True:
        query, client = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        if b"missing" in query:
            answer = query[:2] + b"\x81\x83\0\1\0\0\0\0\0\0" + query[12:end]
        else:
            answer = (query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[12:end] +
                      b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, len(query) % 256]))
        server.sendto(answer, client)
threading.Thread(target=serve, daemon=True).start()
sys.exit(subprocess.run(sys.argv[1:]).returncode)
"""


def example_tests():
    sources = st_examples()
    if not sources:
        return

    def build(name, *parts):
        files = [os.path.join(sources, part) for part in (name + ".c",) + parts]
        result = run("gcc", "-w", "-g", "-o", name, *files, "-lst", "-lresolv")
        equal(result.returncode, 0, "gcc: " + result.stderr)
        return inside(name)

    def traffic(port):
        for i in range(10):
            equal(request(port, b"line %d\n" % i), "answer to line %d\n" % i, "through the proxy")

    @test
    def state_threads_own_proxy():
        proxy = build("proxy", "error.c")
        backend = Backend()
        port = free_port()
        command = [proxy, "-l", "127.0.0.1:%d" % port, "-r", "127.0.0.1:%d" % backend.server_address[1]]
        running = subprocess.Popen([LEAKPROF, "run", "-o", "proxy.pb.gz", "--"] + command + ["-X"], cwd=FOLDER,
                                   stderr=subprocess.PIPE, text=True)
        try:
            traffic(port)
            snapshot(int(child_of(running.pid)), [], "proxy-now.pb.gz")
            check("no leaks (" in run(LEAKPROF, "report", "proxy-now.pb.gz").stdout, "it was measured")
        finally:
            os.kill(int(child_of(running.pid)), signal.SIGTERM)
            said = running.stderr.read()
            running.stderr.close()
        equal(running.wait(30), -signal.SIGTERM, "exit code")
        check("nothing measured" in said and "no leaks" not in said, said)
        # As a daemon of two processes.
        port = free_port()
        command[2] = "127.0.0.1:%d" % port
        equal(subprocess.run(command + ["-p", "2"], cwd=FOLDER, env=preload(at_exit=0), timeout=60,
                             stderr=subprocess.DEVNULL).returncode, 0, "start")
        wait_for(lambda: len(processes_of(proxy)) == 2)
        try:
            traffic(port)
            results = [run(LEAKPROF, "snapshot", "-o", "proxy-%d.pb.gz" % pid, str(pid))
                       for pid in processes_of(proxy)]
            # One of them may have got no connection: nothing was measured there.
            codes = sorted(result.returncode for result in results)
            check(codes in ([0, 0], [0, 3]), "snapshots: %r" % results)
            for result in results:
                check(("no leaks (" in result.stderr) == (result.returncode == 0), result.stderr)
        finally:
            for pid in processes_of(proxy):
                os.kill(pid, signal.SIGTERM)
        backend.shutdown()
        backend.server_close()

    @test
    def state_threads_own_lookupdns():
        lookupdns = build("lookupdns", "res.c")
        if not may("a name server", "unshare", "-m", "-n", "true"):
            return
        hosts = ["one.example", "two.example", "missing.example", "three.example"]
        result = run("unshare", "-m", "-n", sys.executable, "-c", RESOLVING, LEAKPROF, "run", "-o", "dns.pb.gz", "--",
                     lookupdns, *hosts)
        equal(result.returncode, 0, "exit code (%s)" % result.stderr)
        equal(len(re.findall(r"\.example +192\.0\.2\.\d+", result.stdout)), 3, "answers in " + result.stdout)
        leaks_are("dns.pb.gz", [])
        check("no leaks (" in result.stderr and "4 ever created" in result.stderr, result.stderr)


def suite_processes():
    memory_tests()
    child_tests()
    signal_tests()
    privilege_tests()
    killed_tests()
    example_tests()


main({"binaries": suite_binaries, "processes": suite_processes})
