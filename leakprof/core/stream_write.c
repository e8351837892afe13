/* SPDX-License-Identifier: MIT */
/*
 * Writes the raw stream (stream.h) of a collection. Every goroutine gets a copy of the used
 * part of its stack; those whose return addresses agree at equal offsets share one copy, so that a
 * hundred thousand that leak at one place cost one copy and one unwind.
 */
#include <errno.h>
#include <string.h>

#include "core/collect.h"
#include "core/own.h"
#include "core/stack_start.h"
#include "core/sys.h"
#include "leakprof.h"

#define NAME_MAX_BYTES 256
#define LABELS_MAX 64

struct interned {
	const char *text;
	uint32_t offset;
};

/* Where stacks of one hash are: open addressing. */
struct stack_slot {
	uint64_t hash;
	uint32_t stack; /* index + 1; 0: empty */
};

struct range {
	uint64_t start;
	uint64_t end;
};

struct writer {
	struct lp_collection *collection;
	int fd;
	int error;
	uint64_t bytes;
	uint64_t sections;
	struct lp_vec strings;	/* char */
	struct lp_vec interned; /* struct interned */
	struct lp_vec code;	/* struct range: executable memory */
	struct lp_vec stacks;	/* struct lp_raw_stack */
	struct lp_vec stack_bytes;
	struct lp_vec labels;	    /* struct lp_raw_label */
	struct interned names[256]; /* a cache of the program's strings, by address */
	struct stack_slot *slots;
	size_t slot_count;
	uint32_t crc_table[8][256];
};

/* --- Output --- */

