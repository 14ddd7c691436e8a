// SPDX-License-Identifier: GPL-2.0
/*
 * An attached process: its preempt notifier, its trap vector, its task work.
 *
 * `vector` says where the process enters the kernel: an address in the arena, or
 * 0 for the stock entry. It is the only word that makes generated code reachable.
 * The notifier loads MSR_LSTAR from it when the task is scheduled in and puts the
 * stock entry back when it is scheduled out, so at any moment a CPU's MSR_LSTAR is
 * foreign only while the task that owns the vector runs there. Generated code runs
 * with interrupts off from SYSCALL to SYSRET; a task that is off the CPU is never
 * inside it.
 *
 * Who writes what:
 *  - the task itself, in the kernel, may change its vector and MSR_LSTAR with
 *    preemption off (publish, drop, exit);
 *  - anybody else clears `vector` and runs one stop_machine(): after it every
 *    CPU has scheduled its task out once, so no CPU's MSR_LSTAR is foreign by that
 *    vector and nobody is inside its code;
 *  - notifiers are linked and unlinked by stop_machine() or by the task itself.
 *
 * Lock order: CHANGE > STATE (both Rust) > cpus_read_lock (inside stop_machine);
 * tasks_lock is innermost, taken with interrupts off.
 */
#include <linux/file.h>
#include <linux/fdtable.h>
#include <linux/preempt.h>
#include <linux/ptrace.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/stop_machine.h>
#include <linux/task_work.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>
#include <asm/msr.h>

#include "glue.h"

struct synthjit_task {
	struct preempt_notifier notifier;
	struct callback_head work;
	struct delayed_work retry;
	struct work_struct exited;
	struct list_head node;		/* tasks, under tasks_lock */
	struct task_struct *task;	/* referenced; changes only by rehome */
	pid_t tgid;
	unsigned long vector;		/* 0: stock entry */
	bool linked;			/* notifier is on the task's list */
	bool gone;			/* nothing may be queued any more */
	atomic_t events;		/* SYNTHJIT_EVENT_* since the last work */
	atomic_t wish;			/* LEARN: fd << 1 | call, + 1; 0: none */
	unsigned long queued;		/* bit 0: `work` is on the task's list */
	refcount_t refs;
};

static LIST_HEAD(tasks);
static DEFINE_RAW_SPINLOCK(tasks_lock);
/* Works that were queued and did not end yet. */
static atomic_t works = ATOMIC_INIT(0);
static bool stopping;
static struct workqueue_struct *wq;
/* Whether this CPU's MSR_LSTAR holds a vector. */
static DEFINE_PER_CPU(bool, foreign);

static void task_get(struct synthjit_task *t)
{
	refcount_inc(&t->refs);
}

static void task_put(struct synthjit_task *t)
{
	if (refcount_dec_and_test(&t->refs)) {
		put_task_struct(t->task);
		kfree(t);
	}
}

static void write_lstar(unsigned long vector)
{
	if (vector) {
		wrmsrq(MSR_LSTAR, vector);
		__this_cpu_write(foreign, true);
	} else if (__this_cpu_read(foreign)) {
		wrmsrq(MSR_LSTAR, synthjit_stock_entry);
		__this_cpu_write(foreign, false);
	}
}

/* Preemption off, on the CPU of the task. */
static void load_vector(struct synthjit_task *t)
{
	unsigned long vector = READ_ONCE(t->vector);

	write_lstar(vector && !READ_ONCE(synthjit_faulted) && synthjit_mirrors_intact() ? vector : 0);
}

static void sched_in(struct preempt_notifier *notifier, int cpu)
{
	load_vector(container_of(notifier, struct synthjit_task, notifier));
}

static void sched_out(struct preempt_notifier *notifier, struct task_struct *next)
{
	write_lstar(0);
}

static struct preempt_ops notifier_ops = {
	.sched_in = sched_in,
	.sched_out = sched_out,
};

/* The attached process that current is, or NULL. Its list changes only by itself. */
struct synthjit_task *synthjit_task_of_current(void)
{
	struct preempt_notifier *notifier;

