#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the end-to-end tests share: running programs under the shim, reading profiles, counting results. A suite file is
called as FILE SUITE BUILD_DIR; it prints one line a test and ends with `N passed, N failed`; exits 1 when one failed."""
import contextlib
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

SUITE, BUILD = sys.argv[1], os.path.abspath(sys.argv[2])
SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LEAKPROF = os.path.join(BUILD, "leakprof", "leakprof")
SHIM = os.path.join(BUILD, "runtime_hooks", "libleakprof.so")
TESTS = os.path.join(BUILD, "tests", "runtimes")
EXAMPLES = os.path.join(BUILD, "examples")
PROGRAMS = os.path.join(BUILD, "tests", "programs")
ST_SERVER = os.path.join(EXAMPLES, "st_server")
LOAD = os.path.join(SOURCE, "examples", "load.sh")
LEAK, ALL = "/debug/pprof/goroutineleak", "/debug/pprof/goroutine"
FOLDER = tempfile.mkdtemp(prefix="leakprof-test-")
results = {"passed": 0, "failed": 0, "known": 0}
# Options for all programs of a suite: how `./dev test` runs one in another way.
EVERYWHERE = os.environ.get("LEAKPROF_OPTIONS", "")
COND, MUTEX, JOIN = "sync.Cond.Wait", "sync.Mutex.Lock", "join"

# Leaks that are known to be hidden, and why. One that is found is a failure: take its line out. A live goroutine that is
# reported has no place here: that is always a failure.
KNOWN_HIDDEN = {
    "pth_wakes.leak_message_in_dropped_port": "the ring of ports is cut only where a goroutine waits for one",
    "st_wakes.leak_owner_of_a_live_lock": "the owner in a lock that nobody waits for is taken for a handle",
}

def run(*command, input=None, timeout=60, **options):
    """Runs COMMAND to its end; one that hangs is killed with all that it started."""
    if input is not None:
        options["stdin"] = subprocess.PIPE
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=FOLDER,
                               start_new_session=True, **options)
    try:
        output, errors = process.communicate(input, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


def equal(got, wanted, what):
    check(got == wanted, "%s: got %r, expected %r" % (what, got, wanted))


class WrongVerdict(AssertionError):
    pass


def test(function):
    """Runs FUNCTION at once and counts it."""
    known = KNOWN_HIDDEN.get(function.__name__)
    try:
        function()
        check(not known, "this came out right: it is hidden no more")
        results["passed"] += 1
        print("ok   %s" % function.__name__)
    except Exception as error:  # a test that breaks has failed
        outcome = "known" if known and isinstance(error, WrongVerdict) else "failed"
        results[outcome] += 1
        print("%s %s: %s" % ({"known": "known", "failed": "FAIL"}[outcome], function.__name__, known or error))
    sys.stdout.flush()


def leaks_are(profile, wanted):
    got = sites(profile)
    if got != sorted(wanted):
        raise WrongVerdict("leaks: got %r, expected %r" % (got, sorted(wanted)))


def sites(path):
    """What a profile holds, from its debug=1 form: sorted (entry function, wait, count)."""
    text = run(LEAKPROF, "report", "--debug=1", path).stdout
    found = []
    for record in text.split("\n\n"):
        count = re.search(r"^(\d+) @", record, re.M)
        if not count:
            continue
        wait = re.search(r'"wait":"([^"]*)"', record).group(1)
        frames = re.findall(r"^#\t0x\w+\t+([^\s+]+)", record, re.M)
        found.append((frames[-1], wait, int(count.group(1))))
    return sorted(found)


def one_line(result, code):
    equal(result.returncode, code, "exit code (%s)" % result.stderr.strip())
    equal(result.stderr.count("\n"), 1, "lines on stderr: %r" % result.stderr)


class Running:
    """A program that runs until it is told to end."""

    def __init__(self, *command, env=None, stdin=None):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        cwd=FOLDER, env=env, stdin=stdin)
        self.first_line = self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def preload(**options):
    text = ":".join([EVERYWHERE] * bool(EVERYWHERE) + ["%s=%s" % item for item in options.items()])
    return dict(os.environ, LD_PRELOAD=SHIM, LEAKPROF_OPTIONS=text)


def wait_for(condition, seconds=10):
    end = time.time() + seconds
    while not condition():
        check(time.time() < end, "it did not come")
        time.sleep(0.01)
    time.sleep(0.05)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def request(port, text):
    """Sends TEXT as soon as somebody listens."""
    end = time.time() + 10
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(text)
                return client.makefile(errors="replace").read()
        except ConnectionRefusedError:
            check(time.time() < end, "nobody listens")
            time.sleep(0.02)


def st_examples():
    """State Threads' own example programs, or None. `./dev setup` fetches them where dpkg leaves documentation out."""
    inside = "usr/share/doc/libst-dev/examples"
    for folder in ("/" + inside, os.path.join(SOURCE, "build", "libst-dev", inside)):
        if os.path.exists(os.path.join(folder, "server.c")):
            return folder
    print("     (libst-dev's examples are not here: ./dev setup --test)")
    return None


