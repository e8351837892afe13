# SPDX-License-Identifier: MIT
"""How much later a program starts and ends."""
from common import seconds


def run(bench):
    program = "/bin/true"
    under_run = [bench.leakprof, "run", "-q", "-o", bench.folder + "/start.pb.gz", "--", program]
    bench.in_turns("start", program, "ms", {"alone": lambda: 1000 * seconds(None, program),
                                            "leakprof, preloaded": lambda: 1000 * seconds(bench.under(), program),
                                            "leakprof run": lambda: 1000 * seconds(None, *under_run)}, 5 * bench.turns)
