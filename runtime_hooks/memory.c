/* SPDX-License-Identifier: MIT */
/*
 * The memory and string functions that the shim uses, as its own: it reads stacks and blocks that
 * a sanitizer holds to be out of bounds, and a sanitizer's memcpy would end the process for it, or
 * lock. Hidden, so that nobody else gets them. Compiled so that the compiler does not make calls
 * of these very functions out of the loops (meson.build). As standards have them; plain, as nothing
 * here is hot.
 */
#include <stddef.h>
#include <string.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t size)
{
	char *target = to;
	const char *source = from;

	if ((size_t)(target - source) >= size)
		return memcpy(to, from, size);
	while (size-- > 0)
		target[size] = source[size];
	return to;
}

void *memset(void *to, int byte, size_t size)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(byte) : "memory");
	return to;
}

int memcmp(const void *left, const void *right, size_t size)
{
	const unsigned char *a = left;
	const unsigned char *b = right;
	size_t i;

	for (i = 0; i < size; i++)
		if (a[i] != b[i])
			return a[i] - b[i];
	return 0;
}

size_t strnlen(const char *text, size_t most)
{
	size_t length = 0;

	while (length < most && text[length])
		length++;
	return length;
}

size_t strlen(const char *text)
{
	return strnlen(text, (size_t)-1);
}

int strncmp(const char *left, const char *right, size_t most)
{
	size_t i;

	for (i = 0; i < most; i++)
		if (left[i] != right[i] || !left[i])
			return (unsigned char)left[i] - (unsigned char)right[i];
	return 0;
}

int strcmp(const char *left, const char *right)
{
	return strncmp(left, right, (size_t)-1);
}

char *strchr(const char *text, int wanted)
{
	while (*text != (char)wanted)
		if (!*text++)
			return NULL;
	return (char *)text;
}

char *strrchr(const char *text, int wanted)
{
	const char *at = text + strlen(text) + 1;

	while (at-- > text)
		if (*at == (char)wanted)
			return (char *)at;
	return NULL;
}

size_t strcspn(const char *text, const char *stops)
{
	size_t length = 0;

	while (text[length] && !strchr(stops, text[length]))
		length++;
	return length;
}

char *strstr(const char *text, const char *wanted)
{
	size_t length = strlen(wanted);

	for (; *text; text++)
		if (!strncmp(text, wanted, length))
			return (char *)text;
	return length ? NULL : (char *)text;
}
