# SPDX-License-Identifier: MIT
"""What the benchmarks share. Each measures its engines in turns in one run, and reports medians with the spread (lowest to
highest); a peer that is not installed is named in the result."""
import contextlib
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

TURNS = 7


def seconds(env, *command):
    """How long COMMAND takes."""
    start = time.monotonic()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, check=True)
    return time.monotonic() - start


class Bench:
    """One run: where the programs are, and the rows that were measured."""

    def __init__(self, build, quick):
        self.quick = quick
        self.turns = 2 if quick else TURNS
        self.source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self.build = build
        self.leakprof = os.path.join(build, "leakprof", "leakprof")
        self.shim = os.path.join(build, "runtime_hooks", "libleakprof.so")
        self.programs = os.path.join(build, "tests", "bench")
        self.folder = tempfile.mkdtemp(prefix="leakprof-bench-")
        self.rows = []
        self.missing = {}
        self.go = self.find_go(build)

    # --- Peers ---

    def find_go(self, build):
        """Go 1.27, which `./dev setup --bench` unpacks: the first with the profile goroutineleak without an experiment."""
        root = os.path.join(build, "tools", "go", "usr", "lib", "go-1.27")
        if not os.path.exists(os.path.join(root, "bin", "go")):
            self.missing["Go 1.27"] = "./dev setup --bench unpacks it"
            return None
        self.go_env = dict(os.environ, GOROOT=root, GOTOOLCHAIN="local", GOCACHE=os.path.join(build, "tools", "go-cache"))
        return os.path.join(root, "bin", "go")

    def go_program(self, name):
        """A Go program of this folder, built; None without Go."""
        if not self.go:
            return None
        program = os.path.join(self.folder, name)
        source = os.path.join(self.source, "tests", "bench", name + ".go")
        subprocess.run([self.go, "build", "-o", program, source], check=True, env=self.go_env)
        return program

    def program(self, name, package):
        """A program of the build; None, and noted, where PACKAGE was not there to build it with."""
        path = os.path.join(self.programs, name)
        if os.path.exists(path):
            return path
        self.missing[package] = "./dev setup --bench installs it"
        return None

    def tool(self, name):
        path = shutil.which(name)
        if not path:
            self.missing[name] = "./dev setup --bench installs it"
        return path

    # --- Running ---

    def under(self, **options):
        text = ":".join("%s=%s" % item for item in {"at_exit": 0, **options}.items())
        return dict(os.environ, LD_PRELOAD=self.shim, LEAKPROF_OPTIONS=text)

    def numbers(self, *command, env=None):
        """The numbers that COMMAND prints, a list of columns."""
        text = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True).stdout
        return list(zip(*[[float(value) for value in line.split()] for line in text.splitlines()]))

    def facts(self, profile):
        """The figures of a profile, by name, in nanoseconds and bytes."""
        text = subprocess.run("zcat %s | strings -n 12" % profile, shell=True, stdout=subprocess.PIPE, text=True).stdout
        return {name: int(value) for name, value in re.findall(r"figure (\w+) (\d+)", text)}

    @contextlib.contextmanager
    def running(self, command, env=None):
        """COMMAND under the shim; it prints a line when it is ready, and reads lines."""
        program = subprocess.Popen(command, env=env or self.under(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            program.stdout.readline()
            yield program
        finally:
            program.kill()
            program.wait()

    def snapshot(self, program):
        """Takes one. Returns its figures, with "seconds" from the trigger to the profile and "reporter_kib", the most memory
        of the program leakprof."""
        profile = os.path.join(self.folder, "snapshot.pb.gz")
        start = time.monotonic()
        done = subprocess.Popen([self.leakprof, "snapshot", "-o", profile, "--timeout=100s", str(program.pid)],
                                stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(done.pid, 0)
        seconds = time.monotonic() - start
        if status:
            raise RuntimeError("a snapshot of %s failed" % " ".join(program.args))
        return dict(self.facts(profile), seconds=seconds, reporter_kib=usage.ru_maxrss)

    def snapshots(self, command, turns=None, env=None, rewrite=False):
        """Takes them of COMMAND, one after the other; with REWRITE it writes all of its memory before each."""
        results = []
        with self.running(command, env) as program:
            for _ in range(turns or self.turns):
                results.append(self.snapshot(program))
                if rewrite:
                    program.stdin.write("\n")
                    program.stdin.flush()
                    program.stdout.readline()
        return results

    def in_turns(self, benchmark, case, unit, engines, turns=None):
        """Calls each of ENGINES (name: function that returns one value) in turns, and reports each."""
        values = {engine: [] for engine in engines}
        for _ in range(turns or self.turns):
            for engine, measure in engines.items():
                values[engine].append(measure())
        for engine in engines:
            self.row(benchmark, case, engine, unit, values[engine])

    # --- Results ---

    def row(self, benchmark, case, engine, unit, values):
        row = {"benchmark": benchmark, "case": case, "engine": engine, "unit": unit, "median": statistics.median(values),
               "low": min(values), "high": max(values), "turns": len(values)}
        self.rows.append(row)
        print("%-11s %-38s %-28s %10.4g %-6s (%.4g to %.4g)" % (benchmark, case, engine, row["median"], unit, row["low"],
                                                                  row["high"]), flush=True)

    def percentiles(self, benchmark, case, engine, unit, values):
        """Three rows: the median, the 99th percentile, the highest."""
        ordered = sorted(values)
        for name, value in (("p50", statistics.median(values)), ("p99", ordered[math.ceil(0.99 * len(values)) - 1]),
                            ("max", ordered[-1])):
            self.row(benchmark, "%s (%d)" % (case, len(values)), "%s, %s" % (engine, name), unit, [value])

    def save_table(self, path):
        """As Markdown, with the ratio to the first engine of the same case and unit."""
        first = {}
        with open(path, "w") as file:
            file.write("| | case | | median | lowest to highest | ratio |\n|---|---|---|---|---|---|\n")
            for row in self.rows:
                base = first.setdefault((row["benchmark"], row["case"], row["unit"]), row)
                ratio = "" if base is row else "%.2f" % (row["median"] / base["median"])
                file.write("| {benchmark} | {case} | {engine} | {median:.4g} {unit} | {low:.4g} to {high:.4g} | {ratio} |\n".format(
                    ratio=ratio, **row))

    def save(self, path):
        with open(path, "w") as file:
            json.dump({"rows": self.rows, "missing": self.missing}, file, indent=1)
