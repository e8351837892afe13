#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Servers under load while what looks at them is killed, stopped, or has no room, and while the clock jumps (suite faults):
each request is answered, and the next collection works. The same for programs that hold still: processes.py (requester and
reporter killed, full disks at exit), hostile.py (a snapshot that crashes, or runs out of memory) and serve.py (serve killed
while it collects, its target stopped). See harness.py and services.py."""
import random

from services import *

LEAK = "/debug/pprof/goroutineleak"
RATE = 200
SERVERS = {"st_server_fixed": 1, "minigo_http_fixed": 2}  # with so many OS threads
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def inside(name):
    return os.path.join(FOLDER, name)


def each_server(function):
    """A test for each server: FUNCTION(name of a file, function that starts the server with options)."""
    for program, threads in SERVERS.items():
        def one():
            name = "%s-%s" % (function.__name__, program)
            function(name, lambda **options: Service(program, RATE, threads=threads, **options))
        one.__name__ = "%s.%s" % (function.__name__, program)
        test(one)


def request_snapshot(pid, *options):
    return subprocess.Popen([LEAKPROF, "snapshot", *options, str(pid)], cwd=FOLDER, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def works(pid, wanted=()):
    """The next collection: it is made, and finds the leaks WANTED."""
    result = run(LEAKPROF, "snapshot", "-o", "next.pb.gz", str(pid))
    equal(result.returncode, 0, "the next snapshot: " + result.stderr)
    leaks_are("next.pb.gz", wanted)


def modified(path):
    return os.path.exists(path) and os.stat(path).st_mtime_ns


def renewed(path, seconds=10):
    """Waits until PATH is written, and once more."""
    for _ in range(2):
        before = modified(path)
        wait_for(lambda: modified(path) not in (False, before), seconds)


def kill_now(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def plant(port, count):
    """Leaks COUNT goroutines of minigo_http, over 20 connections at once."""
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for client in clients:
        client.sendall(b"GET /search?q=a HTTP/1.1\r\n\r\n" * (count // len(clients)))
        client.shutdown(socket.SHUT_WR)
    for client in clients:
        with client, client.makefile("rb") as answers:
            equal(answers.read().count(b"200 OK"), count // len(clients), "searches")


def suite_killed():
    @each_server
    def a_snapshot_is_killed(name, start):
        with start() as service:
            killed = 0
            while killed < 6:
                requester = request_snapshot(service.pid, "--timeout=1s", "-o", name + ".pb.gz")
                while not snapshots_of(service.pid) and requester.poll() is None:
                    pass
                time.sleep(random.uniform(0, 0.004))  # anywhere in its work
                kill_now(snapshots_of(service.pid))
                _, errors = requester.communicate(timeout=20)
                check(requester.returncode in (0, 5) and errors, "%d %s" % (requester.returncode, errors))
                killed += requester.returncode == 5
                service.load.answers(10)
            works(service.pid)

    @each_server
    def a_reporter_is_killed(name, start):
        output = inside(name + ".pb.gz")
        with start(interval="100ms", output=output) as service:
            log = output + ".log"
            for lines in range(1, 4):
                def killed():
                    with contextlib.suppress(FileNotFoundError):
                        kill_now(child for one in snapshots_of(service.pid) for child in children_of(one))
                    return os.path.exists(log) and open(log).read().count("\n") >= lines
                wait_for(killed, 20)
            renewed(output)
            leaks_are(output, [])
            service.load.answers(10)
        equal(set(open(log).read().splitlines()),
              {"leakprof: the reporter failed; type: leakprof report %s.raw" % output}, "the log")
        equal([path for path in glob.glob(inside(name) + "*") if ".part" in path], [], "left behind")

    @each_server
    def serve_is_killed_and_started_again(name, start):
        listen = "unix:" + inside(name[-20:])
        with start() as service:
            for turn in range(4):
                serving = Serving(service.pid, listen=listen, interval="50ms")
                check("serving" in serving.said, serving.said)
                before = serving.collections()
                wait_for(lambda: serving.collections() > before + 2)
                serving.end(signal.SIGKILL)
                service.load.answers(10)
            with Serving(service.pid, listen=listen) as serving:
                check("total 0\n" in serving.text(LEAK + "?debug=1"), "the next collection")
                # What the service counts outlives serve.
                check(serving.collections() > 8, "collections")


def suite_stopped():
    @each_server
    def a_reader_is_stopped(name, start):
        with start() as service:
            readers = []
            for _ in range(4):
                reader = request_snapshot(service.pid, "--debug=1")
                os.kill(reader.pid, signal.SIGSTOP)
                readers.append(reader)
                service.load.answers(10)
            works(service.pid)
            for reader in readers:
                os.kill(reader.pid, signal.SIGCONT)
                output, errors = reader.communicate(timeout=20)
                equal((reader.returncode, output[:30]), (0, "goroutineleak profile: total 0"), errors)

    @test
    def readers_are_stopped_while_snapshots_write():
        """So many goroutines that their stream does not fit into a socket."""
        wanted = [("ask_archive", "chan send", 4000)]
        with Service("minigo_http", RATE) as service:
            plant(service.port, 4000)
            wait_for(lambda: "total 4000\n" in run(LEAKPROF, "snapshot", "--debug=1", str(service.pid)).stdout)
            readers = []
            while len(readers) < 3:
                reader = request_snapshot(service.pid, "--debug=1")
                while len(snapshots_of(service.pid)) == len(readers) and reader.poll() is None:
                    pass
                os.kill(reader.pid, signal.SIGSTOP)
                service.load.answers(50)
                if len(snapshots_of(service.pid)) > len(readers):
                    readers.append(reader)
                else:  # it was faster
                    reader.kill()
                    reader.communicate()
            works(service.pid, wanted)
            kill_now([readers[0].pid])
            wait_for(lambda: len(snapshots_of(service.pid)) == 2)
            works(service.pid, wanted)
            for reader in readers[1:]:
                os.kill(reader.pid, signal.SIGCONT)
                output, errors = reader.communicate(timeout=20)
                equal((reader.returncode, output[:33]), (0, "goroutineleak profile: total 4000"), errors)

    @each_server
    def a_reporter_is_stopped(name, start):
        output = inside(name + ".pb.gz")
        with start(interval="100ms", output=output) as service:
            def stopped():
                with contextlib.suppress(FileNotFoundError):
                    return [child for one in snapshots_of(service.pid) for child in children_of(one)
                            if not os.kill(child, signal.SIGSTOP)]
            end = time.time() + 20
            reporters = []
            while not reporters:
                check(time.time() < end, "no reporter came")
                with contextlib.suppress(ProcessLookupError):
                    reporters = stopped()
            service.load.answers(100)
            # Whoever asks is answered meanwhile.
            works(service.pid)
            for reporter in reporters:
                os.kill(reporter, signal.SIGCONT)
            renewed(output)
            leaks_are(output, [])

    @each_server
    def serve_is_stopped(name, start):
        with start() as service, Serving(service.pid, interval="50ms") as serving:
            before = serving.collections()
            wait_for(lambda: serving.collections() > before + 2)
            os.kill(serving.process.pid, signal.SIGSTOP)
            service.load.answers(100)
            works(service.pid)
            os.kill(serving.process.pid, signal.SIGCONT)
            check("total 0\n" in serving.text(LEAK + "?debug=1"), "the next collection")


def suite_room():
    @each_server
    def a_disk_is_full(name, start):
        disk = inside(name)
        os.mkdir(disk)
        result = run("mount", "-t", "tmpfs", "-o", "size=64k", "none", disk)
        if result.returncode:
            print("     (a tiny disk: not permitted here: %s)" % result.stderr.strip())
            return
        try:
            output, log = disk + "/leak.pb.gz", inside(name + ".log")
            with start(interval="100ms", output=output, log=log) as service:
                renewed(output)
                with open(disk + "/filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
                    while filler.write(b"x" * 4096):
                        pass
                wait_for(lambda: os.path.exists(log) and open(log).read().count("No space left") >= 3)
                service.load.answers(50)
                works(service.pid)
                # The last one that was written is whole.
                leaks_are(output, [])
                os.unlink(disk + "/filler")
                renewed(output)
                leaks_are(output, [])
            wait_for(lambda: not any(path.endswith(".part") for path in os.listdir(disk)))
            # The raw one is there when the disk was emptied between its reporter's failure and its being saved.
            check(set(os.listdir(disk)) <= {"leak.pb.gz", "leak.pb.gz.raw"}, "left behind: %r" % os.listdir(disk))
            for path in os.listdir(disk):
                leaks_are(os.path.join(disk, path), [])
        finally:
            run("umount", "-l", disk)


def suite_clock():
    @each_server
    def the_clock_jumps(name, start):
        check(os.path.exists(FAKETIME), "libfaketime is not installed: ./dev setup --test")
        clock, output = inside(name + ".clock"), inside(name + ".pb.gz")
        fake = {"FAKETIME_TIMESTAMP_FILE": clock, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

        def jump(offset):
            with open(clock + ".new", "w") as file:
                file.write(offset + "\n")
            os.rename(clock + ".new", clock)

        jump("+0d")
        with start(interval="100ms", output=output, env=fake, preloads=[FAKETIME]) as service:
            with Serving(service.pid, interval="50ms", user=["env", "LD_PRELOAD=" + FAKETIME,
                                                             *("%s=%s" % item for item in fake.items())]) as serving:
                for offset in ("+3650d", "-3650d", "-20000d", "+1d", "+0d"):
                    jump(offset)
                    service.load.answers(20)
                    renewed(output)
                    leaks_are(output, [])
                    before = serving.collections()
                    wait_for(lambda: serving.collections() > before + 2)
                    works(service.pid)
                    check("total 0\n" in serving.text(LEAK + "?debug=1"), "asked at " + offset)
        check(not os.path.exists(output + ".log"), "something failed")


def suite_faults():
    suite_killed()
    suite_stopped()
    suite_room()
    suite_clock()


main({"faults": suite_faults, "killed": suite_killed, "stopped": suite_stopped, "room": suite_room, "clock": suite_clock})
