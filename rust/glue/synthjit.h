/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The door between the C glue and the Rust module.
 *
 * Plain types only: bindgen turns this file into the Rust declarations without
 * seeing a kernel header. `synthjit_` is C called by Rust or by generated
 * code, `synthjit_rs_` is Rust called by C.
 */
#ifndef SYNTHJIT_H
#define SYNTHJIT_H

typedef unsigned char synthjit_u8;
typedef unsigned int synthjit_u32;
typedef unsigned long long synthjit_u64;

/* One attached process as C sees it: notifier, task work, vector. */
struct synthjit_task;
/* A sysfs directory of ours. */
struct synthjit_dir;

/* What happened to a process since its last work ran (bits). */
enum {
	SYNTHJIT_EVENT_THREADS = 1,	/* a task that shares its descriptors was born */
	SYNTHJIT_EVENT_EXEC = 2,	/* execve succeeded */
	SYNTHJIT_EVENT_CHANGED = 4,	/* attach, enable: look again */
	SYNTHJIT_EVENT_RETRY = 8,	/* the back-off delay is over */
	/* generated code reports: a descriptor that is not known, a budget used up, a look at memory that is due */
	SYNTHJIT_EVENT_MISS = 16,
	SYNTHJIT_EVENT_MEMORY = 32,	/* another process shares its memory */
};

/* What a tail has to do (bits); rust/engine/template/mod.rs emits them. */
enum {
	SYNTHJIT_TAIL_UNLOCK = 1,	/* the mutex is still held */
	SYNTHJIT_TAIL_WRITE = 2,	/* the call was a write: readers are to be woken */
	SYNTHJIT_TAIL_ONLY_UNLOCK = 4,	/* nothing was done: no wake-up */
};

/* What the code of one path reads and writes besides the kernel's objects; rust/engine/template/data.rs has the offsets. */
struct synthjit_path_data {
	synthjit_u64 hits;		/* calls that it served */
	synthjit_u32 budget;		/* counts down with each exit; negative: it reports itself */
	synthjit_u32 faults;		/* counts down with each exit after a copy that faulted; likewise */
	synthjit_u64 memory_seen;	/* mm_lock_seq when all memory was ordinary, or above 32 bits */
	synthjit_u32 memory_left;	/* exits because of the memory until one asks for a look */
	synthjit_u32 fd;
	synthjit_u64 task;		/* task_struct */
	synthjit_u64 exits[32];		/* how often each exit was taken; SYNTHJIT_EXITS */
};

/* Of these, what says whether a path is worth its cost. */
struct synthjit_counts {
	synthjit_u64 hits;
	synthjit_u32 budget;
	synthjit_u32 faults;
};

/* The current process, seen by itself in process context. */
struct synthjit_view {
	synthjit_u32 files_count;	/* users of its descriptor table */
	synthjit_u32 threads;		/* live tasks of its thread group */
	synthjit_u32 compat;		/* boolean: a 32-bit image */
	synthjit_u32 pad;
	synthjit_u64 task;		/* task_struct */
	synthjit_u64 kernel_stack;	/* where its pt_regs begin */
	synthjit_u64 files;		/* its files_struct */
	synthjit_u64 mm;		/* its mm_struct */
	synthjit_u64 ran_ns;		/* for how long it has run, as of the last tick or so */
};

/* One descriptor of the current process. */
struct synthjit_fd_view {
	synthjit_u64 f_op;		/* 0: not open */
	synthjit_u64 ino;		/* number of its inode */
	synthjit_u32 f_mode;
	synthjit_u32 pad;
};

/* Classes of slots. */
enum {
	SYNTHJIT_PATH,
	SYNTHJIT_VECTOR,
};

