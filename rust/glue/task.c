// SPDX-License-Identifier: GPL-2.0
/*
 * Attached processes: how they come, how they are found, how they go.
 *
 * `vector` says where the process enters the kernel: an address in the arena, or
 * 0 for the stock entry. It is the only word that makes generated code reachable.
 *
 * No machine is stopped and nobody is waited for while processes come and go:
 *  - Attaching queues a task work. The process links its own notifier when it next
 *    leaves the kernel, which is before it can make its next system call.
 *  - Detaching clears `vector` and has every CPU look again (lstar.c): when that has
 *    returned no CPU runs code of the process, or will. The process unlinks its
 *    notifier itself, by the same work, when it next leaves the kernel; until then the
 *    notifier finds no vector. If the process is attached again before, its object is
 *    taken up again, so a task has one at most.
 *  - Exit does it all in the process's own context.
 * What detached processes have not unlinked by the time of unload is unlinked in one
 * pass of stop_machine(): no task runs, so notifier lists and work lists stand still.
 *
 * Processes are known by their number in the initial PID namespace; a number that a
 * person writes is one of the writer's own namespace.
 *
 * Lock order: CHANGE > STATE (both Rust) > synthjit_tasks_lock, which is innermost but
 * for what task_work_add() takes.
 */
#include <linux/hashtable.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>

#include "task.h"

DEFINE_RAW_SPINLOCK(synthjit_tasks_lock);
struct workqueue_struct *synthjit_wq;
/* Attached processes by tgid. Under synthjit_tasks_lock. */
static DEFINE_HASHTABLE(attached, 8);
/* Detached processes that are linked or have a work queued. Under synthjit_tasks_lock. */
static LIST_HEAD(leaving);

void synthjit_task_get(struct synthjit_task *t)
{
	refcount_inc(&t->refs);
}

/* Not under synthjit_tasks_lock. */
void synthjit_task_put(struct synthjit_task *t)
{
	lockdep_assert_not_held(&synthjit_tasks_lock);
	if (!refcount_dec_and_test(&t->refs))
		return;
	put_task_struct(t->task);
	kfree(t);
}

/*
 * Keeps `leaving` true, after `gone`, `linked` or `queued` has changed. True: the
 * caller has a reference to put, once it has released the lock.
 */
bool synthjit_task_settle(struct synthjit_task *t)
{
	bool leaves = t->gone && (t->linked || t->queued);

	lockdep_assert_held(&synthjit_tasks_lock);
	if (leaves == !list_empty(&t->leaving))
		return false;
	if (leaves) {
		list_add(&t->leaving, &leaving);
		synthjit_task_get(t);
	} else {
		list_del_init(&t->leaving);
	}
	return !leaves;
}

static struct synthjit_task *task_find_attached(pid_t tgid)
{
	struct synthjit_task *t;

	lockdep_assert_held(&synthjit_tasks_lock);
	hash_for_each_possible(attached, t, node, tgid)
		if (t->tgid == tgid)
			return t;
	return NULL;
}

static struct synthjit_task *task_find_leaving(struct task_struct *task)
{
	struct synthjit_task *t;

	lockdep_assert_held(&synthjit_tasks_lock);
	list_for_each_entry(t, &leaving, leaving)
		if (t->task == task)
			return t;
	return NULL;
}

/* Nothing is queued for @t from now on. True for one caller at most. */
static bool task_mark_gone(struct synthjit_task *t)
{
	lockdep_assert_held(&synthjit_tasks_lock);
	/* Ordered for other CPUs by synthjit_lstar_refresh_all(), which detaching calls next. */
	WRITE_ONCE(t->vector, 0);
	if (t->gone)
		return false;
	/* Read without the lock by synthjit_task_gone() alone, which needs no order. */
	WRITE_ONCE(t->gone, true);
	hash_del(&t->node);
	return true;
}

/* -- Events ---------------------------------------------------------------- */

