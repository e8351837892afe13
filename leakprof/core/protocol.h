/* SPDX-License-Identifier: MIT */
/*
 * How the leakprof program and a target talk.
 *
 * The shim advertises itself by a mapping of an already closed, empty memfd, so that
 * /proc/PID/maps shows, whoever may read it,
 *
 *     /memfd:leakprof-abi1-sig62 (deleted)
 *
 * `leakprof snapshot PID` listens on the abstract unix stream socket "leakprof/0/<token in 8 hex
 * digits>", then queues that signal with the token as its value (sigqueue(3)): the token alone names
 * the socket, as a PID would be another one on each side of a PID namespace. The snapshot, not the
 * target, connects, and both sides check SO_PEERCRED: the snapshot wants the requester to be root or
 * of its own user, the requester wants the snapshot to be of the target's user. The stream of
 * stream.h follows, then end of file. A stream that ends without LP_SEC_END is broken.
 *
 * `leakprof run` listens on a socket of its own and names it to the target with the option
 * `connect`. A program that exits waits until its snapshot has connected (not longer than
 * LP_CONNECT_WAIT_NS), so that `run`, once it has seen the program end, finds in its accept queue
 * whatever will come.
 *
 * Without a requester the snapshot starts the reporter by itself: `leakprof report
 * --from-snapshot=OUTPUT` with the stream on its standard input. The reporter writes OUTPUT beside
 * and renames it.
 */
#ifndef LP_CORE_PROTOCOL_H
#define LP_CORE_PROTOCOL_H

#define LP_MEMFD_NAME_FORMAT "leakprof-abi%u-sig%u"
#define LP_PROTOCOL_ABI 1u
#define LP_SOCKET_FORMAT "leakprof/%u/%08x" /* PID, token */
#define LP_CONNECT_WAIT_NS 200000000ull

#endif
