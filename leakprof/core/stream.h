/* SPDX-License-Identifier: MIT */
/*
 * The raw stream: what a snapshot writes and a reporter reads, over a file, pipe or socket.
 *
 *     struct lp_stream_head
 *     { struct lp_section_head, payload, zero padding to 8 bytes } ...
 *     last: an LP_SEC_END section
 *
 * Sections come in any order, each type at most once, LP_SEC_END last. A payload is one struct
 * (LP_SEC_PROCESS, LP_SEC_END), plain bytes (LP_SEC_STRINGS, LP_SEC_STACK_BYTES), or a
 * struct lp_array_head followed by COUNT records of RECORD_SIZE bytes (all others). A reader
 * accepts a larger RECORD_SIZE than it knows (a newer writer: the rest is ignored) and skips
 * section types that it does not know; a smaller RECORD_SIZE or another VERSION is an error. All
 * numbers are little endian. Strings are offsets into LP_SEC_STRINGS, whose offset 0 is the empty
 * string; every string ends in NUL. Addresses are the target's. Times are nanoseconds since 1970
 * (0: unknown), durations nanoseconds.
 *
 * The writer runs in the snapshot, so this file uses libc types only. The reader treats every byte
 * as hostile.
 */
#ifndef LP_CORE_STREAM_H
#define LP_CORE_STREAM_H

#include <stdint.h>

#define LP_STREAM_MAGIC "LPRAW\r\n\032" /* 8 bytes: catches text-mode transfers, as PNG's does */
#define LP_STREAM_VERSION 1u
#define LP_NONE 0xffffffffu

struct lp_stream_head {
	char magic[8];
	uint32_t version;
	uint32_t reserved;
};

struct lp_section_head {
	uint32_t type;	 /* enum lp_section_type */
	uint32_t crc;	 /* CRC-32 (zlib's polynomial) of the payload */
	uint64_t length; /* of the payload, without padding */
};

enum lp_section_type {
	LP_SEC_PROCESS = 1,
	LP_SEC_FIGURES = 2,
	LP_SEC_STRINGS = 3,
	LP_SEC_MAPPINGS = 4,
	LP_SEC_RUNTIMES = 5,
	LP_SEC_GOROUTINES = 6,
	LP_SEC_STACKS = 7,
	LP_SEC_STACK_BYTES = 8,
	LP_SEC_NOTES = 9,
	LP_SEC_LABELS = 10,
	LP_SEC_END = 255,
};

struct lp_array_head {
	uint32_t record_size;
	uint32_t count;
};

/* What made the snapshot. */
enum lp_trigger {
	LP_TRIGGER_SIGNAL = 1,	 /* leakprof snapshot PID */
	LP_TRIGGER_INTERVAL = 2, /* interval=DURATION */
	LP_TRIGGER_EXIT = 3,	 /* the program exits */
	LP_TRIGGER_API = 4,	 /* a call of leakprof.h */
	LP_TRIGGER_CHECK = 5,	 /* a leak check by leakprof.h */
};

/* Whether a collection measured anything at all. Anything but LP_MEASURED means that zero leaks is
 * no result. */
enum lp_measured {
	LP_MEASURED = 0,
	LP_MEASURED_NO_RUNTIME =
		1, /* no coroutine library that leakprof knows is loaded, none annotated */
	LP_MEASURED_NO_GOROUTINE = 2, /* a runtime is loaded, but no goroutine was ever created */
	LP_MEASURED_FAILED = 3,	      /* the collection failed: see the notes */
};

struct lp_raw_process {
	uint32_t pid;
	uint32_t ppid;
	uint32_t trigger;	  /* enum lp_trigger */
	uint32_t measured;	  /* enum lp_measured */
	uint32_t serial;	  /* of this snapshot in its process, from 1 */
	uint32_t exe;		  /* string: path of the program */
	uint32_t cmdline;	  /* string: arguments, joined by one space each */
	uint32_t shim;		  /* string: version of the shim */
	uint64_t time_ns;	  /* when the target was stopped */
	uint64_t start_ns;	  /* when the process started */
	uint32_t flags;		  /* enum lp_process_flag bits */
	uint32_t suppressions[2]; /* strings: the program's own, those of the call of a check */
	uint32_t reserved;
};

enum lp_process_flag {
	LP_PROCESS_FORKED = 1, /* a child that goes on with its parent's program */
};

struct lp_raw_figure {
	uint32_t key; /* enum lp_figure */
	uint32_t reserved;
	uint64_t value;
};

