/* SPDX-License-Identifier: GPL-2.0 */
/* What the C files of the glue share with one another. */
#ifndef SYNTHJIT_GLUE_H
#define SYNTHJIT_GLUE_H

#include <linux/instrumentation.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/sched.h>

#include "arena.h"
#include "synthjit.h"

struct file;

#undef pr_fmt
#define pr_fmt(fmt) "synthjit: " fmt

/* symbols.c */
unsigned long synthjit_symbol(const char *name);

/* build.c */
bool synthjit_right_build(void);

/* platform.c */
extern unsigned long synthjit_stock_entry;
extern struct synthjit_path_data synthjit_data_of_paths[SYNTHJIT_PATH_SLOTS];
extern u32 synthjit_miss_budgets[SYNTHJIT_VECTOR_SLOTS];

extern unsigned long synthjit_exit_work;

/* memory.c */
int synthjit_memory_start(void);

/* trace.c */
extern u32 synthjit_bailouts_traced;

/* entry.S */
void synthjit_tail_thunk(void);
void synthjit_miss_thunk(void);
void synthjit_bail_thunk(void);

/*
 * Brackets what C code called by a thunk of entry.S does. Such code runs between
 * SYSCALL and the stock entry, or before SYSRET: interrupts are off, while lockdep and
 * the tracers of interrupt flags have user mode down as having them on. The order is
 * that of enter_from_user_mode() and exit_to_user_mode() (include/linux/irq-entry-common.h);
 * RCU watches user mode here, since no CPU that tracks its context has a vector. The callers
 * must be noinstr.
 * Nothing is left of both in a kernel without such debugging.
 */
static __always_inline void synthjit_thunk_enter(void)
{
	lockdep_hardirqs_off(_RET_IP_);
	instrumentation_begin();
	trace_hardirqs_off_finish();
}

static __always_inline void synthjit_thunk_leave(void)
{
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	instrumentation_end();
	lockdep_hardirqs_on(_RET_IP_);
}

/* textwatch.c */
int synthjit_textwatch_start(void);
int synthjit_textwatch_on(void);
void synthjit_textwatch_stop(void);
bool synthjit_text_changed(void);

/* watched.c */
struct seq_file;
extern struct mutex *synthjit_kernel_text_mutex;
int synthjit_watched_start(void);
void synthjit_watched_stop(void);
bool synthjit_watched(unsigned long addr, unsigned long len);
bool synthjit_watched_clean(void);
void synthjit_watched_show(struct seq_file *m);

/* keys.c */
bool synthjit_keys_start(void);
bool synthjit_keys_as_reviewed(unsigned long start, unsigned long end);

/* symbols.c */
unsigned long synthjit_symbol_end(const char *name);
bool synthjit_kprobes_start(void);
bool synthjit_kprobe_within(unsigned long start, unsigned long end);

/* lstar.c */
struct synthjit_task *synthjit_task_of_current(void);
void synthjit_lstar_refresh(void);

/* task.c */
int synthjit_tasks_start(void);
void synthjit_tasks_stop(void);
void synthjit_task_drop(struct synthjit_task *t, u32 events);
void synthjit_task_exit(bool group_dead);
void synthjit_task_faulted(void);
void synthjit_task_rehome(void);

/* events.c */
int synthjit_events_start(void);
void synthjit_events_stop(void);

/* slots.c */
const struct synthjit_made *synthjit_made_in(u32 i);
const struct synthjit_made *synthjit_made_for(u32 slot);
u32 synthjit_slot_at(unsigned long ip, u32 *offset);
const struct synthjit_made *synthjit_made_at(unsigned long ip, u32 *offset);

/* names.c */
void synthjit_names_start(void);
void synthjit_name_stale(u32 i);

/* sysfs.c */
bool synthjit_may_see_addresses(struct file *file);

/* fault.c */
extern bool synthjit_faulted;
int synthjit_fault_start(void);
void synthjit_fault_stop(void);

/* kvm.c */
int synthjit_kvm_start(void);
void synthjit_kvm_stop(void);
bool synthjit_kvm_hosts_guests(void);
bool synthjit_kvm_unannounced(void);

/* user_return.c */
bool synthjit_user_return_awaited(void);
void synthjit_user_return_forget(void);

/* pipe.c */
void synthjit_tail_stop(void);

#endif