/* What a slot was made for. The last four are of paths only. */
struct synthjit_made {
	const synthjit_u8 *spec;	/* its name, never freed; NULL: the slot was never used */
	synthjit_u32 spec_len;
	int tgid;			/* as in processes/TGID */
	int pid;			/* of its only thread, as the kernel numbers it; C fills it in */
	synthjit_u32 class;		/* C fills it in */
	synthjit_u64 code;		/* address of the slot */
	synthjit_u32 bytes;		/* of it that are used */
	synthjit_u32 fd;
	synthjit_u32 call;		/* number of the system call */
	synthjit_u64 ino;		/* number of the object's inode */
	synthjit_u8 exits[32];		/* reason of each exit; SYNTHJIT_EXITS */
};

/* Where a tracepoint speaks of no call. */
#define SYNTHJIT_NO_CALL 0xffffffff

/* Most edits in one batch. */
#define SYNTHJIT_MAX_EDITS 8

/* One edit of the arena: `len` bytes at `addr`. */
struct synthjit_edit {
	synthjit_u64 addr;
	const synthjit_u8 *bytes;	/* NULL: fill with int3 */
	synthjit_u32 len;
	synthjit_u32 expect_int3;	/* boolean: the place must be int3 now */
};

/* Files below /sys/kernel/synthjit, for show and store. Each holds one value. */
enum {
	SYNTHJIT_ATTR_ENABLED,
	SYNTHJIT_ATTR_ATTACH,
	SYNTHJIT_ATTR_DETACH,
	SYNTHJIT_ATTR_TRAP_VECTOR,
	SYNTHJIT_ATTR_PROC_ENABLED,
	SYNTHJIT_ATTR_PROC_STATE,
	SYNTHJIT_ATTR_FD_SPEC,
	SYNTHJIT_ATTR_FD_SIZE,
	SYNTHJIT_ATTR_FD_HITS,
	SYNTHJIT_ATTR_FD_BAILOUTS,
	SYNTHJIT_ATTR_STAT = 64,	/* + index into synthjit_rs_stat_names */
	SYNTHJIT_ATTR_KIND = 128,	/* + index into synthjit_rs_kind_names */
};

/* Listings below /sys/kernel/debug/synthjit. */
enum {
	SYNTHJIT_LIST_EXITED,
	SYNTHJIT_LIST_WITHOUT,
	SYNTHJIT_LIST_BAILOUTS,
	SYNTHJIT_LIST_ASSUMPTIONS,
	SYNTHJIT_LIST_LEFT_OUT,
	SYNTHJIT_LIST_VALUES,
};

/* A listing that is being read. */
struct seq_file;

/* symbols.c */
int synthjit_symbols_start(void);

/* platform.c; the three are generated from the specs, for C and Rust with one layout */
struct synthjit_facts;
struct synthjit_target;
struct synthjit_arrays;
synthjit_u32 synthjit_platform_check(void);
int synthjit_load_facts(struct synthjit_facts *facts, struct synthjit_target *target, struct synthjit_arrays *arrays);
synthjit_u64 synthjit_jiffies_ms(void);
synthjit_u32 synthjit_random(void);
synthjit_u64 synthjit_clock_ns(void);
void synthjit_counts_get(synthjit_u32 slot, struct synthjit_counts *counts);
void synthjit_counts_set(synthjit_u32 slot, const struct synthjit_counts *counts);
synthjit_u32 synthjit_misses_get(synthjit_u32 slot);
void synthjit_misses_set(synthjit_u32 slot, synthjit_u32 budget);
synthjit_u64 synthjit_exit_count(synthjit_u32 slot, synthjit_u32 exit);
void synthjit_data_begin(synthjit_u32 slot, synthjit_u32 fd, synthjit_u64 task);

/* text.c */
int synthjit_text_edit(const struct synthjit_edit *edits, synthjit_u32 count);

/* slots.c */
void synthjit_slot_made(synthjit_u32 slot, synthjit_u32 class, const struct synthjit_made *made);

/* names.c */
synthjit_u32 synthjit_names_update(void);

