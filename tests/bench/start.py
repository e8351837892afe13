# SPDX-License-Identifier: MIT
"""How much later a program starts and ends, and what a leak check adds to a test that runs for a second."""
import os

from common import seconds


def run(bench):
    program = "/bin/true"
    under_run = [bench.leakprof, "run", "-q", "-o", bench.folder + "/start.pb.gz", "--", program]
    bench.in_turns("start", program, "ms", {"alone": lambda: 1000 * seconds(None, program),
                                            "leakprof, preloaded": lambda: 1000 * seconds(bench.under(), program),
                                            "leakprof run": lambda: 1000 * seconds(None, *under_run)}, 5 * bench.turns)
    # Waits and switches of State Threads.
    test = [os.path.join(bench.programs, "switch"), "st", "cond", "5000000" if bench.quick else "50000000"]
    bench.in_turns("start", "a test of a second" + (" (a tenth)" if bench.quick else ""), "ms",
                   {"alone": lambda: 1000 * seconds(None, *test),
                    "leakprof check": lambda: 1000 * seconds(None, bench.leakprof, "check", "-q", "--", *test)}, 2 * bench.turns)
