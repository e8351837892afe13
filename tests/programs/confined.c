/* SPDX-License-Identifier: MIT */
/*
 * Runs a program under a seccomp filter: confined docker PROGRAM... or confined SYSCALL,...
 * PROGRAM... The first is Docker's default allow-list (moby/profiles/seccomp, without
 * capabilities): all else fails with EPERM, clone3 with ENOSYS. The second forbids the named system
 * calls, with EPERM.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAMESPACES                                                                                 \
	(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | \
	 CLONE_NEWCGROUP)

static const char docker[] =
	"accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir "
	"chmod "
	"chown clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect "
	"copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait "
	"epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat "
	"faccessat2 "
	"fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl "
	"fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync "
	"ftruncate "
	"futex futex_waitv futimesat getcpu getcwd getdents getdents64 getegid geteuid getgid "
	"getgroups "
	"getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid "
	"getresuid "
	"getrlimit get_robust_list getrusage getsid getsockname getsockopt get_thread_area gettid "
	"gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1 "
	"inotify_rm_watch "
	"io_cancel ioctl io_destroy io_getevents io_pgetevents ioprio_get ioprio_set io_setup "
	"io_submit "
	"kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr "
	"link "
	"linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise membarrier "
	"memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap "
	"mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap "
	"msgctl "
	"msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep "
	"newfstatat "
	"open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free "
	"pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease "
	"process_vm_readv process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read "
	"readahead "
	"readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr rename "
	"renameat "
	"renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask "
	"rt_sigqueueinfo "
	"rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_getaffinity "
	"sched_getattr "
	"sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler "
	"sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler "
	"sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg "
	"sendto "
	"setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid "
	"setresuid "
	"setreuid setrlimit set_robust_list setsid setsockopt set_thread_area set_tid_address "
	"setuid "
	"setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair "
	"splice "
	"stat statfs statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time "
	"timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create "
	"timerfd_gettime timerfd_settime times tkill truncate ugetrlimit umask uname unlink "
	"unlinkat "
	"utime utimensat utimes vfork vmsplice wait4 waitid waitpid write writev";

static int add(scmp_filter_ctx filter, uint32_t action, const char *names)
{
	char copy[8192];
	char *rest;
	char *name;
	int r = 0;

	snprintf(copy, sizeof(copy), "%s", names);
	for (name = strtok_r(copy, " ,", &rest); name; name = strtok_r(NULL, " ,", &rest)) {
		int number = seccomp_syscall_resolve_name(name);

		if (number >= 0)
			r |= seccomp_rule_add(filter, action, number, 0);
	}
	return r;
}

static scmp_filter_ctx allow_like_docker(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int r = add(filter, SCMP_ACT_ALLOW, docker);

	r |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			      SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0));
	r |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
			      SCMP_A0(SCMP_CMP_NE, 40 /* AF_VSOCK */));
	r |= seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	return r ? NULL : filter;
}

static scmp_filter_ctx forbid(const char *names)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	return add(filter, SCMP_ACT_ERRNO(EPERM), names) ? NULL : filter;
}

int main(int argc, char **argv)
{
	scmp_filter_ctx filter;

	if (argc < 3)
		return 2;
	filter = strcmp(argv[1], "docker") ? forbid(argv[1]) : allow_like_docker();
	if (!filter || seccomp_load(filter))
		return 3;
	execvp(argv[2], argv + 2);
	return 4;
}
