// SPDX-License-Identifier: GPL-2.0
/*
 * A timer interrupt on each CPU compares MSR_LSTAR with what it has to hold for the task that it
 * interrupts:
 *  - the value of a guest of guest.c, as long as that is in the CPU;
 *  - else the stock one, or anything for a task that is attached.
 * A task is attached if it has a preempt notifier. Only KVM has them too, for a thread inside of an
 * ioctl of a virtual CPU. No task whose address space has virtual CPUs may have a vector.
 */
#include <linux/cpuhotplug.h>
#include <linux/hrtimer.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <asm/msr.h>

#include "lstar.h"

/* Not a divisor of a tick's length. */
#define PERIOD_NS (370 * NSEC_PER_USEC)

static DEFINE_PER_CPU(struct hrtimer, timer);
static int state;

static void look_now(void)
{
	u64 lstar, guest;

	rdmsrq(MSR_LSTAR, lstar);
	if (lstar_guest_value(&guest)) {
		lstar_count(LOOKS_GUEST);
		if (lstar != guest)
			lstar_wrong(WRONG_GUEST, lstar);
	} else if (hlist_empty(&current->preempt_notifiers)) {
		lstar_count(LOOKS_UNATTACHED);
		if (lstar != lstar_stock)
			lstar_wrong(WRONG_UNATTACHED, lstar);
	} else if (lstar != lstar_stock) {
		lstar_count(LOOKS_FOREIGN);
		if (lstar_hosts_guests())
			lstar_wrong(WRONG_HOST, lstar);
	}
}

static enum hrtimer_restart on_timer(struct hrtimer *t)
{
	look_now();
	hrtimer_forward_now(t, ns_to_ktime(PERIOD_NS));
	return HRTIMER_RESTART;
}

static int start_looking(unsigned int cpu)
{
	struct hrtimer *t = this_cpu_ptr(&timer);

	hrtimer_setup(t, on_timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	hrtimer_start(t, ns_to_ktime(PERIOD_NS), HRTIMER_MODE_REL_PINNED_HARD);
	return 0;
}

static int stop_looking(unsigned int cpu)
{
	hrtimer_cancel(this_cpu_ptr(&timer));
	return 0;
}

int lstar_look_start(void)
{
	state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "synthjit_lstar/look", start_looking, stop_looking);
	return state < 0 ? state : 0;
}

void lstar_look_stop(void)
{
	cpuhp_remove_state(state);
}
