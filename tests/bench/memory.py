# SPDX-License-Identifier: MIT
"""Memory that the shim takes in the program: fixed, per goroutine, per heap."""
import os


def target_bytes(bench, *mode):
    return bench.snapshots([os.path.join(bench.programs, "heap"), *mode], 1)[0]["target_bytes"]


def run(bench):
    fixed = target_bytes(bench, "leak", "1")
    bench.row("memory", "one goroutine", "leakprof, mapped", "MiB", [fixed / 2**20])
    many = 10000 if bench.quick else 100000
    bench.row("memory", "a goroutine", "leakprof, mapped", "B", [(target_bytes(bench, "leak", str(many)) - fixed) / many])
    mebibytes = 100 if bench.quick else 1000
    bench.row("memory", "heap of 1 KiB blocks", "leakprof, mapped", "MiB/GiB",
              [(target_bytes(bench, "hold", str(mebibytes)) - fixed) / 2**20 / (mebibytes / 1024)])
