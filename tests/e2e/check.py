#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Leak checks: the verb check with suppressions, baselines and its forms of results, checks by leakprof.h, and a test-suite that uses them."""
import json
import os
import re
import sys

from harness import *

PTH_LEAKS = os.path.join(EXAMPLES, "pth_leaks")
PTH_FIXED = os.path.join(EXAMPLES, "pth_fixed")
CHECKS = os.path.join(PROGRAMS, "checks")


def leak_check(*arguments, **options):
    return run(LEAKPROF, "check", *arguments, **options)


def write(name, text):
    path = os.path.join(FOLDER, name)
    with open(path, "w") as file:
        file.write(text)
    return path


def tool_package(name):
    """A package that ./dev setup has npm install, or None."""
    path = os.path.join(SOURCE, "build", "tools", "node_modules", name)
    if os.path.exists(path):
        return path
    print("     (%s is not here: ./dev setup --test)" % name)
    return None


def suite_check():
    @test
    def fails_with_leaks_and_says_where():
        result = leak_check("--", PTH_LEAKS)
        equal((result.returncode, result.stdout), (23, "working\ndone\n"), "the program")
        for text in ("11 goroutines leaked at 11 sites in " + PTH_LEAKS, "[sync.Mutex.Lock]", "move_from_checking  ",
                     "examples/pth_leaks.c:39", "created by start  "):
            check(text in result.stderr, "%r is not in %s" % (text, result.stderr))

    @test
    def passes_without_and_says_what_was_measured():
        result = leak_check("--", PTH_FIXED)
        equal(result.returncode, 0, result.stderr)
        check(re.search(r"no leaks \(\d+ goroutines created in 1 process\)", result.stderr), result.stderr)
        equal(leak_check("-q", "--", PTH_FIXED).stderr, "", "with --quiet")

    @test
    def exitcode_is_chosen():
        equal(leak_check("--exitcode=77", "--", PTH_LEAKS).returncode, 77, "--exitcode=77")
        equal(leak_check("--exitcode=0", "--", PTH_LEAKS).returncode, 0, "--exitcode=0")

    @test
    def the_programs_own_failure_comes_first():
        for ends, code in (("exit 5", 5), ("kill -SEGV $$", -signal.SIGSEGV)):
            result = leak_check("--", "/bin/sh", "-c", "%s >&2; %s" % (PTH_LEAKS, ends))
            equal(result.returncode, code, ends)
            check("11 goroutines leaked" in result.stderr, result.stderr)

    @test
    def nothing_measured_is_no_pass():
        for program, code in (("/bin/true", 3), (os.path.join(TESTS, "static"), 5)):
            result = leak_check("--", program)
            equal(result.returncode, code, program)
            check("nothing measured: " in result.stderr and "no leaks" not in result.stderr, result.stderr)

    @test
    def a_process_behind_a_shell_is_enough():
        equal(leak_check("--", "/bin/sh", "-c", PTH_FIXED + "; true").returncode, 0, "fixed")

    @test
    def a_program_that_hangs_is_ended():
        never, kept_open = os.pipe()
        result = leak_check("--timeout=300ms", "--", os.path.join(PROGRAMS, "waiter_st"), "1", stdin=never)
        os.close(kept_open)
        equal(result.returncode, 124, result.stderr)
        check("longer than --timeout" in result.stderr, result.stderr)

    @test
    def selftest_finds_what_it_plants():
        result = run(LEAKPROF, "selftest")
        equal((result.returncode, result.stderr), (0, ""), result.stdout)
        equal([line for line in result.stdout.splitlines() if not line.startswith("ok ")], [], "lines")
        check("sync.Cond.Wait: 2 of 2 found" in result.stdout, result.stdout)
        one_line(run(LEAKPROF, "selftest", env=dict(os.environ, LEAKPROF_SHIM="/nowhere")), 5)

    @test
    def wrong_command_lines_are_told():
        for arguments in (["--format=xml", "--", "true"], ["--format=pprof", "--", "true"], ["--mode=dead", "--", "true"],
                          ["--exitcode=256", "--", "true"], ["--follow=thread", "--", "true"], ["--timeout=x", "--", "true"], []):
            one_line(leak_check(*arguments), 2)