/* trace.c */
void synthjit_trace_synthesize(synthjit_u32 slot);
void synthjit_trace_retire(synthjit_u32 slot, synthjit_u32 reason);
void synthjit_trace_refuse(int tgid, int fd, synthjit_u32 call, synthjit_u64 ino, synthjit_u32 reason);
void synthjit_trace_refuse_attach(int tgid, synthjit_u32 reason);

/* task.c */
int synthjit_task_attach(int tgid, struct synthjit_task **out);
void synthjit_task_detach(struct synthjit_task *t);
void synthjit_task_free(struct synthjit_task *t);
void synthjit_task_queue(struct synthjit_task *t, synthjit_u32 events);
void synthjit_task_retry_in(struct synthjit_task *t, synthjit_u32 ms);
void synthjit_task_publish(struct synthjit_task *t, synthjit_u64 vector);
void synthjit_task_withdraw(struct synthjit_task *t);
void synthjit_task_set_idle(struct synthjit_task *t, synthjit_u32 idle);
synthjit_u32 synthjit_task_observed(struct synthjit_task *t);
synthjit_u32 synthjit_task_gone(struct synthjit_task *t);
int synthjit_find_process(int nr);

/* lstar.c */
void synthjit_lstar_refresh_all(void);
synthjit_u32 synthjit_task_withheld(struct synthjit_task *t);

/* textwatch.c */
synthjit_u32 synthjit_mirrors_traced(void);

/* kvm.c */
synthjit_u32 synthjit_vectors_held(void);

/* pipe.c */
void synthjit_view_current(struct synthjit_view *view);
void synthjit_view_fd(synthjit_u32 fd, struct synthjit_fd_view *view);

/* memory.c */
synthjit_u32 synthjit_memory_look(synthjit_u32 most, synthjit_u32 *changes);
void synthjit_memory_note(synthjit_u32 slot, synthjit_u64 seen, synthjit_u32 left);
synthjit_u32 synthjit_memory_asked(synthjit_u32 slot);

/* sysfs.c */
int synthjit_sysfs_start(void);
void synthjit_sysfs_close(void);
void synthjit_sysfs_stop(void);
struct synthjit_dir *synthjit_sysfs_add_process(int tgid);
struct synthjit_dir *synthjit_sysfs_add_path(struct synthjit_dir *process, int tgid, synthjit_u32 fd,
					     synthjit_u32 is_read);
void synthjit_sysfs_remove(struct synthjit_dir *dir);
void synthjit_sysfs_remove_now(void);
void synthjit_tidy_soon(void);

/* debugfs.c */
void synthjit_debugfs_start(void);
void synthjit_debugfs_stop(void);
int synthjit_list_write(struct seq_file *m, const char *text, unsigned long len);

/* module.c: everything that starts and stops with the module */
int synthjit_glue_start(void);
void synthjit_glue_stop(void);
int synthjit_watch(void);

/* Rust called by C. Contexts are given where they are defined. */
void synthjit_rs_work(struct synthjit_task *t, int tgid, synthjit_u32 events, synthjit_u32 call,
		      synthjit_u32 fd);
void synthjit_rs_tidy(void);
void synthjit_rs_platform_lost(synthjit_u32 reason);
void synthjit_rs_exited(struct synthjit_task *t, int tgid);
long synthjit_rs_show(synthjit_u32 attr, int tgid, synthjit_u32 fd, synthjit_u32 is_read, char *buf,
		      unsigned long size);
long synthjit_rs_code(int tgid, synthjit_u32 fd, synthjit_u32 is_read, char *buf, unsigned long size,
		      unsigned long offset);
long synthjit_rs_store(synthjit_u32 attr, int tgid, const char *buf, unsigned long size);
long synthjit_rs_list_next(synthjit_u32 list, long from);
void synthjit_rs_list_show(synthjit_u32 list, long key, struct seq_file *m);
extern const char *const synthjit_rs_stat_names[];
extern const char *const synthjit_rs_kind_names[];

#endif
