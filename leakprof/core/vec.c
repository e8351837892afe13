/* SPDX-License-Identifier: MIT */
/*
 * See vec.h. Runs in the snapshot: no malloc, so no qsort either (glibc's allocates).
 */
#include <stdint.h>
#include <string.h>

#include "core/own.h"
#include "core/sys.h"
#include "core/vec.h"

#define HUGE_BYTES (2u << 20)

static bool failed;

static bool grow(struct lp_vec *vec, size_t count)
{
	size_t capacity = vec->capacity ? vec->capacity * 2 : LP_PAGE / vec->element + 1;
	void *data;

	while (capacity < count)
		capacity *= 2;
	data = vec->data ? lp_own_grow(vec->data, vec->capacity * vec->element,
				       capacity * vec->element)
			 : lp_own_map(capacity * vec->element);
	if (!data) {
		failed = true;
		return false;
	}
	vec->data = data;
	vec->capacity = capacity;
	/* What is large is filled once from end to end: a fault for each page is most of the cost.
	 */
	if (capacity * vec->element >= HUGE_BYTES)
		LP_SYS3(SYS_madvise, data, capacity * vec->element, MADV_HUGEPAGE);
	return true;
}

void *lp_vec_add(struct lp_vec *vec, size_t n)
{
	void *at;

	if (vec->count + n > vec->capacity && !grow(vec, vec->count + n))
		return NULL;
	at = (char *)vec->data + vec->count * vec->element;
	vec->count += n;
	return at;
}

bool lp_vec_push(struct lp_vec *vec, const void *element)
{
	void *at = lp_vec_add(vec, 1);

	if (!at)
		return false;
	memcpy(at, element, vec->element);
	return true;
}

void lp_vec_free(struct lp_vec *vec)
{
	lp_own_unmap(vec->data, vec->capacity * vec->element);
	*vec = (struct lp_vec){.element = vec->element};
}

bool lp_vec_failed(void)
{
	return failed;
}

static uint64_t key_of(const struct lp_vec *vec, size_t i)
{
	uint64_t key;

	memcpy(&key, (const char *)vec->data + i * vec->element, sizeof(key));
	return key;
}

/* The bits in which any two keys differ; 0 also when they are sorted already. */
static uint64_t differing(const struct lp_vec *vec)
{
	uint64_t differ = 0;
	bool ascend = true;
	size_t i;

	for (i = 1; i < vec->count; i++) {
		differ |= key_of(vec, i) ^ key_of(vec, 0);
		ascend &= key_of(vec, i - 1) <= key_of(vec, i);
	}
	return ascend ? 0 : differ;
}

/* Copies the elements to DATA in the order of byte BYTE of their keys, else as they are. */
static void distribute(const struct lp_vec *vec, char *data, unsigned byte)
{
	size_t place[256] = {0};
	size_t before = 0;
	size_t i;

	for (i = 0; i < vec->count; i++)
		place[key_of(vec, i) >> 8 * byte & 255]++;
	for (i = 0; i < 256; i++) {
		size_t count = place[i];

		place[i] = before;
		before += count;
	}
	for (i = 0; i < vec->count; i++)
		memcpy(data + place[key_of(vec, i) >> 8 * byte & 255]++ * vec->element,
		       (const char *)vec->data + i * vec->element, vec->element);
}

/* Radix sort, from the lowest byte in which keys differ: addresses differ in few. */
void lp_vec_sort(struct lp_vec *vec)
{
	uint64_t differ = differing(vec);
	char *other;
	unsigned byte;

	if (!differ)
		return;
	other = lp_own_map(vec->capacity * vec->element);
	if (!other) {
		failed = true;
		return;
	}
	for (byte = 0; byte < sizeof(differ); byte++) {
		void *sorted = other;

		if (!(differ >> 8 * byte & 255))
			continue;
		distribute(vec, other, byte);
		other = vec->data;
		vec->data = sorted;
	}
	lp_own_unmap(other, vec->capacity * vec->element);
}

long lp_vec_floor(const struct lp_vec *vec, unsigned long key)
{
	size_t low = 0;
	size_t high = vec->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (key_of(vec, middle) <= key)
			low = middle + 1;
		else
			high = middle;
	}
	return (long)low - 1;
}
