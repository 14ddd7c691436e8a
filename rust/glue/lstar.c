// SPDX-License-Identifier: GPL-2.0
/*
 * MSR_LSTAR of each CPU: where SYSCALL enters the kernel.
 *
 * The register holds the vector of the attached process that runs on the CPU, or the
 * stock entry. The preempt notifier writes a vector when its task is scheduled in
 * and the stock entry when the task is scheduled out, so the register is foreign only
 * while the task that owns the vector is current.
 *
 * Generated code runs with interrupts off from SYSCALL to SYSRET. A CPU that takes an
 * interrupt is therefore outside of it, and stays outside if the interrupt has put the
 * stock entry into the register. That is how code is taken out of use anywhere: whoever
 * changes what lstar_load_vector() looks at calls synthjit_lstar_refresh_all() afterwards.
 * When that has returned no CPU runs, or will enter, what is no longer to run. Each CPU
 * looks and writes with interrupts off, so it looks either after the change or before the
 * interrupt.
 *
 * Hence the variables that it looks at need no barrier of their own: each WRITE_ONCE() of
 * one has the full barrier of synthjit_lstar_refresh_all() behind it, and its partner is
 * the interrupt that precedes the READ_ONCE() in lstar_load_vector() on another CPU.
 */
#include <linux/context_tracking.h>
#include <linux/preempt.h>
#include <linux/smp.h>
#include <asm/msr.h>

#include "task.h"

/* The attached task that is current on this CPU, or NULL. Interrupts off to write. */
static DEFINE_PER_CPU(struct synthjit_task *, attached_here);
/* This CPU's MSR_LSTAR holds a vector. Interrupts off to write. */
static DEFINE_PER_CPU(bool, foreign);

/* Interrupts off. @vector 0: the stock entry. No tracepoint sees the write: a stock kernel has none to see. */
static void lstar_write(unsigned long vector)
{
	lockdep_assert_irqs_disabled();
	if (vector) {
		native_wrmsrq(MSR_LSTAR, vector);
		__this_cpu_write(foreign, true);
	} else if (__this_cpu_read(foreign)) {
		native_wrmsrq(MSR_LSTAR, synthjit_stock_entry);
		__this_cpu_write(foreign, false);
	}
}

/* Whether any CPU may have a vector now. Interrupts off. */
static bool lstar_vectors_allowed(void)
{
	lockdep_assert_irqs_disabled();
	return !READ_ONCE(synthjit_faulted) && !synthjit_text_changed() && !synthjit_vectors_held();
}

/* Why the task that is current may not have a vector on this CPU; NONE if it may. Interrupts off. */
static u32 lstar_withheld_reason(void)
{
	lockdep_assert_irqs_disabled();
	/* A CPU without a tick (nohz_full) reports each entry and each exit to context tracking. */
	if (context_tracking_enabled_this_cpu())
		return SYNTHJIT_REASON_NOHZ_FULL;
	if (synthjit_kvm_hosts_guests())
		return SYNTHJIT_REASON_HOSTS_GUESTS;
	return SYNTHJIT_REASON_NONE;
}

/* Of @t, the attached task that is current, if any. Interrupts off. */
static void lstar_load_vector(struct synthjit_task *t)
{
	unsigned long vector = t ? READ_ONCE(t->vector) : 0;

	lockdep_assert_irqs_disabled();
	if (vector) {
		u32 reason = lstar_withheld_reason();

		WRITE_ONCE(t->withheld, reason);
		if (reason != SYNTHJIT_REASON_NONE || !lstar_vectors_allowed())
			vector = 0;
	}
	/* What is not ours to write is not ours to write back either. */
	if (vector && !__this_cpu_read(foreign) && synthjit_user_return_awaited())
		return;
	lstar_write(vector);
}

/* For `state`: why the task had no vector when it was last scheduled in. Not ordered: it is only shown. */
synthjit_u32 synthjit_task_withheld(struct synthjit_task *t)
{
	return READ_ONCE(t->withheld);
}

/* The current task is scheduled out, or not attached any more. Interrupts off. */
static void lstar_leave_cpu(void)
{
	lockdep_assert_irqs_disabled();
	__this_cpu_write(attached_here, NULL);
	synthjit_user_return_forget();
	lstar_write(0);
}

/* On the CPU that is concerned: an interrupt of its own, or interrupts off. */
static void lstar_refresh_cpu(void *unused)
{
	lstar_load_vector(__this_cpu_read(attached_here));
}

/*
 * Has each CPU look again at what it may run. Process context or a context in which
 * smp_call_function() may wait, interrupts on. Preemption may be off, since callbacks of ftrace
 * call this. The call is a full barrier, whose partner is the interrupt on the other CPUs:
 * what was written before the call is what lstar_load_vector() reads there.
 */
void synthjit_lstar_refresh_all(void)
{
	on_each_cpu(lstar_refresh_cpu, NULL, true);
}

/* The same for this CPU alone, in any context. */
void synthjit_lstar_refresh(void)
{
	unsigned long flags;

	local_irq_save(flags);
	lstar_refresh_cpu(NULL);
	local_irq_restore(flags);
}

static void synthjit_sched_in(struct preempt_notifier *notifier, int cpu)
{
	struct synthjit_task *t = container_of(notifier, struct synthjit_task, notifier);
	unsigned long flags;

	local_irq_save(flags);
	__this_cpu_write(attached_here, t);
	lstar_load_vector(t);
	local_irq_restore(flags);
}

static void synthjit_sched_out(struct preempt_notifier *notifier, struct task_struct *next)
{
	unsigned long flags;

	local_irq_save(flags);
	lstar_leave_cpu();
	local_irq_restore(flags);
}

static struct preempt_ops notifier_ops = {
	.sched_in = synthjit_sched_in,
	.sched_out = synthjit_sched_out,
};

/* The attached process that current is, or NULL. Preemption off. */
struct synthjit_task *synthjit_task_of_current(void)
{
	lockdep_assert_preemption_disabled();
	return this_cpu_read(attached_here);
}

/* By the task itself, under synthjit_tasks_lock: interrupts are off. */
void synthjit_lstar_link(struct synthjit_task *t)
{
	lockdep_assert_held(&synthjit_tasks_lock);
	preempt_notifier_init(&t->notifier, &notifier_ops);
	preempt_notifier_register(&t->notifier);
	t->linked = true;
	__this_cpu_write(attached_here, t);
}

/* By the task itself, under synthjit_tasks_lock: interrupts are off. */
void synthjit_lstar_unlink(struct synthjit_task *t)
{
	lockdep_assert_held(&synthjit_tasks_lock);
	WRITE_ONCE(t->vector, 0);
	lstar_leave_cpu();
	preempt_notifier_unregister(&t->notifier);
	t->linked = false;
}

/*
 * By the task itself: @vector is what it enters through from now on. It is written and
 * loaded on one CPU, with interrupts off, so program order suffices.
 */
void synthjit_lstar_set(struct synthjit_task *t, unsigned long vector)
{
	unsigned long flags;

	local_irq_save(flags);
	WRITE_ONCE(t->vector, vector);
	lstar_load_vector(t);
	local_irq_restore(flags);
}
