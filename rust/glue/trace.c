// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints synthjit:*, and the switch that one of them needs.
 *
 * Three are passed where C or Rust is at work anyway. A bail-out is not: exit routines
 * (rust/engine/template/exits.rs) call the bail thunk only while somebody listens to
 * `bailout`, which they see in a word that each exit compares.
 */
#include "glue.h"

static int synthjit_trace_bailouts_on(void);
static void synthjit_trace_bailouts_off(void);

#define CREATE_TRACE_POINTS
#include "synthjit_trace.h"

/* Not zero while somebody listens to `bailout`. Read by exit routines. */
u32 synthjit_bailouts_traced;

/*
 * Before the listener is told that it listens (kernel/tracepoint.c, tracepoint_add_func). The
 * key of the tracepoint is switched after this, which every CPU takes an interrupt for, so
 * each exit that begins once the listener listens finds the word set.
 */
static int synthjit_trace_bailouts_on(void)
{
	WRITE_ONCE(synthjit_bailouts_traced, 1);
	return 0;
}

static void synthjit_trace_bailouts_off(void)
{
	/* What still reports does so to nobody. */
	WRITE_ONCE(synthjit_bailouts_traced, 0);
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

/* From the bail thunk: interrupts off, before the stock entry. */
asmlinkage void synthjit_bailed(const struct synthjit_path_data *data, u32 exit);
asmlinkage noinstr void synthjit_bailed(const struct synthjit_path_data *data, u32 exit)
{
	const struct synthjit_made *path;

	synthjit_thunk_enter();
	path = synthjit_made_for(data - synthjit_data_of_paths);
	if (path && exit < SYNTHJIT_EXITS)
		trace_bailout(path, path->exits[exit]);
	synthjit_thunk_leave();
}
