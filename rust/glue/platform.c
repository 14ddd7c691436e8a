// SPDX-License-Identifier: GPL-2.0
/*
 * What this machine is, and whether a trap vector can be used on it.
 */
#include <linux/cc_platform.h>
#include <linux/fs.h>
#include <linux/fsnotify_backend.h>
#include <linux/lsm_hooks.h>
#include <linux/mount.h>
#include <linux/pipe_fs_i.h>
#include <linux/random.h>
#include <linux/sched/clock.h>
#include <linux/static_call.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>

#include "glue.h"

unsigned long synthjit_stock_entry;
/* TIF flags with which the stock exit has work to do: those that a path's guard looks at. */
unsigned long synthjit_exit_work __ro_after_init;
struct synthjit_path_data synthjit_data_of_paths[SYNTHJIT_PATH_SLOTS];
u32 synthjit_miss_budgets[SYNTHJIT_VECTOR_SLOTS];
static_assert(ARRAY_SIZE(synthjit_data_of_paths->exits) == SYNTHJIT_EXITS);
static_assert(sizeof_field(struct synthjit_made, exits) == SYNTHJIT_EXITS);

/* Whether the LSM @id is active (security/lsm_init.c, lsm_enable). Unknown is yes. */
static bool lsm_active(u64 id)
{
	const struct lsm_id **list = (void *)synthjit_symbol("lsm_idlist");
	u32 *count = (void *)synthjit_symbol("lsm_active_cnt");
	u32 i;

	if (!list || !count)
		return true;
	for (i = 0; i < *count; i++)
		if (list[i]->id == id)
			return true;
	return false;
}

/* What a guest has left in the CPU until the next return to user mode (user_return.c) tells nothing. */
static void read_lstar(void *different)
{
	u64 lstar;

	rdmsrq(MSR_LSTAR, lstar);
	if (lstar != synthjit_stock_entry && !test_thread_flag(TIF_USER_RETURN_NOTIFY))
		WRITE_ONCE(*(bool *)different, true);
}

/* Every CPU enters at the kernel's own entry; nobody else took the MSR. */
static bool stock_entry_everywhere(void)
{
	bool different = false;
	int cpu;

	synthjit_stock_entry = synthjit_symbol("entry_SYSCALL_64");
	if (!synthjit_stock_entry)
		return false;
	cpus_read_lock();
	for_each_online_cpu(cpu)
		smp_call_function_single(cpu, read_lstar, &different, 1);
	cpus_read_unlock();
	return !different;
}

/*
 * The first reason for which no vector may be used here, or NONE. Each of them
 * makes the stock entry do work that a path does not, or would undo what the
 * module does to MSR_LSTAR.
 */
synthjit_u32 synthjit_platform_check(void)
{
	/* What else is looked at here is laid out as in the kernel of the build. */
	if (!synthjit_right_build())
		return SYNTHJIT_REASON_OTHER_BUILD;
	/* The arena is not mapped in the user's page tables. */
	if (boot_cpu_has(X86_FEATURE_PTI))
		return SYNTHJIT_REASON_KPTI;
	/* SYSCALL does not enter through MSR_LSTAR. */
	if (boot_cpu_has(X86_FEATURE_FRED))
		return SYNTHJIT_REASON_FRED;
	/* An exception inside a path could come from the hypervisor at any load. */
	if (cc_platform_has(CC_ATTR_GUEST_STATE_ENCRYPT) || boot_cpu_has(X86_FEATURE_TDX_GUEST))
		return SYNTHJIT_REASON_MEMORY_ENCRYPTION;
	if (boot_cpu_has(X86_FEATURE_XENPV))
		return SYNTHJIT_REASON_XEN_PV;
	/* IBRS has to be written before any compiled code, tails included. */
	if (boot_cpu_has(X86_FEATURE_KERNEL_IBRS))
		return SYNTHJIT_REASON_ENTRY_IBRS;
	if (boot_cpu_has(X86_FEATURE_ENTRY_IBPB) || boot_cpu_has(X86_FEATURE_CALL_DEPTH))
		return SYNTHJIT_REASON_ENTRY_MITIGATION;
	/* The exit clears what a division left behind (amd_clear_divider). */
	if (boot_cpu_has_bug(X86_BUG_DIV0))
		return SYNTHJIT_REASON_ENTRY_DIVIDER;
	if (synthjit_kvm_unannounced())
		return SYNTHJIT_REASON_KVM_HOST;
	if (lsm_active(LSM_ID_SELINUX))
		return SYNTHJIT_REASON_LSM_SELINUX;
	if (lsm_active(LSM_ID_SMACK))
		return SYNTHJIT_REASON_LSM_SMACK;
	if (!stock_entry_everywhere())
		return SYNTHJIT_REASON_FOREIGN_LSTAR;
	return SYNTHJIT_REASON_NONE;
}

/*
 * What the thunks in entry.S call where the stock entry has UNTRAIN_RET and
 * CLEAR_BRANCH_HISTORY: nothing, or the kernel's own routines. clear_bhb_loop
 * (arch/x86/entry/entry_64.S) is exported to KVM alone. The static calls make them
 * direct branches.
 */
