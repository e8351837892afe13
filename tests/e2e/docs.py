#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the documentation says: README's commands run, man pages are well formed and complete, an installation works."""
import glob
import json
import os
import re
import shlex

from harness import *

MAN = os.path.join(SOURCE, "docs", "man")


def readme_commands():
    """Those of README's blocks that a reader would type with the examples in PATH."""
    text = open(os.path.join(SOURCE, "README.md")).read()
    return [line for line in re.findall(r"^    \$ (.*)$", text, re.M) if line.startswith(("leakprof ", "go tool"))]


def suite_docs():
    @test
    def readme_commands_run():
        commands = readme_commands()
        check(len(commands) >= 9, "%d commands" % len(commands))
        env = dict(os.environ)
        env["PATH"] = ":".join([os.path.dirname(LEAKPROF), EXAMPLES, os.path.join(EXAMPLES, "minigo"), env["PATH"]])
        for command in commands:
            result = run(*shlex.split(command), env=env)
            equal(result.returncode, 0, "%s: %s" % (command, result.stderr))

    @test
    def readme_shows_what_pth_leaks_prints():
        """The block of the first look, line by line; numbers and paths may differ, "..." stands for anything."""
        text = open(os.path.join(SOURCE, "README.md")).read()
        block = re.search(r"^    \$ leakprof run -o leak.pb.gz -- pth_leaks\n((?:    .*\n)+)", text, re.M).group(1)
        result = run(LEAKPROF, "run", "-o", "leak.pb.gz", "--", os.path.join(EXAMPLES, "pth_leaks"))
        got = result.stdout + result.stderr
        for line in block.splitlines():
            words = [word for word in re.split(r"[\s\d:]+|\.\.\.|\S*/\S+", line) if len(word) > 2]
            check(all(word in got for word in words), "README shows %r, the program prints:\n%s" % (line, got))

    @test
    def leak_cases_are_those_that_are_tested():
        with open(os.path.join(SOURCE, "docs", "leak-cases.md")) as file:
            table = dict(re.findall(r"^\| (\w+) \| \w* \| [^|]* \| (.*) \|$", file.read(), re.M))
        listed = [line.split("\t") for line in run(os.path.join(BUILD, "tests", "cases", "cases"), "list").stdout.splitlines()]
        equal(table, {case[0]: case[1].replace("; ", "<br>") or "none" for case in listed}, "docs/leak-cases.md")

    @test
    def man_pages_are_well_formed():
        pages = glob.glob(os.path.join(MAN, "*"))
        check(len(pages) >= 6, "pages: %r" % pages)
        for page in pages:
            result = run("groff", "-man", "-ww", "-z", "-Tutf8", page)
            equal((result.returncode, result.stderr), (0, ""), page)

    def options_of(text):
        return {name.replace("_", "-") for name in re.findall(r"--([a-z_-]+)", text)}

    @test
    def man_pages_name_every_option_and_no_other():
        for verb in ("run", "check", "serve", "snapshot", "top", "report", "diff", "selftest", "suspects", "rank", "info"):
            page = open(os.path.join(MAN, "leakprof-%s.1" % verb)).read().replace("\\-", "-")
            section = page.split(".SH OPTIONS\n")
            section = section[1].split("\n.SH ")[0] if len(section) > 1 else ""
            in_page = options_of("\n".join(line for line in section.splitlines() if line.startswith(".BR")))
            equal(in_page, options_of(run(LEAKPROF, "help", verb).stdout), "options of " + verb)
        keys = set(re.findall(r"^  (\w+) ", run(LEAKPROF, "help", "options").stdout, re.M))
        page = open(os.path.join(MAN, "leakprof-options.7")).read().replace("\\-", "-")
        equal(set(re.findall(r"^\.BR (\w+) =", page, re.M)), keys, "keys of LEAKPROF_OPTIONS")

    @test
    def benchmarks_run():
        rows = os.path.join(FOLDER, "rows.json")
        result = run("python3", os.path.join(SOURCE, "tests", "bench", "bench.py"), BUILD, "--quick", "--json", rows, timeout=240)
        equal(result.returncode, 0, result.stderr)
        with open(rows) as file:
            seen = {row["benchmark"] for row in json.load(file)["rows"] if row["median"] > 0}
        equal(seen, {"mark", "pause", "goroutines", "chain", "hooks", "memory", "start", "reporter"}, "benchmarks")
        print("     " + "; ".join(line for line in result.stdout.splitlines() if line.startswith("left out")))

    @test
    def an_installation_works():
        destination = os.path.join(FOLDER, "installed")
        result = run("meson", "install", "--no-rebuild", "-C", BUILD, "--destdir", destination,
                     env=dict(os.environ, PATH="/usr/bin:" + os.environ["PATH"]))
        equal(result.returncode, 0, result.stdout + result.stderr)
        found = {os.path.relpath(path, destination) for path in glob.glob(destination + "/**", recursive=True)}
        for name in ("bin/leakprof", "libleakprof.so", "include/leakprof.h", "leakprof.pc", "man1/leakprof-run.1",
                     "man7/leakprof-options.7"):
            check(any(path.endswith(name) for path in found), "%s is not installed: %r" % (name, sorted(found)))
        program = os.path.join(destination, next(path for path in found if path.endswith("bin/leakprof")))
        result = run(program, "run", "-o", "installed.pb.gz", "--", os.path.join(EXAMPLES, "pth_fixed"))
        check("no leaks" in result.stderr, result.stderr)


def suite_speedscope():
    package = os.path.join(SOURCE, "build", "tools", "node_modules", "speedscope")
    script = os.path.join(SOURCE, "tests", "contract", "speedscope.js")

    def read(path):
        result = run("node", script, package, os.path.join(FOLDER, path))
        equal(result.returncode, 0, result.stderr)
        return json.loads(result.stdout)

    @test
    def speedscope_opens_a_profile():
        if not os.path.exists(package):
            print("     (speedscope is not here: ./dev setup --test)")
            return
        run(LEAKPROF, "run", "-q", "-o", "speed.pb.gz", "--", os.path.join(EXAMPLES, "pth_leaks"))
        got = read("speed.pb.gz")
        wanted = sites("speed.pb.gz")
        equal(got["total"], sum(count for _, _, count in wanted), "goroutines")
        for entry, _, _ in wanted:
            frame = got["frames"].get(entry)
            check(frame and frame["total"] >= 1 and "pth_leaks.c" in frame["file"] and frame["line"] > 0,
                  "%s: %r of %r" % (entry, frame, got))
        run(LEAKPROF, "run", "-q", "-o", "many.pb.gz", "--", os.path.join(TESTS, "pth"), "leak_chain")
        got = read("many.pb.gz")
        equal((got["total"], got["frames"]["chain_link"]["total"]), (2000, 2000), "a chain of 2000")


main({"docs": suite_docs, "speedscope": suite_speedscope})