/* Any context, interrupts on or off. */
void synthjit_task_queue(struct synthjit_task *t, synthjit_u32 events)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&synthjit_tasks_lock, flags);
	synthjit_work_queue(t, events);
	raw_spin_unlock_irqrestore(&synthjit_tasks_lock, flags);
}

static void task_retry_work(struct work_struct *work)
{
	synthjit_task_queue(container_of(to_delayed_work(work), struct synthjit_task, retry),
			    SYNTHJIT_EVENT_RETRY);
}

/* By the owner. */
void synthjit_task_retry_in(struct synthjit_task *t, synthjit_u32 ms)
{
	mod_delayed_work(synthjit_wq, &t->retry, msecs_to_jiffies(ms));
}

static void task_queue_miss(u32 fd, u32 call)
{
	struct synthjit_task *t = synthjit_task_of_current();
	unsigned long flags;

	if (!t)
		return;
	raw_spin_lock_irqsave(&synthjit_tasks_lock, flags);
	/* Others get no path, but a budget may be used up. */
	if (fd <= INT_MAX / 2 && call <= 1)
		t->missed = (fd << 1 | call) + 1;
	synthjit_work_queue(t, SYNTHJIT_EVENT_MISS);
	raw_spin_unlock_irqrestore(&synthjit_tasks_lock, flags);
}

/* From the miss handler: interrupts off, between SYSCALL and the stock entry. */
asmlinkage void synthjit_miss(u32 fd, u32 call);
asmlinkage noinstr void synthjit_miss(u32 fd, u32 call)
{
	synthjit_thunk_enter();
	task_queue_miss(fd, call);
	synthjit_thunk_leave();
}

/* By the process itself, preemption off: an assumption is about to break. */
void synthjit_task_drop(struct synthjit_task *t, u32 events)
{
	lockdep_assert_preemption_disabled();
	/* Nothing of it is there to be dropped, and it looks again by itself. */
	if (t->idle)
		return;
	synthjit_lstar_set(t, 0);
	synthjit_task_queue(t, events);
}

/* By the process itself: it has no code, and a retry is due. */
void synthjit_task_set_idle(struct synthjit_task *t, synthjit_u32 idle)
{
	t->idle = idle;
}

/*
 * Code of current has faulted, and the process will die of it. Exception context,
 * interrupts off. Nothing may be queued for it any more: if it dies holding a pipe's
 * mutex it never gets to the end of its list of works. No lock is taken here, since
 * the fault may have come under any.
 */
void synthjit_task_faulted(void)
{
	struct synthjit_task *t = synthjit_task_of_current();

	if (!t) {
		synthjit_lstar_refresh();
		return;
	}
	/* Its partner is the READ_ONCE() in synthjit_work_queue(). */
	WRITE_ONCE(t->faulted, true);
	synthjit_lstar_set(t, 0);
}

static void tidy_work(struct work_struct *work)
{
	synthjit_rs_tidy();
}

static DECLARE_DELAYED_WORK(tidy, tidy_work);

/*
 * Has the directories of paths follow the paths, a tick later. Any context. A timer
 * costs the caller less than waking a worker, and several changes share it.
 */
void synthjit_tidy_soon(void)
{
	queue_delayed_work(synthjit_wq, &tidy, 1);
}

/* -- The vector ------------------------------------------------------------ */

/* By the process itself: @vector is what it enters through from now on. */
void synthjit_task_publish(struct synthjit_task *t, synthjit_u64 vector)
{
	synthjit_lstar_set(t, vector);
}

/*
 * By anybody: the vector is out of use once synthjit_lstar_refresh_all() has returned, whose
 * barrier orders this write.
 */
void synthjit_task_withdraw(struct synthjit_task *t)
{
	WRITE_ONCE(t->vector, 0);
}

/*
 * Boolean, for `state`: the word that a path's guard wants to be zero is not. It may
 * change at any moment; nothing but what is shown depends on it.
 */
