#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What leakprof costs: bench.py BUILD_DIR. Every ratio is measured side by side in this run: alone and under the shim in
turns, medians of seven, with the spread (lowest to highest)."""
import os
import re
import statistics
import subprocess
import sys
import time

BUILD = os.path.abspath(sys.argv[1])
LEAKPROF = os.path.join(BUILD, "leakprof", "leakprof")
SHIM = os.path.join(BUILD, "runtime_hooks", "libleakprof.so")
BENCH = os.path.join(BUILD, "tests", "bench")
UNDER = dict(os.environ, LD_PRELOAD=SHIM, LEAKPROF_OPTIONS="at_exit=0")
TURNS = 7


def number(env, *command):
    return float(subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout)


def spread(values, unit):
    return "%.1f %s (%.1f to %.1f)" % (statistics.median(values), unit, min(values), max(values))


def compare(name, *command):
    alone, under = [], []
    for _ in range(TURNS):
        alone.append(number(os.environ, *command))
        under.append(number(UNDER, *command))
    added = statistics.median(under) - statistics.median(alone)
    print("%-34s alone %s, under the shim %s, added %.1f ns, ratio %.2f" % (
        name, spread(alone, "ns"), spread(under, "ns"), added, statistics.median(under) / statistics.median(alone)))
    sys.stdout.flush()


def seconds(env, *command):
    start = time.monotonic()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


def compare_time(name, *command):
    alone, under = [], []
    for _ in range(TURNS):
        alone.append(seconds(os.environ, *command) * 1000)
        under.append(seconds(UNDER, *command) * 1000)
    print("%-34s alone %s, under the shim %s, ratio %.3f" % (
        name, spread(alone, "ms"), spread(under, "ms"), statistics.median(under) / statistics.median(alone)))
    sys.stdout.flush()


def snapshots(name, mode, count):
    program = subprocess.Popen([os.path.join(BENCH, "heap"), mode, str(count)], env=UNDER, stdout=subprocess.PIPE,
                               text=True)
    program.stdout.readline()
    pause, total, target = [], [], 0
    try:
        for _ in range(TURNS):
            start = time.monotonic()
            subprocess.run([LEAKPROF, "snapshot", "-o", "/tmp/bench.pb.gz", str(program.pid)], check=True,
                           stderr=subprocess.DEVNULL)
            total.append((time.monotonic() - start) * 1000)
            info = subprocess.run([LEAKPROF, "info", "/tmp/bench.pb.gz"], stdout=subprocess.PIPE, text=True).stdout
            facts = subprocess.run("zcat /tmp/bench.pb.gz | strings | grep -a 'leakprof facts'", shell=True,
                                   stdout=subprocess.PIPE, text=True).stdout
            pause.append(int(re.search(r"pause_ns (\d+)", facts).group(1)) / 1e6)
            target = int(re.search(r"target_bytes (\d+)", facts).group(1))
            assert "leaked" in info
    finally:
        program.kill()
        program.wait()
    print("%-34s program stopped %s, trigger to profile %s, shim's mappings %.1f MiB" % (
        name, spread(pause, "ms"), spread(total, "ms"), target / (1 << 20)))
    sys.stdout.flush()


compare("State Threads wait and switch", os.path.join(BENCH, "switch"), "st", "2000000")
compare("GNU Pth wait and switch", os.path.join(BENCH, "switch"), "pth", "100000")
compare("minigo wait and switch", os.path.join(BENCH, "minigo_switch"), "1000000")
compare("malloc and free, one thread", os.path.join(BENCH, "heap"), "pairs", "5000000")
compare_time("python3 building dicts", "/usr/bin/python3", "-c",
             "d = {}\nfor i in range(600000): d[str(i)] = [i, str(i)]")
compare_time("a program that does nothing", "/bin/true")
for mebibytes in (10, 100, 1000):
    snapshots("heap of %d MiB, 4 KiB pages" % mebibytes, "hold", mebibytes)
for leaked in (1000, 10000):
    snapshots("%d leaked goroutines" % leaked, "leak", leaked)