static void init_crc(struct writer *writer)
{
	uint32_t i;
	uint32_t j;

	for (i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (j = 0; j < 8; j++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
		writer->crc_table[0][i] = crc;
	}
	for (i = 0; i < 256; i++)
		for (j = 1; j < 8; j++)
			writer->crc_table[j][i] =
				writer->crc_table[j - 1][i] >> 8 ^
				writer->crc_table[0][writer->crc_table[j - 1][i] & 255];
}

/* CRC-32 by eight bytes at a time ("slicing-by-8", Kounavis and Berry 2005). */
static uint32_t crc32(const struct writer *writer, uint32_t crc, const void *data, size_t size)
{
	const unsigned char *at = data;
	const uint32_t(*table)[256] = writer->crc_table;

	crc = ~crc;
	for (; size >= 8; size -= 8, at += 8) {
		uint32_t low;
		uint32_t high;

		memcpy(&low, at, 4);
		memcpy(&high, at + 4, 4);
		low ^= crc;
		crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
		      table[4][low >> 24] ^ table[3][high & 255] ^ table[2][high >> 8 & 255] ^
		      table[1][high >> 16 & 255] ^ table[0][high >> 24];
	}
	while (size-- > 0)
		crc = crc >> 8 ^ table[0][(crc ^ *at++) & 255];
	return ~crc;
}

static void put(struct writer *writer, const void *data, size_t size)
{
	const char *at = data;

	while (size && !writer->error) {
		long n = lp_sys_write(writer->fd, at, size);

		if (n == -EINTR)
			continue;
		if (n <= 0) {
			writer->error = n ? (int)n : -EIO;
			return;
		}
		at += n;
		size -= (size_t)n;
		writer->bytes += (uint64_t)n;
	}
}

/* A section whose payload is HEAD (may be empty) followed by DATA. */
static void put_section(struct writer *writer, enum lp_section_type type, const void *head,
			size_t head_size, const void *data, size_t size)
{
	static const char padding[8];
	struct lp_section_head section = {.type = type, .length = head_size + size};

	section.crc = crc32(writer, crc32(writer, 0, head, head_size), data, size);
	put(writer, &section, sizeof(section));
	put(writer, head, head_size);
	put(writer, data, size);
	put(writer, padding, -(head_size + size) & 7);
	writer->sections++;
}

static void put_array(struct writer *writer, enum lp_section_type type, const struct lp_vec *vec)
{
	struct lp_array_head head = {(uint32_t)vec->element, (uint32_t)vec->count};

	put_section(writer, type, &head, sizeof(head), vec->data, vec->count * vec->element);
}

/* --- Strings --- */

static uint32_t add_string(struct writer *writer, const char *text)
{
	size_t size = strlen(text) + 1;
	uint32_t offset = (uint32_t)writer->strings.count;
	char *at;

	if (size == 1 && offset)
		return 0;
	at = lp_vec_add(&writer->strings, size);
	if (!at)
		return 0;
	memcpy(at, text, size);
	return offset;
}

/* As add_string, for constants and paths that come up often: once per address. */
static uint32_t intern(struct writer *writer, const char *text)
{
	struct interned entry = {text, 0};
	size_t i;

	for (i = 0; i < writer->interned.count; i++)
		if (lp_vec_at(&writer->interned, struct interned, i)->text == text)
			return lp_vec_at(&writer->interned, struct interned, i)->offset;
	entry.offset = add_string(writer, text);
	lp_vec_push(&writer->interned, &entry);
	return entry.offset;
}

/* A string of the program's, cut off where it is long. NULL or unreadable: the empty string. */
static uint32_t add_name(struct writer *writer, const char *text)
{
	struct interned *known = &writer->names[(uintptr_t)text / 8 % LP_ARRAY_SIZE(writer->names)];
	const struct lp_region *region = lp_maps_find(&writer->collection->maps, (uintptr_t)text);
	char copy[NAME_MAX_BYTES];
	size_t room;
	size_t n = 0;

	if (!text || !region || !(region->prot & PROT_READ))
		return 0;
	if (known->text == text)
		return known->offset;
	room = region->end - (uintptr_t)text;
	while (n < room && n + 1 < sizeof(copy) && text[n]) {
		copy[n] = text[n] >= ' ' ? text[n] : '?';
		n++;
	}
	copy[n] = 0;
	*known = (struct interned){text, add_string(writer, copy)};
	return known->offset;
}

/* --- Sections --- */

static uint32_t add_cmdline(struct writer *writer)
{
	char text[LP_PATH_MAX];
	long n = lp_sys_read_text("/proc/self/cmdline", text, sizeof(text));
	long i;

	if (n <= 0)
		return 0;
	for (i = 0; i + 1 < n; i++)
		if (!text[i])
			text[i] = ' ';
	return add_string(writer, text);
}

static uint32_t add_exe(struct writer *writer)
{
	char path[LP_PATH_MAX];
	long n = LP_SYS3(SYS_readlink, "/proc/self/exe", path, sizeof(path) - 1);

	path[n > 0 ? n : 0] = 0;
	return add_string(writer, path);
}

static uint32_t add_text(struct writer *writer, const char *text)
{
	return add_string(writer, text ? text : "");
}

static void put_process(struct writer *writer)
{
	const struct lp_collection *collection = writer->collection;
	const struct lp_collect_input *input = collection->input;
	struct lp_raw_process process = {
		.pid = input->pid,
		.trigger = input->trigger,
		.measured = collection->measured,
		.serial = input->serial,
		.exe = add_exe(writer),
		.cmdline = add_cmdline(writer),
		.shim = add_string(writer, LP_VERSION),
		.time_ns = input->time_ns,
		.start_ns = input->process_start_ns,
		.flags = input->forked ? LP_PROCESS_FORKED : 0,
		.suppressions = {add_text(writer, input->suppressions[0]),
				 add_text(writer, input->suppressions[1])},
	};

	put_section(writer, LP_SEC_PROCESS, &process, sizeof(process), NULL, 0);
}

static void put_figures(struct writer *writer)
{
	struct lp_collection *collection = writer->collection;
	struct lp_vec figures = LP_VEC(struct lp_raw_figure);
	uint32_t i;

	collection->figures[LP_FIG_TOTAL_NS] =
		lp_sys_clock_ns(CLOCK_MONOTONIC) - collection->input->start_ns;
	for (i = 1; i < LP_ARRAY_SIZE(collection->figures); i++) {
		struct lp_raw_figure figure = {.key = i, .value = collection->figures[i]};

		if (i <= LP_FIG_LAST)
			lp_vec_push(&figures, &figure);
	}
	put_array(writer, LP_SEC_FIGURES, &figures);
}

static void put_mappings(struct writer *writer)
{
	const struct lp_maps *maps = &writer->collection->maps;
	struct lp_vec mappings = LP_VEC(struct lp_raw_mapping);
	size_t i;

	for (i = 0; i < maps->regions.count; i++) {
		const struct lp_region *region = lp_vec_at(&maps->regions, struct lp_region, i);
		const struct lp_elf *elf = lp_maps_elf(maps, region->start);
		struct lp_raw_mapping mapping = {
			.start = region->start, .end = region->end, .offset = region->offset};
		char build_id[80] = "";

		if (!(region->prot & PROT_EXEC) || !region->path[0] ||
		    !strcmp(region->path, "[vsyscall]"))
			continue;
		if (elf)
			lp_elf_build_id(elf, build_id, sizeof(build_id));
		mapping.prot = (region->prot & PROT_READ ? LP_PROT_R : 0) |
			       (region->prot & PROT_WRITE ? LP_PROT_W : 0) | LP_PROT_X;
		mapping.path = intern(writer, region->path);
		mapping.build_id = add_string(writer, build_id);
		lp_vec_push(&mappings, &mapping);
	}
	put_array(writer, LP_SEC_MAPPINGS, &mappings);
}

/* The runtimes that were seen, in the order of the input. */
static void put_runtimes(struct writer *writer)
{
	const struct lp_collect_input *input = writer->collection->input;
	struct lp_vec runtimes = LP_VEC(struct lp_raw_runtime);
	size_t i;

	for (i = 0; i < input->runtime_count; i++) {
		const struct lp_runtime *runtime = input->runtimes[i];
		uintptr_t address = runtime->adapter->address();
		const struct lp_elf *elf =
			address ? lp_maps_elf(&writer->collection->maps, address) : NULL;
		struct lp_raw_runtime raw = {.created = runtime->created,
					     .finished = runtime->finished};

		if (!runtime->seen)
			continue;
		raw.name = intern(writer, runtime->name);
		raw.path = elf ? intern(writer, elf->path) : 0;
		lp_vec_push(&runtimes, &raw);
	}
	put_array(writer, LP_SEC_RUNTIMES, &runtimes);
}

static uint32_t runtime_index(const struct writer *writer, const struct lp_runtime *runtime)
{
	const struct lp_collect_input *input = writer->collection->input;
	uint32_t index = 0;
	size_t i;

	for (i = 0; i < input->runtime_count && input->runtimes[i] != runtime; i++)
		index += input->runtimes[i]->seen;
	return index;
}

/* --- Stacks --- */

static void find_code(struct writer *writer)
{
	const struct lp_maps *maps = &writer->collection->maps;
	size_t i;

	for (i = 0; i < maps->regions.count; i++) {
		const struct lp_region *region = lp_vec_at(&maps->regions, struct lp_region, i);
		struct range range = {region->start, region->end};

		if (region->prot & PROT_EXEC)
			lp_vec_push(&writer->code, &range);
	}
}

static bool is_code(const struct writer *writer, uintptr_t word)
{
	const struct range *ranges = writer->code.data;
	long i;

	if (!writer->code.count || word < ranges[0].start ||
	    word >= ranges[writer->code.count - 1].end)
		return false;
	i = lp_vec_floor(&writer->code, word);
	return i >= 0 && word < ranges[i].end;
}

static uint64_t hash_stack(const struct writer *writer, const struct lp_raw_stack *stack)
{
	const uintptr_t *words = (const uintptr_t *)stack->sp;
	uint64_t hash = stack->pc ^ stack->length * 0x9e3779b97f4a7c15ull;
	size_t i;

	for (i = 0; i < stack->length / sizeof(*words); i++)
		if (is_code(writer, words[i]))
			hash = (hash ^ words[i] ^ i << 48) * 0x9e3779b97f4a7c15ull,
			hash ^= hash >> 29;
	return hash;
}

/* Whether both would unwind alike: the same code addresses at the same offsets. */
static bool same_stack(const struct writer *writer, const struct lp_raw_stack *a,
		       const struct lp_raw_stack *b)
{
	const uintptr_t *x = (const uintptr_t *)a->sp;
	const uintptr_t *y = (const uintptr_t *)b->sp;
	size_t i;

	if (a->pc != b->pc || a->length != b->length)
		return false;
	for (i = 0; i < a->length / sizeof(*x); i++)
		if (x[i] != y[i] && (is_code(writer, x[i]) || is_code(writer, y[i])))
			return false;
	return true;
}

static bool init_slots(struct writer *writer)
{
	writer->slot_count = 1024;
	while (writer->slot_count < 2 * writer->collection->verdicts.nodes.count)
		writer->slot_count *= 2;
	writer->slots = lp_own_map(writer->slot_count * sizeof(*writer->slots));
	return writer->slots;
}

static uint32_t add_stack(struct writer *writer, struct lp_raw_stack *stack)
{
	uint64_t hash = hash_stack(writer, stack);
	size_t i = hash;
	struct stack_slot *slot;
	void *bytes;

	for (;; i++) {
		slot = &writer->slots[i & (writer->slot_count - 1)];
		if (!slot->stack)
			break;
		if (slot->hash == hash &&
		    same_stack(writer, stack,
			       lp_vec_at(&writer->stacks, struct lp_raw_stack, slot->stack - 1)))
			return slot->stack - 1;
	}
	stack->offset = writer->stack_bytes.count;
	bytes = lp_vec_add(&writer->stack_bytes, stack->length);
	if (!bytes || !lp_vec_push(&writer->stacks, stack))
		return LP_NONE;
	memcpy(bytes, (const void *)stack->sp, stack->length);
	slot->hash = hash;
	slot->stack = (uint32_t)writer->stacks.count;
	return slot->stack - 1;
}

static uint32_t copy_stack(struct writer *writer, const struct lp_node *node)
{
	uint64_t limit = writer->collection->input->options->stack_limit;
	struct lp_raw_stack stack = {0};

	if (!lp_stack_start(writer->collection, node, &stack) || stack.sp > node->scan_high)
		return LP_NONE;
	stack.length = LP_ALIGN_DOWN(node->scan_high - stack.sp, sizeof(uintptr_t));
	if (stack.length > limit) {
		stack.length = LP_ALIGN_DOWN(limit, sizeof(uintptr_t));
		lp_collect_note(writer->collection, LP_NOTE_WARNING,
				"stacks were cut off: set stack_limit higher to see all frames");
	}
	return add_stack(writer, &stack);
}

/* --- Goroutines --- */

static void add_labels(struct writer *writer, const struct lp_goroutine *goroutine, uint32_t number)
{
	const struct leakprof_label *labels = goroutine->labels;
	const struct lp_region *region = lp_maps_find(&writer->collection->maps, (uintptr_t)labels);
	size_t count = goroutine->label_count < LABELS_MAX ? goroutine->label_count : LABELS_MAX;
	size_t i;

	if (!labels || !region || region->end - (uintptr_t)labels < count * sizeof(*labels))
		return;
	for (i = 0; i < count; i++) {
		struct lp_raw_label label = {.goroutine = number,
					     .key = add_name(writer, labels[i].key),
					     .value = add_name(writer, labels[i].value)};

		lp_vec_push(&writer->labels, &label);
	}
}

/* Some runtimes ask a clock that the program may have set or faked. */
static uint64_t plausible_since(const struct writer *writer, const struct lp_node *node)
{
	uint64_t created = node->goroutine->created_ns;

	if (!node->since_ns || node->since_ns > writer->collection->input->time_ns)
		return 0;
	return node->since_ns < created ? created : node->since_ns;
}

static void add_goroutine(struct writer *writer, struct lp_vec *goroutines,
			  const struct lp_node *node)
{
	const struct lp_goroutine *goroutine = node->goroutine;
	struct lp_raw_goroutine raw = {
		.id = goroutine->id,
		.creator = goroutine->creator,
		.created_ns = goroutine->created_ns,
		.wait_since_ns = plausible_since(writer, node),
		.entry_pc = (uintptr_t)goroutine->entry,
		.created_pc = (uintptr_t)goroutine->created_pc,
		.stack_bytes = node->main ? 0 : node->stack_high - node->stack_low,
		.heap_bytes = node->heap_bytes,
		.runtime = runtime_index(writer, goroutine->runtime),
		.state = node->state,
		.verdict = node->leaked ? LP_LEAKED : LP_LIVE,
		.flags = (node->main ? LP_G_MAIN : 0) |
			 (writer->collection->input->is_aside(goroutine) ? LP_G_ASIDE : 0),
		.wait = intern(writer, node->label),
		.name = add_name(writer, goroutine->name),
		.stack = copy_stack(writer, node),
	};

	add_labels(writer, goroutine, (uint32_t)goroutines->count);
	lp_vec_push(goroutines, &raw);
}

static void put_goroutines(struct writer *writer)
{
	struct lp_vec *nodes = &writer->collection->verdicts.nodes;
	struct lp_vec goroutines = LP_VEC(struct lp_raw_goroutine);
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		const struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		lp_nodes_fetch(nodes, i);
		if (!lp_node_hidden(node))
			add_goroutine(writer, &goroutines, node);
	}
	put_array(writer, LP_SEC_GOROUTINES, &goroutines);
	put_array(writer, LP_SEC_LABELS, &writer->labels);
	put_array(writer, LP_SEC_STACKS, &writer->stacks);
	put_section(writer, LP_SEC_STACK_BYTES, NULL, 0, writer->stack_bytes.data,
		    writer->stack_bytes.count);
}

