// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: looks at MSR_LSTAR of every CPU, at moments that nobody chose (look.c), and acts
 * what KVM does to it on Intel's processors (guest.c).
 *
 * Parameters:
 *   stock    what MSR_LSTAR has to hold for a task that is not attached; given when loading
 *   guests   1: guest.c is there, which excludes KVM; given when loading
 *   counts   what was seen since the module was loaded, a count a line (lstar.h), and what the first
 *            wrong look found
 */
#include <linux/module.h>
#include <linux/sched.h>

#include "lstar.h"

unsigned long lstar_stock;
module_param_named(stock, lstar_stock, ulong, 0400);
static bool guests;
module_param(guests, bool, 0400);

static const char *const names[COUNTS] = {
	"looks_unattached", "looks_foreign", "looks_guest", "wrong_unattached", "wrong_host", "wrong_guest",
	"captures", "wrong_captures", "slices", "wrong_slices", "skips",
};
static atomic_long_t counts[COUNTS];
static atomic_t told = ATOMIC_INIT(0);
static char first[128] = "none";

void lstar_count(enum lstar_count which)
{
	atomic_long_inc(&counts[which]);
}

/* Any context. */
void lstar_wrong(enum lstar_count which, u64 value)
{
	lstar_count(which);
	if (!atomic_xchg(&told, 1))
		scnprintf(first, sizeof(first), "%s cpu %d pid %d %s %#llx", names[which], raw_smp_processor_id(),
			  current->pid, current->comm, value);
}

static int get_counts(char *buf, const struct kernel_param *param)
{
	int i, len = 0;

	for (i = 0; i < COUNTS; i++)
		len += scnprintf(buf + len, PAGE_SIZE - len, "%s %ld\n", names[i], atomic_long_read(&counts[i]));
	return len + scnprintf(buf + len, PAGE_SIZE - len, "first %s\n", first);
}

static const struct kernel_param_ops counts_ops = { .get = get_counts };
module_param_cb(counts, &counts_ops, NULL, 0400);

static int __init lstar_init(void)
{
	int ret;

	if (!lstar_stock)
		return -EINVAL;
	ret = lstar_host_start();
	if (ret)
		return ret;
	ret = guests ? lstar_guest_start() : 0;
	if (ret)
		goto stop_host;
	ret = lstar_look_start();
	if (ret)
		goto stop_guest;
	return 0;
stop_guest:
	if (guests)
		lstar_guest_stop();
stop_host:
	lstar_host_stop();
	return ret;
}
module_init(lstar_init);

static void __exit lstar_exit(void)
{
	lstar_look_stop();
	if (guests)
		lstar_guest_stop();
	lstar_host_stop();
}
module_exit(lstar_exit);

MODULE_DESCRIPTION("Looks at MSR_LSTAR and acts KVM's use of it; for tests");
MODULE_LICENSE("GPL");
