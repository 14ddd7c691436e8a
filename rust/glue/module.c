// SPDX-License-Identifier: GPL-2.0
/*
 * The order in which the parts of the glue start and stop.
 *
 * Events, notifiers and the periodic look at the mirrors cost other processes
 * instructions (a fork, an exec, a context switch), so they begin with the first
 * attached process. What patches kernel text stays until unload: each patch makes
 * every CPU take an interrupt.
 */
#include <linux/preempt.h>

#include "glue.h"

static bool watching;

/* At load, on a platform that can be used. */
int synthjit_glue_start(void)
{
	int ret;

	synthjit_names_start();
	ret = synthjit_mirrors_start();
	if (ret)
		return ret;
	ret = synthjit_tasks_start();
	if (ret)
		goto mirrors;
	ret = synthjit_fault_start();
	if (ret)
		goto tasks;
	ret = synthjit_kvm_start();
	if (ret)
		goto fault;
	return 0;
fault:
	synthjit_fault_stop();
tasks:
	synthjit_tasks_stop();
mirrors:
	synthjit_mirrors_stop();
	return ret;
}

/* Before the first process is attached. */
int synthjit_watch(void)
{
	if (!watching) {
		int ret = synthjit_events_start();

		if (ret)
			return ret;
		preempt_notifier_inc();
		watching = true;
	}
	synthjit_mirrors_watch(true);
	return 0;
}

/* After the last process was detached. */
void synthjit_unwatch(void)
{
	synthjit_mirrors_watch(false);
}

/* After every process was detached. */
void synthjit_glue_stop(void)
{
	synthjit_kvm_stop();
	synthjit_mirrors_watch(false);
	if (watching) {
		synthjit_events_stop();
		preempt_notifier_dec();
	}
	watching = false;
	synthjit_fault_stop();
	synthjit_tasks_stop();
	synthjit_tail_stop();
	synthjit_mirrors_stop();
}
