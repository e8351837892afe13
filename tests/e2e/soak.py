#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Servers under load that are looked at each second for a while (suite soak): no request fails, nothing grows, nothing is
left behind, and leaks are those that were planted. A longer run: soak.py soak BUILD --seconds=3600; it prints a line of
figures a minute. See harness.py and services.py."""
import argparse
import statistics

from services import *

parser = argparse.ArgumentParser()
parser.add_argument("--seconds", type=int, default=60)
parser.add_argument("--rate", type=float, default=150, help="requests a second in all")
CHOICE = parser.parse_args(sys.argv[3:])
LEAK = "/debug/pprof/goroutineleak"


class Watched:
    """A service with its serve, and what was seen of both."""
    PLANT_EACH = 3  # seconds

    def __init__(self, stack, program, share, snapshots, threads=1, **options):
        if not snapshots:
            options.update(interval="1s", output=os.path.join(FOLDER, program + ".pb.gz"))
        self.service = stack.enter_context(Service(program, CHOICE.rate * share, threads=threads, **options))
        self.serving = stack.enter_context(Serving(self.service.pid))
        self.name, self.pid, self.snapshots = program, self.service.pid, snapshots
        self.leaks = program == "minigo_http"
        self.planter = HttpClient(self.service.port)
        self.planted, self.second, self.wrong = 0, 0, []
        self.sizes = {"RSS": [], "descriptors": [], "RSS of serve": [], "descriptors of serve": []}

    def look(self):
        """Once a second. What goes wrong is told of at the end, and by the next line of figures."""
        try:
            self.look_once()
        except Exception as error:  # whatever it is, the run goes on
            self.wrong.append("%s: %s: %s" % (self.name, type(error).__name__, error))

    def look_once(self):
        self.second += 1
        if self.leaks and self.second % self.PLANT_EACH == 0:
            self.planted += 1
            self.planter.ask("/search?q=word", b"three results of the ")
        if self.snapshots:
            self.snapshot()
        if self.second % 10 == 0:
            self.serving.text(LEAK + "?debug=1")
        self.scrape()
        for whose, pid in (("", self.pid), (" of serve", self.serving.process.pid)):
            self.sizes["RSS" + whose].append(resident_kib(pid))
            self.sizes["descriptors" + whose].append(descriptors(pid))

    def snapshot(self):
        result = run(LEAKPROF, "snapshot", "-o", self.name + ".pb.gz", str(self.pid))
        if result.returncode:
            self.wrong.append("a snapshot of %s ended with %d: %s" % (self.name, result.returncode, result.stderr))

    def scrape(self):
        self.metrics = self.serving.metrics()
        leaked = int(self.metrics.get("leakprof_goroutines_leaked{}", 0))
        if leaked > self.planted:
            self.wrong.append("%d are said to have leaked of %d in %s" % (leaked, self.planted, self.name))

    def metric(self, name):
        return float(self.metrics.get("leakprof_%s{}" % name, 0))

    def figures(self):
        load, count = self.service.load, self.metric("collections_total")
        return ("%-18s %8d requests, %d failed, p99 %6.1f ms; RSS %6d KiB, %d fds; serve: %6d KiB, %d fds; %d snapshots, %d failed, "
                "paused %.2f ms on average; leaked %d of %d%s" % (
                    self.name, load.done, len(load.failures), load.take_p99(), self.sizes["RSS"][-1],
                    self.sizes["descriptors"][-1], self.sizes["RSS of serve"][-1], self.sizes["descriptors of serve"][-1],
                    count, self.metric("collection_failures_total"),
                    1000 * self.metric("pause_seconds_total") / max(count, 1), self.metric("goroutines_leaked"), self.planted,
                    "; WRONG: %d, %s" % (len(self.wrong), self.wrong[-1]) if self.wrong else ""))

    def verify(self):
        equal(self.wrong[:3], [], "what went wrong")
        equal(self.metric("collection_failures_total"), 0, "collections of %s that failed" % self.name)
        check(self.metric("collections_total") > self.second / 4, "%s was hardly looked at" % self.name)
        wait_for(lambda: self.serving.text(LEAK + "?debug=1").startswith("goroutineleak profile: total %d\n" % self.planted))
        for what, sizes in self.sizes.items():
            third = len(sizes) // 3
            before, after = statistics.median(sizes[third:2 * third]), statistics.median(sizes[-third:])
            check(after - before <= self.may_grow(what), "%s of %s grew from %d to %d" % (what, self.name, before, after))

    def may_grow(self, what):
        """Descriptors: of connections that are open at the moment. Memory: what malloc keeps, and stacks that leaked."""
        if what.startswith("descriptors"):
            return 4
        return 512 + (self.planted * 16 if self.leaks else 0)


def pace(watched):
    """Looks at all of them each second; a line of figures each minute."""
    begun = time.monotonic()
    for second in range(1, CHOICE.seconds + 1):
        for one in watched:
            one.look()
        if second % 60 == 0 or second == CHOICE.seconds:
            for one in watched:
                print("     %s %s" % (time.strftime("%H:%M:%S"), one.figures()), flush=True)
        time.sleep(max(0, begun + second - time.monotonic()))


def suite_soak():
    @test
    def servers_that_are_looked_at_each_second():
        with contextlib.ExitStack() as stack:
            watched = [Watched(stack, "st_server_fixed", 0.4, True),
                       Watched(stack, "minigo_http_fixed", 0.4, False, threads=2),
                       Watched(stack, "minigo_http", 0.2, True)]
            pace(watched)
            for one in watched:
                one.verify()
        equal(sorted(os.listdir(FOLDER)), ["minigo_http.pb.gz", "minigo_http_fixed.pb.gz", "st_server_fixed.pb.gz"], "files")


main({"soak": suite_soak})
