// SPDX-License-Identifier: GPL-2.0
/*
 * Watches: kernel events that drop code before an assumption breaks.
 *
 * All of them happen in the context of the process concerned, so the drop needs no
 * other CPU. Probes can be preempted (include/linux/tracepoint.h, __DECLARE_TRACE: SRCU),
 * so each turns preemption off itself: what is current on a CPU is the CPU's.
 */
#include <linux/cleanup.h>
#include <linux/preempt.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/tracepoint.h>

#include "glue.h"

struct linux_binprm;

/*
 * kernel/fork.c, copy_process: fires in the parent after copy_files() and before
 * wake_up_new_task(). copy_files() with CLONE_FILES is the only place that adds a
 * user to a files_struct, io_uring workers included (create_io_thread).
 */
static void event_newtask(void *data, struct task_struct *child, u64 clone_flags)
{
	struct synthjit_task *t;

	if (!(clone_flags & (CLONE_THREAD | CLONE_FILES | CLONE_VM)))
		return;
	guard(preempt)();
	t = synthjit_task_of_current();
	if (!t)
		return;
	if (clone_flags & (CLONE_THREAD | CLONE_FILES))
		synthjit_task_drop(t, SYNTHJIT_EVENT_THREADS);
	else
		/* The work runs before the process can make its next call. */
		synthjit_task_queue(t, SYNTHJIT_EVENT_MEMORY);
}

/* fs/exec.c, exec_binprm: the old image and its close-on-exec descriptors are gone. */
static void event_exec(void *data, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct synthjit_task *t;

	guard(preempt)();
	t = synthjit_task_of_current();
	if (t)
		synthjit_task_drop(t, SYNTHJIT_EVENT_EXEC);
	else if (old_pid != task->pid)
		synthjit_task_rehome();
}

/* kernel/exit.c, do_exit: before exit_files(). */
static void event_exit(void *data, struct task_struct *task, bool group_dead)
{
	guard(preempt)();
	synthjit_task_exit(group_dead);
}

static struct watch {
	const char *name;
	void *probe;
	struct tracepoint *tracepoint;
} watches[] = {
	{ "task_newtask", event_newtask },
	{ "sched_process_exec", event_exec },
	{ "sched_process_exit", event_exit },
};

static void event_find_tracepoint(struct tracepoint *tp, void *unused)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(watches); i++)
		if (!strcmp(tp->name, watches[i].name))
			watches[i].tracepoint = tp;
}

/* -ENOENT: this kernel lacks one of the events. */
int synthjit_events_start(void)
{
	unsigned int i;
	int ret = 0;

	for_each_kernel_tracepoint(event_find_tracepoint, NULL);
	for (i = 0; i < ARRAY_SIZE(watches); i++) {
		struct watch *w = &watches[i];

		ret = w->tracepoint ? tracepoint_probe_register(w->tracepoint, w->probe, NULL) : -ENOENT;
		if (ret) {
			pr_err("no tracepoint %s (%d)\n", w->name, ret);
			w->tracepoint = NULL;
			synthjit_events_stop();
			return ret;
		}
	}
	return 0;
}

/* No probe runs any more when this returns. */
void synthjit_events_stop(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(watches); i++) {
		struct watch *w = &watches[i];

		if (w->tracepoint)
			tracepoint_probe_unregister(w->tracepoint, w->probe, NULL);
		w->tracepoint = NULL;
	}
	tracepoint_synchronize_unregister();
}
