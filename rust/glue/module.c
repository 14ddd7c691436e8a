// SPDX-License-Identifier: GPL-2.0
/*
 * The order in which the parts of the glue start and stop.
 *
 * Events, notifiers and the watch of kernel text cost other processes instructions
 * (a fork, an exec, a context switch), so they begin with the first attached process.
 * They stay until unload, since each patches kernel text, which makes every CPU take
 * an interrupt.
 */
#include <linux/preempt.h>

#include "glue.h"

static bool watching;

/* At load, on a platform that can be used. */
int synthjit_glue_start(void)
{
	int ret;

	synthjit_names_start();
	ret = synthjit_textwatch_start();
	if (ret)
		return ret;
	ret = synthjit_tasks_start();
	if (ret)
		goto textwatch;
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
textwatch:
	synthjit_textwatch_stop();
	return ret;
}

/* Before the first process is attached. */
int synthjit_watch(void)
{
	int ret;

	if (watching)
		return 0;
	ret = synthjit_events_start();
	if (ret)
		return ret;
	ret = synthjit_textwatch_on();
	if (ret) {
		synthjit_events_stop();
		return ret;
	}
	preempt_notifier_inc();
	watching = true;
	return 0;
}

/* After every process was detached. */
void synthjit_glue_stop(void)
{
	synthjit_kvm_stop();
	if (watching)
		synthjit_events_stop();
	synthjit_fault_stop();
	synthjit_tasks_stop();
	/* Until the last notifier is unlinked, its task is to be told of being scheduled out. */
	if (watching)
		preempt_notifier_dec();
	watching = false;
	synthjit_tail_stop();
	synthjit_textwatch_stop();
}
