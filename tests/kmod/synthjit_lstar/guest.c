// SPDX-License-Identifier: GPL-2.0
/*
 * What KVM does to MSR_LSTAR on Intel's processors, without a guest (arch/x86/kvm/x86.c of 7.2 and
 * arch/x86/kvm/msrs.c of 7.3, kvm_user_return_msr_cpu_online, kvm_set_user_return_msr,
 * kvm_on_user_return; virt/kvm/kvm_main.c, kvm_online_cpu, kvm_suspend, kvm_resume):
 *  - when a CPU comes, and after a suspend, what it has is taken for the host's value;
 *  - a guest's value is written unless it is known to be there, and then left in the CPU, also when
 *    another task runs there;
 *  - the next return to user mode writes the host's value, if it is not known to be there.
 *
 * /dev/synthjit_lstar: a write of 16 bytes, the guest's value and a number of slices (u64 each), lets
 * a guest run that often, with a sleep after each. It returns 16, or -EINTR after a signal.
 */
#include <linux/cpuhotplug.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/sched/signal.h>
#include <linux/syscore_ops.h>
#include <linux/uaccess.h>
#include <linux/user-return-notifier.h>
#include <asm/msr.h>

#include "lstar.h"

/* How often a guest looks at its MSR in a slice. */
#define LOOKS 20

struct cpu_msr {
	struct user_return_notifier notifier;
	bool registered;
	u64 host, curr;
};

static DEFINE_PER_CPU(struct cpu_msr, msrs);

/* Interrupts off. Whether this CPU has a guest's value, and which. */
bool lstar_guest_value(u64 *value)
{
	struct cpu_msr *msr = this_cpu_ptr(&msrs);

	*value = msr->curr;
	return msr->curr != msr->host;
}

static void on_user_return(struct user_return_notifier *notifier)
{
	struct cpu_msr *msr = container_of(notifier, struct cpu_msr, notifier);

	msr->registered = false;
	user_return_notifier_unregister(notifier);
	if (msr->host != msr->curr) {
		wrmsrq(MSR_LSTAR, msr->host);
		msr->curr = msr->host;
	}
}

static void drop_notifier(void)
{
	struct cpu_msr *msr = this_cpu_ptr(&msrs);

	if (msr->registered)
		on_user_return(&msr->notifier);
}

static void capture(void)
{
	struct cpu_msr *msr = this_cpu_ptr(&msrs);

	rdmsrq(MSR_LSTAR, msr->host);
	msr->curr = msr->host;
	lstar_count(CAPTURES);
	if (msr->host != lstar_stock)
		lstar_wrong(WRONG_CAPTURES, msr->host);
}

/* Preemption off. The timer of look.c must not see the MSR and `curr` differ. */
static void load(u64 guest)
{
	struct cpu_msr *msr = this_cpu_ptr(&msrs);
	unsigned long flags;

	local_irq_save(flags);
	if (guest == msr->curr) {
		lstar_count(SKIPS);
	} else {
		wrmsrq(MSR_LSTAR, guest);
		msr->curr = guest;
		if (!msr->registered) {
			msr->notifier.on_user_return = on_user_return;
			user_return_notifier_register(&msr->notifier);
			msr->registered = true;
		}
	}
	local_irq_restore(flags);
}

static void run_slice(u64 guest)
{
	bool wrong = false;
	u64 lstar;
	int i;

	preempt_disable();
	load(guest);
	for (i = 0; i < LOOKS; i++) {
		rdmsrq(MSR_LSTAR, lstar);
		if (lstar != guest && !wrong) {
			lstar_wrong(WRONG_SLICES, lstar);
			wrong = true;
		}
		cpu_relax();
	}
	lstar_count(SLICES);
	preempt_enable();
}

static ssize_t run_guest(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	u64 wish[2];

	if (len != sizeof(wish) || copy_from_user(wish, buf, len))
		return -EINVAL;
	while (wish[1]--) {
		if (signal_pending(current))
			return -EINTR;
		run_slice(wish[0]);
		usleep_range(50, 150);
	}
	return len;
}

static const struct file_operations guest_ops = { .owner = THIS_MODULE, .write = run_guest };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "synthjit_lstar", .fops = &guest_ops };

static int on_cpu_online(unsigned int cpu)
{
	capture();
	return 0;
}

static int on_cpu_offline(unsigned int cpu)
{
	unsigned long flags;

	local_irq_save(flags);
	drop_notifier();
	local_irq_restore(flags);
	return 0;
}

static int on_suspend(void *data)
{
	drop_notifier();
	return 0;
}

static void on_resume(void *data)
{
	capture();
}

static const struct syscore_ops syscore_ops = { .suspend = on_suspend, .resume = on_resume };
static struct syscore syscore = { .ops = &syscore_ops };

int lstar_guest_start(void)
{
	int ret;

	/* KVM's own state: no process runs on a CPU any more when it is left. */
	ret = cpuhp_setup_state(CPUHP_AP_KVM_ONLINE, "synthjit_lstar/guest", on_cpu_online, on_cpu_offline);
	if (ret)
		return ret;
	register_syscore(&syscore);
	ret = misc_register(&device);
	if (ret) {
		unregister_syscore(&syscore);
		cpuhp_remove_state(CPUHP_AP_KVM_ONLINE);
	}
	return ret;
}

void lstar_guest_stop(void)
{
	misc_deregister(&device);
	unregister_syscore(&syscore);
	cpuhp_remove_state(CPUHP_AP_KVM_ONLINE);
}
