# SPDX-License-Identifier: MIT
"""What the program itself pays: switches, goroutines, allocations and requests, alone and under the shim in turns; beside
LeakSanitizer and heaptrack on the same program."""
import contextlib
import os
import subprocess
import threading

from common import seconds

# Runtime, program and its argument; what its goroutines take turns over, and how many waits.
SWITCHES = [
    ("State Threads", ("switch", "st"), {"cond": 2000000, "mutex": 2000000}),
    ("GNU Pth", ("switch", "pth"), {"cond": 50000, "mutex": 50000, "port": 50000}),
    ("minigo", ("minigo_switch",), {"chan": 1000000, "select": 1000000, "cond": 1000000, "mutex": 1000000}),
]
SPAWNS = {"State Threads": 200000, "GNU Pth": 20000, "minigo": 200000}
NAMES = {"cond": "condition", "port": "message port", "chan": "channel", "select": "select of 8"}


def compare(bench, case, *command):
    bench.in_turns("hooks", case, "ns", {"alone": lambda: bench.numbers(*command)[0][0],
                                         "leakprof": lambda: bench.numbers(*command, env=bench.under())[0][0]})


def load(bench, case, *command):
    bench.in_turns("hooks", case, "s", {"alone": lambda: seconds(None, *command),
                                        "leakprof": lambda: seconds(bench.under(), *command)})


def heaptrack(bench, case, *command):
    tool = bench.tool("heaptrack")
    if not tool:
        return
    values = []
    for _ in range(bench.turns):
        text = subprocess.run([tool, "-o", os.path.join(bench.folder, "heaptrack"), *command], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, check=True).stdout
        values += [float(line) for line in text.splitlines() if line.replace(".", "").isdigit()]
    bench.row("hooks", case, "heaptrack", "ns", values)


def sanitizer(bench, case, *arguments):
    """Its allocator is its own: what a program pays for it may also be less than nothing."""
    program = bench.program("heap_lsan", "LeakSanitizer")
    if program:
        bench.row("hooks", case, "LeakSanitizer", "ns",
                  [bench.numbers(program, *arguments)[0][0] for _ in range(bench.turns)])


@contextlib.contextmanager
def snapshots_each_second(bench, pid):
    ended = threading.Event()

    def take():
        while not ended.wait(1):
            subprocess.run([bench.leakprof, "snapshot", "-o", os.path.join(bench.folder, "served.pb.gz"), str(pid)], check=True,
                           stderr=subprocess.DEVNULL)
    taker = threading.Thread(target=take)
    taker.start()
    try:
        yield
    finally:
        ended.set()
        taker.join()


# The program of examples/ and, for HTTP, what is asked for; the requests of one turn.
SERVERS = {"State Threads server": ("st_server", [], 60000), "minigo HTTP server": ("minigo_http_fixed", ["/search?q=word"], 40000)}


def served(bench, server, env, looked_at, few):
    """Requests a second of a server, and the CPU time that one took it and its snapshots, in microseconds."""
    program, path, requests = server
    requests //= few
    process = subprocess.Popen([os.path.join(bench.build, "examples", program)], env=env, stdout=subprocess.PIPE, text=True)
    port = process.stdout.readline().split()[-1]
    with snapshots_each_second(bench, process.pid) if looked_at else contextlib.nullcontext():
        rate = bench.numbers(os.path.join(bench.programs, "load"), port, str(requests), "64", *path)[0][0]
    process.terminate()
    usage = os.wait4(process.pid, 0)[2]
    process.returncode = 0
    return rate, (usage.ru_utime + usage.ru_stime) / requests * 1e6


def under_load(bench, few):
    engines = {"alone": (None, False), "leakprof": (bench.under(), False), "a snapshot a second": (bench.under(), True)}
    for name, server in SERVERS.items():
        results = {engine: [] for engine in engines}
        for _ in range(bench.turns):
            for engine, how in engines.items():
                results[engine].append(served(bench, server, *how, few))
        case = name + ", 64 clients"
        for engine, values in results.items():
            bench.row("hooks", case, engine, "1/s", [rate for rate, _ in values])
        for engine, values in results.items():
            bench.row("hooks", case + ", CPU a request", engine, "us", [cpu for _, cpu in values])


def run(bench):
    def program(name):
        return os.path.join(bench.programs, name)

    few = 50 if bench.quick else 1
    for runtime, (name, *arguments), cases in SWITCHES:
        for case, count in cases.items():
            compare(bench, "%s, %s: a wait" % (runtime, NAMES.get(case, case)), program(name), *arguments, case, str(count // few))
        compare(bench, runtime + ": start and end of one", program(name), *arguments, "spawn", str(SPAWNS[runtime] // few))
    for threads in ("1", "4"):
        pairs = ["pairs" + threads, str(5000000 // few)]
        case = "malloc and free, %s thread%s" % (threads, "s" if threads != "1" else "")
        compare(bench, case, program("heap"), *pairs)
        sanitizer(bench, case, *pairs)
        heaptrack(bench, case, program("heap"), *pairs)
    load(bench, "python3 building dicts", "/usr/bin/python3", "-c",
         "d = {}\nfor i in range(%d): d[str(i)] = [i, str(i)]" % (600000 // few))
    load(bench, "gcc -O2 compiling mark.c", "gcc", "-O2", "-D_GNU_SOURCE", "-I" + os.path.join(bench.source, "leakprof"), "-c",
         "-o", "/dev/null", os.path.join(bench.source, "leakprof", "core", "mark.c"))
    under_load(bench, few)
