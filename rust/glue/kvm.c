// SPDX-License-Identifier: GPL-2.0
/*
 * KVM reads MSR_LSTAR of each CPU when the first guest is made and writes it back
 * when a virtual CPU leaves (arch/x86/kvm/x86.c, kvm_user_return_msr_cpu_online): it
 * could pick up a vector. So a vector and a KVM module exclude each other; platform.c
 * refuses when one is loaded, and this sees one that comes later, before it runs.
 */
#include <linux/notifier.h>

#include "glue.h"

static int on_module(struct notifier_block *block, unsigned long state, void *data)
{
	const struct module *module = data;

	if (state == MODULE_STATE_COMING &&
	    (!strcmp(module->name, "kvm_intel") || !strcmp(module->name, "kvm_amd")))
		synthjit_rs_platform_lost(SYNTHJIT_REASON_KVM_HOST);
	return NOTIFY_DONE;
}

static struct notifier_block block = { .notifier_call = on_module };

int synthjit_kvm_start(void)
{
	return register_module_notifier(&block);
}

void synthjit_kvm_stop(void)
{
	unregister_module_notifier(&block);
}
