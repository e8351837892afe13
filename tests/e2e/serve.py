#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Looking at programs that run: leakprof serve and its HTTP, top, requests across namespaces (suite serve). See harness.py."""
import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

from harness import *

NOBODY = 65534
PUBLIC = os.path.join(FOLDER, "public")
STATES = os.path.join(PROGRAMS, "states")


# --- Programs ---

@contextlib.contextmanager
def server(**options):
    """examples/st_server with the shim: (Running, port)."""
    with Running(ST_SERVER, env=preload(at_exit=0, **options), stdin=subprocess.PIPE) as running:
        yield running.process, int(running.first_line.split()[3])


def counts_settle(pid, wanted):
    """Until `top` sees WANTED goroutines waiting for a condition: the leaks are where they will be."""
    def there():
        return re.search(r"^ +%d  sync.Cond.Wait$" % wanted, run(LEAKPROF, "top", "--once", str(pid)).stdout, re.M)
    wait_for(there)


# --- The profiles ---

def suite_profiles():
    @test
    def go_tool_pprof_reads_both_profiles_and_a_delta():
        with server() as (process, port), Serving(process.pid) as serving:
            load(port, 4)
            counts_settle(process.pid, 2)
            equal(top_of(serving.url(LEAK))[0], {"fetch_backend": 2}, "leaks")
            equal(top_of(serving.url(ALL))[0], {"fetch_backend": 2, "accept_all": 1, "main": 1}, "goroutines")
            taken = serving.collections()

            def leak_between():
                wait_for(lambda: serving.collections() > taken)
                load(port, 6)
            between = threading.Thread(target=leak_between)
            between.start()
            delta, text = top_of(serving.url(LEAK + "?seconds=3"))
            between.join()
            equal(delta, {"fetch_backend": 3}, "delta")
            check(re.search(r"^Duration: [3-9](\.\d+)?s", text, re.M), text)

    @test
    def texts_are_gos():
        with server() as (process, port), Serving(process.pid) as serving:
            load(port, 4)
            counts_settle(process.pid, 2)
            leaks = serving.text(LEAK + "?debug=1")
            check(leaks.startswith("goroutineleak profile: total 2\n2 @ 0x"), leaks)
            everything = serving.text(ALL + "?debug=2")
            states = sorted(re.findall(r"^goroutine \d+ \[(.*)\]:$", everything, re.M))
            equal(states, ["IO wait", "IO wait", "sync.Cond.Wait (leaked)", "sync.Cond.Wait (leaked)"], "states")
            equal(len(re.findall(r"^goroutine ", serving.text(LEAK + "?debug=2"), re.M)), 2, "leaked ones")
            check(serving.text(ALL + "?debug=1").startswith("goroutine profile: total 4\n"), "debug=1")

    @test
    def every_state_has_gos_word_and_a_stack():
        with Running(STATES, env=dict(preload(at_exit=0), MINIGO_THREADS="1"), stdin=subprocess.PIPE) as running:
            equal(running.first_line, "READY\n", "output")
            text = run(LEAKPROF, "snapshot", "--profile=goroutine", "--debug=2", str(running.process.pid)).stdout
            found = {}
            for goroutine in text.strip().split("\n\n"):
                state = re.match(r"goroutine \d+ \[(.*?)\]", goroutine).group(1)
                functions = [line[:-5] for line in goroutine.splitlines() if line.endswith("(...)")]
                found[functions[-1]] = state, functions
            states = {function: state for function, (state, _) in found.items()}
            equal(states, {"main": "running", "spins_a_little": "runnable", "never_ran": "runnable",
                           "reads": "IO wait", "sleeps": "sleep", "waits_for_main": "chan receive",
                           "is_leaked": "chan receive (leaked)"}, "states")
            check("spin" in found["main"][1], "main runs in spin: %r" % found["main"][1])
            equal(found["spins_a_little"][1][-2:], ["yields", "spins_a_little"], "the stack of a runnable one")
            equal(found["never_ran"][1], ["never_ran"], "the stack of one that never ran")

    @test
    def a_goroutine_profile_is_no_profile_of_leaks():
        with server() as (process, port):
            load(port, 4)
            counts_settle(process.pid, 2)
            run(LEAKPROF, "snapshot", "--profile=goroutine", "-o", "all.pb.gz", str(process.pid))
            run(LEAKPROF, "snapshot", "-o", "leaks.pb.gz", str(process.pid))
        text = run(LEAKPROF, "report", "all.pb.gz")
        equal(text.returncode, 0, text.stderr)
        check("4 goroutines at 3 sites: 2 waiting, 2 IO wait; 2 of them leaked" in text.stdout, text.stdout)
        one_line(run(LEAKPROF, "report", "--profile=goroutineleak", "all.pb.gz"), 6)
        one_line(run(LEAKPROF, "report", "--profile=goroutine", "leaks.pb.gz"), 6)
        one_line(run(LEAKPROF, "report", "--profile=heap", "leaks.pb.gz"), 2)

    @test
    def what_is_served_passes_the_rules_of_parca():
        checker = os.path.join(BUILD, "tests", "unit", "check_profile")
        with server() as (process, port), Serving(process.pid) as serving:
            bodies = {"empty": serving.ask(LEAK)[2]}
            load(port, 4)
            counts_settle(process.pid, 2)
            bodies.update(leak=serving.ask(LEAK)[2], all=serving.ask(ALL)[2], delta=serving.ask(LEAK + "?seconds=1")[2])
        for name, body in bodies.items():
            path = os.path.join(FOLDER, name + ".served")
            with open(path, "wb") as file:
                file.write(body)
            result = run(checker, path)
            equal(result.returncode, 0, "%s: %s" % (name, result.stdout))
        with open(os.path.join(FOLDER, "bad.served"), "wb") as file:
            file.write(b"\x0a\x00")
        equal(run(checker, "bad.served").returncode, 1, "what is no profile")