/* Figures of a collection. Names for people are in lp_figure_names (stream_names.c). */
enum lp_figure {
	LP_FIG_PAUSE_NS = 1,	    /* from the first thread stopped to all released */
	LP_FIG_STOP_NS = 2,	    /* of it: until all other threads had stopped */
	LP_FIG_CLONE_NS = 3,	    /* of it: the clone system call */
	LP_FIG_MARK_NS = 4,	    /* the fixpoint, in the snapshot */
	LP_FIG_TOTAL_NS = 5,	    /* trigger to the last byte handed to this section's writer */
	LP_FIG_THREADS = 6,	    /* OS threads stopped */
	LP_FIG_HEAP_OBJECTS = 7,    /* tracked heap blocks */
	LP_FIG_HEAP_MARKED = 8,	    /* of them: reached from what can still run */
	LP_FIG_BYTES_SCANNED = 9,   /* bytes read by the fixpoint, roots included */
	LP_FIG_ROOT_BYTES = 10,	    /* size of the roots; pages never touched are not read */
	LP_FIG_GOROUTINES = 11,	    /* existing at the snapshot */
	LP_FIG_LEAKED = 12,	    /* of them: leaked */
	LP_FIG_CREATED = 13,	    /* ever created */
	LP_FIG_FINISHED = 14,	    /* ever finished */
	LP_FIG_TARGET_BYTES = 15,   /* memory that leakprof itself holds in the target */
	LP_FIG_SNAPSHOT_BYTES = 16, /* memory that the snapshot allocated */
	LP_FIG_FAILURES = 17,	    /* collections of this process that failed before this one */
	LP_FIG_CONFIRM = 18,	    /* snapshots that must agree before a leak is reported */
	LP_FIG_UNCONFIRMED = 19,    /* leaks on which too few have agreed so far */
	LP_FIG_CONTRADICTIONS = 20, /* goroutines that ran after they were reported, ever */
	LP_FIG_LAST = LP_FIG_CONTRADICTIONS,
};

enum lp_mapping_prot { LP_PROT_R = 1, LP_PROT_W = 2, LP_PROT_X = 4 };

/* One executable mapping of the target (a file's text, or the vdso), in address order. */
struct lp_raw_mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset;   /* in the file */
	uint32_t prot;	   /* enum lp_mapping_prot bits */
	uint32_t path;	   /* string; "[vdso]" for the vdso */
	uint32_t build_id; /* string: lower-case hex, may be empty */
	uint32_t reserved;
};

struct lp_raw_runtime {
	uint32_t name; /* string: "GNU Pth" */
	uint32_t path; /* string: of the shared object */
	uint64_t created;
	uint64_t finished;
};

/* Where a goroutine is. Same words as Go's where Go has one. */
enum lp_state {
	LP_STATE_RUNNING = 1,
	LP_STATE_RUNNABLE = 2,
	LP_STATE_WAITING = 3, /* see WAIT */
	LP_STATE_IO = 4,      /* waiting for a descriptor, signal or child */
	LP_STATE_SLEEP = 5,   /* waiting with a finite deadline */
};

enum lp_verdict { LP_LIVE = 1, LP_LEAKED = 2 };

enum lp_goroutine_flag {
	LP_G_MAIN = 1,	/* the goroutine that the program began in */
	LP_G_ASIDE = 2, /* leak checks leave it aside: ignored, or of another scope */
};

struct lp_raw_goroutine {
	uint64_t id;	  /* from 1, never reused in a process */
	uint64_t creator; /* id, 0: unknown */
	uint64_t created_ns;
	uint64_t wait_since_ns; /* 0: unknown or not waiting */
	uint64_t entry_pc;	/* the function that it was started with; 0 for main */
	uint64_t created_pc;	/* return address in the function that created it; 0: unknown */
	uint64_t stack_bytes;	/* memory of its stack: what its end would give back */
	uint64_t heap_bytes;	/* leaked only: heap that leaked goroutines alone reach, each byte
				   counted once */
	uint32_t runtime;	/* index into LP_SEC_RUNTIMES */
	uint32_t state;		/* enum lp_state */
	uint32_t verdict;	/* enum lp_verdict */
	uint32_t flags;		/* enum lp_goroutine_flag bits */
	uint32_t wait;	/* string: Go's words, "chan receive", "sync.Mutex.Lock"; empty: not waiting
			 */
	uint32_t name;	/* string: the name that the program gave it, may be empty */
	uint32_t stack; /* index into LP_SEC_STACKS, or LP_NONE */
	uint32_t reserved;
};

/*
 * Where to start unwinding: the frame that called the blocking function, as if that had just
 * returned; or where the runtime itself left the goroutine, in its own code. SP .. SP+LENGTH is
 * copied at OFFSET of LP_SEC_STACK_BYTES. Goroutines whose return addresses agree share one. PC is
 * a return address: the call site is PC - 1.
 */
struct lp_raw_stack {
	uint64_t pc, sp, bp, bx, r12, r13, r14, r15;
	uint64_t offset;
	uint64_t length;
};

enum lp_severity { LP_NOTE_INFO = 1, LP_NOTE_WARNING = 2, LP_NOTE_ERROR = 3 };

/* Something that a reader of the result must know: "heap untracked: the program defines its own
 * malloc". */
struct lp_raw_note {
	uint32_t severity;
	uint32_t text; /* string, one line */
};

struct lp_raw_label {
	uint32_t goroutine; /* index into LP_SEC_GOROUTINES */
	uint32_t key;	    /* string */
	uint32_t value;	    /* string */
	uint32_t reserved;
};

struct lp_raw_end {
	uint64_t sections; /* before this one */
	uint64_t bytes;	   /* of the stream up to this section's head */
};

#endif