def suite_follow():
    @test
    def each_process_that_leaks_is_told():
        result = leak_check("--", "/bin/sh", "-c", "%s & %s; wait" % (PTH_LEAKS, PTH_LEAKS))
        equal(result.returncode, 23, result.stderr)
        equal(len(re.findall(r"11 goroutines leaked at 11 sites", result.stderr)), 2, result.stderr)
        check("22 goroutines leaked" in result.stderr, result.stderr)

    @test
    def children_are_followed_as_asked():
        command = ["--", "/bin/sh", "-c", PTH_LEAKS + " >/dev/null; true"]
        for follow, code in (("fork,exec", 23), ("exec", 23), ("fork", 3), ("none", 3)):
            equal(leak_check("--follow=" + follow, *command).returncode, code, follow)


def suite_suppressions():
    @test
    def suppressed_leaks_do_not_fail():
        rules = write("all.supp", "# everything\n\nleak:pth_leaks.c\n")
        result = leak_check("--suppressions=" + rules, "--", PTH_LEAKS)
        equal(result.returncode, 0, result.stderr)
        check(re.search(r"suppressions used:\n.*\n +11 +\d+  leak:pth_leaks.c  \(.*all.supp:3\)", result.stderr), result.stderr)

    @test
    def each_kind_of_rule_looks_where_it_says():
        for rule, count in (("top:pay_in", 1), ("top:^pay$", 0), ("top:^pay*", 1), ("any:audit", 1), ("top:audit", 0), ("created:^start$", 11),
                            ("created:pth_bank.h", 11), ("lib:/pth_leaks$", 11), ("lib:libpth", 0), ("state:sync.Mutex", 3),
                            ("state:^chan receive$", 1), ("leak:look_up", 1), ("leak:nowhere", 0), ("leak:*wait*config", 2)):
            result = leak_check("--suppress=" + rule, "--format=json:rule.json", "--", PTH_LEAKS)
            with open(os.path.join(FOLDER, "rule.json")) as file:
                got = sum(leak["count"] for leak in json.load(file)["leaks"] if leak["status"] == "suppressed")
            equal(got, count, rule)

    @test
    def unused_rules_are_told():
        result = leak_check("--suppress=top:nobody", "--", PTH_FIXED)
        equal(result.returncode, 0, result.stderr)
        check("warning: --suppress:1: top:nobody suppressed nothing" in result.stderr, result.stderr)

    @test
    def wrong_rules_are_told_by_line():
        for text, place in (("top:a\nbottom:b\n", ":2: "), ("top:\n", ":1: "), ("no colon", ":1: ")):
            result = leak_check("--suppressions=" + write("bad.supp", text), "--", "true")
            one_line(result, 6)
            check("bad.supp" + place in result.stderr, result.stderr)
        one_line(leak_check("--suppressions=/nowhere", "--", "true"), 6)

    @test
    def generated_rules_suppress_what_was_found():
        result = leak_check("--gen-suppressions", "--format=json:/dev/null", "--", PTH_LEAKS)
        equal(result.returncode, 23, "found")
        lines = result.stderr.splitlines()
        equal(len([line for line in lines if not line.startswith("#")]), len({line for line in lines if not line.startswith("#")}), "lines")
        rules = write("generated.supp", result.stderr)
        result = leak_check("--suppressions=" + rules, "--", PTH_LEAKS)
        equal(result.returncode, 0, result.stderr)
        check("suppressed nothing" not in result.stderr, result.stderr)

    @test
    def a_program_brings_its_own():
        env = dict(os.environ, CHECKS_DEFAULT="top:^leak_one$")
        result = leak_check("--", CHECKS, "leak", env=env)
        equal(result.returncode, 0, result.stderr)
        check("(leakprof_default_suppressions:1)" in result.stderr, result.stderr)
        equal(leak_check("--", CHECKS, "leak").returncode, 23, "without")