# --- HTTP ---

def suite_http():
    @test
    def headers_and_errors_are_gos():
        with server() as (process, _), Serving(process.pid) as serving:
            for path, status, type, text in (
                    (LEAK, 200, "application/octet-stream", None),
                    (ALL + "?debug=0", 200, "application/octet-stream", None),
                    (LEAK + "?debug=1", 200, "text/plain; charset=utf-8", "goroutineleak profile: total 0\n"),
                    (LEAK + "?debug=zwei", 200, "application/octet-stream", None),
                    ("/debug/pprof/", 200, "text/html; charset=utf-8", None),
                    ("/debug/pprof/heap", 404, "text/plain; charset=utf-8", "Unknown profile\n"),
                    (LEAK + "?seconds=0", 400, "text/plain; charset=utf-8", None),
                    (LEAK + "?seconds=-1", 400, "text/plain; charset=utf-8", None),
                    (LEAK + "?seconds=1x", 400, "text/plain; charset=utf-8", None),
                    (LEAK + "?seconds=99999999999999999999", 400, "text/plain; charset=utf-8", None),
                    (LEAK + "?seconds=4000", 400, "text/plain; charset=utf-8", None),
                    (LEAK + "?seconds=1&debug=1", 400, "text/plain; charset=utf-8",
                     "seconds and debug params are incompatible\n"),
                    ("/nothing", 404, "text/plain; charset=utf-8", None)):
                got, headers, body = serving.ask(path)
                equal((got, headers["Content-Type"]), (status, type), path)
                equal(headers["X-Content-Type-Options"], "nosniff", path)
                equal(headers.get("X-Go-Pprof"), "1" if status >= 400 else None, path)
                name = re.match("/debug/pprof/([^?]*)", path)
                equal(headers.get("Content-Disposition"),
                      'attachment; filename="%s"' % name.group(1) if type.startswith("application") else None, path)
                if text is not None:
                    equal(body.decode(), text, path)
            equal(serving.ask("/debug/pprof/cmdline")[2], ST_SERVER.encode(), "cmdline")
            got, headers, _ = serving.ask("/debug/pprof")
            equal((got, headers["Location"]), (301, "pprof/"), "without the slash")

    @test
    def head_is_answered_and_no_other_method():
        with server() as (process, _), Serving(process.pid) as serving:
            for path in (LEAK, "/debug/pprof/", "/metrics", "/healthz"):
                got, headers, body = serving.ask(path, "HEAD")
                equal((got, body), (200, b""), "HEAD " + path)
                check(int(headers["Content-Length"]) > 0, "HEAD %s: %r" % (path, headers))
            for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "X"):
                got, headers, _ = serving.ask(LEAK, method)
                equal((got, headers["Allow"]), (405, "GET, HEAD"), method)
            equal(serving.ask(LEAK, headers={"Content-Length": "5"})[0], 413, "a body")
            equal(serving.ask(LEAK, headers={"X": "y" * 20000})[0] >= 400, True, "a head of 20,000 bytes")
            equal(serving.text("/healthz"), "ok\n", "afterwards")

    @test
    def the_index_does_not_take_unknown_for_zero():
        with server() as (process, port), Serving(process.pid) as serving:
            equal(re.findall("<td>([^<]+)</td><td><a", serving.text("/debug/pprof/")), ["not collected yet"] * 2, "before")
            metrics = serving.metrics()
            check("leakprof_goroutines_leaked" not in metrics, metrics)
            load(port, 4)
            counts_settle(process.pid, 2)
            serving.ask(LEAK)
            equal(re.findall("<td>([^<]+)</td><td><a", serving.text("/debug/pprof/")), ["4", "2"], "after")

    @test
    def nothing_measured_is_no_zero():
        """A program that has the shim and no coroutine."""
        with Running("python3", "-c", "print('READY', flush=True); input()", env=preload(at_exit=0),
                     stdin=subprocess.PIPE) as running, Serving(running.process.pid) as serving:
            for path in (LEAK, ALL, LEAK + "?debug=1"):
                got, _, body = serving.ask(path)
                check(got == 503 and body.startswith(b"nothing measured: no coroutine library"), "%d %r" % (got, body))
            check("not collected yet" in serving.text("/debug/pprof/"), "index")
            metrics = serving.metrics()
            equal(metrics["leakprof_serve_results_total{result=\"failed\"}"], "3", "failed ones")
            check("leakprof_goroutines_leaked{}" not in metrics, metrics)

    @test
    def a_page_of_another_name_may_not_ask():
        with server() as (process, _), Serving(process.pid) as serving:
            for host, status in (("evil.example", 403), ("localhost:%d" % serving.port, 200), ("127.0.0.1", 200),
                                 ("[::1]:80", 200), ("127.0.0.1.evil.example", 403), ("", 403)):
                equal(serving.ask("/healthz", headers={"Host": host})[0], status, host)

    @test
    def others_need_a_token():
        token = os.path.join(FOLDER, "token")
        with server() as (process, _):
            one_line(run(LEAKPROF, "serve", "--listen", "0.0.0.0:0", str(process.pid)), 2)
            with open(token, "w") as file:
                file.write("0123456789abcdef\n")
            os.chmod(token, 0o644)
            one_line(run(LEAKPROF, "serve", "--listen", "0.0.0.0:0", "--token-file", token, str(process.pid)), 6)
            os.chmod(token, 0o600)
            with Serving("--token-file", token, process.pid, listen="0.0.0.0:0") as serving:
                for header, status in (("Bearer 0123456789abcdef", 200), ("bearer 0123456789abcdef", 200),
                                       ("Bearer 0123456789abcdee", 401), ("Bearer 0123456789abcdef0", 401),
                                       ("Bearer ", 401), ("Basic 0123456789abcdef", 401)):
                    equal(serving.ask("/metrics", headers={"Authorization": header})[0], status, header)
                got, headers, _ = serving.ask(LEAK)
                equal((got, headers["WWW-Authenticate"]), (401, "Bearer"), "without one")
                equal(serving.text("/healthz"), "ok\n", "health is for all")

    @test
    def a_unix_socket_is_for_who_may_open_it():
        path = os.path.join(FOLDER, "serve.sock")
        nobody = ("setpriv", "--reuid=%d" % NOBODY, "--clear-groups", "python3", "-c",
                  "import socket; socket.socket(socket.AF_UNIX).connect(%r)" % path)
        os.chmod(FOLDER, 0o755)
        with server() as (process, _):
            for mode, code in (("0600", 1), ("0666", 0)):
                with Serving("--socket-mode", mode, process.pid, listen="unix:" + path) as serving:
                    equal(stat.S_IMODE(os.stat(path).st_mode), int(mode, 8), "mode")
                    equal(serving.text("/healthz"), "ok\n", "health")
                    equal(run(*nobody).returncode, code, "another user, " + mode)
                equal(os.path.exists(path), False, "it is taken away at the end")
            killed = Serving(process.pid, listen="unix:" + path)
            killed.end(signal.SIGKILL)
            equal(os.path.exists(path), True, "it is left when serve is killed")
            with Serving(process.pid, listen="unix:" + path) as serving:
                equal(serving.text("/healthz"), "ok\n", "served again")
                one_line(run(LEAKPROF, "serve", "--listen", "unix:" + path, str(process.pid)), 5)

    @test
    def several_targets_have_their_pid_in_the_path():
        with server() as (one, _), server() as (two, port), Serving(one.pid, two.pid) as serving:
            load(port, 4)
            counts_settle(two.pid, 2)
            check(serving.text("/%d%s?debug=1" % (one.pid, LEAK)).startswith("goroutineleak profile: total 0"), "one")
            check(serving.text("/%d%s?debug=1" % (two.pid, LEAK)).startswith("goroutineleak profile: total 2"), "two")
            check("several targets" in serving.text(LEAK, 404), "neither")
            root = serving.text("/")
            equal(re.findall(r"href='(\d+)/debug", root), [str(one.pid), str(two.pid)], "root")
            text = serving.text("/metrics")
            check('leakprof_goroutines_leaked{pid="%d"} 2' % two.pid in text, text)
            one.kill()
            one.wait()
            check(str(one.pid) in serving.text("/healthz", 503), "health")
            check('leakprof_up{pid="%d"} 0' % one.pid in serving.text("/metrics"), "up")
            check(serving.text("/%d%s?debug=1" % (two.pid, LEAK)).startswith("goroutineleak profile: total 2"), "two")


