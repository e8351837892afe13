/* SPDX-License-Identifier: MIT */
/*
 * See vec.h. Runs in the snapshot: no malloc, so no qsort either (glibc's allocates).
 */
#include <stdint.h>
#include <string.h>

#include "core/own.h"
#include "core/sys.h"
#include "core/vec.h"

static bool failed;

static bool grow(struct lp_vec *vec, size_t count)
{
	size_t capacity = vec->capacity ? vec->capacity * 2 : LP_PAGE / vec->element + 1;
	void *data;

	while (capacity < count)
		capacity *= 2;
	data = lp_own_map(capacity * vec->element);
	if (!data) {
		failed = true;
		return false;
	}
	if (vec->data) {
		memcpy(data, vec->data, vec->count * vec->element);
		lp_own_unmap(vec->data, vec->capacity * vec->element);
	}
	vec->data = data;
	vec->capacity = capacity;
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

static void swap(struct lp_vec *vec, size_t i, size_t j)
{
	char *a = (char *)vec->data + i * vec->element;
	char *b = (char *)vec->data + j * vec->element;
	size_t k;

	for (k = 0; k < vec->element; k++) {
		char byte = a[k];

		a[k] = b[k];
		b[k] = byte;
	}
}

static void sift(struct lp_vec *vec, size_t root, size_t end)
{
	size_t child;

	while ((child = 2 * root + 1) < end) {
		if (child + 1 < end && key_of(vec, child) < key_of(vec, child + 1))
			child++;
		if (key_of(vec, root) >= key_of(vec, child))
			return;
		swap(vec, root, child);
		root = child;
	}
}

static bool sorted(const struct lp_vec *vec)
{
	size_t i;

	for (i = 1; i < vec->count; i++)
		if (key_of(vec, i - 1) > key_of(vec, i))
			return false;
	return true;
}

/* Heapsort: in place, and no input makes it quadratic. */
void lp_vec_sort(struct lp_vec *vec)
{
	size_t i;

	if (sorted(vec))
		return;
	for (i = vec->count / 2; i-- > 0;)
		sift(vec, i, vec->count);
	for (i = vec->count; i-- > 1;) {
		swap(vec, 0, i);
		sift(vec, 0, i);
	}
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