def suite_baselines():
    def count(file):
        return sum(number for _, _, number in sites(file))

    @test
    def known_leaks_pass_and_new_ones_fail():
        few = os.path.join(FOLDER, "few.pb.gz")
        equal(leak_check("--format=pprof:few.pb.gz", "--", CHECKS, "leak").returncode, 23, "at first")
        equal(count(few), 1, "the baseline")
        result = leak_check("--baseline=few.pb.gz", "--", CHECKS, "leak")
        equal(result.returncode, 0, result.stderr)
        check("1 goroutine at 1 site is known to the baseline" in result.stderr and "no new leaks" in result.stderr, result.stderr)
        result = leak_check("--baseline=few.pb.gz", "--", CHECKS, "ignore")
        equal(result.returncode, 23, result.stderr)
        check("check_ignore" in result.stderr and "check_leak" not in result.stderr, result.stderr)

    @test
    def more_of_the_same_fails():
        leak_check("--format=pprof:two.pb.gz", "--", CHECKS, "many", "2")
        equal(leak_check("--baseline=two.pb.gz", "--", CHECKS, "many", "2").returncode, 0, "as many")
        equal(leak_check("--baseline=two.pb.gz", "--", CHECKS, "many", "1").returncode, 0, "fewer")
        result = leak_check("--baseline=two.pb.gz", "--", CHECKS, "many", "3")
        equal(result.returncode, 23, "more")
        check("(the baseline has 2)" in result.stderr, result.stderr)

    @test
    def a_rebuilt_program_matches():
        """pth_leaks once more, from another folder, with lines moved and other addresses."""
        folder = os.path.join(FOLDER, "elsewhere")
        os.mkdir(folder)
        for name in ("pth_leaks.c", "pth_bank.h"):
            with open(os.path.join(SOURCE, "examples", name)) as file:
                text = file.read()
            with open(os.path.join(folder, name), "w") as file:
                file.write("\n" * 7 + text)
        other = os.path.join(folder, "other_name")
        result = run("gcc", "-g", "-O2", "-D_GNU_SOURCE", "-o", other, os.path.join(folder, "pth_leaks.c"), "-lpth")
        equal(result.returncode, 0, result.stderr)
        leak_check("--format=pprof:built.pb.gz", "--", PTH_LEAKS)
        equal(leak_check("--baseline=built.pb.gz", "--", other).returncode, 0, "the other build")

    @test
    def update_baseline_keeps_what_was_known():
        known = os.path.join(FOLDER, "known.pb.gz")
        for program in ((CHECKS, "leak"), (CHECKS, "many", "2"), (CHECKS, "many", "1")):
            result = leak_check("--baseline=known.pb.gz", "--update-baseline", "--", *program)
            equal(result.returncode, 0, result.stderr)
        equal(count(known), 3, "the most at each site")
        for program in ((CHECKS, "leak"), (CHECKS, "many", "2")):
            equal(leak_check("--baseline=known.pb.gz", "--", *program).returncode, 0, program)
        equal(leak_check("--baseline=known.pb.gz", "--", CHECKS, "many", "3").returncode, 23, "more")

    @test
    def update_baseline_by_many_at_once():
        processes = [subprocess.Popen([LEAKPROF, "check", "--baseline=together.pb.gz", "--update-baseline", "--", CHECKS, mode, "2"],
                                      cwd=FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                     for mode in ("leak", "many", "ignore") for _ in range(4)]
        for process in processes:
            equal(process.wait(), 0, "a check")
        for mode in ("leak", "many", "ignore"):
            equal(leak_check("--baseline=together.pb.gz", "--", CHECKS, mode, "2").returncode, 0, mode)

    @test
    def diff_tells_what_changed():
        leak_check("--format=pprof:a.pb.gz", "--", CHECKS, "many", "2")
        leak_check("--format=pprof:b.pb.gz", "--", CHECKS, "many", "5")
        leak_check("--format=pprof:c.pb.gz", "--", CHECKS, "leak")
        for files, words in ((("a", "b"), ["+3", "grown", "2 -> 5"]), (("b", "a"), ["-3", "shrunk", "5 -> 2"]),
                             (("a", "c"), ["-2", "gone", "+1", "new"]), (("a", "a"), ["2 -> 2 leaked goroutines; 1 site is as before"])):
            result = run(LEAKPROF, "diff", files[0] + ".pb.gz", files[1] + ".pb.gz")
            equal(result.returncode, 0, result.stderr)
            for word in words:
                check(word in result.stdout, "%r: %r is not in %s" % (files, word, result.stdout))

    @test
    def diff_writes_a_profile():
        result = run(LEAKPROF, "diff", "-o", "d.pb.gz", "b.pb.gz", "a.pb.gz")
        equal(result.returncode, 0, result.stderr)
        top = run("go", "tool", "pprof", "-top", os.path.join(FOLDER, "d.pb.gz")).stdout
        check(re.search(r"^\s+-3 .*leak_one", top, re.M), top)
        one_line(run(LEAKPROF, "report", "d.pb.gz"), 6)

    @test
    def wrong_baselines_are_told():
        one_line(leak_check("--baseline=" + write("none.pb.gz", "what"), "--", PTH_FIXED), 6)
        one_line(leak_check("--baseline=/nowhere", "--", PTH_FIXED), 6)
        one_line(run(LEAKPROF, "diff", "a.pb.gz"), 2)
        one_line(run(LEAKPROF, "diff", "a.pb.gz", "/nowhere"), 6)


def suite_formats():
    sys.path.append("/usr/lib/python3/dist-packages")
    import jsonschema

    names = {"json": "r.json", "junit": "r.xml", "sarif": "r.sarif", "github": "r.github", "pprof": "r.pb.gz", "text": "r.txt"}

    def read(form):
        with open(os.path.join(FOLDER, names[form])) as file:
            return file.read()

    def all_of(*command):
        for name in names.values():
            if os.path.exists(os.path.join(FOLDER, name)):
                os.unlink(os.path.join(FOLDER, name))
        return leak_check("--format=" + ",".join("%s:%s" % item for item in names.items()), "--suppress=state:RWMutex", "--", *command)

    PROGRAMS_SEEN = ((PTH_LEAKS,), (PTH_FIXED,), ("/bin/true",))

    @test
    def several_at_once_to_files():
        result = all_of(PTH_LEAKS)
        equal((result.returncode, result.stderr), (23, ""), "check")
        check("9 goroutines leaked" in read("text"), read("text"))
        equal(len(sites(os.path.join(FOLDER, "r.pb.gz"))), 11, "the profile has all of them")

    @test
    def json_is_of_its_schema():
        with open(os.path.join(SOURCE, "docs", "check.schema.json")) as file:
            schema = json.load(file)
        jsonschema.Draft7Validator.check_schema(schema)
        verdicts = []
        for program in PROGRAMS_SEEN:
            all_of(*program)
            result = json.loads(read("json"))
            jsonschema.validate(result, schema)
            verdicts.append(result["verdict"])
        equal(verdicts, ["leaks", "clean", "unmeasured"], "verdicts")
        all_of(PTH_LEAKS)
        leaks = json.loads(read("json"))["leaks"]
        equal(sorted((leak["status"], leak["count"]) for leak in leaks), [("new", 1)] * 9 + [("suppressed", 1)] * 2, "leaks")
        check(any(frame["function"] == "pay_in" and frame["line"] == 81 for leak in leaks for frame in leak["stack"]), "stacks")

    @test
    def junit_is_of_ants_schema():
        package = tool_package("junit-xml")
        if not package:
            return
        with open(os.path.join(package, "src", "index.test.ts")) as file:
            schema = re.search(r"const antJunitSchema = '(.*?)';", file.read(), re.S).group(1)
        schema = write("junit.xsd", schema.replace("\\'", "'").replace("\\n", "\n"))
        for program, counts in zip(PROGRAMS_SEEN, ((9, 9, 0), (1, 0, 0), (1, 0, 1))):
            all_of(*program)
            result = run("xmllint", "--noout", "--schema", schema, os.path.join(FOLDER, "r.xml"))
            equal(result.returncode, 0, result.stderr)
            got = tuple(int(re.search(r'%s="(\d+)"' % word, read("junit")).group(1)) for word in ("tests", "failures", "errors"))
            equal(got, counts, "tests, failures, errors")

    @test
    def sarif_is_of_its_schema():
        package = tool_package("@microsoft/jest-sarif")
        if not package:
            return
        with open(os.path.join(package, "lib", "schemas", "sarif-2.1.0-rtm.5.json")) as file:
            schema = json.load(file)
        for program in PROGRAMS_SEEN:
            all_of(*program)
            jsonschema.Draft4Validator(schema).validate(json.loads(read("sarif")))
        all_of(PTH_LEAKS)
        results = json.loads(read("sarif"))["runs"][0]["results"]
        equal((len(results), sum("suppressions" in result for result in results)), (11, 2), "results, suppressed")
        check(len({result["partialFingerprints"]["leakprofSite/v1"] for result in results}) >= 10, "fingerprints")

    @test
    def github_annotates_the_line_and_keeps_its_limits():
        all_of(PTH_LEAKS)
        lines = read("github").splitlines()
        equal(len(lines), 9, "annotations")
        check(re.match(r"::error file=\S+/examples/pth_leaks\.c,line=\d+,title=1 goroutine leaked \[[^,:]*\] in \w+::1 goroutine .*%0A", lines[0]), lines[0])
        leak_check("--format=github:many.github", "--", PTH_LEAKS)
        with open(os.path.join(FOLDER, "many.github")) as file:
            lines = file.read().splitlines()
        equal(len(lines), 10, "annotations of 11")
        check(lines[9].startswith("::error title=2 more leaks::"), lines[9])

    @test
    def what_cannot_be_written_is_told():
        result = leak_check("--format=json:/nowhere/r.json", "--", PTH_FIXED)
        equal(result.returncode, 7, result.stderr)
        check("/nowhere/r.json cannot be written" in result.stderr, result.stderr)

    @test
    def names_of_any_bytes_are_valid_everywhere():
        strange = os.path.join(FOLDER, "b\xff<&>\"%,:\n\x01d".encode("latin-1").decode("utf-8", "surrogateescape"))
        shutil.copy(PTH_LEAKS, strange)
        all_of(strange)
        json.loads(read("json"))
        json.loads(read("sarif"))
        equal(run("xmllint", "--noout", os.path.join(FOLDER, "r.xml")).returncode, 0, "XML")


# Mode -> what its checks return.
CHECKED = {
    "leak": "clean 0, leak 1, again 1",
    "scope": "inner 1, outer 3, empty 0, all 4",
    "parallel": "none 0, one 1, two 2, none 0, one 1, two 2, none 0, one 1",
    "ignore": "ignored 0, later 1",
    "alive": "unreachable 0, alive 1, settled 0",
    "suppressed": "suppressed 0, other 1, wrong -22",
    "often": "sum 100, descriptors 0",
}


def suite_api():
    for mode, wanted in CHECKED.items():
        def returns():
            for threads in ("1", "4"):
                env = dict(preload(at_exit=0), MINIGO_THREADS=threads, CHECKS_REPORT=os.path.join(FOLDER, "report"))
                result = run(CHECKS, mode, env=env)
                equal(result.returncode, 0, result.stderr)
                equal(result.stdout.splitlines(), ["available 1", "nothing -61"] + wanted.split(", "), "%s, %s threads" % (mode, threads))
                check("nothing measured" in result.stderr, result.stderr)
        returns.__name__ = "leakprof_h.%s" % mode
        test(returns)

    @test
    def a_report_goes_to_the_callers_sink():
        report = os.path.join(FOLDER, "sink")
        run(CHECKS, "scope", env=dict(preload(at_exit=0), CHECKS_REPORT=report))
        with open(report) as file:
            text = file.read()
        check("leak_one  " in text and "created by start_leak" in text and "4 goroutines leaked" in text, text)

    @test
    def without_the_shim_nothing_is_said_to_be_clean():
        result = run(CHECKS, "leak")
        equal(result.stdout.splitlines(), ["available 0", "nothing -38", "clean -38", "leak -38", "again -38"], "without the shim")

    @test
    def without_a_reporter_there_is_a_number():
        result = run(CHECKS, "leak", env=dict(preload(at_exit=0, reporter="/nowhere"), CHECKS_REPORT=os.path.join(FOLDER, "numbers")))
        equal(result.stdout.splitlines()[2:], ["clean 0", "leak 1", "again 1"], "checks")
        with open(os.path.join(FOLDER, "numbers")) as file:
            check("option reporter=PATH" in file.read(), "what to do")

    @test
    def ignored_goroutines_are_ignored_at_exit_too():
        result = leak_check("--", CHECKS, "ignore")
        equal(result.returncode, 23, result.stderr)
        check("1 goroutine leaked" in result.stderr, result.stderr)

    @test
    def alive_mode_finds_what_reachability_does_not():
        equal(leak_check("--", CHECKS, "kept").returncode, 0, "unreachable")
        result = leak_check("--mode=alive", "--settle=10ms", "--", CHECKS, "kept")
        equal(result.returncode, 23, result.stderr)
        check("1 goroutine still there" in result.stderr and "receive  " in result.stderr, result.stderr)

    @test
    def alive_mode_waits_for_those_that_end():
        for program in ((CHECKS, "ending"), (os.path.join(PROGRAMS, "ending_pth"),), (os.path.join(PROGRAMS, "ending_st"),)):
            result = leak_check("--mode=alive", "--settle=20s", "--", *program)
            equal(result.returncode, 0, result.stderr)
            result = leak_check("--mode=alive", "--settle=0", "--", *program)
            equal(result.returncode, 23, "%r without time: %s" % (program, result.stderr))


def suite_frameworks():
    folder = os.path.join(EXAMPLES, "leak_tests")

    def fails_and_names_the_leak(framework, passed, failed):
        @test
        def names_the_leak():
            result = run(os.path.join(folder, "with_" + framework), env=preload(at_exit=0))
            text = result.stdout + result.stderr
            check(result.returncode not in (0, 2), "exit code %d: %s" % (result.returncode, text))
            for word in (passed, failed, "1 goroutine [sync.Cond.Wait]", "slot_put  ", "created by fetch_first  "):
                check(word in text, "%r is not in %s" % (word, text))
            equal(text.count("ERROR: 1 goroutine leaked"), 1, text)

    for framework, passed, failed in (("main", "ok   takes_all", "FAIL takes_the_first"),
                                      ("cmocka", "[       OK ] takes_all", "takes_the_first"),
                                      ("check", "50%: Checks: 2, Failures: 1, Errors: 0", ":takes_the_first:")):
        fails_and_names_the_leak(framework, passed, failed)

    def meson_tests(build, *wrapper):
        result = run("meson", "test", "-C", build, "--wrapper", " ".join((LEAKPROF, "check") + wrapper + ("--",)), timeout=120, env=env)
        failed = sorted(re.findall(r"^ *\d+/\d+ (\S+) +FAIL", result.stdout, re.M))
        with open(os.path.join(build, "meson-logs", "testlog-leakprof.txt")) as file:
            return result.returncode, failed, file.read()

    env = dict(os.environ, PATH="/usr/bin:" + os.environ["PATH"])

    @test
    def a_project_with_twenty_tests_finds_its_three_leaks():
        project = os.path.join(SOURCE, "examples", "ci", "project")
        build = os.path.join(FOLDER, "shop")
        result = run("meson", "setup", build, project, env=env)
        equal(result.returncode, 0, result.stdout + result.stderr)
        code, failed, log = meson_tests(build)
        equal((code, failed), (3, ["cancels", "refunds", "times_out"]), "without a baseline")
        with open(os.path.join(project, "shop_tests.c")) as file:
            lines = file.read().splitlines()
        blocked = 1 + next(i for i, line in enumerate(lines) if "st_cond_wait" in line)
        for text in ("await_order  ", "created by place_order  ", "shop_tests.c:%d\n" % blocked):
            equal(log.count(text), 3, text)
        known = os.path.join(FOLDER, "known-leaks.pb.gz")
        equal(meson_tests(build, "--baseline=" + known, "--update-baseline")[:2], (0, []), "updating the baseline")
        equal(meson_tests(build, "--baseline=" + known)[:2], (0, []), "with the baseline")
        run("meson", "configure", build, "-Dleaks=4", env=env)
        code, failed, log = meson_tests(build, "--baseline=" + known)
        equal((code, failed), (1, ["ships"]), "with a fourth leak")


main({"frameworks": suite_frameworks, "check": suite_check, "follow": suite_follow, "suppressions": suite_suppressions, "baselines": suite_baselines,
      "formats": suite_formats, "api": suite_api})
