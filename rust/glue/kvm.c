// SPDX-License-Identifier: GPL-2.0
/*
 * KVM uses MSR_LSTAR too. What this needs, and who sees to it:
 *
 * KVM takes what a CPU's MSR_LSTAR holds for the host's entry, once: in a kernel thread
 * of the CPU, when kvm_intel is loaded or the first guest is created and whenever a CPU comes
 * online (virt/kvm/kvm_main.c, kvm_enable_virtualization, kvm_online_cpu). Such a thread
 * is not attached, and for a task that is not the register holds the stock entry: lstar.c.
 *
 * It does so in the context of a process when the machine resumes (kvm_resume), and while
 * it is loaded it writes back in the loader's context what it has just read there
 * (kvm_probe_user_return_msr). Either process may be attached. So no vector is in any
 * CPU from before the first instruction of kvm_intel or kvm_amd until its initialisation is
 * over, nor while the machine is suspended: `holders`.
 *
 * kvm_intel leaves a guest's value in the CPU until the next return to user mode:
 * user_return.c. The value is written by the task that runs the guest, and skipped if KVM
 * believes it to be there. kvm_amd saves the register before it enters a guest and loads it
 * after each exit (arch/x86/kvm/svm/svm.c, svm_prepare_switch_to_guest), so a vector would
 * come back that was taken out of the CPU meanwhile. Hence a process that hosts guests
 * has no vector. KVM lets virtual CPUs run only in the address space in which their machine
 * was created, and that has MMU notifiers from then on, for as long as it lives
 * (virt/kvm/kvm_main.c, kvm_create_vm, kvm_vcpu_ioctl; mm/mmu_notifier.c,
 * __mmu_notifier_register). Each CPU looks at this before it loads a vector. CPUs that have
 * a vector already must look again before the first virtual CPU is there: the hook at
 * kvm_arch_vcpu_precreate() sees to that. KVM calls the function for each virtual CPU that it
 * creates; nobody else has a single instruction more for it.
 */
#include <linux/ftrace.h>
#include <linux/list.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/notifier.h>
#include <linux/rculist.h>
#include <linux/suspend.h>

#include "glue.h"

#define BEFORE_VCPU "kvm_arch_vcpu_precreate"

/* The modules that have the CPU host guests. */
static const char *const vendors[] = { "kvm_intel", "kvm_amd" };
#define SUSPEND ARRAY_SIZE(vendors)
/*
 * Who wants no vector in any CPU: bits of `vendors` while they initialise themselves, and of
 * SUSPEND.
 */
static unsigned long holders;
/* Guards `holders` and the hook. Outside of the locks of Rust. */
static DEFINE_MUTEX(kvm_lock);
/* Virtual CPUs are announced. */
static bool hooked;
/* KVM is there, and they are not. */
static bool unannounced;

/*
 * Boolean: no CPU may have a vector now. Any context. Ordered by the barrier of
 * synthjit_lstar_refresh_all(), the partner of each WRITE_ONCE() of `holders`.
 */
synthjit_u32 synthjit_vectors_held(void)
{
	return READ_ONCE(holders) != 0;
}

/*
 * Whether the task that is current may let guests run. Both looks are ordered by the barrier of
 * synthjit_lstar_refresh_all(): kvm_before_vcpu() calls it after __mmu_notifier_register() has
 * published the notifiers, and kvm_release_vectors() after `hooked` has changed.
 */
bool synthjit_kvm_hosts_guests(void)
{
	return READ_ONCE(hooked) && current->mm && mm_has_notifiers(current->mm);
}

/* When it returns no CPU has a vector. */
static void kvm_hold_vectors(unsigned int who)
{
	lockdep_assert_held(&kvm_lock);
	WRITE_ONCE(holders, holders | BIT(who));
	synthjit_lstar_refresh_all();
}

static void kvm_release_vectors(unsigned int who)
{
	lockdep_assert_held(&kvm_lock);
	if (!(holders & BIT(who)))
		return;
	WRITE_ONCE(holders, holders & ~BIT(who));
	synthjit_lstar_refresh_all();
}

/* Before current creates a virtual CPU in its address space. Interrupts on; ftrace may have preemption off. */
static void notrace kvm_before_vcpu(unsigned long ip, unsigned long parent, struct ftrace_ops *op,
				    struct ftrace_regs *fregs)
{
	synthjit_lstar_refresh_all();
}