static void put_notes(struct writer *writer)
{
	struct lp_vec notes = LP_VEC(struct lp_raw_note);
	size_t i;

	for (i = 0; i < writer->collection->notes.count; i++) {
		const struct lp_note *note =
			lp_vec_at(&writer->collection->notes, struct lp_note, i);
		struct lp_raw_note raw = {note->severity, add_string(writer, note->text)};

		lp_vec_push(&notes, &raw);
	}
	put_array(writer, LP_SEC_NOTES, &notes);
}

static void put_end(struct writer *writer)
{
	struct lp_raw_end end = {writer->sections, writer->bytes};

	put_section(writer, LP_SEC_END, &end, sizeof(end), NULL, 0);
}

int lp_stream_write(struct lp_collection *collection, int fd)
{
	struct lp_stream_head head = {.version = LP_STREAM_VERSION};
	struct writer *writer = lp_own_map(sizeof(*writer));

	if (!writer)
		return -ENOMEM;
	memcpy(head.magic, LP_STREAM_MAGIC, sizeof(head.magic));
	writer->collection = collection;
	writer->fd = fd;
	writer->strings = LP_VEC(char);
	writer->interned = LP_VEC(struct interned);
	writer->code = LP_VEC(struct range);
	writer->stacks = LP_VEC(struct lp_raw_stack);
	writer->stack_bytes = LP_VEC(char);
	writer->labels = LP_VEC(struct lp_raw_label);
	init_crc(writer);
	find_code(writer);
	add_string(writer, "");
	if (!init_slots(writer))
		return -ENOMEM;
	put(writer, &head, sizeof(head));
	put_process(writer);
	put_mappings(writer);
	put_runtimes(writer);
	put_goroutines(writer);
	put_notes(writer);
	put_figures(writer);
	put_section(writer, LP_SEC_STRINGS, NULL, 0, writer->strings.data, writer->strings.count);
	put_end(writer);
	if (!writer->error && lp_vec_failed())
		return -ENOMEM;
	return writer->error;
}
