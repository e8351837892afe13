#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fleets: goroutines that look stuck (suspects), and sites ranked over many profiles (rank)."""
import json
import math
import os
import re
import shutil

from harness import *

STUCK = os.path.join(PROGRAMS, "stuck")
TESTS_SOURCE = os.path.join(SOURCE, "tests", "runtimes")
STUCK_SOURCE = os.path.join(SOURCE, "tests", "programs", "stuck.c")
COUNTS = {"workers": 200, "late": 5, "sleepers": 150, "readers": 120, "leaks": 3, "twins": 5}


def stuck(name, **counts):
    """Runs the program to its end: the profile of its leaks is NAME.pb.gz, the raw snapshot NAME.raw."""
    result = run(LEAKPROF, "run", "-q", "--keep-raw", "-o", name + ".pb.gz", "--", STUCK,
                 *("%s=%d" % item for item in counts.items()))
    equal(result.returncode, 0, result.stderr)
    os.rename(os.path.join(FOLDER, name + ".pb.gz.raw"), os.path.join(FOLDER, name + ".raw"))
    return name + ".raw"


def read_json(*command):
    result = run(LEAKPROF, *command)
    equal((result.returncode, result.stderr), (0, ""), command)
    return json.loads(result.stdout)


def suspects(*arguments):
    """What looks stuck: function -> (goroutines, reasons)."""
    found = read_json("suspects", "--format=json", *arguments)
    return {each["stack"][0]["function"]: (each["count"], each["reasons"]) for each in found["suspects"]}


def rank(*arguments):
    """The sites by rank: (function that blocks, what created it, values)."""
    return [(site["blocked"]["function"], site["created_by"] and site["created_by"]["function"], site)
            for site in read_json("rank", "--format=json", *arguments)["sites"]]


def write(name, text):
    with open(os.path.join(FOLDER, name), "w") as file:
        file.write(text)
    return name


def suite_suspects():
    one = stuck("one", **COUNTS)

    @test
    def many_at_one_site_are_suspects_and_no_leaks():
        """Whatever their labels; not those that sleep or wait for I/O, nor leaks, nor main."""
        equal(suspects(one), {"worker": (200, ["many"])}, "suspects")
        equal(suspects("--min-count=1", one),
              {"worker": (200, ["many"]), "late_worker": (5, ["many"])}, "of all numbers")
        text = run(LEAKPROF, "suspects", one).stdout
        for words in ("200 goroutines at 1 site look stuck, kept alive by reachability: no leaks\n",
                      "8 leaked goroutines are not among these", "  suspect: many\n",
                      "worker  %s:" % STUCK_SOURCE, "created by start_worker"):
            check(words in text, "%r is not in %s" % (words, text))
        check("8 leaked goroutines" in run(LEAKPROF, "report", one).stdout, "they count as leaks")

    @test
    def a_report_of_all_goroutines_points_at_them():
        line = "200 goroutines at 1 site look stuck: leakprof suspects one.raw\n"
        check(line in run(LEAKPROF, "report", "--profile=goroutine", one).stdout, "no hint")
        check("stuck:" not in run(LEAKPROF, "report", one).stdout, "a hint among leaks")

    @test
    def suspects_become_a_labelled_profile():
        equal(run(LEAKPROF, "suspects", "-o", "suspects.pb.gz", one).returncode, 0, "exit code")
        text = run(LEAKPROF, "report", "--debug=1", "suspects.pb.gz").stdout
        check(text.startswith("goroutine profile: total 200\n"), text)
        equal(sorted(re.findall(r'"shard":"(\d)", "suspect":"(\w+)"', text)),
              [("0", "many"), ("1", "many"), ("2", "many")], "labels")
        equal(suspects("suspects.pb.gz"), {"worker": (200, ["many"])}, "of the profile")
        result = run("go", "tool", "pprof", "-tagfocus=suspect=many", "-top", "suspects.pb.gz")
        check(re.search(r"^ +200 +100% .* worker$", result.stdout, re.M), result.stdout + result.stderr)

    @test
    def growth_is_seen_between_two_profiles():
        before = stuck("before", workers=40, late=30, leaks=1)
        after = stuck("after", workers=80, late=45, leaks=90)
        equal(suspects("--since", before, after), {"worker": (80, ["growing"])}, "twice as many")
        equal(suspects("--since", before, "--growth=1.5", after),
              {"worker": (80, ["growing"]), "late_worker": (45, ["growing"])}, "half as many more")
        equal(suspects("--since", before, "--growth=1", "--min-count=60", before), {}, "as before")
        equal(suspects("--since", before, "--min-count=60", after), {"worker": (80, ["growing", "many"])}, "both")
        check("suspect: growing (40 before)" in run(LEAKPROF, "suspects", "--since", before, after).stdout, "no number")
        one_line(run(LEAKPROF, "suspects", "--since", after, before), 2)

    @test
    def old_waits_are_suspects():
        """GNU Pth tells when a wait began."""
        run(LEAKPROF, "run", "-q", "--keep-raw", "-o", "old.pb.gz", "--", os.path.join(PROGRAMS, "waiter_pth"), input="")
        equal(suspects("--min-age=1us", "old.pb.gz.raw"), {"gate_wait": (1, ["old"])}, "older than a microsecond")
        equal(suspects("old.pb.gz.raw"), {}, "none for ten minutes")
        check("of 205 waiting goroutines it is not known how long they wait" in run(LEAKPROF, "suspects", one).stdout,
              "a zero that was not measured")

    @test
    def nothing_stuck_is_said():
        result = run(LEAKPROF, "suspects", "--min-count=1000", one)
        equal(result.returncode, 0, "exit code")
        check("no goroutine that reachability keeps alive looks stuck" in result.stdout, result.stdout)

    @test
    def what_is_not_of_all_goroutines_is_refused():
        one_line(run(LEAKPROF, "suspects", "one.pb.gz"), 6)
        one_line(run(LEAKPROF, "suspects"), 2)
        for option in ("--min-count=-1", "--min-count=x", "--min-age=soon", "--growth=0.5", "--growth=nan", "--format=xml"):
            one_line(run(LEAKPROF, "suspects", option, one), 2)
        run(LEAKPROF, "run", "-q", "--keep-raw", "-o", "none.pb.gz", "--", "true")
        one_line(run(LEAKPROF, "suspects", "none.pb.gz"), 6)

    @test
    def facts_stay_with_their_sites_in_a_profile():
        """Sites that a profile cannot tell apart are one sample: what is known of the others moved by one."""
        text = run(LEAKPROF, "report", "one.pb.gz").stdout
        equal(re.findall(r"^(\d+) goroutines.*\(stack ([\d.]+) KiB", text, re.M),
              [("5", "320.0"), ("3", "192.0")], "stacks of 64 KiB each")


