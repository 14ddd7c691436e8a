// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: tries to have kprobes put into a range of kernel text.
 *
 * Parameters, written by the test before it reads `try`:
 *   start, end  the range
 *   step        from one address to the next
 * Reading `try` asks for a kprobe at each address until it gets one, which it gives back. It tells how many addresses were
 * asked for, for how many the answer was -EINVAL (the kernel allows none there), and where the kprobe was. Other answers are
 * those of -EILSEQ: a probe might be there, if only the address were the beginning of another instruction.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched.h>

static unsigned long start, end, step = 1;
module_param(start, ulong, 0600);
module_param(end, ulong, 0600);
module_param(step, ulong, 0600);

static int get_try(char *buf, const struct kernel_param *param)
{
	unsigned long at, asked = 0, forbidden = 0;

	if (!step)
		return -EINVAL;
	for (at = start; at < end; at += step) {
		struct kprobe probe = { .addr = (kprobe_opcode_t *)at };
		int ret = register_kprobe(&probe);

		asked++;
		forbidden += ret == -EINVAL;
		if (!ret) {
			unregister_kprobe(&probe);
			return scnprintf(buf, PAGE_SIZE, "asked %lu forbidden %lu kprobe at %#lx\n", asked,
					 forbidden, at);
		}
		cond_resched();
	}
	return scnprintf(buf, PAGE_SIZE, "asked %lu forbidden %lu\n", asked, forbidden);
}

static const struct kernel_param_ops try_ops = { .get = get_try };
module_param_cb(try, &try_ops, NULL, 0400);

static int __init probes_init(void)
{
	return 0;
}
module_init(probes_init);

static void __exit probes_exit(void)
{
}
module_exit(probes_exit);

MODULE_DESCRIPTION("Tries to put kprobes into a range of kernel text; for tests");
MODULE_LICENSE("GPL");
