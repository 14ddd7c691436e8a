// SPDX-License-Identifier: GPL-2.0
/*
 * What an attached process does for itself on its way back to user space: a task work.
 *
 * Events are noted in any context and handled by one work, which runs in the process's
 * own context. There its notifier is linked and unlinked and its code is changed: the
 * only task that could run that code is the one that runs the work instead.
 */
#include <linux/task_work.h>
#include <linux/wait_bit.h>

#include "task.h"

/* Works that were queued and did not end yet. */
static atomic_t works = ATOMIC_INIT(0);

static void synthjit_run_work(struct callback_head *head)
{
	struct synthjit_task *t = container_of(head, struct synthjit_task, work);
	u32 events = 0, missed = 0;
	bool settled;

	raw_spin_lock_irq(&synthjit_tasks_lock);
	t->queued = false;
	/* After an exec by another thread the events are that thread's: synthjit_task_rehome(). */
	if (current == t->task && t->gone && t->linked) {
		synthjit_lstar_unlink(t);
	} else if (current == t->task && !t->gone && !(current->flags & PF_EXITING)) {
		if (!t->linked)
			synthjit_lstar_link(t);
		swap(events, t->events);
		swap(missed, t->missed);
	}
	settled = synthjit_task_settle(t);
	raw_spin_unlock_irq(&synthjit_tasks_lock);

	if (events)
		synthjit_rs_work(t, t->tgid, events, (missed - 1) & 1, (missed - 1) >> 1);
	if (settled)
		synthjit_task_put(t);
	synthjit_task_put(t);
	/* A full barrier, as wake_up_var() needs; its partner is set_current_state() in prepare_to_wait_event(). */
	if (atomic_dec_and_test(&works))
		wake_up_var(&works);
}

void synthjit_work_init(struct synthjit_task *t)
{
	init_task_work(&t->work, synthjit_run_work);
}

/* The work runs when the task next leaves the kernel. Under synthjit_tasks_lock. */
void synthjit_work_add(struct synthjit_task *t)
{
	lockdep_assert_held(&synthjit_tasks_lock);
	if (t->queued)
		return;
	/* -ESRCH: the task is past exit_task_work(); its exit event has unlinked it. */
	if (task_work_add(t->task, &t->work, TWA_RESUME))
		return;
	t->queued = true;
	synthjit_task_get(t);
	atomic_inc(&works);
}

/* Under synthjit_tasks_lock. */
void synthjit_work_queue(struct synthjit_task *t, u32 events)
{
	lockdep_assert_held(&synthjit_tasks_lock);
	/* Partner of `faulted`: synthjit_task_faulted(), which takes no lock. */
	if (t->gone || READ_ONCE(t->faulted))
		return;
	t->events |= events;
	synthjit_work_add(t);
}

/*
 * While no task runs, under synthjit_tasks_lock: takes a work back that waits, since its
 * task may sleep for as long as it likes. One that task_work_run() has already taken off
 * the list is about to run. Another reference than the work's is held.
 */
void synthjit_work_take_back(struct synthjit_task *t)
{
	struct callback_head **link;

	lockdep_assert_held(&synthjit_tasks_lock);
	lockdep_assert_irqs_disabled();
	if (!t->queued)
		return;
	for (link = &t->task->task_works; *link; link = &(*link)->next) {
		if (*link == &t->work) {
			*link = t->work.next;
			t->queued = false;
			refcount_dec(&t->refs);
			atomic_dec(&works);
			return;
		}
	}
}

/* Returns when no work is queued or running. */
void synthjit_work_stop(void)
{
	wait_var_event(&works, !atomic_read(&works));
}
