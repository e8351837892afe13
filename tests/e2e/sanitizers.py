#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs built with a sanitizer, under `leakprof check`: sanitizers.py SUITE BUILD_DIR. Builds tests/programs/sanitized.c with
each sanitizer of gcc's and clang's, and has a leak, its fixed twins and a mistake that the sanitizer itself must go on to find."""
import concurrent.futures
import glob

from harness import *

MINIGO = os.path.join(SOURCE, "examples", "minigo")
RUNTIMES = {
    "pth": ["-DPTH", "-lpth"],
    "st": ["-DST", "-lst"],
    "minigo": ["-I" + MINIGO, "-I" + os.path.join(SOURCE, "leakprof", "include"), "-pthread"]
              + sorted(set(glob.glob(MINIGO + "/*.c")) - {MINIGO + "/test_minigo.c"}),
}
SHARED = os.path.dirname(run("clang", "-print-file-name=libclang_rt.asan-x86_64.so").stdout.strip())

OVERFLOW = ("overflow", 1, ("heap-buffer-overflow", "in overflow "))
RACE = ("race", 66, ("ThreadSanitizer: data race", " increment "))
LOSE = ("lose", 23, ("leak of 1234 byte(s)", "in lose "))
UNDEFINED = ("undefined", 0, ("signed integer overflow",))

# name: compiler and flags, runtimes, the mistake: its exit status and what is said of it
BUILDS = {
    "gcc_asan": (["gcc", "-fsanitize=address"], ("pth", "st", "minigo"), OVERFLOW),
    "clang_asan": (["clang", "-fsanitize=address"], ("pth", "st", "minigo"), OVERFLOW),
    "clang_shared_asan": (["clang", "-fsanitize=address", "-shared-libasan", "-Wl,-rpath," + SHARED], ("st",), OVERFLOW),
    "gcc_tsan": (["gcc", "-fsanitize=thread"], ("st", "minigo"), RACE),
    "clang_tsan": (["clang", "-fsanitize=thread"], ("st", "minigo"), None),
    "gcc_lsan": (["gcc", "-fsanitize=leak"], ("st",), LOSE),
    "clang_lsan": (["clang", "-fsanitize=leak"], ("st",), LOSE),
    "gcc_ubsan": (["gcc", "-fsanitize=undefined"], ("st",), UNDEFINED),
    "clang_ubsan": (["clang", "-fsanitize=undefined"], ("st",), UNDEFINED),
    "gcc_static_asan": (["gcc", "-fsanitize=address", "-static-libasan"], ("st",), None),
}

# Who knows the object at the end -> whether its waiter is leaked.
MODES = {"leak": True, "woken": False, "global": False, "frame": False}


def compile_one(job):
    name, command, runtime = job
    path = os.path.join(FOLDER, name)
    built = run(*command, "-g", "-O1", "-D_GNU_SOURCE", "-o", path, os.path.join(SOURCE, "tests", "programs", "sanitized.c"),
                *RUNTIMES[runtime], timeout=300)
    return name, built.stderr if built.returncode else None


def program(build, runtime):
    return os.path.join(FOLDER, "%s_%s" % (build, runtime))


def environment(**more):
    """LeakSanitizer is off, unless asked for: it does not see what only a goroutine's stack holds."""
    return dict(os.environ, ASAN_OPTIONS="detect_leaks=0", LSAN_OPTIONS="detect_leaks=0", TSAN_OPTIONS="", UBSAN_OPTIONS="", **more)


def checked(*command, env=None):
    # Without randomized addresses: gcc 12's TSan does not know all that newer kernels choose.
    return run("setarch", "-R", LEAKPROF, "check", "--", *command, env=env or environment())


def define(name, function, *arguments):
    def case():
        function(*arguments)
    case.__name__ = name
    test(case)


def verdicts(path):
    for mode, leaked in MODES.items():
        result = checked(path, mode)
        what = "%s (%s)" % (mode, result.stderr)
        equal((result.returncode, result.stdout), (23 if leaked else 0, "done\n"), what)
        check(not leaked or "waits" in result.stderr, what)


def still_finds(path, mistake, status, texts):
    env = dict(environment(), LSAN_OPTIONS="", TSAN_OPTIONS="report_bugs=1")
    for mode in ("woken", "leak"):
        alone = run("setarch", "-R", path, mode, mistake, env=env)
        under = checked(path, mode, mistake, env=env)
        what = "%s (%s)" % (mode, under.stderr)
        equal(alone.returncode, status, "alone: " + alone.stderr)
        equal(under.returncode, status or (23 if mode == "leak" else 0), what)
        equal(under.stdout, alone.stdout, "output")
        for text in texts:
            check(text in under.stderr, "no %r: %s" % (text, what))
        check(("goroutine leaked" in under.stderr) == (mode == "leak"), what)


def suite_sanitizers():
    jobs = [("%s_%s" % (name, runtime), command, runtime)
            for name, (command, runtimes, _) in BUILDS.items() for runtime in runtimes]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        broken = dict(pool.map(compile_one, jobs))

    @test
    def all_compile():
        check(not any(broken.values()), [error for error in broken.values() if error])

    for name, (_, runtimes, mistake) in BUILDS.items():
        for runtime in runtimes if name != "gcc_static_asan" else ():
            define("%s.%s.verdicts" % (name, runtime), verdicts, program(name, runtime))
        if mistake:
            define("%s.still_finds_its_own" % name, still_finds, program(name, "st"), *mistake)

    @test
    def one_that_cannot_be_looked_into_is_refused():
        for mode in ("leak", "woken"):
            result = checked(program("gcc_static_asan", "st"), mode)
            equal((result.returncode, result.stdout), (3, "done\n"), result.stderr)
            check("link without -static-libasan" in result.stderr, result.stderr)

    @test
    def threads_of_clangs_tsan_are_refused():
        result = checked(program("clang_tsan", "st"), "leak", "race")
        equal(result.returncode, 66, result.stderr)
        for text in RACE[2] + ("nothing measured: clang's ThreadSanitizer", "build with gcc's"):
            check(text in result.stderr, result.stderr)

    @test
    def leaksanitizer_at_exit_does_not_hide_goroutines():
        for build in ("gcc_asan", "clang_asan"):
            result = checked(program(build, "st"), "leak", "lose", env=dict(environment(), ASAN_OPTIONS="", LSAN_OPTIONS=""))
            equal(result.returncode, 1, result.stderr)
            for text in ("LeakSanitizer", "1234 byte(s)", "goroutine leaked"):
                check(text in result.stderr, result.stderr)

    @test
    def variables_that_asan_has_moved_count():
        env = dict(environment(), ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1")
        for build, runtime in (("gcc_asan", "st"), ("clang_asan", "minigo"), ("clang_asan", "st")):
            result = checked(program(build, runtime), "frame", env=env)
            equal((result.returncode, result.stdout), (0, "done\n"), result.stderr)

    @test
    def what_the_user_says_to_asan_counts():
        result = checked(program("gcc_asan", "st"), "woken", env=dict(os.environ, ASAN_OPTIONS="verify_asan_link_order=1"))
        check("does not come first" in result.stderr and result.returncode == 1, result.stderr)


main({"sanitizers": suite_sanitizers})
