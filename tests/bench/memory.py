# SPDX-License-Identifier: MIT
"""Memory that the shim takes in the program: fixed, per goroutine, per heap. Mapped is what the shim says itself; resident is by how
much the program's proportional set size is larger than alone, before and after a snapshot, which keeps a stack of its own."""
import os
import re


def resident(program):
    """Bytes; what others map too counts in part."""
    with open("/proc/%d/smaps_rollup" % program.pid) as file:
        return 1024 * int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1))


def target_bytes(bench, *mode):
    """Of heap MODE under the shim: mapped; resident before and after a snapshot, more than alone."""
    command = [os.path.join(bench.programs, "heap"), *mode]
    with bench.running(command, dict(os.environ)) as program:
        alone = resident(program)
    with bench.running(command) as program:
        before = resident(program)
        mapped = bench.snapshot(program)["target_bytes"]
        return mapped, before - alone, resident(program) - alone


def run(bench):
    kinds = "leakprof, mapped", "leakprof, resident", "leakprof, resident after"

    def rows(case, unit, values):
        for kind, value in zip(kinds, values):
            bench.row("memory", case, kind, unit, [value])

    fixed = target_bytes(bench, "leak", "1")
    rows("one goroutine", "MiB", [value / 2**20 for value in fixed])
    many = 10000 if bench.quick else 100000
    rows("a goroutine", "B", [(value - base) / many for value, base in zip(target_bytes(bench, "leak", str(many)), fixed)])
    mebibytes = 100 if bench.quick else 1000
    rows("heap of 1 KiB blocks", "MiB/GiB", [(value - base) / 2**20 / (mebibytes / 1024)
                                            for value, base in zip(target_bytes(bench, "hold", str(mebibytes)), fixed)])
