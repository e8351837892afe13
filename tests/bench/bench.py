#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What leakprof costs, beside others that do the same work: bench.py BUILD [--quick] [--json FILE] [--table FILE] [NAME...]. Without names it runs
all benchmarks. --quick is a first look, and what CI runs to see that nothing breaks."""
import argparse
import os
import shutil
import sys

import chain
import goroutines
import hooks
import mark
import memory
import pause
import reporter
import start
from common import Bench

BENCHMARKS = {"mark": mark, "pause": pause, "goroutines": goroutines, "chain": chain, "hooks": hooks, "memory": memory,
              "start": start, "reporter": reporter}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", help="writes all rows to this file")
    parser.add_argument("--table", help="writes them as a Markdown table")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    arguments = parser.parse_intermixed_args()
    unknown = [name for name in arguments.names if name not in BENCHMARKS]
    if unknown:
        sys.exit("bench: no benchmark is called %s; there are %s" % (unknown[0], ", ".join(BENCHMARKS)))
    bench = Bench(os.path.abspath(arguments.build), arguments.quick)
    try:
        for name in arguments.names or BENCHMARKS:
            BENCHMARKS[name].run(bench)
        for peer, remedy in bench.missing.items():
            print("left out: %s (%s)" % (peer, remedy))
        if arguments.json:
            bench.save(arguments.json)
        if arguments.table:
            bench.save_table(arguments.table)
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)


main()
