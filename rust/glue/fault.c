// SPDX-License-Identifier: GPL-2.0
/*
 * A fault in generated code: it is wrong, or what it rests on is.
 *
 * The kernel ends the process, as after any fault in kernel code. What is left to do
 * here is to say whose code it was and to see that no generated code runs any more.
 * The die notifier is called in exception context, interrupts off, whatever the code
 * was doing: it takes no lock. It restores this CPU's MSR_LSTAR, and from then on no
 * CPU loads a vector; a work takes away those that other CPUs have loaded.
 *
 * Code that is called from generated code (tail, learn thunk) is compiled like the
 * rest of the kernel, and a fault in it is not taken for one in generated code.
 */
#include <linux/irq_work.h>
#include <linux/kdebug.h>
#include <linux/ptrace.h>
#include <linux/workqueue.h>
#include <asm/trapnr.h>

#include "glue.h"

bool synthjit_faulted __read_mostly;

/*
 * What a slot was made for last. It is written by the process that is to run the slot,
 * before it can, so whoever faults in a live slot finds its own entry.
 */
struct origin {
	const u8 *spec;		/* NULL: never used */
	u32 spec_len;
	int tgid;
	u32 fd;
	bool is_vector;
};

static struct origin origins[SYNTHJIT_PATH_SLOTS + SYNTHJIT_VECTOR_SLOTS];

/* @slot is the index within its class. @spec is never freed. */
void synthjit_slot_made(synthjit_u32 slot, synthjit_u32 is_vector, const synthjit_u8 *spec,
			synthjit_u32 spec_len, int tgid, synthjit_u32 fd)
{
	u32 i = slot + (is_vector ? SYNTHJIT_PATH_SLOTS : 0);

	if (i < ARRAY_SIZE(origins))
		origins[i] = (struct origin) { spec, spec_len, tgid, fd, is_vector };
}

/* The slot that @ip is in, and the offset in it; NULL outside of all slots. */
static const struct origin *origin_of(unsigned long ip, u32 *offset)
{
	unsigned long at = ip - (unsigned long)synthjit_arena_paths;

	if (at < SYNTHJIT_PATHS_BYTES) {
		*offset = at % SYNTHJIT_PATH_SLOT;
		return &origins[at / SYNTHJIT_PATH_SLOT];
	}
	at = ip - (unsigned long)synthjit_arena_vectors;
	if (at < SYNTHJIT_VECTORS_BYTES) {
		*offset = at % SYNTHJIT_VECTOR_SLOT;
		return &origins[SYNTHJIT_PATH_SLOTS + at / SYNTHJIT_VECTOR_SLOT];
	}
	return NULL;
}

static void tell(const struct origin *o, u32 offset)
{
	if (!o->spec)
		pr_emerg("a fault in generated code, +%#x in a slot that was never used\n", offset);
	else if (o->is_vector)
		pr_emerg("a fault in generated code: %.*s of process %d, +%#x in its slot\n",
			 (int)o->spec_len, (const char *)o->spec, o->tgid, offset);
	else
		pr_emerg("a fault in generated code: %.*s of process %d for descriptor %u, +%#x in its slot\n",
			 (int)o->spec_len, (const char *)o->spec, o->tgid, o->fd, offset);
}

static void lost_now(struct work_struct *work)
{
	synthjit_rs_platform_lost(SYNTHJIT_REASON_CODE_FAULT);
}

static DECLARE_WORK(lost, lost_now);

/* Queueing a work takes a lock, raising an irq_work does not. */
static void lost_soon(struct irq_work *work)
{
	schedule_work(&lost);
}

static struct irq_work lost_irq = IRQ_WORK_INIT_HARD(lost_soon);

static int on_die(struct notifier_block *block, unsigned long event, void *data)
{
	const struct die_args *die = data;
	const struct origin *o;
	u32 offset;

	/* Every fault that kills comes here as an oops, whatever it began as. */
	if (event != DIE_OOPS || user_mode(die->regs))
		return NOTIFY_DONE;
	/* int3 is a trap: it leaves the instruction pointer behind itself. */
	o = origin_of(die->regs->ip - (die->trapnr == X86_TRAP_BP), &offset);
	if (!o)
		return NOTIFY_DONE;
	WRITE_ONCE(synthjit_faulted, true);
	synthjit_task_faulted();
	tell(o, offset);
	irq_work_queue(&lost_irq);
	return NOTIFY_DONE;
}

static struct notifier_block block = { .notifier_call = on_die };

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
