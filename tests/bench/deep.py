# SPDX-License-Identifier: MIT
"""Writes and builds a C program with much debug information, whose goroutines wait below long and different chains of calls:
deep COUNT STACKS. Each of UNITS source files has functions that call on at random, half of the time through an inlined one,
and a header of structures, as large programs repeat in every unit (crowd.h is its runtime). One unit is compiled, to assembler; the
others are that with other names, which is ten times as fast."""
import concurrent.futures
import os
import subprocess

FUNCTIONS = 40
FRAMES = 40
STRUCTURES = 2500

MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "crowd.h"
#include "deep.h"

{declarations}
step_function *const deep_functions[] = {{{names}}};
const unsigned deep_count = sizeof(deep_functions) / sizeof(deep_functions[0]);

void deep_end(struct path *path)
{{
	crowd_wait(calloc(1, 16));
	path->sum++;
}}

static unsigned long stacks;

static void start(void *number)
{{
	struct path path = {{(unsigned long)number % stacks * 0x9e3779b97f4a7c15ul + 1, {frames} - 2, 0}};

	deep_step(&path)(&path);
	path.sum++;
}}

int main(int argc, char **argv)
{{
	unsigned long count = strtoul(argv[1], NULL, 10);
	unsigned long i;

	(void)argc;
	stacks = strtoul(argv[2], NULL, 10);
	crowd_init(count, 8192);
	for (i = 0; i < count; i++)
		crowd_go(start, (void *)i);
	puts("READY");
	fflush(stdout);
	sleep(600);
	return 0;
}}
"""

HEADER = """\
struct path {
	unsigned long seed;
	int left;
	int sum;
};

typedef void step_function(struct path *path);

extern step_function *const deep_functions[];
extern const unsigned deep_count;

void deep_end(struct path *path);

static inline step_function *deep_step(struct path *path)
{
	path->seed ^= path->seed << 13;
	path->seed ^= path->seed >> 7;
	path->seed ^= path->seed << 17;
	return path->left-- > 0 ? deep_functions[path->seed % deep_count] : deep_end;
}

static inline __attribute__((always_inline)) void deep_aside(struct path *path, int by)
{
	step_function *next = deep_step(path);
	int sum = path->sum + by;

	next(path);
	path->sum += sum;
}

"""

FUNCTION = """\
__attribute__((noinline)) void deep_{unit}_{i}(struct path *path)
{{
	int kind = path->seed >> 8 & 1;

	if (kind) {{
		deep_aside(path, {i});
	}} else {{
		step_function *next = deep_step(path);

		next(path);
		path->sum -= path->left;
	}}
}}

"""


def structure(i):
    fields = "".join("\t%s field_%d_%d;\n" % (("int", "char *", "unsigned long", "struct object_%d *" % (i // 2))[j % 4], i, j)
                     for j in range(8))
    return "struct object_%d {\n%s};\n\n" % (i, fields)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return path


def write_sources(folder, units):
    write(os.path.join(folder, "deep.h"), HEADER + "".join(structure(i) for i in range(STRUCTURES)))
    names = ["deep_%d_%d" % (unit, i) for unit in range(units) for i in range(FUNCTIONS)]
    write(os.path.join(folder, "main.c"), MAIN.format(
        declarations="".join("step_function %s;\n" % name for name in names), names=", ".join(names), frames=FRAMES))
    write(os.path.join(folder, "unit_0.c"),
          '#include "deep.h"\n\n' + "".join(FUNCTION.format(unit=0, i=i) for i in range(FUNCTIONS)))


def build(folder, source, units):
    """The program, in FOLDER: made once for a number of units."""
    program = os.path.join(folder, "deep-%d" % units)
    if os.path.exists(program):
        return program
    os.makedirs(folder, exist_ok=True)
    write_sources(folder, units)
    bench = os.path.join(source, "tests", "bench")
    compiler = ["gcc", "-O2", "-g", "-fno-eliminate-unused-debug-types", "-I" + bench,
                "-I" + os.path.join(source, "leakprof", "include")]
    template = os.path.join(folder, "unit_0.s")
    subprocess.run([*compiler, "-S", "-o", template, os.path.join(folder, "unit_0.c")], check=True)
    with open(template) as file:
        text = file.read()

    def assemble(unit):
        path = os.path.join(folder, "unit_%d.s" % unit)
        write(path, text.replace("deep_0_", "deep_%d_" % unit).replace("unit_0.c", "unit_%d.c" % unit))
        subprocess.run(["as", "-o", path[:-1] + "o", path], check=True)
        os.remove(path)
        return path[:-1] + "o"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(assemble, range(units)))
    # Addresses in memory are those in the file, so that they can be given to addr2line.
    subprocess.run([*compiler, "-no-pie", "-o", program + ".new", os.path.join(folder, "main.c"), os.path.join(bench, "crowd.c"),
                    *objects], check=True)
    os.rename(program + ".new", program)
    for path in objects:
        os.remove(path)
    return program