synthjit_u32 synthjit_task_observed(struct synthjit_task *t)
{
	unsigned long flags;
	bool observed;

	raw_spin_lock_irqsave(&synthjit_tasks_lock, flags);
	observed = READ_ONCE(task_thread_info(t->task)->syscall_work) != 0;
	raw_spin_unlock_irqrestore(&synthjit_tasks_lock, flags);
	return observed;
}

/* Boolean: the process was detached or has exited. Without the lock it is of one moment. */
synthjit_u32 synthjit_task_gone(struct synthjit_task *t)
{
	return READ_ONCE(t->gone);
}

/* -- Attach and detach ----------------------------------------------------- */

/*
 * The number in the initial PID namespace of the process that is @nr in the caller's.
 * -ESRCH: no such process; -EINVAL: a kernel thread.
 */
int synthjit_find_process(int nr)
{
	struct task_struct *task;
	int tgid = -ESRCH;

	rcu_read_lock();
	task = pid_task(find_vpid(nr), PIDTYPE_TGID);
	if (task)
		tgid = task->flags & (PF_KTHREAD | PF_USER_WORKER) ? -EINVAL : task_tgid_nr(task);
	rcu_read_unlock();
	return tgid;
}

static void task_exited_work(struct work_struct *work)
{
	struct synthjit_task *t = container_of(work, struct synthjit_task, exited);

	synthjit_rs_exited(t, t->tgid);
	synthjit_task_put(t);
}

static struct synthjit_task *task_new(struct task_struct *task, pid_t tgid)
{
	struct synthjit_task *t = kzalloc(sizeof(*t), GFP_KERNEL);

	if (!t)
		return NULL;
	t->task = get_task_struct(task);
	t->tgid = tgid;
	t->gone = true;
	refcount_set(&t->refs, 1);
	INIT_LIST_HEAD(&t->leaving);
	INIT_DELAYED_WORK(&t->retry, task_retry_work);
	INIT_WORK(&t->exited, task_exited_work);
	synthjit_work_init(t);
	return t;
}

/*
 * Attaches the leader of @tgid, of the initial namespace; the caller queues the first
 * work, which links the notifier. -ESRCH: it has exited; -ENOMEM. Under CHANGE (Rust).
 */
int synthjit_task_attach(int tgid, struct synthjit_task **out)
{
	struct synthjit_task *t, *earlier;
	struct task_struct *task;
	bool settled = false;
	int ret = 0;

	rcu_read_lock();
	task = get_pid_task(find_pid_ns(tgid, &init_pid_ns), PIDTYPE_TGID);
	rcu_read_unlock();
	if (!task)
		return -ESRCH;
	t = task_new(task, tgid);
	if (!t) {
		put_task_struct(task);
		return -ENOMEM;
	}

	raw_spin_lock_irq(&synthjit_tasks_lock);
	earlier = task_find_leaving(task);
	if (earlier) {
		/* For its new owner. */
		synthjit_task_get(earlier);
		swap(t, earlier);
	}
	/* PF_EXITING is set before the exit event takes the lock: either it is seen here or the event finds the process. */
	if (task->flags & PF_EXITING) {
		ret = -ESRCH;
	} else {
		WRITE_ONCE(t->gone, false);
		t->idle = false;
		t->events = 0;
		t->missed = 0;
		hash_add(attached, &t->node, tgid);
		settled = synthjit_task_settle(t);
	}
	raw_spin_unlock_irq(&synthjit_tasks_lock);

	if (earlier)
		synthjit_task_put(earlier);
	if (settled)
		synthjit_task_put(t);
	put_task_struct(task);
	if (ret)
		synthjit_task_put(t);
	else
		*out = t;
	return ret;
}

/* By the owner, process context. When it returns no CPU is inside code of the process, and none will be. */
void synthjit_task_detach(struct synthjit_task *t)
{
	bool linked, settled;

	might_sleep();
	raw_spin_lock_irq(&synthjit_tasks_lock);
	task_mark_gone(t);
	linked = t->linked;
	if (linked)
		synthjit_work_add(t);
	settled = synthjit_task_settle(t);
	raw_spin_unlock_irq(&synthjit_tasks_lock);
	/* Else the process has unlinked it itself, and restored its CPU. */
	if (linked)
		synthjit_lstar_refresh_all();
	if (settled)
		synthjit_task_put(t);
}

