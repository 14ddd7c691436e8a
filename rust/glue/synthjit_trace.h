/* SPDX-License-Identifier: GPL-2.0 */
/* The tracepoints synthjit:*. What they mean: docs/tracing.md. Included by trace.c only. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM synthjit

#if !defined(SYNTHJIT_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define SYNTHJIT_TRACE_H

#include <linux/tracepoint.h>

#include "synthjit.h"
#include "synthjit_specs.h"

#define SYNTHJIT_CALL_NAMES { 0, "read" }, { 1, "write" }

/* What is told of a path, whatever happens to it. */
#define SYNTHJIT_PATH_FIELDS					\
	__field(pid_t, pid)					\
	__field(pid_t, tgid)					\
	__field(u32, fd)					\
	__field(u32, call)					\
	__field(u64, ino)					\
	__field(const void *, code)				\
	__field(u32, bytes)
#define SYNTHJIT_PATH_ASSIGN					\
	__entry->pid = path->pid;				\
	__entry->tgid = path->tgid;				\
	__entry->fd = path->fd;					\
	__entry->call = path->call;				\
	__entry->ino = path->ino;				\
	__entry->code = (const void *)(unsigned long)path->code;	\
	__entry->bytes = path->bytes;				\
	__assign_str(spec);
#define SYNTHJIT_PATH_FORMAT "pid=%d tgid=%d fd=%u call=%s ino=%llu spec=%s code=%p bytes=%u"
#define SYNTHJIT_PATH_VALUES					\
	__entry->pid, __entry->tgid, __entry->fd,		\
	__print_symbolic(__entry->call, SYNTHJIT_CALL_NAMES),	\
	__entry->ino, __get_str(spec), __entry->code, __entry->bytes

/* A path that was compiled. */
TRACE_EVENT(synthesize,
	TP_PROTO(const struct synthjit_made *path),
	TP_ARGS(path),
	TP_STRUCT__entry(
		SYNTHJIT_PATH_FIELDS
		__string_len(spec, path->spec, path->spec_len)
	),
	TP_fast_assign(
		SYNTHJIT_PATH_ASSIGN
	),
	TP_printk(SYNTHJIT_PATH_FORMAT, SYNTHJIT_PATH_VALUES)
);

/* An exit of a path. Exit routines report it only while somebody listens. */
TRACE_EVENT_FN(bailout,
	TP_PROTO(const struct synthjit_made *path, u32 reason),
	TP_ARGS(path, reason),
	TP_STRUCT__entry(
		SYNTHJIT_PATH_FIELDS
		__field(u32, reason)
		__string_len(spec, path->spec, path->spec_len)
	),
	TP_fast_assign(
		SYNTHJIT_PATH_ASSIGN
		__entry->reason = reason;
	),
	TP_printk(SYNTHJIT_PATH_FORMAT " reason=%s", SYNTHJIT_PATH_VALUES,
		  __print_symbolic(__entry->reason, SYNTHJIT_BAIL_NAMES)),
	synthjit_trace_bailouts_on, synthjit_trace_bailouts_off
);

TRACE_EVENT(retire,
	TP_PROTO(const struct synthjit_made *path, u32 reason),
	TP_ARGS(path, reason),
	TP_STRUCT__entry(
		SYNTHJIT_PATH_FIELDS
		__field(u32, reason)
		__string_len(spec, path->spec, path->spec_len)
	),
	TP_fast_assign(
		SYNTHJIT_PATH_ASSIGN
		__entry->reason = reason;
	),
	TP_printk(SYNTHJIT_PATH_FORMAT " reason=%s", SYNTHJIT_PATH_VALUES,
		  __print_symbolic(__entry->reason, SYNTHJIT_REASON_NAMES))
);

TRACE_EVENT(refuse,
	TP_PROTO(pid_t pid, pid_t tgid, int fd, u32 call, u64 ino, u32 reason),
	TP_ARGS(pid, tgid, fd, call, ino, reason),
	TP_STRUCT__entry(
		__field(pid_t, pid)
		__field(pid_t, tgid)
		__field(int, fd)
		__field(u32, call)
		__field(u64, ino)
		__field(u32, reason)
	),
	TP_fast_assign(
		__entry->pid = pid;
		__entry->tgid = tgid;
		__entry->fd = fd;
		__entry->call = call;
		__entry->ino = ino;
		__entry->reason = reason;
	),
	TP_printk("pid=%d tgid=%d fd=%d call=%s ino=%llu reason=%s",
		  __entry->pid, __entry->tgid, __entry->fd,
		  __print_symbolic(__entry->call, SYNTHJIT_CALL_NAMES, { SYNTHJIT_NO_CALL, "none" }),
		  __entry->ino, __print_symbolic(__entry->reason, SYNTHJIT_REASON_NAMES))
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE synthjit_trace
#include <trace/define_trace.h>