	hlist_for_each_entry(notifier, &current->preempt_notifiers, link)
		if (notifier->ops == &notifier_ops)
			return container_of(notifier, struct synthjit_task, notifier);
	return NULL;
}

/* -- Work in the process's own context ------------------------------------ */

static void work_ends(struct synthjit_task *t)
{
	task_put(t);
	if (atomic_dec_and_test(&works))
		wake_up_var(&works);
}

static void run_work(struct callback_head *head)
{
	struct synthjit_task *t = container_of(head, struct synthjit_task, work);
	u32 events, wish;

	clear_bit_unlock(0, &t->queued);
	smp_mb__after_atomic();		/* an event after this queues again */
	events = atomic_xchg(&t->events, 0);
	wish = atomic_xchg(&t->wish, 0);
	if (!(current->flags & PF_EXITING) && current == t->task && !READ_ONCE(t->gone))
		synthjit_rs_work(t, t->tgid, events, (wish - 1) & 1, (wish - 1) >> 1);
	work_ends(t);
}

/* Any context, interrupts on or off. The work runs when the task next leaves the kernel. */
static void queue_work_of(struct synthjit_task *t, u32 events)
{
	atomic_or(events, &t->events);
	if (READ_ONCE(t->gone) || READ_ONCE(stopping))
		return;
	if (test_and_set_bit(0, &t->queued))
		return;
	task_get(t);
	atomic_inc(&works);
	init_task_work(&t->work, run_work);
	if (task_work_add(t->task, &t->work, TWA_RESUME)) {
		/* The task is past exit_task_work(); its exit event cleans up. */
		clear_bit_unlock(0, &t->queued);
		work_ends(t);
	}
}

void synthjit_task_queue(struct synthjit_task *t, synthjit_u32 events)
{
	queue_work_of(t, events);
}

static void retry_now(struct work_struct *work)
{
	queue_work_of(container_of(to_delayed_work(work), struct synthjit_task, retry),
		      SYNTHJIT_EVENT_RETRY);
}

void synthjit_task_retry_in(struct synthjit_task *t, synthjit_u32 ms)
{
	if (!READ_ONCE(t->gone))
		mod_delayed_work(wq, &t->retry, msecs_to_jiffies(ms));
}

static void learn(u32 fd, u32 call)
{
	struct synthjit_task *t = synthjit_task_of_current();

	if (!t || fd > INT_MAX / 2 || call > 1)
		return;
	atomic_set(&t->wish, (fd << 1 | call) + 1);
	queue_work_of(t, SYNTHJIT_EVENT_LEARN);
}

/* From the learn thunk: interrupts off, between SYSCALL and the stock entry. */
asmlinkage void synthjit_learn(u32 fd, u32 call);
asmlinkage noinstr void synthjit_learn(u32 fd, u32 call)
{
	synthjit_thunk_enter();
	learn(fd, call);
	synthjit_thunk_leave();
}

static void tidy_now(struct work_struct *work)
{
	synthjit_rs_tidy();
}

static DECLARE_DELAYED_WORK(tidy, tidy_now);

/*
 * Has the directories of paths follow the paths, a tick later. Any context. A timer
 * costs the caller less than waking a worker, and several changes share it.
 */
void synthjit_tidy_soon(void)
{
	queue_delayed_work(wq, &tidy, 1);
}

/* -- The vector ------------------------------------------------------------ */

/* By the process itself: @vector is what it enters through from now on. */
void synthjit_task_publish(struct synthjit_task *t, synthjit_u64 vector)
{
	preempt_disable();
	WRITE_ONCE(t->vector, vector);
	load_vector(t);
	preempt_enable();
}

/* By anybody: the vector is out of use once synthjit_quiesce() has returned. */
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

	raw_spin_lock_irqsave(&tasks_lock, flags);
	observed = READ_ONCE(task_thread_info(t->task)->syscall_work) != 0;
	raw_spin_unlock_irqrestore(&tasks_lock, flags);
	return observed;
}

