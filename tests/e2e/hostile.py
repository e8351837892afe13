#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""End-to-end tests of leakprof in processes that are limited, confined, changed or pelted (suite hostile): the snapshot
works, or says in one line why it cannot, and the program goes on as if nothing had been. The programs are in
tests/programs, above all hostile.c. See harness.py."""
import contextlib
import glob
import os
import re
import select
import shutil
import signal
import subprocess

from harness import *

NOBODY = 65534
SOMEBODY = 54321  # a user without other processes
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
LEAK = [("leaked_worker", COND, 1)]


def program(name):
    return os.path.join(PROGRAMS, name)


def inside(name):
    return os.path.join(FOLDER, name)


def as_root():
    if os.geteuid():
        print("     (not root: the other users cannot be played)")
    return not os.geteuid()


def may(what, *command):
    """Whether COMMAND succeeds; otherwise says that WHAT cannot be tested here."""
    result = run(*command)
    if result.returncode:
        print("     (%s: not permitted here: %s)" % (what, result.stderr.strip()))
    return result.returncode == 0


def kept_snapshots(pid):
    """Those whose reporter runs, so that they stay."""
    with contextlib.suppress(OSError):
        return [child for child in snapshots_of(pid) if children_of(child)]
    return []


def says(running, text):
    """The next line of RUNNING is TEXT."""
    ready, _, _ = select.select([running.process.stdout], [], [], 20)
    check(ready, "it does not say " + text)
    equal(running.process.stdout.readline(), text + "\n", "what the program says")


def tell(running):
    """Lets RUNNING go on to what it does next."""
    running.process.stdin.write("x")
    running.process.stdin.flush()


@contextlib.contextmanager
def pelted(pid):
    """PID gets requests that nobody waits for. Its RLIMIT_SIGPENDING must be low: the waiting ones count for its user."""
    pelter = subprocess.Popen([program("pelter"), str(pid), "1000000", "rest"], stdout=subprocess.DEVNULL)
    try:
        yield
    finally:
        pelter.kill()
        pelter.wait()


def command_to(*command):
    return run(LEAKPROF, "snapshot", *[str(part) for part in command])


def status_of(pid, name):
    """What /proc/PID/status has for NAME, in KiB; 0: it is gone."""
    with contextlib.suppress(OSError):
        return int(re.search(name + r":\s+(\d+)", open("/proc/%d/status" % pid).read() + name + ": 0").group(1))
    return 0


def works(pid, wanted=LEAK, output="now.pb.gz"):
    result = command_to("-o", output, pid)
    equal(result.returncode, 0, "snapshot: " + result.stderr)
    leaks_are(output, wanted)


def fails(pid, code, text, *options):
    result = command_to("-o", "no.pb.gz", *options, pid)
    equal(result.returncode, code, "exit code (%s)" % result.stderr.strip())
    check(text in result.stderr, "snapshot says %r, not %r" % (result.stderr, text))


def started(*command, first="READY\n", **options):
    """COMMAND with the shim, once it is where it wants to be."""
    settings = {"at_exit": 0}
    settings.update(options)
    running = Running(*command, env=preload(**settings), stdin=subprocess.PIPE)
    equal(running.first_line, first, "first line (%s)" % (running.process.stderr.read() if not running.first_line else ""))
    return running


def hostile(*state, before=(), **options):
    """hostile.c in STATE, started by the command BEFORE."""
    return started(*before, program("hostile"), *state, **options)


def finish(running, code=5, output=""):
    """Closes the standard input of RUNNING, which must then end with CODE and have said OUTPUT."""
    running.process.stdin.close()
    equal(running.process.stdout.read(), output, "output")
    equal(running.process.wait(30), code, "exit code")


def target_of(pid):
    """The process behind PID that runs a test program: PID itself, or its last descendant."""
    while children_of(pid):
        pid = children_of(pid)[0]
    return pid


def read_log(path, text):
    wait_for(lambda: os.path.exists(path) and text in open(path).read())


def sleepy_reporter(name):
    """A reporter that takes its time, so that the snapshot that waits for it stays. Ended by removing its file."""
    path = inside(name)
    with open(path, "w") as file:
        file.write("#!/bin/sh\nexec 2>&1\nwhile [ -e %s ]; do sleep 0.05; done\n" % path)
    os.chmod(path, 0o755)
    return path


def figure(profile, name):
    info = run(LEAKPROF, "info", profile).stdout
    return int(re.search(r"^\s*%s\s+(\d+)" % re.escape(name), info, re.M).group(1))


# --- users and folders ---

def user_tests():
    @test
    def after_a_privilege_drop():
        if not as_root():
            return
        with hostile("drop", output="/proc/none/leak.pb.gz", log=inside("drop.log"), interval="100ms") as running:
            pid = running.process.pid
            works(pid)
            # Nobody may look into what was root's, though it runs as nobody now.
            result = run("setpriv", "--reuid=%d" % NOBODY, "--clear-groups", *visible_leakprof(), "snapshot", str(pid))
            one_line(result, 4)
            check("only root may" in result.stderr, result.stderr)
            # Its log was made by root, and may not be written any more. That it fails is counted.
            wait_for(lambda: figure_now(pid, "snapshots that failed before") > 0)
            finish(running)

    @test
    def hidden_memory_after_a_privilege_drop():
        if not as_root():
            return
        with hostile("drop", "hidden") as running:
            works(running.process.pid)
            finish(running)

    @test
    def in_a_chroot_without_proc():
        if not as_root():
            return
        root = inside("root")
        os.mkdir(root)
        with hostile("chroot", root) as running:
            for _ in range(2):
                fails(running.process.pid, 5, "cannot see /proc")
            finish(running)

    @test
    def in_a_chroot_with_proc():
        if not may("a private /proc", "unshare", "-m", "mount", "-t", "proc", "proc", "/mnt"):
            return
        root = inside("root-proc")
        os.makedirs(root + "/proc")
        shell = ["unshare", "-m", "sh", "-c", 'mount -t proc proc "$0/proc" && exec "$@"', root]
        with hostile("chroot", root, before=shell) as running:
            works(running.process.pid)
            finish(running)


def visible_leakprof():
    """leakprof, and what it needs, where any user may run it."""
    public = inside("public")
    if not os.path.exists(public):
        os.chmod(FOLDER, 0o755)
        os.mkdir(public, 0o755)
        shutil.copy(LEAKPROF, public)
    return ["env", "-C", "/tmp", os.path.join(public, "leakprof")]


def figure_now(pid, name):
    equal(command_to("-o", "figure.pb.gz", pid).returncode, 0, "snapshot")
    return figure("figure.pb.gz", name)



# --- limits ---

def under(**limits):
    """The command that runs another one with LIMITS, as prlimit(1) names them."""
    return ["prlimit"] + ["--%s=%s" % item for item in limits.items()]


def as_somebody():
    """The command that runs another one as a user who has no other process, and may not exceed limits."""
    return ["setpriv", "--reuid=%d" % SOMEBODY, "--regid=%d" % SOMEBODY, "--clear-groups", "--inh-caps=-all"]


def public_copy(name):
    """The shim and the program NAME where any user may read them."""
    visible_leakprof()
    for source in (SHIM, program(name)):
        shutil.copy(source, inside("public"))
    return inside("public/" + name)


def limit_tests():
    @test
    def without_room_for_another_process():
        if not as_root():
            return
        path = public_copy("hostile")
        env = dict(os.environ, LD_PRELOAD=inside("public/libleakprof.so"))
        log = inside("nproc.log")
        open(log, "w").close()
        os.chmod(log, 0o666)
        for options, say in (("at_exit=0", None), ("at_exit=0:interval=100ms:output=/tmp/none:log=" + log, log)):
            env["LEAKPROF_OPTIONS"] = options
            # One process is allowed, and there it is.
            with Running("setpriv", "--reuid=%d" % SOMEBODY, "--regid=%d" % SOMEBODY, "--clear-groups", "prlimit",
                         "--nproc=1", "env", "-C", "/tmp", path, "idle", env=env, stdin=subprocess.PIPE) as running:
                equal(running.first_line, "READY\n", "first line")
                if say:
                    read_log(say, "there may be no more processes")
                else:
                    for _ in range(2):
                        fails(running.process.pid, 5, "there may be no more processes (RLIMIT_NPROC")
                finish(running)

    @test
    def without_address_space():
        for more, text in (("1", None), ("4096", "out of memory")):
            with hostile("limit", more) as running:
                if text:
                    fails(running.process.pid, 5, text)
                else:
                    result = command_to("-o", "no.pb.gz", running.process.pid)
                    equal(result.returncode, 5, "exit code (%s)" % result.stderr)
                    check("memory" in result.stderr, result.stderr)
                finish(running)
        # With enough of it, a check on ourselves is left out rather than 64 MiB taken.
        with hostile("limit", "200000") as running:
            before = status_of(running.process.pid, "VmSize")
            works(running.process.pid)
            check(status_of(running.process.pid, "VmSize") - before < 8 << 10, "address space taken")
            finish(running)

    @test
    def with_files_limited_to_nothing():
        # The program starts at all, and is answered.
        with hostile("idle", before=under(fsize=0)) as running:
            works(running.process.pid)
            finish(running)

    @test
    def with_files_limited_to_less_than_a_result():
        output = inside("small.pb.gz")
        with hostile("idle", before=under(fsize=400), at_exit=1, output=output) as running:
            finish(running)
        read_log(output + ".log", "could not be written")
        equal(sorted(os.path.basename(path) for path in glob.glob(output + "*")), ["small.pb.gz.log"], "files")

    @test
    def a_snapshot_that_crashes_leaves_no_core_file():
        if "|" in open("/proc/sys/kernel/core_pattern").read():
            print("     (core files go to a program here)")
            return
        reporter = sleepy_reporter("core-reporter")
        folder = inside("cores")
        os.mkdir(folder)
        with hostile("idle", before=["env", "-C", folder] + under(core="unlimited"), interval="100ms", reporter=reporter,
                     output=folder + "/leak.pb.gz") as running:
            wait_for(lambda: kept_snapshots(running.process.pid))
            os.kill(snapshots_of(running.process.pid)[0], signal.SIGSEGV)
            # The next collection tells of it.
            read_log(folder + "/leak.pb.gz.log", "a snapshot was killed")
            os.unlink(reporter)
            equal(glob.glob(folder + "/core*"), [], "core files")
            finish(running)

    @test
    def without_a_free_descriptor():
        with hostile("full", "/dev/null", before=under(nofile=40)) as running:
            for _ in range(2):
                works(running.process.pid)
            equal(len(os.listdir("/proc/%d/fd" % running.process.pid)), 40, "descriptors")
            finish(running)

    @test
    def without_a_descriptor_that_a_snapshot_could_spare():
        with hostile("full", "pipes", before=under(nofile=40)) as running:
            fails(running.process.pid, 5, "no file descriptor left")
            finish(running)

    @test
    def with_no_signal_that_may_wait():
        with hostile("idle", before=under(sigpending=0)) as running:
            fails(running.process.pid, 5, "RLIMIT_SIGPENDING")
            finish(running)

    @test
    def with_fewer_signals_that_may_wait_than_threads():
        if not as_root():
            return
        path = public_copy("hostile")
        env = dict(os.environ, LD_PRELOAD=inside("public/libleakprof.so"), LEAKPROF_OPTIONS="at_exit=0:stop_timeout=20s")
        with Running("setpriv", "--reuid=%d" % SOMEBODY, "--clear-groups", "prlimit", "--sigpending=2", "env", "-C", "/tmp",
                     path, "threads", "60", env=env, stdin=subprocess.PIPE) as running:
            works(running.process.pid, output="pending.pb.gz")
            equal(figure("pending.pb.gz", "OS threads"), 61, "threads")
            finish(running)

    @test
    def with_locked_memory():
        if not as_root():
            return
        with hostile("mlock", "3") as running:
            # What a snapshot notes of threads is not there any more at the next.
            for _ in range(3):
                works(running.process.pid, output="locked.pb.gz")
                equal(figure("locked.pb.gz", "OS threads"), 4, "threads")
            finish(running)

    @test
    def with_a_thousand_threads():
        with hostile("threads", "1000", stop_timeout="20s") as running:
            works(running.process.pid, output="thousand.pb.gz")
            equal(figure("thousand.pb.gz", "OS threads"), 1001, "threads")
            finish(running)


# --- memory of a cgroup ---

@contextlib.contextmanager
def memory_cgroup(limit):
    """A cgroup with LIMIT bytes, as the path of its file of processes; None where there is none to be had."""
    own = os.path.join("leakprof-test-%d" % os.getpid())
    for root, file in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/unified", "memory.max"),
                       ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        folder = os.path.join(root, own)
        try:
            os.mkdir(folder)
        except OSError:
            continue
        try:
            open(os.path.join(folder, file), "r+").write(str(limit))
        except OSError:
            os.rmdir(folder)
            continue
        try:
            yield os.path.join(folder, "cgroup.procs")
        finally:
            for process in open(os.path.join(folder, "cgroup.procs")).read().split():
                with contextlib.suppress(OSError):
                    os.kill(int(process), signal.SIGKILL)
            wait_for(lambda: not open(os.path.join(folder, "cgroup.procs")).read())
            os.rmdir(folder)
        return
    print("     (no cgroup with a memory limit can be made here: see without_address_space)")
    yield None


def cgroup_tests():
    @test
    def when_memory_runs_out_the_snapshot_dies():
        with memory_cgroup(80 << 20) as processes:
            if not processes:
                return
            reporter = inside("memory-reporter")
            output = inside("memory.pb.gz")
            enter = ["sh", "-c", 'echo $$ >"$0" && exec "$@"', processes]
            with hostile("memory", "40", before=enter, interval="200ms", reporter=reporter, output=output) as running:
                pid = running.process.pid
                # One that has all of the memory is to stay, so not one that was made before READY.
                wait_for(lambda: not snapshots_of(pid))
                sleepy_reporter("memory-reporter")
                wait_for(lambda: kept_snapshots(pid))
                check(status_of(kept_snapshots(pid)[0], "VmRSS") > 40 << 10, "the snapshot has not got the memory")
                doomed = kept_snapshots(pid)[0]
                # The program becomes the larger one, and what the snapshot has of it is copied.
                os.kill(pid, signal.SIGUSR1)
                says(running, "REWRITTEN")
                wait_for(lambda: doomed not in snapshots_of(pid))
                read_log(output + ".log", "a snapshot was killed (out of memory?)")
                os.unlink(reporter)
                finish(running)


# --- stacks ---

def stack_tests():
    @test
    def at_the_end_of_small_stacks():
        with started(program("stacks")) as running:
            for _ in range(3):
                works(running.process.pid)
            finish(running, output="changed=0\n")

    @test
    def with_a_signal_stack_that_is_too_small():
        with hostile("small_stack") as running:
            for _ in range(3):
                works(running.process.pid)
            os.kill(running.process.pid, signal.SIGUSR1)
            works(running.process.pid)
            finish(running)


# --- signals, and what goes on meanwhile ---

def storm_tests():
    @test
    def while_everything_goes_on_at_once():
        with started(program("busy"), program("libplugin.so")) as running:
            for _ in range(5):
                works(running.process.pid)
            finish(running, output="wrong=0 worked=1\n")

    @test
    def a_storm_of_requests_that_nobody_waits_for():
        with hostile("threads", "3", before=under(sigpending=100)) as running:
            pid = running.process.pid
            equal(run(program("pelter"), str(pid), "400").stdout, "400\n", "requests")
            # Some are dropped; the snapshots end by themselves.
            wait_for(lambda: not children_of(pid) and "ShdPnd:\t%016d" % 0 in open("/proc/%d/status" % pid).read())
            works(pid)
            finish(running)

    @test
    def a_thread_that_cannot_stop():
        with hostile("vfork", stop_timeout="100ms") as running:
            pid = running.process.pid
            wait_for(lambda: children_of(pid))
            fails(pid, 5, "not all threads stopped in time")
            os.kill(pid, signal.SIGUSR1)
            says(running, "CHILD ENDED")
            works(pid)
            finish(running)


# --- exec ---

def exec_tests():
    @test
    def a_storm_of_requests_across_exec():
        # Without the shim's signal blocked they would kill what has no handler yet; still.c never has one.
        with started(*under(sigpending=8), program("successor"), "12", program("still"), "hurry") as running:
            pid = running.process.pid
            with pelted(pid):
                tell(running)
                says(running, "STILL 0")
                equal(command_to(pid).returncode, 4, "it has no shim")
            finish(running, code=7)

    @test
    def each_successor_is_measured_afresh():
        with started(program("successor"), "8", program("still"), "wait") as running:
            for turn in range(9):
                works(running.process.pid)
                tell(running)
                says(running, "READY" if turn < 8 else "STILL 0")
            finish(running, code=7)

    @test
    def a_successor_has_no_children_that_it_does_not_know():
        reporter = sleepy_reporter("exec-reporter")
        with started(program("successor"), "0", program("still"), "wait", interval="100ms", reporter=reporter,
                     output=inside("exec.pb.gz")) as running:
            wait_for(lambda: kept_snapshots(running.process.pid))
            tell(running)
            says(running, "STILL 0")
            os.unlink(reporter)
            finish(running, code=7)

    @test
    def a_set_user_id_successor():
        if not as_root() or os.statvfs(FOLDER).f_flag & os.ST_NOSUID:
            return
        privileged = inside("privileged")
        shutil.copy(program("still"), privileged)
        os.chown(privileged, NOBODY, NOBODY)
        os.chmod(privileged, 0o4755)
        with started(*under(sigpending=8), program("successor"), "3", privileged, "hurry") as running:
            pid = running.process.pid
            with pelted(pid):
                tell(running)
                says(running, "STILL 0")
                equal(os.stat("/proc/%d" % pid).st_uid in (0, NOBODY), True, "it runs as the other user")
            finish(running, code=7)


# --- filters ---

def filter_tests():
    confined = program("confined")

    @test
    def under_dockers_filter():
        with hostile("threads", "3", before=[confined, "docker"]) as running:
            works(running.process.pid)
            finish(running)
        # Where the shim starts the reporter itself.
        output = inside("docker.pb.gz")
        with hostile("idle", before=[confined, "docker"], at_exit=1, output=output) as running:
            finish(running)
        wait_for(lambda: os.path.exists(output))
        leaks_are(output, LEAK)

    for names, text in (("clone,fork,vfork", "a snapshot process may not be made"),
                        ("getdents64", "not allowed"), ("readlink", "not allowed")):
        def under_a_filter_that_makes_snapshots_impossible():
            with hostile("idle", before=[confined, names]) as running:
                fails(running.process.pid, 5, text)
                finish(running)
        under_a_filter_that_makes_snapshots_impossible.__name__ += "." + names.split(",")[0]
        test(under_a_filter_that_makes_snapshots_impossible)

    for names in ("rt_tgsigqueueinfo", "memfd_secret,setsid,setitimer", "close_range"):
        def under_a_filter_that_snapshots_can_do_without():
            with hostile("threads", "3", before=[confined, names]) as running:
                works(running.process.pid)
                finish(running)
        under_a_filter_that_snapshots_can_do_without.__name__ += "." + names.split(",")[0]
        test(under_a_filter_that_snapshots_can_do_without)

    @test
    def under_a_filter_shared_memory_is_still_looked_into():
        with hostile("keep_in", "shared", before=[confined, "process_vm_readv"]) as running:
            works(running.process.pid)
            finish(running)

    @test
    def what_may_not_be_looked_into_makes_no_leak():
        with hostile("keep_in", "shared", before=[confined, "process_vm_readv,pipe2"]) as running:
            fails(running.process.pid, 5, "not allowed")
            finish(running)


# --- what holds the only pointer ---

def holder_tests():
    @test
    def the_last_of_many_epoll_registrations():
        with hostile("keep_in", "epoll") as running:
            works(running.process.pid)
            finish(running)


# --- namespaces ---

CONTAINER = r"""
set -e
mount -t tmpfs none "$0"
mkdir -p "$0/proc" "$0/lib" "$0/lib64" "$0/app"
for file in "$1" "$2" $(ldd "$1" "$2" | grep -o '/[^ :]*' | sort -u); do
    case $file in */ld-linux*) cp -L "$file" "$0/lib64/";; *.so*) cp -L "$file" "$0/lib/";; esac