# --- Under stress ---

def suite_stress():
    @test
    def many_clients_share_a_collection():
        with server() as (process, port), Serving(process.pid) as serving:
            load(port, 4)
            counts_settle(process.pid, 2)
            os.kill(process.pid, signal.SIGSTOP)  # nobody can be answered before all have asked
            answers = []
            clients = [threading.Thread(target=lambda: answers.append(serving.text(LEAK + "?debug=1"))) for _ in range(40)]
            for client in clients:
                client.start()
            wait_for(lambda: int(serving.text("/debug/pprof/") != "") and len(connections(serving.port, ESTABLISHED)) >= 40)
            os.kill(process.pid, signal.SIGCONT)
            for client in clients:
                client.join(30)
            equal(len(answers), 40, "answers")
            check(all("total 2\n" in answer for answer in answers), answers)
            taken = serving.collections()
            check(taken <= 2, "%d collections for 40 clients at once" % taken)

    @test
    def a_client_that_has_left_is_not_measured_for():
        with server() as (process, _), Serving(process.pid) as serving:
            os.kill(process.pid, signal.SIGSTOP)
            first = serving.socket()
            first.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % LEAK.encode())
            wait_for(lambda: pending_signals(process.pid))  # it is being asked for the first
            for _ in range(20):
                with serving.socket() as client:
                    client.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % LEAK.encode())
            wait_for(lambda: len(connections(serving.port, ESTABLISHED)) == 1)
            os.kill(process.pid, signal.SIGCONT)
            check(first.recv(100).startswith(b"HTTP/1.1 200"), "who stayed has an answer")
            wait_for(lambda: not connections(serving.port, CLOSE_WAIT))
            equal(serving.collections(), 1, "collections")

    @test
    def slow_clients_keep_nobody_waiting():
        with server() as (process, _), Serving(process.pid) as serving:
            slow = [serving.socket() for _ in range(50)]
            for client in slow:
                client.sendall(b"GET / HTTP/1.1\r\nHo")
            began = time.monotonic()
            equal(serving.text("/healthz"), "ok\n", "health")
            serving.text(LEAK + "?debug=1")
            # Each sends a byte now and then, so that none is idle; ended they are all the same.
            ended = threading.Event()
            threading.Thread(target=trickle, args=(slow, ended), daemon=True).start()
            wait_for(lambda: not connections(serving.port, ESTABLISHED), 20)
            ended.set()
            check(time.monotonic() - began < 20, "they were ended")

    @test
    def a_target_that_is_killed_is_told_of():
        with server() as (process, _), Serving(process.pid) as serving:
            os.kill(process.pid, signal.SIGSTOP)
            answers = []
            client = threading.Thread(target=lambda: answers.append(serving.ask(LEAK)))
            client.start()
            wait_for(lambda: pending_signals(process.pid))
            process.kill()
            client.join(20)
            process.wait()
            equal(answers[0][0], 503, "while it was asked")
            equal(answers[0][2].decode(), "process %d has ended\n" % process.pid, "why")
            for path in (LEAK, ALL + "?debug=1", "/healthz", "/debug/pprof/cmdline"):
                got, headers, body = serving.ask(path)
                check(got == 503 and b"has ended" in body, "%s: %d %r" % (path, got, body))
            equal(serving.metrics()["leakprof_up{}"], "0", "up")
            equal(serving.end(), 0, "exit code")

    @test
    def a_stopped_target_is_not_flooded():
        with server() as (process, _), Serving("--timeout", "200ms", process.pid) as serving:
            os.kill(process.pid, signal.SIGSTOP)
            for _ in range(5):
                check("did not answer in time" in serving.text(LEAK, 503), "while it is stopped")
            equal(serving.metrics()["leakprof_up{}"], "0", "while it is stopped")
            os.kill(process.pid, signal.SIGCONT)
            wait_for(lambda: not pending_signals(process.pid))
            equal(serving.collections(), 1, "collections afterwards")

    @test
    def serve_may_be_killed_while_it_collects():
        with server() as (process, port):
            serving = Serving(process.pid)
            os.kill(process.pid, signal.SIGSTOP)
            client = serving.socket()
            client.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % LEAK.encode())
            wait_for(lambda: pending_signals(process.pid))
            serving.end(signal.SIGKILL)
            os.kill(process.pid, signal.SIGCONT)
            load(port, 4)
            counts_settle(process.pid, 2)
            with Serving(process.pid) as again:
                check("total 2\n" in again.text(LEAK + "?debug=1"), "the next collection")
            process.send_signal(signal.SIGTERM)
            equal(process.wait(20), 0, "the program's exit code")

    @test
    def serve_ends_while_clients_wait():
        with server() as (process, _), Serving(process.pid) as serving:
            clients = []
            for path in (LEAK + "?seconds=60", LEAK + "?seconds=61", "/metrics"):
                clients.append(serving.socket())
                clients[-1].sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
            check(clients[-1].recv(12) == b"HTTP/1.1 200", "metrics")
            wait_for(lambda: serving.collections() == 1)
            equal(serving.end(), 0, "exit code")
            answers = [client.recv(100)[:12] for client in clients[:2]]
            check(all(answer in (b"HTTP/1.1 503", b"") for answer in answers), "%r" % answers)

    @test
    def serve_ends_as_its_program_does():
        waiter = os.path.join(PROGRAMS, "waiter_st")
        with Serving("--", waiter, "2", stdin=subprocess.PIPE) as serving:
            equal(serving.process.stdout.readline(), "READY\n", "output")
            wait_for(lambda: serving.ask(LEAK + "?debug=1")[0] == 200)
            check("total 3\n" in serving.text(LEAK + "?debug=1"), "leaks")
            serving.process.stdin.close()
            equal(serving.process.wait(20), 5, "exit code")
        with Serving("--", waiter, "2", stdin=subprocess.PIPE) as serving:
            equal(serving.process.stdout.readline(), "READY\n", "output")
            serving.process.send_signal(signal.SIGTERM)
            equal(serving.process.wait(20), -signal.SIGTERM, "by the same signal")
        one_line(run(LEAKPROF, "serve", "--listen", "127.0.0.1:0", "--", "/no/such/program"), 127)

    @test
    def a_program_without_the_shim_is_never_signalled():
        """serve's target becomes another program, for which the signal would be deadly."""
        with Running("bash", "-c", "echo READY; read line; exec env -u LD_PRELOAD sleep 1000", env=preload(at_exit=0),
                     stdin=subprocess.PIPE) as running:
            with Serving(running.process.pid) as serving:
                running.process.stdin.write("\n")
                running.process.stdin.flush()
                wait_for(lambda: open("/proc/%d/comm" % running.process.pid).read() == "sleep\n")
                got, _, body = serving.ask(LEAK)
                check(got == 503 and b"does not have the shim" in body, body)
                equal(serving.metrics()["leakprof_up{}"], "0", "up")
                equal(running.process.poll(), None, "it lives")