/* The owner's reference; after detach. */
void synthjit_task_free(struct synthjit_task *t)
{
	cancel_delayed_work_sync(&t->retry);
	synthjit_task_put(t);
}

/* -- Exit and exec --------------------------------------------------------- */

/*
 * From the exit of current, preemption off. @group_dead: current was the last
 * thread that do_exit() counted. Threads are told of in another order than they
 * are counted: the last one may come here before the leader.
 */
void synthjit_task_exit(bool group_dead)
{
	bool last = false, settled = false;
	struct synthjit_task *t;
	unsigned long flags;

	lockdep_assert_preemption_disabled();
	raw_spin_lock_irqsave(&synthjit_tasks_lock, flags);
	/* One that was detached is in the table no more, but may be linked. */
	t = synthjit_task_of_current() ?: task_find_attached(current->tgid);
	if (!t)
		goto unlock;
	if (t->task == current) {
		t->left = true;
		if (t->linked)
			synthjit_lstar_unlink(t);
		/* With threads left the process lives on; one of them may exec. */
		group_dead |= !atomic_read(&current->signal->live);
	}
	if (t->left && group_dead && task_mark_gone(t)) {
		last = true;
		synthjit_task_get(t);
	}
	settled = synthjit_task_settle(t);
unlock:
	raw_spin_unlock_irqrestore(&synthjit_tasks_lock, flags);
	if (last)
		queue_work(synthjit_wq, &t->exited);
	if (settled)
		synthjit_task_put(t);
}

/* current, not the leader, did execve and took the leader's place (fs/exec.c, de_thread): the leader is dead. */
void synthjit_task_rehome(void)
{
	struct task_struct *old = NULL;
	struct synthjit_task *t;
	unsigned long flags;

	raw_spin_lock_irqsave(&synthjit_tasks_lock, flags);
	t = task_find_attached(current->tgid);
	if (t && t->left) {
		old = t->task;
		t->task = get_task_struct(current);
		t->left = false;
		synthjit_work_queue(t, SYNTHJIT_EVENT_EXEC);
	}
	raw_spin_unlock_irqrestore(&synthjit_tasks_lock, flags);
	if (old)
		put_task_struct(old);
}

int synthjit_tasks_start(void)
{
	synthjit_wq = alloc_workqueue("synthjit", WQ_UNBOUND, 0);
	return synthjit_wq ? 0 : -ENOMEM;
}

/* No task runs, so notifier lists and work lists stand still. Those that are done with go to @data. */
static int tasks_unlink_stopped(void *data)
{
	struct synthjit_task *t, *next;
	struct list_head *done = data;

	lockdep_assert_irqs_disabled();
	raw_spin_lock(&synthjit_tasks_lock);
	list_for_each_entry_safe(t, next, &leaving, leaving) {
		if (t->linked)
			hlist_del(&t->notifier.link);
		t->linked = false;
		synthjit_work_take_back(t);
		if (!t->queued)
			list_move(&t->leaving, done);
	}
	raw_spin_unlock(&synthjit_tasks_lock);
	return 0;
}

/*
 * After all processes are detached and no event can arrive: waits until no task
 * is inside a work of ours, nor still on its way out of one. -ENOMEM cannot be: the
 * machine is stopped with what was allocated at boot (kernel/stop_machine.c).
 */
void synthjit_tasks_stop(void)
{
	struct synthjit_task *t, *next;
	LIST_HEAD(done);

	cancel_delayed_work_sync(&tidy);
	destroy_workqueue(synthjit_wq);
	if (stop_machine(tasks_unlink_stopped, &done, NULL))
		pr_err("the machine could not be stopped\n");
	list_for_each_entry_safe(t, next, &done, leaving)
		synthjit_task_put(t);
	synthjit_work_stop();
	synchronize_rcu_tasks();
}
