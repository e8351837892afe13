/* SPDX-License-Identifier: MIT */
/*
 * How the leakprof program and a target talk.
 *
 * The shim advertises itself by a one-page shared mapping of an already closed memfd, so that
 * /proc/PID/maps shows, whoever may read it,
 *
 *     /memfd:leakprof-abi2-sig62 (deleted)
 *
 * A requester listens on a unix stream socket and queues that signal (sigqueue(3)) with a value of
 * 64 bits: what it wants (enum lp_ask) in the upper 4, a random token in the others. The token
 * names the socket:
 *
 *     abstract "leakprof/<16 hex digits>"      in the same network namespace
 *     <folder>/leakprof-<16 hex digits>        in another: abstract names do not reach there, but
 *                                              files do. The folder is one of lp_socket_folders
 * below the target's root, which the requester reaches by /proc/PID/root; nobody's PID is in the
 * name, as it would be another one on each side of a PID namespace
 *
 * The snapshot, not the target, connects, tries these in that order, and both sides check
 * SO_PEERCRED: the snapshot wants the requester to be root or of its own user, the requester wants
 * the snapshot to be of the target's user. Then follows, until end of file,
 *
 *     LP_ASK_SNAPSHOT    the stream of stream.h; one that ends without LP_SEC_END is broken
 *     LP_ASK_STATS       struct leakprof_stats (leakprof.h); no thread is stopped for it
 *
 * `leakprof run` listens on the abstract socket LP_SOCKET_FORMAT and names it to the target with
 * the option `connect`. A program that exits waits until its snapshot has connected (not longer
 * than LP_CONNECT_WAIT_NS), so that `run`, once it has seen the program end, finds in its accept
 * queue whatever will come.
 *
 * Without a requester the snapshot starts the reporter by itself: `leakprof report
 * --from-snapshot=OUTPUT` with the stream on its standard input. The reporter writes OUTPUT beside
 * and renames it.
 */
#ifndef LP_CORE_PROTOCOL_H
#define LP_CORE_PROTOCOL_H

#define LP_MEMFD_NAME_FORMAT "leakprof-abi%u-sig%u"
#define LP_PROTOCOL_ABI 2u
#define LP_SOCKET_FORMAT "leakprof/%u/%08x" /* PID, token */
#define LP_CONNECT_WAIT_NS 30000000000ull

/* In a signal's value. */
enum lp_ask { LP_ASK_SNAPSHOT = 0, LP_ASK_STATS = 1 };
#define LP_ASK_SHIFT 60
#define LP_TOKEN_MASK ((1ull << LP_ASK_SHIFT) - 1)

#define LP_TOKEN_DIGITS 16
#define LP_TOKEN_ABSTRACT "leakprof/" /* and the token */
#define LP_TOKEN_FILE "/leakprof-"    /* behind the folder, and the token */
#define LP_SOCKET_FOLDERS                                                                          \
	{                                                                                          \
		"/tmp", "/var/tmp", "/dev/shm", "/run"                                             \
	}

#endif
