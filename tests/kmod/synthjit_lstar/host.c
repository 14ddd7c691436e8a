// SPDX-License-Identifier: GPL-2.0
/*
 * Which address space has virtual CPUs: from the moment in which KVM makes the first one to the
 * moment in which it takes one away. A probe tells, if KVM is loaded when this module is.
 */
#include <linux/kprobes.h>
#include <linux/mmu_notifier.h>
#include <linux/sched.h>

#include "lstar.h"

/* The last one that got a virtual CPU. Compared, never followed. */
static struct mm_struct *hosting;

static int on_create(struct kprobe *probe, struct pt_regs *regs)
{
	WRITE_ONCE(hosting, current->mm);
	return 0;
}

static int on_destroy(struct kprobe *probe, struct pt_regs *regs)
{
	WRITE_ONCE(hosting, NULL);
	return 0;
}

static struct kprobe probes[] = {
	/* Follows kvm_arch_vcpu_precreate() in virt/kvm/kvm_main.c, kvm_vm_ioctl_create_vcpu(). */
	{ .symbol_name = "kvm_arch_vcpu_create", .pre_handler = on_create },
	{ .symbol_name = "kvm_arch_vcpu_destroy", .pre_handler = on_destroy },
};
static bool probed;

/* Whether current could let a guest run. */
bool lstar_hosts_guests(void)
{
	struct mm_struct *mm = READ_ONCE(hosting);

	return mm && mm == current->mm && mm_has_notifiers(mm);
}

int lstar_host_start(void)
{
	struct kprobe *list[] = { &probes[0], &probes[1] };
	int ret = register_kprobes(list, ARRAY_SIZE(list));

	probed = !ret;
	/* No KVM. */
	return ret == -ENOENT ? 0 : ret;
}

void lstar_host_stop(void)
{
	struct kprobe *list[] = { &probes[0], &probes[1] };

	if (probed)
		unregister_kprobes(list, ARRAY_SIZE(list));
}