done
cp "$1" "$0/app/inner"
cp "$2" "$0/lib/shim.so"
mount -t proc proc "$0/proc"
exec env LD_PRELOAD=/lib/shim.so LEAKPROF_OPTIONS=at_exit=0 LD_LIBRARY_PATH=/lib chroot "$0" /app/inner threads 2
"""


def namespace_tests():
    ways = {
        "pid_with_its_proc": ["-p", "-f", "--mount-proc"],
        "pid_with_the_outer_proc": ["-p", "-f"],
        "user_and_pid": ["-U", "-r", "-p", "-f", "--mount-proc"],
    }
    for name in ("pid_with_its_proc", "pid_with_the_outer_proc", "user_and_pid"):
        def from_outside_of_its_namespaces():
            command = ["unshare", "--kill-child"] + ways[name]
            if not may("namespaces", *command, "true"):
                return
            with hostile("threads", "3", before=command) as running:
                pid = target_of(running.process.pid)
                for _ in range(2):
                    works(pid, output="namespace.pb.gz")
                    equal(figure("namespace.pb.gz", "OS threads"), 4, "threads")
                finish(running)
        from_outside_of_its_namespaces.__name__ += "." + name
        test(from_outside_of_its_namespaces)

    @test
    def from_outside_of_another_users_namespace():
        if not as_root() or not may("namespaces", "setpriv", "--reuid=%d" % SOMEBODY, "unshare", "-U", "-r", "true"):
            return
        path = public_copy("hostile")
        env = dict(os.environ, LD_PRELOAD=inside("public/libleakprof.so"), LEAKPROF_OPTIONS="at_exit=0")
        with Running("setpriv", "--reuid=%d" % SOMEBODY, "--regid=%d" % SOMEBODY, "--clear-groups", "env", "-C", "/tmp",
                     "unshare", "--kill-child", "-U", "-r", "-p", "-f", path, "idle", env=env,
                     stdin=subprocess.PIPE) as running:
            equal(running.first_line, "READY\n", "first line")
            works(target_of(running.process.pid))
            finish(running)

    @test
    def both_in_the_same_namespaces():
        command = ["unshare", "--kill-child", "-U", "-r", "-p", "-f", "--mount-proc"]
        if not may("namespaces", *command, "true"):
            return
        script = '(sleep 60 | LD_PRELOAD="$1" LEAKPROF_OPTIONS=at_exit=0 "$2" threads 3 >ready) &\n' \
                 'until grep -q READY ready 2>/dev/null; do sleep 0.02; done\n' \
                 'exec "$0" snapshot -o same.pb.gz $(pgrep -x hostile)'
        result = run(*command, "sh", "-c", script, LEAKPROF, SHIM, program("hostile"))
        equal(result.returncode, 0, result.stderr)
        leaks_are("same.pb.gz", LEAK)

    @test
    def in_a_container_without_leakprof():
        command = ["unshare", "--kill-child", "-m", "-p", "-f"]
        if not as_root() or not may("namespaces", *command, "true"):
            return
        root = inside("container")
        os.mkdir(root)
        running = Running(*command, "sh", "-c", CONTAINER, root, program("hostile"), SHIM, stdin=subprocess.PIPE)
        with running:
            equal(running.first_line, "READY\n", "first line")
            pid = target_of(running.process.pid)
            works(pid, output="container.pb.gz")
            text = run(LEAKPROF, "report", "--debug=1", "container.pb.gz").stdout
            check(re.search(r"hostile\.c:\d+", text), "no line of the program in " + text)
            equal(figure("container.pb.gz", "OS threads"), 3, "threads")
            finish(running)


# --- other tools ---

def tool_tests():
    for order in ("before", "behind"):
        def with_libfaketime():
            faketime = os.path.join(LIBRARIES, "faketime", "libfaketime.so.1")
            check(os.path.exists(faketime), "libfaketime is not installed: ./dev setup --test")
            env = preload(at_exit=0)
            env["LD_PRELOAD"] = ":".join([faketime, SHIM] if order == "before" else [SHIM, faketime])
            env["FAKETIME"] = "-3000d"
            with Running(program("waiter_pth"), "1", env=env, stdin=subprocess.PIPE) as running:
                equal(running.first_line, "READY\n", "first line")
                works(running.process.pid, output="fake.pb.gz")
                # As long as it is really there, and not since years ago.
                text = run(LEAKPROF, "report", "fake.pb.gz").stdout
                check(re.search(r"waiting for [\d.]+ m?s,", text), "times in " + text)
                finish(running)
        with_libfaketime.__name__ += "_%s_the_shim" % order
        test(with_libfaketime)

        def with_heaptrack():
            heaptrack = "/usr/lib/heaptrack/libheaptrack_preload.so"
            check(os.path.exists(heaptrack), "heaptrack is not installed: ./dev setup --test")
            env = preload(at_exit=0)
            env["LD_PRELOAD"] = ":".join([heaptrack, SHIM] if order == "before" else [SHIM, heaptrack])
            env["DUMP_HEAPTRACK_OUTPUT"] = inside("heaptrack-" + order)
            with Running(program("hostile"), "threads", "3", env=env, stdin=subprocess.PIPE) as running:
                equal(running.first_line, "READY\n", "first line")
                for _ in range(3):
                    result = command_to("-o", "tracked.pb.gz", running.process.pid)
                    equal(result.returncode, 0, result.stderr)
                    leaks_are("tracked.pb.gz", LEAK)
                finish(running)
            check(os.path.getsize(inside("heaptrack-" + order)) > 1000, "heaptrack has written nothing")
        with_heaptrack.__name__ += "_%s_the_shim" % order
        test(with_heaptrack)


def suite_hostile():
    user_tests()
    limit_tests()
    cgroup_tests()
    stack_tests()
    storm_tests()
    exec_tests()
    filter_tests()
    holder_tests()
    namespace_tests()
    tool_tests()


main({"hostile": suite_hostile})
