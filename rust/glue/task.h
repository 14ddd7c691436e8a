/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One attached process, struct synthjit_task, as task.c, work.c and lstar.c share it. Other
 * files of the glue have pointers to it, and glue.h and synthjit.h declare what they may call.
 */
#ifndef SYNTHJIT_TASK_H
#define SYNTHJIT_TASK_H

#include <linux/list.h>
#include <linux/preempt.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/task_work.h>
#include <linux/workqueue.h>

#include "glue.h"

struct synthjit_task {
	struct preempt_notifier notifier;
	struct hlist_node node;		/* in the table of attached processes, under synthjit_tasks_lock */
	struct list_head leaving;	/* detached, but known to its task still; under synthjit_tasks_lock */
	struct task_struct *task;	/* referenced; changes under synthjit_tasks_lock, by an exec alone */
	pid_t tgid;			/* in the initial PID namespace */
	unsigned long vector;		/* 0: stock entry; WRITE_ONCE(), then lstar.c's refresh on the CPUs concerned */
	u32 withheld;			/* why it is not in use where the task is, a reason; written by the task's CPU */
	bool linked;			/* the notifier is on the task's list; changed by the task itself, or while the machine is stopped */
	bool gone;			/* detached or exited: no event is queued any more; under synthjit_tasks_lock */
	bool left;			/* the task has exited, threads of it may live on; under synthjit_tasks_lock */
	bool faulted;			/* the task dies of a fault in its code: as `gone`, but set without a lock */
	bool idle;			/* has no code, and a retry is due; by the task itself, or before it is attached */
	bool queued;			/* `work` is on the task's list; under synthjit_tasks_lock */
	u32 events;			/* SYNTHJIT_EVENT_* since the last work; under synthjit_tasks_lock */
	u32 missed;			/* of MISS: fd << 1 | call, + 1; 0: none; under synthjit_tasks_lock */
	struct callback_head work;
	struct delayed_work retry;
	struct work_struct exited;
	refcount_t refs;		/* the owner's, and one each for `leaving`, `queued` and a waiting `exited` */
};

/* task.c */
extern raw_spinlock_t synthjit_tasks_lock;	/* the innermost lock; interrupts are off under it */
extern struct workqueue_struct *synthjit_wq;	/* for `retry`, `exited` and directories; until synthjit_tasks_stop() */
void synthjit_task_get(struct synthjit_task *t);
void synthjit_task_put(struct synthjit_task *t);
bool synthjit_task_settle(struct synthjit_task *t);

/* lstar.c */
void synthjit_lstar_link(struct synthjit_task *t);
void synthjit_lstar_unlink(struct synthjit_task *t);
void synthjit_lstar_set(struct synthjit_task *t, unsigned long vector);

/* work.c */
void synthjit_work_init(struct synthjit_task *t);
void synthjit_work_add(struct synthjit_task *t);
void synthjit_work_queue(struct synthjit_task *t, u32 events);
void synthjit_work_take_back(struct synthjit_task *t);
void synthjit_work_stop(void);

#endif