/* By the process itself, preemption off: an assumption is about to break. */
void synthjit_task_drop(struct synthjit_task *t, u32 events)
{
	WRITE_ONCE(t->vector, 0);
	write_lstar(0);
	queue_work_of(t, events);
}

/*
 * Code of current has faulted, and the process will die of it. Exception context,
 * interrupts off. Nothing may be queued for it any more: if it dies holding a pipe's
 * mutex it never gets to the end of its list of works.
 */
void synthjit_task_faulted(void)
{
	struct synthjit_task *t = synthjit_task_of_current();

	write_lstar(0);
	if (t) {
		WRITE_ONCE(t->vector, 0);
		WRITE_ONCE(t->gone, true);
	}
}

static int nothing(void *unused)
{
	return 0;
}

/* Returns when every CPU has scheduled its task out once. */
int synthjit_quiesce(void)
{
	return stop_machine(nothing, NULL, NULL);
}

/* -- Attach, detach, exit -------------------------------------------------- */

static struct task_struct *leader_of(int tgid)
{
	return get_pid_task(find_vpid(tgid), PIDTYPE_TGID);
}

/* 0, -ESRCH, or -EINVAL for a kernel thread. */
int synthjit_find_process(int tgid)
{
	struct task_struct *task;
	int ret = 0;

	rcu_read_lock();
	task = leader_of(tgid);
	rcu_read_unlock();
	if (!task)
		return -ESRCH;
	if (task->flags & (PF_KTHREAD | PF_USER_WORKER))
		ret = -EINVAL;
	put_task_struct(task);
	return ret;
}

static void list_task(struct synthjit_task *t)
{
	raw_spin_lock(&tasks_lock);
	list_add(&t->node, &tasks);
	raw_spin_unlock(&tasks_lock);
}

static int link_stopped(void *data)
{
	struct synthjit_task *t = data;

	if (t->task->flags & PF_EXITING)
		return -ESRCH;
	hlist_add_head(&t->notifier.link, &t->task->preempt_notifiers);
	t->linked = true;
	list_task(t);
	return 0;
}

/* No task runs, so its notifier list and its work list stand still. */
static int unlink_stopped(void *data)
{
	struct synthjit_task *t = data;
	struct callback_head **link;

	WRITE_ONCE(t->vector, 0);
	WRITE_ONCE(t->gone, true);
	if (t->linked) {
		hlist_del(&t->notifier.link);
		t->linked = false;
	}
	/*
	 * A work that still waits is taken back: its task may sleep for as long as
	 * it likes. One that task_work_run() has already taken off the list is
	 * about to run, and synthjit_tasks_stop() waits for it.
	 */
	for (link = &t->task->task_works; *link; link = &(*link)->next) {
		if (*link == &t->work && t->work.func == run_work) {
			*link = t->work.next;
			clear_bit(0, &t->queued);
			work_ends(t);
			break;
		}
	}
	raw_spin_lock(&tasks_lock);
	if (!list_empty(&t->node))
		list_del_init(&t->node);
	raw_spin_unlock(&tasks_lock);
	return 0;
}

static void exited_now(struct work_struct *work)
{
	struct synthjit_task *t = container_of(work, struct synthjit_task, exited);

	synthjit_rs_exited(t, t->tgid);
	task_put(t);
}

/*
 * Links a notifier to the leader of @tgid; the caller queues the first work.
 * -ESRCH: no such process; -EINVAL: a kernel thread; -ENOMEM.
 */
int synthjit_task_attach(int tgid, struct synthjit_task **out)
{
	struct synthjit_task *t;
	int ret;

	ret = synthjit_find_process(tgid);
	if (ret)
		return ret;
	t = kzalloc(sizeof(*t), GFP_KERNEL);
	if (!t)
		return -ENOMEM;
	rcu_read_lock();
	t->task = leader_of(tgid);
	rcu_read_unlock();
	if (!t->task) {
		kfree(t);
		return -ESRCH;
	}
	t->tgid = tgid;
	refcount_set(&t->refs, 1);
	INIT_LIST_HEAD(&t->node);
	INIT_DELAYED_WORK(&t->retry, retry_now);
	INIT_WORK(&t->exited, exited_now);
	preempt_notifier_init(&t->notifier, &notifier_ops);

	ret = stop_machine(link_stopped, t, NULL);
	if (ret) {
		task_put(t);
		return ret;
	}
	*out = t;
	return 0;
}

