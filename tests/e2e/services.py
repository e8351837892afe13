# SPDX-License-Identifier: MIT
"""Servers of examples/ with the shim under a steady load, for the tests that watch them for a while."""
import contextlib
import http.client
import math
import os
import re
import signal
import socket
import subprocess
import threading
import time

from harness import *


def ask_state_threads(port, number):
    """One request; half of them are errors."""
    text, wanted = (b"GET /search?q=\n", b"400 ") if number % 2 else (b"GET /search?q=word\n", b"200 three results\n")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(text)
        answer = client.makefile("rb").read()
    check(answer.startswith(wanted), "%r was answered with %r" % (text, answer))


class HttpClient:
    """Asks PORT by HTTP, on a new connection for each 50 requests."""

    def __init__(self, port):
        self.port = port
        self.connection = None

    def ask(self, path, wanted):
        if not self.connection or self.left == 0:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            self.left = 50
        self.left -= 1
        self.connection.request("GET", path)
        response = self.connection.getresponse()
        body = response.read()
        check(response.status == 200 and body.startswith(wanted), "%s: %d %r" % (path, response.status, body))
        if self.left == 0:
            self.connection.close()


def asks_minigo(port, searches):
    """A function that makes one request; with SEARCHES each second one is a search."""
    clients = threading.local()

    def ask(number):
        if not hasattr(clients, "http"):
            clients.http = HttpClient(port)
        try:
            if searches and number % 2:
                clients.http.ask("/search?q=word", b"three results of the ")
            else:
                clients.http.ask("/ok", b"ok\n")
        except Exception:
            del clients.http
            raise
    return ask


class Load:
    """Calls ASK(number) RATE times a second from a few threads, and notes what failed and how long each took."""
    CLIENTS = 4

    def __init__(self, ask, rate):
        self.ask, self.step = ask, self.CLIENTS / rate
        self.done, self.failures, self.seconds = 0, [], []
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(i,), daemon=True) for i in range(self.CLIENTS)]
        for thread in self.threads:
            thread.start()

    def work(self, client):
        due = time.monotonic() + self.step * client / self.CLIENTS
        number = client // 2
        while not self.ended.wait(max(0, due - time.monotonic())):
            begun = time.monotonic()
            failure = self.try_one(number)
            with self.lock:
                self.done += 1
                self.seconds.append(time.monotonic() - begun)
                self.failures += failure
            number += 1
            # Who came late does not catch up by a burst.
            due = max(due + self.step, time.monotonic())

    def try_one(self, number):
        try:
            self.ask(number)
            return []
        except Exception as error:  # any is a request that was not answered
            return ["%s: %s" % (type(error).__name__, error)]

    def take_p99(self):
        """The 99th percentile in milliseconds since it was last asked for."""
        with self.lock:
            seconds, self.seconds = sorted(self.seconds), []
        return 1000 * seconds[math.ceil(0.99 * len(seconds)) - 1] if seconds else 0

    def answers(self, count):
        """Waits for COUNT requests more."""
        wanted = self.done + count
        wait_for(lambda: self.done >= wanted, 60)

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


class Service:
    """A server of examples/ with the shim, under load: it must not notice anything, and leave nothing behind."""
    LOADS = {"st": lambda port, leaks: lambda number: ask_state_threads(port, number),
             "minigo": lambda port, leaks: asks_minigo(port, not leaks)}

    def __init__(self, program, rate, env=None, threads=1, preloads=(), **options):
        self.name = program
        self.env = dict(preload(at_exit=0, **options), MINIGO_THREADS=str(threads), **(env or {}))
        self.env["LD_PRELOAD"] = ":".join([*preloads, SHIM])
        self.running = Running(os.path.join(EXAMPLES, program), env=self.env)
        self.pid = self.running.process.pid
        self.port = int(self.running.first_line.split()[3])
        self.load = Load(self.LOADS[program.split("_")[0]](self.port, program == "minigo_http"), rate)

    def __enter__(self):
        return self

    def __exit__(self, kind, *unused):
        self.load.end()
        with self.running:
            if not kind:
                self.ends_as_alone()

    def ends_as_alone(self):
        equal(self.load.failures[:3], [], "requests of %s that failed" % self.name)
        check(self.load.done, "no request was made")
        wait_for(lambda: not open("/proc/%d/task/%d/children" % (self.pid, self.pid)).read())
        self.running.process.terminate()
        output, errors = self.running.process.communicate(timeout=20)
        equal((self.running.process.returncode, output, errors), (0, "", ""), "how %s ended" % self.name)


def resident_kib(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", open("/proc/%d/status" % pid).read(), re.M).group(1))


def descriptors(pid):
    return len(os.listdir("/proc/%d/fd" % pid))
