#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Unit tests, and with `all` the fuzz target, which is sanitized in any build: run.py all|tests BUILD_DIR. Ends with
`N passed, N failed`."""
import glob
import os
import re
import subprocess
import sys
import tempfile

BUILD = os.path.abspath(sys.argv[2])
passed = failed = 0

for path in sorted(glob.glob(os.path.join(BUILD, "tests", "unit", "test_*"))):
    name = os.path.basename(path)
    if "." in name:
        continue
    result = subprocess.run([path], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)
    good = len(re.findall(r"^\[       OK \]", result.stdout, re.M))
    passed += good
    if result.returncode or not good:
        failed += 1
        print(result.stdout)
    else:
        print("ok   %s: %d tests" % (name, good))


def fuzz(folder):
    """Damaged snapshots and profiles. Returns how many of the two kinds passed."""
    good = 0
    profile = os.path.join(folder, "fuzz.pb.gz")
    subprocess.run([os.path.join(BUILD, "leakprof", "leakprof"), "run", "-q", "--keep-raw", "-o", profile, "--",
                    os.path.join(BUILD, "tests", "runtimes", "pth"), "leak_rwlock"], check=True,
                   stdout=subprocess.DEVNULL)
    for path in (profile + ".raw", profile):
        result = subprocess.run([os.path.join(BUILD, "tests", "fuzz", "fuzz_report"), "400", path],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if result.returncode:
            print("FAIL fuzz_report on %s\n%s" % (path, result.stdout[:4000]))
        else:
            good += 1
            print("ok   fuzz_report on 400 damaged copies of %s" % os.path.basename(path))
    return good


if sys.argv[1] == "all":
    with tempfile.TemporaryDirectory() as folder:
        good = fuzz(folder)
        passed += good
        failed += 2 - good

print("%d passed, %d failed" % (passed, failed))
sys.exit(1 if failed else 0)
