#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an operator does (suite production): the files of examples/production/ are read by the tools that they are for and do what
docs/production.md says, and a leak is seen, found and seen to be gone. See harness.py."""
import glob
import shlex

import yaml

from harness import *

FILES = os.path.join(SOURCE, "examples", "production")
PUBLIC = os.path.join(FOLDER, "public")
USER = 1000
# What Parca and Alloy fetch unless it is switched off.
DEFAULTS = {"memory": "/debug/pprof/allocs", "block": "/debug/pprof/block", "goroutine": ALL, "mutex": "/debug/pprof/mutex",
            "process_cpu": "/debug/pprof/profile"}


def text_of(name):
    with open(os.path.join(FILES, name)) as file:
        return file.read()


# --- The leak, from the first alert to the fix ---

@contextlib.contextmanager
def deployed(program, port):
    """A program of examples/ under serve at PORT: (Serving, the program's port, its PID)."""
    with Serving("--", os.path.join(EXAMPLES, program), listen="127.0.0.1:%d" % port, interval="200ms") as serving:
        pid = int(re.search(r"serving PID (\d+)", serving.said).group(1))
        yield serving, int(serving.process.stdout.readline().split()[3]), pid
        equal(serving.end(), 0, "exit code of " + program)


def settings(port):
    """The example's files, for a serve at PORT and in a hurry."""
    job = text_of("prometheus.yml").replace("127.0.0.1:6070", "127.0.0.1:%d" % port)
    return {"prometheus.yml": job.replace("_interval: 15s", "_interval: 300ms"),
            "leakprof.rules.yml": text_of("leakprof.rules.yml")}


def shown_by_pprof(url, path):
    """What the page PATH of go tool pprof -http shows for the profile at URL."""
    port = free_port()
    process = subprocess.Popen(["go", "tool", "pprof", "-no_browser", "-http=127.0.0.1:%d" % port, url], start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=FOLDER,
                               env=dict(os.environ, PPROF_TMPDIR=FOLDER, HOME=FOLDER))

    def page():
        with contextlib.suppress(OSError), urllib.request.urlopen("http://127.0.0.1:%d/ui/%s" % (port, path)) as response:
            return response.read().decode()
    try:
        wait_for(page, 60)
        return page()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def line_that_leaks():
    with open(os.path.join(SOURCE, "examples", "st_server.c")) as file:
        return next(number for number, line in enumerate(file, 1) if "st_cond_wait(slot->taken)" in line)


def finds_the_leak(url, count):
    environment = dict(os.environ, PPROF_TMPDIR=FOLDER, HOME=FOLDER)
    for form, wanted in (("-top", r"^ +%d .* fetch_backend .*/st_server.c:%d$" % (count, line_that_leaks())),
                         ("-list=fetch_backend", r"^ +%d +%d +%d:.*st_cond_wait" % (count, count, line_that_leaks()))):
        result = run("go", "tool", "pprof", "-lines", form, url, env=environment)
        equal(result.returncode, 0, result.stderr)
        check(re.search(wanted, result.stdout, re.M), result.stdout)
    check("fetch_backend" in shown_by_pprof(url, "top"), "pprof -http")


def suite_leak():
    @test
    def an_operator_finds_the_leak_and_sees_the_fix():
        program = prometheus_tool("prometheus")
        if not program:
            return
        port = free_port()
        with prometheus(program, settings(port)) as ask:
            with deployed("st_server", port) as (serving, service, _):
                for leaked in (5, 25):
                    load(service, 10 if leaked == 5 else 40)
                    wait_for(lambda: ask("leakprof_goroutines_leaked") == [float(leaked)], 60)
                wait_for(lambda: ask('ALERTS{alertname="GoroutineLeakGrows"}') == [1.0], 60)
                finds_the_leak(serving.url(LEAK), 25)
            with deployed("st_server_fixed", port) as (serving, service, pid):
                one = '{pid="%d"}' % pid
                load(service, 50)
                wait_for(lambda: ask("leakprof_goroutines_finished_total" + one) == [100.0], 60)
                since = ask("max(timestamp(leakprof_goroutines_finished_total%s))" % one)[0]
                wait_for(lambda: ask("leakprof_last_collection_timestamp_seconds%s > %f" % (one, since)), 60)
                equal(ask("max_over_time(leakprof_goroutines_leaked%s[5m])" % one), [0.0], "leaked")
                equal(ask('ALERTS{alertname=~"GoroutineLeakGrows|GoroutinesLeaked",pid="%d"}' % pid), [], "alerts")

    @test
    def what_cannot_be_measured_is_told_and_is_no_zero():
        program = prometheus_tool("prometheus")
        if not program:
            return
        with Running(ST_SERVER, env=preload(at_exit=0, max_pause="1ns")) as running, \
                Serving(running.process.pid, interval="200ms") as serving, \
                prometheus(program, settings(serving.port)) as ask:
            wait_for(lambda: ask("leakprof_collection_failures_total > 1"), 60)
            wait_for(lambda: ask('ALERTS{alertname="GoroutineLeaksNotMeasured"}') == [1.0], 60)
            equal(ask("leakprof_goroutines_leaked"), [], "leaked")
            check("more than max_pause" in serving.text(LEAK + "?debug=1", 503), "why")


# --- Filters ---

# Runs its arguments under a filter that kills the process at every system call but those of the numbers in its first one.
FILTERED = """
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0)]
for number in sys.argv[1].split(","):
    code += [(0x15, 0, 1, int(number)), (0x06, 0, 0, 0x7fff0000)]
code += [(0x06, 0, 0, 0x80000000)]
buffer = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer)))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, head, 0, 0) == 0
os.execvp(sys.argv[2], sys.argv[2:])
"""


def system_service():
    """The numbers of the system calls that SystemCallFilter=@system-service allows."""
    groups = {}
    for block in run("systemd-analyze", "syscall-filter").stdout.split("\n\n"):
        names = [line.strip() for line in block.splitlines() if line.strip() and not line.strip().startswith("#")]
        groups.update({names[0]: names[1:]} if names else {})

    def calls(name):
        return {call for part in groups[name] for call in (calls(part) if part.startswith("@") else {part})}
    with open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h") as file:
        numbers = dict(re.findall(r"^#define __NR_(\w+) (\d+)$", file.read(), re.M))
    return [numbers[name] for name in sorted(calls("@system-service")) if name in numbers]


def under_filter(allowed, **options):
    """How st_server ends after two snapshots and statistics under a filter that kills."""
    command = ["python3", "-c", FILTERED, ",".join(allowed), ST_SERVER]
    with Running(*command, env=preload(at_exit=0, **options)) as running:
        pid = running.process.pid
        load(int(running.first_line.split()[3]), 4)
        check("Seccomp:\t2" in open("/proc/%d/status" % pid).read(), "it has a filter")
        for _ in range(2):
            run(LEAKPROF, "snapshot", "-o", "filtered.pb.gz", str(pid), timeout=20)
        run(LEAKPROF, "top", "--once", str(pid))
        running.process.terminate()
        return running.process.wait(20)


def suite_filters():
    @test
    def a_service_with_systemds_filter_is_looked_at():
        allowed = system_service()
        check(len(allowed) > 200, allowed)
        equal(under_filter(allowed, max_pause="10s"), 0, "exit code")
        equal([(entry, count) for entry, _, count in sites("filtered.pb.gz")], [("fetch_backend", 2)], "leaks")
        # And the filter does kill.
        equal(under_filter([number for number in allowed if number != "56"]), -signal.SIGSYS, "without clone")


# --- The files ---

def suite_files():
    @test
    def prometheus_takes_the_job_and_the_alerts():
        promtool = prometheus_tool("promtool")
        if not promtool:
            return
        for what, name in (("check config", "prometheus.yml"), ("check rules", "leakprof.rules.yml"),
                           ("test rules", "leakprof.rules.test.yml")):
            result = run(promtool, *what.split(), os.path.join(FILES, name))
            equal(result.returncode, 0, result.stdout + result.stderr)

    @test
    def systemd_takes_the_units():
        folder = os.path.join(FOLDER, "units")
        shutil.copytree(FILES, folder)
        for name, text in (("server.service", "[Service]\nExecStart=/bin/true\n"),
                           ("leakprof-serve.service",
                            text_of("leakprof-serve.service").replace("/usr/local/bin/leakprof", LEAKPROF)
                            .replace("User=server", "User=daemon"))):
            with open(os.path.join(folder, name), "w") as file:
                file.write(text)
        for name in ("server.service", "leakprof-serve.service"):
            result = run("systemd-analyze", "verify", os.path.join(folder, name),
                         env=dict(os.environ, SYSTEMD_UNIT_PATH=folder + ":"))
            equal((result.returncode, result.stdout + result.stderr), (0, ""), name)

    @test
    def the_units_start_a_service_and_serve_it():
        settings = dict(re.findall(r"^Environment=(\w+)=(.*)$", text_of("server.service.d/leakprof.conf"), re.M))
        check(settings["LD_PRELOAD"].endswith("/leakprof/libleakprof.so"), settings)
        command = re.search("^ExecStart=(.*)$", text_of("leakprof-serve.service"), re.M).group(1)
        command = command.replace("/usr/local/bin/leakprof", LEAKPROF).replace(":6070", ":0").replace("$$", "$")
        with Running(ST_SERVER, env=dict(os.environ, **dict(settings, LD_PRELOAD=SHIM))) as running:
            pid = running.process.pid
            systemctl = os.path.join(FOLDER, "bin", "systemctl")
            os.mkdir(os.path.dirname(systemctl))
            with open(systemctl, "w") as file:
                file.write('#!/bin/sh\n[ "$*" = "show --property=MainPID --value server.service" ] && echo %d\n' % pid)
            os.chmod(systemctl, 0o755)
            serve = subprocess.Popen(shlex.split(command), stderr=subprocess.PIPE, text=True,
                                     env=dict(os.environ, PATH=os.path.dirname(systemctl) + ":" + os.environ["PATH"]))
            said = serve.stderr.readline()
            check("serving PID %d on http://127.0.0.1:" % pid in said, said + (serve.stderr.read() if serve.poll() else ""))
            load(int(running.first_line.split()[3]), 4)
            url = said.split()[-1].rstrip("/") + LEAK + "?debug=1"
            wait_for(lambda: "total 2\n" in urllib.request.urlopen(url).read().decode())
            serve.terminate()
            equal(serve.wait(20), 0, "exit code")

    def fetched_by_parca():
        job = yaml.safe_load(text_of("parca.yaml"))["scrape_configs"][0]
        check("scrape_timeout" not in job, "Parca wants one longer than the interval")
        profiles = job["profiling_config"]["pprof_config"]
        check(all("enabled" in profile for profile in profiles.values()), profiles)
        profiles = {**{name: {"enabled": True} for name in DEFAULTS}, **profiles}
        return {name: profile.get("path", DEFAULTS.get(name)) for name, profile in profiles.items() if profile["enabled"]}

    def fetched_by_alloy():
        paths = dict(DEFAULTS)
        for custom, name, body in re.findall(r'profile\.(custom "(\w+)"|\w+) {\n(.*?)\n *}', text_of("config.alloy"), re.S):
            name = name or custom
            keys = dict(re.findall(r'(\w+) += "?([^"\n]*)', body))
            paths.update({name: keys.get("path", paths.get(name))})
            if keys["enabled"] == "false":
                del paths[name]
        return paths

    @test
    def parca_and_alloy_fetch_only_what_there_is():
        checker = os.path.join(BUILD, "tests", "unit", "check_profile")
        with Serving("--", ST_SERVER) as serving:
            load(int(serving.process.stdout.readline().split()[3]), 4)
            for paths in (fetched_by_parca(), fetched_by_alloy()):
                equal(paths, {"goroutineleak": LEAK, "goroutine": ALL}, "what is fetched")
                for path in paths.values():
                    status, _, body = serving.ask(path)
                    equal(status, 200, path)
                    with open(os.path.join(FOLDER, "served"), "wb") as file:
                        file.write(body)
                    result = run(checker, "served")
                    equal(result.returncode, 0, path + ": " + result.stdout)


# --- The page ---

def suite_page():
    with open(os.path.join(SOURCE, "docs", "production.md")) as file:
        page = file.read()

    @test
    def messages_are_what_leakprof_says():
        sources = ""
        for path in glob.glob(os.path.join(SOURCE, "leakprof", "**", "*.[ch]"), recursive=True) + \
                glob.glob(os.path.join(SOURCE, "runtime_hooks", "*.[ch]")):
            with open(path) as file:
                sources += "\n".join(re.findall(r'"(.*?)"', re.sub(r'"\s*"', "", file.read()))) + "\n"
        table = re.search(r"^\| message \|.*\n\|---.*\n((?:\|.*\n)+)", page, re.M).group(1)
        messages = [row.split(" | ")[0].strip("| ") for row in table.splitlines()]
        check(len(messages) > 15, messages)
        for message in messages:
            for part in re.split(r" / |\.\.\.|: ", message):
                check(part.strip(" .,;") in sources, "nothing says " + part)

    @test
    def links_lead_to_files():
        links = re.findall(r"\]\(([^)#:]+)\)", page)
        check(len(links) > 10, links)
        for link in links:
            check(os.path.exists(os.path.join(SOURCE, "docs", link)), link)
        named = {os.path.basename(link) for link in links}
        equal({name for name in os.listdir(FILES) if name not in named and not name.endswith(".d")}, set(), "files not named")


# --- Containers ---

# Docker's bare minimum, by hand: loopback, a user, no capability.
BARE = ["setpriv", "--reuid=%d" % USER, "--regid=%d" % USER, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]
LOOPBACK = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh"]


@contextlib.contextmanager
def service_in_a_container(environment):
    """st_server, with the name "server", as process 1 of a PID namespace; its PID as we see it."""
    variables = ["%s=%s" % item for item in dict(environment, LD_PRELOAD=os.path.join(PUBLIC, "libleakprof.so")).items()]
    with Running("unshare", "-p", "-f", "-n", "-m", "--mount-proc", *LOOPBACK, *BARE, "env", *variables,
                 os.path.join(PUBLIC, "server")) as running:
        check("listening" in running.first_line, running.first_line)
        pid = int(child_of(running.process.pid))
        yield pid, int(running.first_line.split()[3])
        os.kill(pid, signal.SIGTERM)
        equal(running.process.wait(20), 0, "exit code of the service")


@contextlib.contextmanager
def sidecar(pid, command, network):
    """COMMAND in the PID namespace of PID, with its network or one of its own: a function that gets a path by curl."""
    own = ["-n"] if network == "own" else []
    shared = ["-n"] if network == "shared" else []
    process = subprocess.Popen(["nsenter", "-t", str(pid), "-p", *shared, "unshare", "-m", "--mount-proc", *own,
                                *(LOOPBACK if own else []), *BARE, *command], stderr=subprocess.PIPE, text=True, cwd=PUBLIC,
                               env=dict(os.environ, PATH=PUBLIC + ":" + os.environ["PATH"]))
    said = process.stderr.readline()
    try:
        check("serving PID 1 on http" in said, said)
        inside = child_of(process.pid)

        def get(path, *options):
            result = run("nsenter", "-t", inside, "-n", "curl", "-sS", "-w", "%{http_code}", *options,
                         "http://127.0.0.1:6070" + path)
            equal(result.returncode, 0, result.stderr)
            return result.stdout
        yield get
    finally:
        with contextlib.suppress(OSError):
            os.kill(int(child_of(process.pid)), signal.SIGTERM)
        process.wait(20)


def suite_containers():
    result = run("unshare", "-p", "-f", "-n", "-m", "--mount-proc", *LOOPBACK, "true")
    if result.returncode:
        print("     (not permitted here: %s)" % result.stderr.strip())
        return
    os.chmod(FOLDER, 0o755)
    os.makedirs(PUBLIC)
    for source, name in ((LEAKPROF, "leakprof"), (LEAKPROF + "-full", "leakprof-full"), (SHIM, "libleakprof.so"), (ST_SERVER, "server")):
        shutil.copy(source, os.path.join(PUBLIC, name))
    token = os.path.join(PUBLIC, "token")
    with open(token, "w") as file:
        file.write("0123456789abcdef\n")
    os.chown(token, USER, USER)
    os.chmod(token, 0o400)
    bearer = ["-H", "Authorization: Bearer 0123456789abcdef"]

    def counts_a_leak(pid, port, get, *options):
        equal(run("nsenter", "-t", str(pid), "-n", LOAD, str(port), "4").returncode, 0, "load")
        wait_for(lambda: get(LEAK + "?debug=1", *options).startswith("goroutineleak profile: total 2\n"))

    @test
    def the_sidecar_of_compose():
        text = text_of("compose.yaml")
        services = yaml.safe_load(text)["services"]
        beside = services["leakprof"]
        equal((beside["pid"], beside["network_mode"], beside["user"]),
              ("service:server", "service:server", services["server"]["user"]), "what is shared")
        with service_in_a_container(services["server"]["environment"]) as (pid, port):
            with sidecar(pid, beside["command"], "shared") as get:
                counts_a_leak(pid, port, get)
                check("leakprof_goroutines_leaked{pid=\"1\"} 2\n" in get("/metrics"), get("/metrics"))
            apart = json.loads(re.search(r"#   command: (\[.*\])", text).group(1))
            apart[apart.index("--token-file") + 1] = token
            with sidecar(pid, apart, "own") as get:
                check(get("/metrics").endswith("401"), "without a token")
                equal(get("/healthz"), "ok\n200", "health")
                equal(get(LEAK + "?debug=1", *bearer)[:33], "goroutineleak profile: total 2\n2 ", "leaks")

    @test
    def the_sidecar_of_kubernetes():
        pod = yaml.safe_load(text_of("kubernetes.yaml"))["spec"]
        service, beside = pod["containers"]
        equal((pod["shareProcessNamespace"], pod["securityContext"]["runAsUser"]), (True, USER), "what is shared")
        script = beside["command"][2]
        for inside, here in (("/secret/token", token), ("/run/leakprof/token", os.path.join(PUBLIC, "run", "token"))):
            check(inside in script, script)
            script = script.replace(inside, here)
        os.mkdir(os.path.join(PUBLIC, "run"))
        os.chown(os.path.join(PUBLIC, "run"), USER, USER)
        variables = {variable["name"]: variable["value"] for variable in service["env"]}
        with service_in_a_container(variables) as (pid, port):
            with sidecar(pid, ["sh", "-c", script], "shared") as get:
                counts_a_leak(pid, port, get, *bearer)
                equal(get(beside["livenessProbe"]["httpGet"]["path"]), "ok\n200", "health")
                check(get("/metrics").endswith("401"), "without a token")


def suite_production():
    suite_leak()
    suite_files()
    suite_filters()
    suite_page()
    suite_containers()


main({"production": suite_production, "leak": suite_leak, "files": suite_files, "filters": suite_filters, "page": suite_page, "containers": suite_containers})
