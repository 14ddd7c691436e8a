// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses of kernel objects that are not exported to modules.
 *
 * A path compares with such addresses or reads them; it never calls them. They
 * are learnt by name, never by a byte pattern: a kprobe that is never armed
 * makes the kernel resolve the name of its own symbol look-up
 * (kernel/kprobes.c, register_kprobe), and every address that the look-up
 * returns is checked by asking for its name again (sprint_symbol).
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <asm/cpufeature.h>
#include <asm/ibt.h>
#include <asm/msr.h>

#include "glue.h"

static unsigned long (*lookup)(const char *name);

static bool is_symbol_start(unsigned long addr, const char *name)
{
	char text[KSYM_SYMBOL_LEN];
	size_t len = strlen(name);

	sprint_symbol(text, addr);
	return !strncmp(text, name, len) && !strncmp(text + len, "+0x0/", 5);
}

int synthjit_symbols_start(void)
{
	struct kprobe probe = {
		.symbol_name = "kallsyms_lookup_name",
		.flags = KPROBE_FLAG_DISABLED,
	};
	unsigned long addr;
	int ret;

	ret = register_kprobe(&probe);
	if (ret)
		return ret;
	addr = (unsigned long)probe.addr;
	unregister_kprobe(&probe);

	/* arch_adjust_kprobe_addr() steps over an ENDBR64. */
	if (!is_symbol_start(addr, probe.symbol_name))
		addr -= ENDBR_INSN_SIZE;
	if (!is_symbol_start(addr, probe.symbol_name))
		return -ENOENT;
	lookup = (void *)addr;
	return 0;
}

/* The address of @name, or 0. May sleep. */
unsigned long synthjit_symbol(const char *name)
{
	unsigned long addr;
	u64 cet = 0;

	/*
	 * The kernel seals functions whose address it never takes: they have no
	 * ENDBR64, so with IBT on an indirect call of one would be fatal. As
	 * ibt_save() does around firmware calls, tracking is off for this one.
	 */
	preempt_disable();
	if (cpu_feature_enabled(X86_FEATURE_IBT)) {
		rdmsrq(MSR_IA32_S_CET, cet);
		wrmsrq(MSR_IA32_S_CET, cet & ~CET_ENDBR_EN);
	}
	addr = lookup(name);
	if (cpu_feature_enabled(X86_FEATURE_IBT))
		wrmsrq(MSR_IA32_S_CET, cet);
	preempt_enable();

	if (addr && !is_symbol_start(addr, name)) {
		pr_err("the address found for %s is named otherwise\n", name);
		return 0;
	}
	return addr;
}
