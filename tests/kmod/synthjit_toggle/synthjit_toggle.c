// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: switches a kprobe on and off beside a process that makes one numbered call after the other, and counts the calls
 * that began when the probe was in place and were not seen by it.
 *
 * The process passes three more arguments than its call has: a magic word (r10), the call's number (r8), and the moment at which
 * the call before it began (r9), which the CPU's time stamp counter tells. So the first call that a probe sees tells whether the one
 * before it came too late not to be seen, and each further one whether any is missing in between.
 *
 * Parameters, written by the test before it reads `run`:
 *   tgid      the process
 *   function  where the probe is put
 *   offset    behind its beginning; the first place from there on where an instruction begins
 *   rounds    how often the probe is switched on and off
 *   pause     microseconds between two rounds, in which the process may return to its paths
 * Reading `run` does it. It tells the rounds, the calls seen, the calls that were not, and the rounds in which none was seen. Of
 * these, `stale` are those in which the process entered the stock kernel all the same: then QEMU executed text as it was before.
 */
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <asm/msr.h>
#include <asm/tsc.h>
#include <asm/unistd.h>

#define MAGIC 0x5e9e17
#define MOST_OFFSET 64
/* Calls to see in a round. */
#define ENOUGH 3
/* Calls after which one that is not seen is missing, however little of a CPU the guest has; and looks for them, at the most. */
#define MANY 1000
#define MOST_LOOKS 200000

static int tgid;
static char *function;
static unsigned int offset, rounds, pause;
module_param(tgid, int, 0600);
module_param(function, charp, 0600);
module_param(offset, uint, 0600);
module_param(rounds, uint, 0600);
module_param(pause, uint, 0600);

/* Of this round; written by the handler, which runs in one process only. */
static unsigned long last, before_first, seen, missing;
/* The probe is in place. QEMU may execute a breakpoint that is gone, or not there yet. */
static bool in_place;

static int numbered_call(struct kprobe *probe, struct pt_regs *regs)
{
	struct pt_regs *user;

	if (current->tgid != tgid || !READ_ONCE(in_place))
		return 0;
	user = task_pt_regs(current);
	/* An interrupt is no call; and a function may be passed twice in one. */
	if (user->orig_ax != __NR_write || user->r10 != MAGIC || user->r8 == last)
		return 0;
	if (!seen)
		WRITE_ONCE(before_first, user->r9);
	else
		WRITE_ONCE(missing, missing + user->r8 - last - 1);
	last = user->r8;
	WRITE_ONCE(seen, seen + 1);
	return 0;
}

/* With this handler a kprobe stays a breakpoint (kernel/kprobes.c, optimize_kprobe). */
static void after_call(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static int put_probe(struct kprobe *probe)
{
	unsigned int at;
	int ret = -EINVAL;

	for (at = offset; at < offset + MOST_OFFSET && ret; at++) {
		*probe = (struct kprobe) {
			.symbol_name = function,
			.offset = at,
			.pre_handler = numbered_call,
			.post_handler = after_call,
			.flags = KPROBE_FLAG_DISABLED,
		};
		ret = register_kprobe(probe);
	}
	return ret;
}

/* Until some calls were seen, or so many were made that they should have been. */
static void wait_for_calls(struct task_struct *task)
{
	u64 before = READ_ONCE(task->ioac.syscw);
	int looks;

	for (looks = 0; looks < MOST_LOOKS; looks++) {
		if (READ_ONCE(seen) >= ENOUGH || READ_ONCE(task->ioac.syscw) - before > MANY)
			break;
		usleep_range(50, 100);
	}
}

/* The process enters the kernel where this CPU does, whose current process is not attached. */
static bool enters_stock_kernel(struct task_struct *task)
{
	u64 here, there;

	rdmsrq(MSR_LSTAR, here);
	return !rdmsrq_on_cpu(task_cpu(task), MSR_LSTAR, &there) && here == there;
}

static int get_run(char *buf, const struct kernel_param *param)
{
	unsigned long all_seen = 0, unseen = 0, silent = 0, stale = 0, round;
	struct pid *pid = find_get_pid(tgid);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_TGID);
	struct kprobe probe;
	int ret;

	put_pid(pid);
	if (!task)
		return -ESRCH;
	ret = put_probe(&probe);
	if (ret) {
		put_task_struct(task);
		return ret;
	}
	for (round = 0; round < rounds && !ret && !signal_pending(current); round++) {
		unsigned long since;

		last = before_first = seen = missing = 0;
		ret = enable_kprobe(&probe);
		/* Whoever begins after this moment finds the flag set. */
		WRITE_ONCE(in_place, true);
		smp_mb();
		since = rdtsc_ordered();
		wait_for_calls(task);
		if (!READ_ONCE(seen) && enters_stock_kernel(task))
			stale++;
		else if (!READ_ONCE(seen))
			silent++;
		WRITE_ONCE(in_place, false);
		disable_kprobe(&probe);
		/* No handler runs any more. */
		synchronize_rcu_expedited();
		all_seen += seen;
		unseen += missing + (seen && before_first > since);
		usleep_range(pause, pause + 100 + round % 64 * 32);
	}
	unregister_kprobe(&probe);
	put_task_struct(task);
	return ret ? ret : scnprintf(buf, PAGE_SIZE, "rounds %lu seen %lu unseen %lu silent %lu stale %lu\n", round,
				     all_seen, unseen, silent, stale);
}

static const struct kernel_param_ops run_ops = { .get = get_run };
module_param_cb(run, &run_ops, NULL, 0400);

static int __init toggle_init(void)
{
	return 0;
}
module_init(toggle_init);

static void __exit toggle_exit(void)
{
}
module_exit(toggle_exit);

MODULE_DESCRIPTION("Switches a kprobe beside numbered calls; for tests");
MODULE_LICENSE("GPL");
