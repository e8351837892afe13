# SPDX-License-Identifier: MIT
"""What the program itself pays: switches and allocations, alone and under the shim in turns, beside heaptrack on the same program."""
import os
import subprocess

from common import seconds


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


def run(bench):
    def program(name):
        return os.path.join(bench.programs, name)

    few = 10 if bench.quick else 1
    compare(bench, "State Threads wait and switch", program("switch"), "st", str(2000000 // few))
    compare(bench, "GNU Pth wait and switch", program("switch"), "pth", str(100000 // few))
    compare(bench, "minigo wait and switch", program("minigo_switch"), str(1000000 // few))
    for threads in ("1", "4"):
        pairs = [program("heap"), "pairs" + threads, str(5000000 // few)]
        case = "malloc and free, %s thread%s" % (threads, "s" if threads != "1" else "")
        compare(bench, case, *pairs)
        heaptrack(bench, case, *pairs)
    load(bench, "python3 building dicts", "/usr/bin/python3", "-c",
         "d = {}\nfor i in range(%d): d[str(i)] = [i, str(i)]" % (600000 // few))
    load(bench, "gcc -O2 compiling mark.c", "gcc", "-O2", "-D_GNU_SOURCE", "-I" + os.path.join(bench.source, "leakprof"), "-c",
         "-o", "/dev/null", os.path.join(bench.source, "leakprof", "core", "mark.c"))