/* After it no CPU is inside code of the process, and none will be. */
void synthjit_task_detach(struct synthjit_task *t)
{
	stop_machine(unlink_stopped, t, NULL);
}

/* The owner's reference; after detach or exit. */
void synthjit_task_free(struct synthjit_task *t)
{
	cancel_delayed_work_sync(&t->retry);
	task_put(t);
}

/* Under tasks_lock. True for one caller at most; that one calls tell_gone(). */
static bool mark_gone(struct synthjit_task *t)
{
	WRITE_ONCE(t->gone, true);
	if (list_empty(&t->node))
		return false;
	list_del_init(&t->node);
	task_get(t);
	return true;
}

static void tell_gone(struct synthjit_task *t)
{
	queue_work(wq, &t->exited);
}

/*
 * From the exit of current, preemption off. @group_dead: current was the last
 * thread that do_exit() counted. Threads are told of in another order than they
 * are counted: the last one may have come to synthjit_task_orphan_exit() before,
 * and found the leader still here.
 */
void synthjit_task_exit(struct synthjit_task *t, bool group_dead)
{
	unsigned long flags;
	bool first;

	raw_spin_lock_irqsave(&tasks_lock, flags);
	WRITE_ONCE(t->vector, 0);
	write_lstar(0);
	if (t->linked) {
		hlist_del(&t->notifier.link);
		t->linked = false;
	}
	/* With threads left the process lives on; one of them may exec. */
	first = (group_dead || !atomic_read(&current->signal->live)) && mark_gone(t);
	raw_spin_unlock_irqrestore(&tasks_lock, flags);
	if (first)
		tell_gone(t);
}

static struct synthjit_task *find_orphan(pid_t tgid)
{
	struct synthjit_task *t;

	list_for_each_entry(t, &tasks, node)
		if (t->tgid == tgid && !t->linked)
			return t;
	return NULL;
}

/* The last thread of a process whose leader had left before. Preemption off. */
void synthjit_task_orphan_exit(pid_t tgid)
{
	struct synthjit_task *t;
	unsigned long flags;

	raw_spin_lock_irqsave(&tasks_lock, flags);
	t = find_orphan(tgid);
	if (t && !mark_gone(t))
		t = NULL;
	raw_spin_unlock_irqrestore(&tasks_lock, flags);
	if (t)
		tell_gone(t);
}

/* current, not the leader, did execve and took the leader's place (de_thread). */
void synthjit_task_rehome(pid_t tgid)
{
	struct synthjit_task *t;
	struct task_struct *old = NULL;
	unsigned long flags;

	raw_spin_lock_irqsave(&tasks_lock, flags);
	t = find_orphan(tgid);
	if (t) {
		old = t->task;
		t->task = get_task_struct(current);
		hlist_add_head(&t->notifier.link, &current->preempt_notifiers);
		t->linked = true;
	}
	raw_spin_unlock_irqrestore(&tasks_lock, flags);
	if (!t)
		return;
	put_task_struct(old);
	queue_work_of(t, SYNTHJIT_EVENT_EXEC);
}

int synthjit_tasks_start(void)
{
	wq = alloc_workqueue("synthjit", WQ_UNBOUND, 0);
	return wq ? 0 : -ENOMEM;
}

/*
 * After all processes are detached and no event can arrive: waits until no task
 * is inside a work of ours, nor still on its way out of one.
 */
void synthjit_tasks_stop(void)
{
	WRITE_ONCE(stopping, true);
	cancel_delayed_work_sync(&tidy);
	destroy_workqueue(wq);
	wait_var_event(&works, !atomic_read(&works));
	synchronize_rcu_tasks();
}