/* Permanent: kernel.ftrace_enabled cannot switch it off. */
static struct ftrace_ops vcpu_ops = {
	.func = kvm_before_vcpu,
	.flags = FTRACE_OPS_FL_PERMANENT,
};

/* False: virtual CPUs will not be announced. Once kvm.ko is there. */
static bool kvm_announce_vcpus(void)
{
	unsigned long addr;
	int ret;

	lockdep_assert_held(&kvm_lock);
	if (hooked)
		return true;
	addr = synthjit_symbol(BEFORE_VCPU);
	ret = addr ? ftrace_set_filter_ip(&vcpu_ops, addr, 0, 1) : -ENOENT;
	if (!ret) {
		ret = register_ftrace_function(&vcpu_ops);
		if (ret)
			ftrace_free_filter(&vcpu_ops);
	}
	if (ret)
		pr_info("%s cannot be traced (%d)\n", BEFORE_VCPU, ret);
	WRITE_ONCE(hooked, !ret);
	return !ret;
}

static void kvm_stop_announcing(void)
{
	lockdep_assert_held(&kvm_lock);
	if (!hooked)
		return;
	WRITE_ONCE(hooked, false);
	unregister_ftrace_function(&vcpu_ops);
	ftrace_free_filter(&vcpu_ops);
}

static void kvm_vendor_coming(unsigned int i)
{
	lockdep_assert_held(&kvm_lock);
	kvm_hold_vectors(i);
	if (!kvm_announce_vcpus())
		synthjit_rs_platform_lost(SYNTHJIT_REASON_KVM_HOST);
}

static int kvm_module_event(struct notifier_block *block, unsigned long state, void *data)
{
	const struct module *module = data;
	int i = match_string(vendors, ARRAY_SIZE(vendors), module->name);

	mutex_lock(&kvm_lock);
	/* Before its text goes (kernel/module/main.c, delete_module). */
	if (state == MODULE_STATE_GOING && !strcmp(module->name, "kvm"))
		kvm_stop_announcing();
	if (i >= 0 && state == MODULE_STATE_COMING)
		kvm_vendor_coming(i);
	else if (i >= 0)
		kvm_release_vectors(i);
	mutex_unlock(&kvm_lock);
	return NOTIFY_DONE;
}

static int kvm_pm_event(struct notifier_block *block, unsigned long event, void *unused)
{
	mutex_lock(&kvm_lock);
	switch (event) {
	case PM_SUSPEND_PREPARE:
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		kvm_hold_vectors(SUSPEND);
		break;
	default:
		kvm_release_vectors(SUSPEND);
	}
	mutex_unlock(&kvm_lock);
	return NOTIFY_DONE;
}

static struct notifier_block module_block = { .notifier_call = kvm_module_event };
static struct notifier_block suspend_block = { .notifier_call = kvm_pm_event };

/* One that is in the midst of its initialisation is not told of before the end of that. */
static void kvm_find_initializing(struct list_head *modules)
{
	const struct module *module;
	int i;

	lockdep_assert_held(&kvm_lock);
	rcu_read_lock();
	list_for_each_entry_rcu(module, modules, list) {
		i = match_string(vendors, ARRAY_SIZE(vendors), module->name);
		if (i >= 0 && module->state == MODULE_STATE_COMING)
			holders |= BIT(i);
	}
	rcu_read_unlock();
}

/* Boolean: KVM is there, and does not tell when a process begins to host guests. */
bool synthjit_kvm_unannounced(void)
{
	return READ_ONCE(unannounced);
}

/* At load, before any vector. -ENOENT: a symbol is missing. */
int synthjit_kvm_start(void)
{
	struct list_head *modules = (void *)synthjit_symbol("modules");
	int ret;

	if (!modules)
		return -ENOENT;
	ret = register_module_notifier(&module_block);
	if (ret)
		return ret;
	ret = register_pm_notifier(&suspend_block);
	if (ret) {
		unregister_module_notifier(&module_block);
		return ret;
	}
	mutex_lock(&kvm_lock);
	kvm_find_initializing(modules);
	unannounced = synthjit_symbol(BEFORE_VCPU) && !kvm_announce_vcpus();
	mutex_unlock(&kvm_lock);
	return 0;
}

void synthjit_kvm_stop(void)
{
	unregister_pm_notifier(&suspend_block);
	unregister_module_notifier(&module_block);
	mutex_lock(&kvm_lock);
	kvm_stop_announcing();
	mutex_unlock(&kvm_lock);
}