def child_of(pid):
    return open("/proc/%d/task/%d/children" % (pid, pid)).read().split()[0]


def load(port, count):
    """COUNT requests, of which each second one leaks a goroutine."""
    result = run(LOAD, str(port), str(count))
    equal(result.returncode, 0, "load: " + result.stdout + result.stderr)


class Serving:
    """leakprof serve, and what it answers."""

    def __init__(self, *arguments, listen="127.0.0.1:0", interval="0", user=(), stdin=None):
        self.process = subprocess.Popen([*user, LEAKPROF, "serve", "--listen", listen, "--interval", interval,
                                         *map(str, arguments)], stdin=stdin, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, cwd=FOLDER)
        self.launched = "--" in arguments
        self.said = self.process.stderr.readline()
        port = re.search(r"http://[^/]*:(\d+)/", self.said)
        self.port = int(port.group(1)) if port else None
        self.path = None if port else listen[len("unix:"):]

    def __enter__(self):
        check("serving" in self.said, self.said + self.process.stderr.read() if self.process.poll() else self.said)
        return self

    def __exit__(self, *unused):
        if self.process.poll() is None and not self.launched:
            equal(self.end(), 0, "exit code of serve: " + self.process.stderr.read())
        self.end()

    def end(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)

    def socket(self):
        if self.path is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout=30)
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(self.path)
        return client

    def ask(self, path, method="GET", headers={}):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.sock = self.socket()
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), body

    def text(self, path, status=200):
        got, headers, body = self.ask(path)
        equal(got, status, path + ": " + body[:200].decode(errors="replace"))
        return body.decode()

    def metrics(self):
        return dict(re.findall(r"^(\w+(?:{.*})?) (\S+)$", re.sub(r'pid="\d+",?', "", self.text("/metrics")), re.M))

    def collections(self):
        return int(self.metrics()["leakprof_collections_total{}"])

    def url(self, path):
        return "http://127.0.0.1:%d%s" % (self.port, path)


def top_of(url):
    """Function -> count, as go tool pprof shows the profile at URL."""
    environment = dict(os.environ, PPROF_TMPDIR=FOLDER, HOME=FOLDER)
    result = run("go", "tool", "pprof", "-top", url, env=environment)
    equal(result.returncode, 0, result.stderr)
    rows = re.findall(r"^ +(-?\d+) +\S+% +\S+% +(-?\d+) +\S+%  (\S+)", result.stdout, re.M)
    return {name: int(flat) for flat, _, name in rows if int(flat)}, result.stdout


def prometheus_tool(name):
    """The path of a program of Prometheus' package, or None."""
    path = os.path.join(SOURCE, "build", "tools", "prometheus", "usr", "bin", name)
    if os.path.exists(path):
        return path
    print("     (%s is not here: ./dev setup --test)" % name)
    return None


@contextlib.contextmanager
def prometheus(program, files):
    """A Prometheus with FILES (name -> text), of which prometheus.yml configures it: a function that gives the values of an
    expression."""
    folder = tempfile.mkdtemp(prefix="prometheus-", dir=FOLDER)
    port = free_port()
    for name, text in files.items():
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    process = subprocess.Popen([program, "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                                "--web.listen-address=127.0.0.1:%d" % port], cwd=folder, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)

    def ask(expression):
        try:
            with urllib.request.urlopen("http://127.0.0.1:%d/api/v1/query?query=%s"
                                        % (port, urllib.parse.quote(expression))) as response:
                return [float(row["value"][1]) for row in json.load(response)["data"]["result"]]
        except OSError:
            return None
    try:
        wait_for(lambda: ask("up") is not None, 20)
        yield ask
    finally:
        process.kill()
        process.wait()


def children_of(pid):
    return [int(child) for path in glob.glob("/proc/%d/task/*/children" % pid) for child in open(path).read().split()]


def is_snapshot(pid):
    with contextlib.suppress(OSError):
        return open("/proc/%d/comm" % pid).read() == "leakprof-snap\n"
    return False


def snapshots_of(pid):
    """The snapshot processes of PID."""
    return [child for child in children_of(pid) if is_snapshot(child)]


def main(suites):
    """Runs the suite that the command line names."""
    suites[SUITE]()
    shutil.rmtree(FOLDER, ignore_errors=True)
    if results["known"]:
        print("%(known)d hidden leaks that are known (see KNOWN_HIDDEN)" % results)
    print("%(passed)d passed, %(failed)d failed" % results)
    sys.exit(1 if results["failed"] or not results["passed"] else 0)
