// SPDX-License-Identifier: GPL-2.0
/*
 * The time until the next return to user mode, in which MSR_LSTAR may be a guest's.
 *
 * kvm_intel leaves the value of a guest in the CPU when it stops running it. While that
 * is there, KVM does not write it again, and at the next return to user mode, whoever
 * makes it, KVM writes the host's value (arch/x86/kvm/x86.c of 7.2 and arch/x86/kvm/msrs.c of
 * 7.3, kvm_set_user_return_msr, kvm_on_user_return). A vector written in between would be run
 * by the guest, or lost at the return.
 *
 * All of it is on a list of the CPU, and the flag TIF_USER_RETURN_NOTIFY goes from task to
 * task with the CPU, before a task is told that it is scheduled in
 * (arch/x86/include/asm/switch_to.h, switch_to_extra; kernel/sched/core.c,
 * finish_task_switch). With the flag set, MSR_LSTAR is left alone, and a notifier of ours is
 * put on that list, in order to load the vector afterwards. New ones come first on the list:
 * when ours is called the first time, those that were there are called after it, so it
 * goes on the list again, and is alone at the return after that, which is not later than
 * the end of the process's next system call or interrupt.
 */
#include <linux/percpu.h>
#include <linux/user-return-notifier.h>

#include "glue.h"

struct awaited {
	struct user_return_notifier notifier;
	bool waits;		/* it is on the list of this CPU */
	bool again;		/* it was called once in this slice of the task */
	bool given_up;		/* somebody stays on the list: no vector in this slice */
};

/* Interrupts off to read or write. */
static DEFINE_PER_CPU(struct awaited, awaited);

static void user_return_fired(struct user_return_notifier *notifier)
{
	struct awaited *a = container_of(notifier, struct awaited, notifier);
	bool others_follow = notifier->link.next;

	lockdep_assert_irqs_disabled();
	user_return_notifier_unregister(notifier);
	if (others_follow && !a->again) {
		a->again = true;
		user_return_notifier_register(notifier);
		return;
	}
	a->waits = false;
	a->given_up = others_follow;
	synthjit_lstar_refresh();
}

/*
 * Whether MSR_LSTAR is to be left alone because somebody wants to be told of the next return to
 * user mode. By a CPU on which the current task is attached; synthjit_lstar_refresh() is
 * called when it is over.
 */
bool synthjit_user_return_awaited(void)
{
	struct awaited *a = this_cpu_ptr(&awaited);

	lockdep_assert_irqs_disabled();
	if (!test_thread_flag(TIF_USER_RETURN_NOTIFY))
		return false;
	if (!a->waits && !a->given_up) {
		a->notifier.on_user_return = user_return_fired;
		user_return_notifier_register(&a->notifier);
		a->waits = true;
	}
	return true;
}

/* The current task is scheduled out, or not attached any more. */
void synthjit_user_return_forget(void)
{
	struct awaited *a = this_cpu_ptr(&awaited);

	lockdep_assert_irqs_disabled();
	if (a->waits)
		user_return_notifier_unregister(&a->notifier);
	a->waits = false;
	a->again = false;
	a->given_up = false;
}
