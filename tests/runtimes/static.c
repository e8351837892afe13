/* SPDX-License-Identifier: MIT */
/* Linked statically: no shim can be loaded into it. */
int main(void)
{
	return 5;
}
