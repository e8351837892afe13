/* SPDX-License-Identifier: MIT */
/*
 * See history.h.
 */
#include "core/history.h"
#include "core/collect.h"
#include "core/sys.h"

/* Two lists sorted by slot are walked side by side: what was found before, and the nodes. */
struct walk {
	struct lp_collection *collection;
	const struct lp_past *past;
	const struct lp_past *past_end;
	struct lp_past *next; /* NULL: not ours to write */
	uint32_t next_count;
	uint64_t contradictions;
	uint64_t unconfirmed;
};

static bool begin(struct lp_history *history, uint32_t pid)
{
	uint32_t nobody = 0;

	return __atomic_compare_exchange_n(&history->writer, &nobody, pid, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static void end(struct lp_history *history, const struct walk *walk)
{
	uint32_t next = !history->current;

	history->count[next] = walk->next_count;
	history->contradictions += walk->contradictions;
	__atomic_store_n(&history->current, next, __ATOMIC_RELEASE);
	__atomic_store_n(&history->writer, 0, __ATOMIC_RELEASE);
}

/* What is known of the goroutine in SLOT; those before it that were reported are no more: they ran.
 */
static const struct lp_past *past_of(struct walk *walk, uint32_t slot)
{
	while (walk->past < walk->past_end && walk->past->slot < slot)
		walk->contradictions += walk->past++->reported;
	return walk->past < walk->past_end && walk->past->slot == slot ? walk->past++ : NULL;
}

static void remember(struct walk *walk, const struct lp_past *now)
{
	if (walk->next && walk->next_count < LP_HISTORY_MAX)
		walk->next[walk->next_count++] = *now;
}

/* Whether NODE still is in the wait that is known of it, as far as can be told. */
static bool is_same(const struct lp_past *past, const struct lp_node *node)
{
	if (!past || past->id != node->goroutine->id)
		return false;
	return node->unsure || (past->waits == node->waits && node->rule != LP_RULE_LIVE);
}

static void judge(struct walk *walk, struct lp_node *node)
{
	const struct lp_collect_input *input = walk->collection->input;
	const struct lp_past *past = past_of(walk, node->goroutine->slot);
	bool same = is_same(past, node);
	bool reported = same && past->reported;
	struct lp_past now = {.id = node->goroutine->id,
			      .slot = node->goroutine->slot,
			      .waits = same ? past->waits : node->waits,
			      .agreed = (same ? past->agreed : 0) + !node->live};

	if (past && past->reported && !same)
		walk->contradictions++;
	if (reported && !node->unsure && !node->waits_uncounted)
		node->leaked = true;
	else
		node->leaked = !node->live && (now.agreed >= input->options->confirm ||
					       input->trigger == LP_TRIGGER_EXIT ||
					       input->trigger == LP_TRIGGER_CHECK);
	walk->unconfirmed += !node->live && !node->leaked;
	now.reported = reported || node->leaked;
	if (now.reported || !node->live || (same && node->unsure))
		remember(walk, &now);
}

static void tell(struct lp_collection *collection, const struct walk *walk, uint64_t contradictions)
{
	collection->figures[LP_FIG_UNCONFIRMED] = walk->unconfirmed;
	collection->figures[LP_FIG_CONFIRM] = collection->input->options->confirm;
	collection->figures[LP_FIG_CONTRADICTIONS] = contradictions;
	if (contradictions)
		lp_collect_note(
			collection, LP_NOTE_WARNING,
			"goroutines ran after they were reported as leaked (see the figure "
			"\"contradictions\"): that is a bug of leakprof, or a pointer that it "
			"cannot see; please report it");
}

void lp_history_judge(struct lp_collection *collection)
{
	struct lp_history *history = collection->input->history;
	struct lp_vec *nodes = &collection->verdicts.nodes;
	struct walk walk = {.collection = collection};
	uint64_t contradictions = 0;
	/* After the one at exit no other follows. */
	bool ours = history && collection->input->trigger != LP_TRIGGER_EXIT &&
		    begin(history, (uint32_t)LP_SYS0(SYS_getpid));
	size_t i;

	if (history) {
		uint32_t current = __atomic_load_n(&history->current, __ATOMIC_ACQUIRE) & 1;

		walk.past = history->lists[current];
		walk.past_end = walk.past + history->count[current];
		walk.next = ours ? history->lists[!current] : NULL;
	} else if (collection->input->options->confirm > 1) {
		lp_collect_note(
			collection, LP_NOTE_WARNING,
			"there was no memory to remember earlier snapshots: nothing but the "
			"last one, at exit, can confirm a leak");
	}
	for (i = 0; i < nodes->count; i++) {
		struct lp_node *node = lp_vec_at(nodes, struct lp_node, i);

		if (!lp_node_hidden(node))
			judge(&walk, node);
	}
	past_of(&walk, LP_NONE);
	if (history)
		contradictions = history->contradictions + walk.contradictions;
	if (ours)
		end(history, &walk);
	tell(collection, &walk, contradictions);
}
