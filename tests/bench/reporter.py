# SPDX-License-Identifier: MIT
"""From a raw snapshot to the profile: 100,000 leaked goroutines with 10,000 different stacks of 40 frames, in a program with
100 MB of debug information (deep.py). Beside it, tools that name addresses get the very same ones."""
import os
import re
import subprocess
import time

import deep

# The options as a user types them for functions and inlined frames.
PEERS = (("addr2line -i", ["addr2line", "-i"]), ("addr2line -f -i", ["addr2line", "-f", "-i"]),
         ("llvm-symbolizer", ["llvm-symbolizer"]))


def measure(command, path):
    """Seconds and MiB of COMMAND with the file PATH as its input."""
    with open(path) as file:
        start = time.monotonic()
        process = subprocess.Popen(command, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError("%s failed" % " ".join(command))
    return time.monotonic() - start, usage.ru_maxrss / 1024


def debug_bytes(program):
    """Of all sections with debug information."""
    text = subprocess.run(["size", "-A", program], stdout=subprocess.PIPE, text=True, check=True).stdout
    return sum(int(size) for size in re.findall(r"^\.debug_\S+ +(\d+)", text, re.M))


def take_snapshot(bench, program, goroutines, stacks):
    """The raw snapshot of PROGRAM, a file."""
    raw = os.path.join(bench.folder, "deep.raw")
    running = subprocess.Popen([program, str(goroutines), str(stacks)], env=bench.under(), stdout=subprocess.PIPE)
    try:
        running.stdout.readline()
        subprocess.run([bench.leakprof, "snapshot", "-o", raw, "--timeout=100s", str(running.pid)], check=True,
                       stderr=subprocess.DEVNULL)
    finally:
        running.kill()
        running.wait()
    return raw


def write_addresses(bench, raw, program):
    """A file with the addresses in the program that the snapshot's frames have, each once, and their number."""
    text = subprocess.run([bench.leakprof, "report", "--debug=1", raw], stdout=subprocess.PIPE, text=True, check=True).stdout
    # The program lies where its file says, far below all libraries.
    addresses = sorted({address for address in re.findall(r"^#\t(0x[0-9a-f]+)\t", text, re.M) if int(address, 16) < 1 << 32})
    path = os.path.join(bench.folder, "addresses")
    with open(path, "w") as file:
        file.write("".join(address + "\n" for address in addresses))
    return path, len(addresses)


def run(bench):
    units, goroutines, stacks = (10, 1000, 100) if bench.quick else (300, 100000, 10000)
    program = deep.build(os.path.join(bench.programs, "deep"), bench.source, units)
    raw = take_snapshot(bench, program, goroutines, stacks)
    addresses, count = write_addresses(bench, raw, program)
    engines = [("leakprof, snapshot to profile",
                [bench.leakprof, "report", "--from-snapshot=" + os.path.join(bench.folder, "deep.pb.gz")], raw)]
    for name, command in PEERS:
        if bench.tool(command[0]):
            engines.append((name, command + ["-e", program], addresses))
    results = {name: [] for name, _, _ in engines}
    for _ in range(bench.turns):
        for name, command, path in engines:
            results[name].append(measure(command, path))
    case = "{:,} addresses, {:.0f} MB of DWARF".format(count, debug_bytes(program) / 1e6)
    for column, unit in ((0, "s"), (1, "MiB")):
        for name, _, _ in engines:
            bench.row("reporter", case, name, unit, [result[column] for result in results[name]])