DEFINE_STATIC_CALL_NULL(synthjit_untrain_ret, entry_untrain_ret);
DEFINE_STATIC_CALL_NULL(synthjit_clear_bhb, clear_bhb_loop);

static int prepare_thunks(void)
{
	void *clear;

	/* The order of CALL_UNTRAIN_RET: the alias variant wins (asm/nospec-branch.h). */
	if (boot_cpu_has(X86_FEATURE_SRSO_ALIAS))
		static_call_update(synthjit_untrain_ret, srso_alias_untrain_ret);
	else if (boot_cpu_has(X86_FEATURE_UNRET))
		static_call_update(synthjit_untrain_ret, entry_untrain_ret);

	if (!boot_cpu_has(X86_FEATURE_CLEAR_BHB_LOOP))
		return 0;
	clear = (void *)synthjit_symbol("clear_bhb_loop");
	if (!clear)
		return -ENOENT;
	static_call_update(synthjit_clear_bhb, clear);
	return 0;
}

/* Fills what the specs bake in. -ENOENT: a symbol is missing. */
int synthjit_load_facts(struct synthjit_facts *facts, struct synthjit_target *target, struct synthjit_arrays *arrays)
{
	u32 i;
	const char *missing;
	struct vfsmount **pipe_mnt;

	synthjit_fill_facts(facts);
	for (i = 0; i < synthjit_symbol_facts_len; i++) {
		const struct synthjit_symbol_fact *fact = &synthjit_symbol_facts[i];
		unsigned long addr = synthjit_symbol(fact->symbol);

		if (!addr) {
			pr_err("this kernel has no symbol %s\n", fact->symbol);
			return -ENOENT;
		}
		*(u64 *)((u8 *)facts + fact->offset) = addr;
	}
	missing = synthjit_fill_target(target);
	if (missing) {
		pr_err("this kernel has no symbol %s\n", missing);
		return -ENOENT;
	}
	synthjit_fill_arrays(arrays);

	pipe_mnt = (void *)synthjit_symbol("pipe_mnt");
	if (!pipe_mnt || prepare_thunks() || synthjit_memory_start())
		return -ENOENT;
	synthjit_exit_work = facts->exit_work_mask;
	facts->pipe_fsnotify = (unsigned long)&(*pipe_mnt)->mnt_sb->s_fsnotify_info;
	return 0;
}

/* Milliseconds since boot, for back-off delays. */
synthjit_u64 synthjit_jiffies_ms(void)
{
	return jiffies64_to_msecs(get_jiffies_64());
}

synthjit_u32 synthjit_random(void)
{
	return get_random_u32();
}

/* Nanoseconds, to see how long something takes. */
synthjit_u64 synthjit_clock_ns(void)
{
	return local_clock();
}

/* What the path in @slot has counted; it may be counting. */
void synthjit_counts_get(synthjit_u32 slot, struct synthjit_counts *counts)
{
	const struct synthjit_path_data *from;

	*counts = (struct synthjit_counts) {};
	if (slot >= SYNTHJIT_PATH_SLOTS)
		return;
	from = &synthjit_data_of_paths[slot];
	counts->hits = READ_ONCE(from->hits);
	counts->budget = READ_ONCE(from->budget);
	counts->faults = READ_ONCE(from->faults);
}

/* While nobody runs the path in @slot. */
void synthjit_counts_set(synthjit_u32 slot, const struct synthjit_counts *counts)
{
	struct synthjit_path_data *to;

	if (slot >= SYNTHJIT_PATH_SLOTS)
		return;
	to = &synthjit_data_of_paths[slot];
	WRITE_ONCE(to->hits, counts->hits);
	WRITE_ONCE(to->budget, counts->budget);
	WRITE_ONCE(to->faults, counts->faults);
}

/* What the vector in @slot has left of its budget. */
synthjit_u32 synthjit_misses_get(synthjit_u32 slot)
{
	return slot < SYNTHJIT_VECTOR_SLOTS ? READ_ONCE(synthjit_miss_budgets[slot]) : 0;
}

/* While nobody runs the vector in @slot. */
void synthjit_misses_set(synthjit_u32 slot, synthjit_u32 budget)
{
	if (slot < SYNTHJIT_VECTOR_SLOTS)
		WRITE_ONCE(synthjit_miss_budgets[slot], budget);
}

synthjit_u64 synthjit_exit_count(synthjit_u32 slot, synthjit_u32 exit)
{
	if (slot >= SYNTHJIT_PATH_SLOTS || exit >= SYNTHJIT_EXITS)
		return 0;
	return READ_ONCE(synthjit_data_of_paths[slot].exits[exit]);
}

/* A path for @fd of @task is about to be in @slot, which nobody runs. */
void synthjit_data_begin(synthjit_u32 slot, synthjit_u32 fd, synthjit_u64 task)
{
	if (slot >= SYNTHJIT_PATH_SLOTS)
		return;
	synthjit_data_of_paths[slot] = (struct synthjit_path_data) { .fd = fd, .task = task };
}