def trickle(clients, ended):
    while not ended.wait(0.5):
        for client in clients:
            with contextlib.suppress(OSError):
                client.sendall(b"s")


ESTABLISHED, CLOSE_WAIT = "01", "08"


def connections(port, state):
    """The server's ends at PORT of this machine that are in STATE: closed by nobody, or by the client alone."""
    rows = [line.split() for line in open("/proc/net/tcp").read().splitlines()[1:]]
    return [row for row in rows if row[1].endswith(":%04X" % port) and row[3] == state]


def pending_signals(pid):
    """Whether a real-time signal waits for PID."""
    text = open("/proc/%d/status" % pid).read()
    return any(int(mask, 16) >> 33 for mask in re.findall(r"^(?:SigPnd|ShdPnd):\t(\w+)", text, re.M))


# --- Metrics ---

SCRAPE = """
scrape_configs:
- job_name: leakprof
  scrape_interval: 300ms
  static_configs:
  - targets: ['127.0.0.1:%d']
"""


def suite_metrics():
    @test
    def metrics_pass_promtool_and_count():
        with server() as (process, port), Serving(process.pid) as serving:
            load(port, 4)
            counts_settle(process.pid, 2)
            serving.ask(LEAK)
            text = serving.text("/metrics")
            promtool = prometheus_tool("promtool")
            if promtool:
                result = run(promtool, "check", "metrics", input=text)
                equal((result.returncode, result.stdout + result.stderr), (0, ""), "promtool")
            metrics = serving.metrics()
            for name, value in (("leakprof_up{}", 1), ("leakprof_goroutines{state=\"waiting\"}", 2),
                                ("leakprof_goroutines{state=\"io\"}", 2),
                                ("leakprof_goroutines_waiting{wait=\"sync.Cond.Wait\"}", 2),
                                ("leakprof_goroutines_waiting{wait=\"IO wait\"}", 2),
                                ("leakprof_goroutines_created_total{}", 9), ("leakprof_goroutines_finished_total{}", 6),
                                ("leakprof_goroutines_leaked{}", 2), ("leakprof_collections_total{}", 1),
                                ("leakprof_collection_failures_total{}", 0), ("leakprof_threads{}", 1)):
                equal(float(metrics[name]), value, name)
            when = float(metrics["leakprof_last_collection_timestamp_seconds{}"])
            check(abs(when - time.time()) < 60, "time of the last collection: %r" % when)
            pause = float(metrics["leakprof_last_collection_pause_seconds{}"])
            check(0 < pause < float(metrics["leakprof_last_collection_duration_seconds{}"]) < 30, metrics)

    @test
    def prometheus_counts_the_leak_up():
        program = prometheus_tool("prometheus")
        if not program:
            return
        with server() as (process, port), Serving(process.pid, interval="200ms") as serving:
            with prometheus(program, {"prometheus.yml": SCRAPE % serving.port}) as ask:
                for total in (2, 4):
                    load(port, 4)
                    wait_for(lambda: ask("leakprof_goroutines_leaked") == [float(total)], 20)
                equal(ask("sum(leakprof_goroutines{state=\"waiting\"})"), [4.0], "waiting")
                equal(ask("up"), [1.0], "the target of Prometheus")

    @test
    def statistics_stop_nothing():
        """No thread is stopped, no snapshot made, no descriptor opened in the program."""
        with server() as (process, _):
            before = os.listdir("/proc/%d/fd" % process.pid)
            for _ in range(50):
                result = run(LEAKPROF, "top", "--once", str(process.pid))
                equal(result.returncode, 0, result.stderr)
            equal(os.listdir("/proc/%d/fd" % process.pid), before, "descriptors")
            equal(open("/proc/%d/task/%d/children" % (process.pid, process.pid)).read(), "", "children")
            check("snapshots   0, 0 failed; stopped for 0.0 ms in all" in result.stdout, result.stdout)

    @test
    def statistics_come_to_many_at_once():
        with server() as (process, _):
            codes = []
            threads = [threading.Thread(target=lambda: codes.append(run(LEAKPROF, "top", "--once", str(process.pid)).returncode))
                       for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            equal(codes, [0] * 12, "exit codes")

    @test
    def top_goes_on_until_its_program_ends():
        with server() as (process, port):
            top = subprocess.Popen([LEAKPROF, "top", "--interval", "100ms", str(process.pid)], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
            lines = [top.stdout.readline() for _ in range(40)]
            check(sum("goroutines  2: " in line for line in lines) >= 3, lines)
            check(not any("\033" in line for line in lines), "no terminal, no escapes")
            process.kill()
            process.wait()
            equal(top.stderr.read(), "leakprof: process %d has ended\n" % process.pid, "standard error")
            equal(top.wait(20), 4, "exit code")
        one_line(run(LEAKPROF, "top", "--once", str(os.getpid())), 4)
        one_line(run(LEAKPROF, "top", "--interval=1ms", "1"), 2)

    @test
    def a_program_reads_its_own():
        result = run(STATES, "stats", env=dict(preload(at_exit=0), MINIGO_THREADS="1"))
        equal(result.returncode, 0, result.stderr)
        got = dict(re.findall(r"^(.*) (\d+)$", result.stdout, re.M))
        for name, value in (("version", 1), ("running", 1), ("runnable", 2), ("waiting", 2), ("io", 1), ("sleeping", 1),
                            ("created", 6), ("finished", 0), ("kind chan receive", 2), ("kind sleep", 1),
                            ("kind IO wait", 1), ("snapshots", 1), ("leaked", 1), ("short", 0)):
            equal(got.get(name), str(value), name + " of " + result.stdout)
        equal(run(STATES, "stats").stdout, "none -38\n", "without the shim")


# --- Namespaces ---

# Runs its arguments under a filter: these system calls fail with EPERM, clone3 with ENOSYS, clone for a new namespace too.
FILTERED = """
import ctypes, os, struct, sys
denied = [101, 310, 311, 312, 298, 321, 323, 165, 166, 272, 308, 161, 248, 250, 175, 176, 313, 246, 169, 425, 434]
NAMESPACES, EPERM, ENOSYS = 0x7e020000, 0x50001, 0x50000 | 38
code = [(0x20, 0, 0, 0)]
for number in denied:
    code += [(0x15, 0, 1, number), (0x06, 0, 0, EPERM)]
code += [(0x15, 0, 1, 435), (0x06, 0, 0, ENOSYS)]
code += [(0x15, 0, 3, 56), (0x20, 0, 0, 16), (0x45, 0, 1, NAMESPACES), (0x06, 0, 0, EPERM), (0x06, 0, 0, 0x7fff0000)]
program = b"".join(struct.pack("HBBI", *step) for step in code)
buffer = ctypes.create_string_buffer(program)
head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, head, 0, 0) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""


def suite_namespaces():
    os.chmod(FOLDER, 0o755)
    os.makedirs(PUBLIC)
    as_nobody = ["setpriv", "--reuid=%d" % NOBODY, "--regid=%d" % NOBODY, "--clear-groups", "--inh-caps=-all"]
    for source in (LEAKPROF, LEAKPROF + "-full", SHIM, os.path.join(PROGRAMS, "waiter_st")):
        shutil.copy(source, PUBLIC)
    leakprof = os.path.join(PUBLIC, "leakprof")
    inside = ["env", "LD_PRELOAD=" + os.path.join(PUBLIC, "libleakprof.so"), "LEAKPROF_OPTIONS=at_exit=0",
              os.path.join(PUBLIC, "waiter_st"), "2"]

    def permitted(*command):
        result = run(*command, "true")
        if result.returncode:
            print("     (not permitted here: %s: %s)" % (" ".join(command), result.stderr.strip()))
        return result.returncode == 0

    def find(pid):
        """The waiter among PID and its descendants, as we see it."""
        if open("/proc/%d/comm" % pid).read() == "waiter_st\n":
            return pid
        return find(int(child_of(pid)))

    def look(pid, *user):
        """Both kinds of request."""
        raw = os.path.join(PUBLIC, "now.raw")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(raw)
        result = run(*user, leakprof, "top", "--once", str(pid))
        equal(result.returncode, 0, "top: " + result.stderr)
        check(" 1  sleep (no deadline)" in result.stdout and "(PID %d)" % pid in result.stdout, result.stdout)
        result = run(*user, leakprof, "snapshot", "--profile=goroutine", "--debug=1", str(pid))
        equal(result.returncode, 0, "snapshot: " + result.stderr)
        check("suspended_worker+" in result.stdout and '(leaked)"' in result.stdout, result.stdout)
        left = [path for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run") for path in glob.glob(folder + "/leakprof-*[0-9a-f]")
                if stat.S_ISSOCK(os.lstat(path).st_mode)]
        equal(left, [], "no socket is left")

    def container(command, *askers):
        if not permitted(*command):
            return
        with Running(*command, *inside, stdin=subprocess.PIPE) as running:
            equal(running.first_line, "READY\n", "output " + running.first_line)
            pid = find(running.process.pid)
            for asker in askers:
                look(pid, *asker)
            running.process.stdin.close()
            equal(running.process.wait(30), 5, "exit code")

    os.chmod(PUBLIC, 0o777)

    @test
    def another_network_namespace():
        container(["unshare", "-n"], [])

    @test
    def another_pid_and_network_namespace_as_a_container_of_root():
        container(["unshare", "-p", "-f", "-n", "-m", "--mount-proc"], [])

    @test
    def another_users_container_asked_by_root_and_by_that_user():
        container([*as_nobody, "unshare", "-U", "-r", "-p", "-f", "-n", "-m", "--mount-proc"], [], as_nobody)

    @test
    def another_root_folder():
        """As in a container with its own files: programs and libraries are found below its root."""
        root = os.path.join(FOLDER, "root")
        made = ('mkdir -p "$0/usr" "$0/lib" "$0/lib64" "$0/proc" "$0/dev" "$0/tmp" "$0/app" && chmod 1777 "$0/tmp" &&'
                ' for part in usr lib lib64; do mount --rbind /$part "$0/$part"; done && mount --bind "$1" "$0/app" &&'
                ' mount -t proc proc "$0/proc" && shift && exec chroot "$0" "$@"')
        command = ["unshare", "-p", "-f", "-n", "-m", "sh", "-c", made, root, PUBLIC]
        if not permitted("unshare", "-p", "-f", "-n", "-m"):
            return
        shutil.copy(os.path.join(PROGRAMS, "waiter_st"), os.path.join(PUBLIC, "other_name"))
        with Running(*command, "/usr/bin/env", "LD_PRELOAD=/app/libleakprof.so", "LEAKPROF_OPTIONS=at_exit=0",
                     "/app/waiter_st", "2", stdin=subprocess.PIPE) as running:
            equal(running.first_line, "READY\n", "output")
            look(find(running.process.pid))
            running.process.stdin.close()
            equal(running.process.wait(30), 5, "exit code")

    @test
    def a_sidecar_that_shares_the_pid_namespace():
        """No capability beyond the target's own, another network namespace."""
        command = [*as_nobody, "unshare", "-U", "-r", "-p", "-f", "-m", "--mount-proc", "-n"]
        if not permitted(*command):
            return
        bare = "setpriv --bounding-set=-all --inh-caps=-all"
        script = ('unshare -n %s "$@" <"$0" >"$0.out" & until grep -q READY "$0.out"; do sleep 0.05; done; %s %s snapshot'
                  ' --profile=goroutine --debug=1 $!; grep CapEff /proc/$!/status; kill $!' % (bare, bare, leakprof))
        pipe = os.path.join(PUBLIC, "stdin")
        os.mkfifo(pipe)
        os.chmod(pipe, 0o666)
        keeper = os.open(pipe, os.O_RDWR)
        result = run(*command, "sh", "-c", script, pipe, *inside)
        os.close(keeper)
        check("suspended_worker+" in result.stdout, result.stdout + result.stderr)
        check("CapEff:\t0000000000000000" in result.stdout, "the target has no capability: " + result.stdout)

    @test
    def a_seccomp_filter_as_dockers():
        """What Docker's default profile denies, and more: looking into memory, by which statistics tell waits apart."""
        for command, leaked, states, kinds in (
                (inside, 3, "0 running, 0 runnable, 4 waiting, 1 in I/O, 0 asleep", True),
                (["env", "MINIGO_THREADS=1", *inside[:-2], STATES], 1, "1 running, 2 runnable, 4 waiting", False)):
            with Running("python3", "-c", FILTERED, *command, stdin=subprocess.PIPE) as running:
                equal(running.first_line, "READY\n", "output " + running.first_line)
                pid = running.process.pid
                check("Seccomp:\t2" in open("/proc/%d/status" % pid).read(), "it has a filter")
                result = run(LEAKPROF, "snapshot", "--debug=1", str(pid))
                check("goroutineleak profile: total %d\n" % leaked in result.stdout, result.stdout + result.stderr)
                result = run(LEAKPROF, "top", "--once", str(pid))
                check(states in result.stdout, result.stdout + result.stderr)
                equal("WAITING IN" in result.stdout, kinds, "kinds of waits")

    @test
    def others_may_not_ask():
        """Neither another user, nor one with the same user outside of a target with more capabilities."""
        with Running(*inside, stdin=subprocess.PIPE) as running:
            one_line(run(*as_nobody, leakprof, "top", "--once", str(running.process.pid)), 4)
            one_line(run(*as_nobody, leakprof, "serve", "--listen", "127.0.0.1:0", str(running.process.pid)), 4)
            running.process.stdin.close()
            equal(running.process.wait(30), 5, "exit code")


def suite_serve():
    suite_profiles()
    suite_http()
    suite_stress()
    suite_metrics()
    suite_namespaces()


main({"serve": suite_serve, "profiles": suite_profiles, "http": suite_http, "stress": suite_stress, "metrics": suite_metrics,
      "namespaces": suite_namespaces})
