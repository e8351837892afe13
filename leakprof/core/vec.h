/* SPDX-License-Identifier: MIT */
/*
 * A growing array for the snapshot: memory comes straight from mmap and goes back when the snapshot
 * exits. Failure is sticky: after it a vec holds what it held, lp_vec_failed says so, and the
 * collection fails.
 */
#ifndef LP_CORE_VEC_H
#define LP_CORE_VEC_H

#include <stdbool.h>
#include <stddef.h>

struct lp_vec {
	void *data;
	size_t count;	 /* elements */
	size_t capacity; /* elements */
	size_t element;	 /* bytes of one */
};

#define LP_VEC(type) ((struct lp_vec){.element = sizeof(type)})
#define lp_vec_at(vec, type, i) (&((type *)(vec)->data)[i])

/* Appends N elements, zero, and returns the first. NULL when there is no memory. */
void *lp_vec_add(struct lp_vec *vec, size_t n);

/* Appends a copy of *ELEMENT. Returns false when there is no memory. */
bool lp_vec_push(struct lp_vec *vec, const void *element);

/* Gives the memory back; the vec is empty and usable again. */
void lp_vec_free(struct lp_vec *vec);

/* Whether any lp_vec_add or lp_vec_push of this process has failed. */
bool lp_vec_failed(void);

/* Sorts by the first member of each element, an unsigned 64-bit number, ascending; stable. Without
 * memory for a second copy it leaves the order, and lp_vec_failed tells. */
void lp_vec_sort(struct lp_vec *vec);

/*
 * The index of the last element whose first member is at most KEY, in a vec sorted by it. -1: none.
 */
long lp_vec_floor(const struct lp_vec *vec, unsigned long key);

#endif