def suite_rank():
    for name, counts in (("a", {"leaks": 30}), ("b", {"workers": 3}), ("c", {"leaks": 40, "twins": 6})):
        stuck(name, **counts)
    fleet = ["a.pb.gz", "b.pb.gz", "c.pb.gz"]

    @test
    def sites_are_ranked_by_root_mean_square():
        found = [(created, site["max"], site["total"], site["instances"], site["most_in"], site["wait"])
                 for _, created, site in rank(*fleet)]
        equal(found, [("start_leak", 40, 70, 2, "c.pb.gz", "chan receive"),
                      ("start_twins", 6, 6, 1, "c.pb.gz", "chan receive")], "sites")
        for (_, _, site), squares in zip(rank(*fleet), (30 ** 2 + 0 + 40 ** 2, 0 + 0 + 6 ** 2)):
            check(abs(site["rms"] - math.sqrt(squares / 3)) < 1e-9, "rms %r" % site["rms"])
        text = run(LEAKPROF, "rank", *fleet).stdout
        check(re.search(r"^ +28\.9 +40 +70 +2  \[chan receive\] leak %s:\d+\n +most in c.pb.gz, created by start_leak "
                        r"stuck.c:\d+\n +3\.5 " % STUCK_SOURCE, text, re.M), text)
        check("\n2 of 2 sites in 3 goroutineleak profiles\n" in text, text)

    @test
    def one_instance_that_falls_over_outranks_a_fleet_with_a_few():
        """40 in one of ten weigh more than 12 in each: 12.6 and 12."""
        stuck("few", late=12)
        stuck("fewandmany", late=12, workers=40)
        files = ["few.raw"] * 9 + ["fewandmany.raw"]
        found = {function: site["rms"] for function, _, site in rank("--profile=goroutine", *files)}
        check(abs(found["worker"] - math.sqrt(160)) < 1e-9 and abs(found["late_worker"] - 12) < 1e-9, found)
        equal(rank("--profile=goroutine", *files)[0][0], "worker", "first")

    @test
    def thresholds_limit_what_is_shown():
        equal([created for _, created, _ in rank("--min=7", *fleet)], ["start_leak"], "--min")
        equal([created for _, created, _ in rank("--top=1", *fleet)], ["start_leak"], "--top")
        equal(rank("--min=41", *fleet), [], "none")
        check("1 of 2 sites in 3" in run(LEAKPROF, "rank", "--top=1", *fleet).stdout, "how many there are")

    @test
    def of_all_goroutines_those_count_that_wait():
        stuck("all", **COUNTS)
        found = {(function, created): (site["total"], site["leaked"])
                 for function, created, site in rank("--profile=goroutine", "all.raw")}
        equal(found, {("worker", "start_worker"): (200, 0), ("late_worker", "start_late"): (5, 0),
                      ("leak", "start_leak"): (3, 3), ("leak", "start_twins"): (5, 5), ("main", None): (1, 0)}, "sites")

    @test
    def owners_come_from_codeowners():
        owners = write("CODEOWNERS", "*  @all\n/tests/  @tests @org/qa # both\n*.py @python\n")
        options = ["--owners", owners, "--strip-prefix", SOURCE]
        equal([site["owners"] for _, _, site in rank(*options, *fleet)], [["@tests", "@org/qa"]] * 2, "owners")
        check(", owned by @tests @org/qa\n" in run(LEAKPROF, "rank", *options, *fleet).stdout, "in the text")
        equal([site["owners"] for _, _, site in rank("--owners", owners, *fleet)], [["@all"]] * 2,
              "of the creator, whose profile has no folder, where the file is outside of the root")
        check("owned by nobody" in run(LEAKPROF, "rank", "--owners", write("NOBODY", "*.py @python\n"), *fleet).stdout, "nobody")
        result = run(LEAKPROF, "rank", "--owners", write("BAD", "* @all\n*.[ch] @c\n"), *fleet)
        one_line(result, 0)
        check("BAD:2: " in result.stderr, result.stderr)

    @test
    def the_folder_of_codeowners_is_the_root():
        """The root itself, .github/ and docs/ are where CODEOWNERS may be."""
        tree = os.path.join(FOLDER, "tree")
        source = os.path.join(tree, "src", "leaker.c")
        os.makedirs(os.path.dirname(source))
        shutil.copy(os.path.join(SOURCE, "tests", "programs", "leaker.c"), source)
        result = run("gcc", "-g", "-O1", "-DUSE_ST", "-I" + TESTS_SOURCE, "-o", "leaker", source, "-lst")
        equal(result.returncode, 0, result.stderr)
        run(LEAKPROF, "run", "-q", "-o", "owned.pb.gz", "--", os.path.join(FOLDER, "leaker"))
        for place in (".", ".github", "docs"):
            os.makedirs(os.path.join(tree, place), exist_ok=True)
            owners = write(os.path.join(tree, place, "CODEOWNERS"), "/src/ @src\n")
            found = [site["owners"] for _, _, site in rank("--owners", owners, "owned.pb.gz")]
            check(["@src"] in found, "%s: %r" % (place, found))

    @test
    def a_damaged_file_is_named_and_the_others_are_ranked():
        write("damaged.pb.gz", "this is no profile")
        result = run(LEAKPROF, "rank", "a.pb.gz", "damaged.pb.gz", "/no/such/file", "b.pb.gz", "c.pb.gz")
        equal(result.returncode, 6, "exit code")
        lines = result.stderr.splitlines()
        check(len(lines) == 2 and "damaged.pb.gz" in lines[0] and "/no/such/file" in lines[1], result.stderr)
        equal(result.stdout, run(LEAKPROF, "rank", *fleet).stdout, "ranking")
        result = run(LEAKPROF, "rank", "damaged.pb.gz")
        one_line(result, 6)
        equal(result.stdout, "", "a ranking of nothing")

    @test
    def what_measured_nothing_is_no_zero():
        run(LEAKPROF, "run", "-q", "-o", "unmeasured.pb.gz", "--", "true")
        result = run(LEAKPROF, "rank", *fleet, "unmeasured.pb.gz")
        one_line(result, 3)
        equal(result.stdout, run(LEAKPROF, "rank", *fleet).stdout, "ranking")

    @test
    def a_profile_of_another_kind_is_named():
        run(LEAKPROF, "suspects", "--min-count=1", "-o", "kind.pb.gz", "b.raw")
        result = run(LEAKPROF, "rank", *fleet, "kind.pb.gz")
        one_line(result, 6)
        check("kind.pb.gz" in result.stderr, result.stderr)
        equal([(function, site["total"]) for function, _, site in rank("kind.pb.gz")], [("worker", 3)], "alone")

    @test
    def thousands_of_files_are_ranked():
        found = rank(*fleet * 1000)
        equal((found[0][2]["total"], found[0][2]["instances"]), (70000, 2000), "of 3000 files")
        check(abs(found[0][2]["rms"] - math.sqrt(2500 / 3)) < 1e-9, found[0][2]["rms"])

    @test
    def wrong_command_lines_are_told():
        for arguments in ([], ["--min=few", "a.pb.gz"], ["--profile=heap", "a.pb.gz"], ["--format=xml", "a.pb.gz"],
                          ["--strip-prefix=/", "a.pb.gz"]):
            one_line(run(LEAKPROF, "rank", *arguments), 2)
        one_line(run(LEAKPROF, "rank", "--owners=/no/such/file", "a.pb.gz"), 6)


def suite_fleet():
    suite_suspects()
    suite_rank()


main({"fleet": suite_fleet})
