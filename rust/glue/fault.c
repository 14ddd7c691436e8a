// SPDX-License-Identifier: GPL-2.0
/*
 * A fault in generated code: it is wrong, or what it rests on is.
 *
 * The kernel ends the process, as after any fault in kernel code. What is left to do
 * here is to say whose code it was and to see that no generated code runs any more.
 * The die notifier is called in exception context, interrupts off, whatever the code
 * was doing: it takes no lock. It restores this CPU's MSR_LSTAR, and from then on no
 * CPU loads a vector; a work withdraws those that other CPUs have loaded.
 *
 * Code that is called from generated code (tail, miss handler) is compiled like the
 * rest of the kernel, and a fault in it is not taken for one in generated code.
 */
#include <linux/irq_work.h>
#include <linux/kdebug.h>
#include <linux/ptrace.h>
#include <linux/workqueue.h>
#include <asm/trapnr.h>

#include "glue.h"

/*
 * No vector may be loaded any more. Set with WRITE_ONCE() and no barrier: on the CPU of the
 * fault by program order before synthjit_task_faulted(); for other CPUs its partner is
 * the barrier of synthjit_lstar_refresh_all(), which the work leads to.
 */
bool synthjit_faulted __read_mostly;

static void fault_report(const struct synthjit_made *made, u32 offset)
{
	if (!made->spec)
		pr_emerg("a fault in generated code, +%#x in a slot that was never used\n", offset);
	else if (made->class == SYNTHJIT_VECTOR)
		pr_emerg("a fault in generated code: %.*s of process %d, +%#x in its slot\n",
			 (int)made->spec_len, (const char *)made->spec, made->tgid, offset);
	else
		pr_emerg("a fault in generated code: %.*s of process %d for descriptor %u, +%#x in its slot\n",
			 (int)made->spec_len, (const char *)made->spec, made->tgid, made->fd, offset);
}

/* synthjit_rs_platform_lost() withdraws all vectors and has every CPU look again. */
static void fault_lost_work(struct work_struct *work)
{
	synthjit_rs_platform_lost(SYNTHJIT_REASON_CODE_FAULT);
}

static DECLARE_WORK(lost, fault_lost_work);

/* Queueing a work takes a lock, raising an irq_work does not. */
static void fault_schedule_lost(struct irq_work *work)
{
	schedule_work(&lost);
}

static struct irq_work lost_irq = IRQ_WORK_INIT_HARD(fault_schedule_lost);

/* Exit routines are in no slot: they belong to all paths of a kind. */
static bool fault_in_exit_routine(unsigned long ip)
{
	return ip - SYNTHJIT_EXIT_CODE < SYNTHJIT_EXIT_ROUTINE * SYNTHJIT_EXIT_ROUTINES;
}

static int fault_die_event(struct notifier_block *block, unsigned long event, void *data)
{
	const struct die_args *die = data;
	const struct synthjit_made *made;
	unsigned long ip;
	u32 offset;

	/* Every fault that kills comes here as an oops, whatever it began as. */
	if (event != DIE_OOPS || user_mode(die->regs))
		return NOTIFY_DONE;
	/* int3 is a trap: it leaves the instruction pointer behind itself. */
	ip = die->regs->ip - (die->trapnr == X86_TRAP_BP);
	made = synthjit_made_at(ip, &offset);
	if (!made && !fault_in_exit_routine(ip))
		return NOTIFY_DONE;
	WRITE_ONCE(synthjit_faulted, true);
	synthjit_task_faulted();
	if (made)
		fault_report(made, offset);
	else
		pr_emerg("a fault in generated code: %pS\n", (void *)ip);
	irq_work_queue(&lost_irq);
	return NOTIFY_DONE;
}

static struct notifier_block block = { .notifier_call = fault_die_event };

int synthjit_fault_start(void)
{
	return register_die_notifier(&block);
}

/* After every process was detached. */
void synthjit_fault_stop(void)
{
	unregister_die_notifier(&block);
	irq_work_sync(&lost_irq);
	cancel_work_sync(&lost);
}
