// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses of kernel objects that are not exported to modules.
 *
 * A path compares with such addresses or reads them; it never calls them. They
 * are found by name, never by a byte pattern: a kprobe that is never armed
 * makes the kernel resolve the name of its own symbol look-up
 * (kernel/kprobes.c, register_kprobe), and every address that the look-up
 * returns is checked by asking for its name again (sprint_symbol).
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <asm/cpufeature.h>
#include <asm/ibt.h>
#include <asm/msr.h>

#include "glue.h"

static unsigned long (*lookup)(const char *name);

static bool symbol_starts_at(unsigned long addr, const char *name)
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
	if (!symbol_starts_at(addr, probe.symbol_name))
		addr -= ENDBR_INSN_SIZE;
	if (!symbol_starts_at(addr, probe.symbol_name))
		return -ENOENT;
	lookup = (void *)addr;
	return 0;
}

/*
 * The kernel seals functions whose address it never takes: they have no ENDBR64, so
 * with IBT on an indirect call of one would be fatal. As ibt_save() does around firmware
 * calls, tracking is off for these. Preemption off from the one to the other.
 */
static u64 symbol_begin_sealed_calls(void)
{
	u64 cet = 0;

	lockdep_assert_preemption_disabled();
	if (cpu_feature_enabled(X86_FEATURE_IBT)) {
		rdmsrq(MSR_IA32_S_CET, cet);
		wrmsrq(MSR_IA32_S_CET, cet & ~CET_ENDBR_EN);
	}
	return cet;
}

static void symbol_end_sealed_calls(u64 cet)
{
	lockdep_assert_preemption_disabled();
	if (cpu_feature_enabled(X86_FEATURE_IBT))
		wrmsrq(MSR_IA32_S_CET, cet);
}

static unsigned long symbol_address(const char *name)
{
	unsigned long addr;
	u64 cet;

	preempt_disable();
	cet = symbol_begin_sealed_calls();
	addr = lookup(name);
	symbol_end_sealed_calls(cet);
	preempt_enable();
	return addr;
}

/* The address of @name, or 0. May sleep. */
unsigned long synthjit_symbol(const char *name)
{
	unsigned long addr;

	might_sleep();
	addr = symbol_address(name);
	if (addr && !symbol_starts_at(addr, name)) {
		pr_err("the address found for %s is named otherwise\n", name);
		return 0;
	}
	return addr;
}

/* The address at which a table ends: that of whatever comes next too, which may be what it is named. */
unsigned long synthjit_symbol_end(const char *name)
{
	unsigned long addr = symbol_address(name);
	char text[KSYM_SYMBOL_LEN];

	sprint_symbol(text, addr);
	return addr && strstr(text, "+0x0/") ? addr : 0;
}

static struct kprobe *(*find_kprobe)(void *addr);

/* At load. False: this kernel does not tell where its kprobes are. */
bool synthjit_kprobes_start(void)
{
	find_kprobe = (void *)synthjit_symbol("get_kprobe");
	return find_kprobe;
}

/*
 * Whether a kprobe has changed text between the two addresses. One that is at the place
 * of a tracer's call has that changed as a tracer has, and does not count. text_mutex is
 * held: a kprobe is known before it changes text, and for as long as text is changed,
 * also when it is gone and its optimised form waits to be taken back
 * (do_unoptimize_kprobes(), kernel/kprobes.c).
 */
bool synthjit_kprobe_within(unsigned long start, unsigned long end)
{
	bool found = false;
	unsigned long at;
	u64 cet;

	lockdep_assert_held(synthjit_kernel_text_mutex);
	preempt_disable();
	cet = symbol_begin_sealed_calls();
	for (at = start; at < end && !found; at++) {
		struct kprobe *p = find_kprobe((void *)at);

		if (p && !(p->flags & KPROBE_FLAG_FTRACE))
			found = p->flags & KPROBE_FLAG_OPTIMIZED || *(u8 *)at != p->opcode;
	}
	symbol_end_sealed_calls(cet);
	preempt_enable();
	return found;
}
