# SPDX-License-Identifier: MIT
"""How much later a program starts and ends."""
import subprocess
import time


def run(bench):
    engines = {"alone": ([], None), "leakprof, preloaded": ([], bench.under()),
               "leakprof run": ([bench.leakprof, "run", "-q", "-o", bench.folder + "/start.pb.gz", "--"], None)}
    values = {engine: [] for engine in engines}
    for _ in range(5 * bench.turns):
        for engine, (before, env) in engines.items():
            start = time.monotonic()
            subprocess.run(before + ["/bin/true"], env=env, check=True)
            values[engine].append(1000 * (time.monotonic() - start))
    for engine in engines:
        bench.row("start", "/bin/true", engine, "ms", values[engine])
