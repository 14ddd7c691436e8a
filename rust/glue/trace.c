// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints synthjit:*, and the switch between the two kinds of paths that one of
 * them needs.
 *
 * Three are passed where C or Rust is at work anyway. A path that gives a call back is
 * not: it counts and goes to the stock entry. While somebody listens to
 * `bailout`, paths are made that call the bail thunk besides. Switching that
 * takes the vectors away and waits until nobody is inside older code, so each bail-out
 * after it has returned is reported; then the processes make their
 * paths anew, as they do for `profile`.
 *
 * Lock order: the tracepoints' own mutex > switch_lock > STATE (Rust).
 */
#include <linux/mutex.h>

#include "glue.h"

static int synthjit_trace_bailouts_on(void);
static void synthjit_trace_bailouts_off(void);

#define CREATE_TRACE_POINTS
#include "synthjit_trace.h"

static DEFINE_MUTEX(switch_lock);
/* Rust's state is there; somebody may listen before and after that. */
static bool ready;
static bool wanted;

static void trace_bailouts(bool on)
{
	mutex_lock(&switch_lock);
	WRITE_ONCE(wanted, on);
	if (ready)
		synthjit_rs_remake();
	mutex_unlock(&switch_lock);
}

static int synthjit_trace_bailouts_on(void)
{
	trace_bailouts(true);
	return 0;
}

static void synthjit_trace_bailouts_off(void)
{
	/* What still reports does so to nobody. */
	trace_bailouts(false);
}

/* Boolean: paths that are made now are to report bail-outs. Under STATE. */
synthjit_u32 synthjit_bailouts_traced(void)
{
	return READ_ONCE(wanted);
}

/* After Rust's state is there, before the first process is attached. */
void synthjit_trace_start(void)
{
	mutex_lock(&switch_lock);
	ready = true;
	mutex_unlock(&switch_lock);
}

/* The kernel takes the listeners away after the module's exit. */
void synthjit_trace_stop(void)
{
	mutex_lock(&switch_lock);
	ready = false;
	mutex_unlock(&switch_lock);
}

void synthjit_trace_synthesize(synthjit_u32 slot)
{
	const struct synthjit_made *path = synthjit_made_for(slot);

	if (path)
		trace_synthesize(path);
}

void synthjit_trace_retire(synthjit_u32 slot, synthjit_u32 reason)
{
	const struct synthjit_made *path = synthjit_made_for(slot);

	if (path)
		trace_retire(path, reason);
}

/* In the context of the process that is refused. */
void synthjit_trace_refuse(int tgid, int fd, synthjit_u32 call, synthjit_u64 ino, synthjit_u32 reason)
{
	trace_refuse(current->pid, tgid, fd, call, ino, reason);
}

/* In the context of whoever wants to attach @tgid. */
void synthjit_trace_refuse_attach(int tgid, synthjit_u32 reason)
{
	trace_refuse(0, tgid, -1, SYNTHJIT_NO_CALL, 0, reason);
}

/* From the bail thunk: interrupts off, before the stock entry. @ip is in the path. */
asmlinkage void synthjit_bailed(unsigned long ip);
asmlinkage noinstr void synthjit_bailed(unsigned long ip)
{
	const struct synthjit_made *path;
	u32 offset;

	synthjit_thunk_enter();
	path = synthjit_made_at(ip, &offset);
	if (path)
		trace_bailout(path);
	synthjit_thunk_leave();
}
