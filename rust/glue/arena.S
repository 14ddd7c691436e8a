/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Code memory: slots for paths and vectors, and the exit routines, in the module's own text.
 *
 * The kernel makes module text read-only and executable, lists it in kallsyms and
 * places it within rel32 reach of its own text. In .kprobes.text, which is text
 * like any other otherwise, nobody gets a kprobe or a hardware breakpoint placed
 * (kernel/kprobes.c, add_module_kprobe_blacklist; arch/x86/kernel/hw_breakpoint.c,
 * arch_build_bp_info). A kprobe's int3 would stand in bytes that are written again
 * for something else, and would be a double fault where rsp is the user's still.
 * Each slot has a symbol, whose name has room for another one (names.c). Each path
 * slot touches user memory at fixed offsets only, so the exception entries of all
 * slots stand here: a fault goes on behind the copy instruction, with the count
 * that is left in rcx. EX_TYPE_UACCESS also lets the kernel recover from a machine
 * check in user memory (arch/x86/kernel/cpu/mce/severity.c, error_context).
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <asm/asm.h>
#include <asm/extable_fixup_types.h>
#include <asm/page_types.h>

#include "arena.h"

	.pushsection .kprobes.text, "ax"
	.balign PAGE_SIZE, 0xcc
SYM_CODE_START_NOALIGN(synthjit_arena_paths)
	ANNOTATE_NOENDBR
	.skip SYNTHJIT_SLOTS_AT, 0xcc
	ANNOTATE_NOENDBR
	.skip SYNTHJIT_PATH_SLOT * SYNTHJIT_PATH_SLOTS, 0xcc
SYM_CODE_END(synthjit_arena_paths)
	.balign PAGE_SIZE, 0xcc
SYM_CODE_START_NOALIGN(synthjit_arena_vectors)
	ANNOTATE_NOENDBR
	.skip SYNTHJIT_SLOTS_AT, 0xcc
	ANNOTATE_NOENDBR
	.skip SYNTHJIT_VECTOR_SLOT * SYNTHJIT_VECTOR_SLOTS, 0xcc
SYM_CODE_END(synthjit_arena_vectors)
	.balign PAGE_SIZE, 0xcc
SYM_CODE_START_NOALIGN(synthjit_arena_exits)
	ANNOTATE_NOENDBR
	.skip SYNTHJIT_SLOTS_AT, 0xcc
	ANNOTATE_NOENDBR
	.skip SYNTHJIT_EXIT_ROUTINE * SYNTHJIT_EXIT_ROUTINES, 0xcc
SYM_CODE_END(synthjit_arena_exits)
	.balign PAGE_SIZE, 0xcc
SYM_CODE_START_NOALIGN(synthjit_arena_end)
	ANNOTATE_NOENDBR
	.byte 0xcc
SYM_CODE_END(synthjit_arena_end)
	.popsection

	/* Up to the first dot the name of a slot that was not used yet; 95 characters at least. */
	.altmacro
.macro SLOT_SYMBOL kind slot start size
	.set synthjit_\kind\()_slot_\slot\()..........................................................................., \
		\start + SYNTHJIT_SLOTS_AT + \slot * \size
	.size synthjit_\kind\()_slot_\slot\()..........................................................................., \size
.endm
.macro SLOT_SYMBOLS kind slots start size
	.set slot, 0
	.rept \slots
	SLOT_SYMBOL \kind, %slot, \start, \size
	.set slot, slot + 1
	.endr
.endm
	SLOT_SYMBOLS path, SYNTHJIT_PATH_SLOTS, synthjit_arena_paths, SYNTHJIT_PATH_SLOT
	SLOT_SYMBOLS vector, SYNTHJIT_VECTOR_SLOTS, synthjit_arena_vectors, SYNTHJIT_VECTOR_SLOT
	.noaltmacro

	/* In the order of PathKind (rust/engine/template/mod.rs). */
	.set synthjit_exits_pipe_write, synthjit_arena_exits + SYNTHJIT_SLOTS_AT
	.size synthjit_exits_pipe_write, SYNTHJIT_EXIT_ROUTINE
	.set synthjit_exits_pipe_read, synthjit_exits_pipe_write + SYNTHJIT_EXIT_ROUTINE
	.size synthjit_exits_pipe_read, SYNTHJIT_EXIT_ROUTINE

	/* Both sites are a `rep movsb`, two bytes long. */
.macro COPY_SITE slot site
	_ASM_EXTABLE_TYPE(synthjit_arena_paths + SYNTHJIT_SLOTS_AT + \slot * SYNTHJIT_PATH_SLOT + \site, \
			  synthjit_arena_paths + SYNTHJIT_SLOTS_AT + \slot * SYNTHJIT_PATH_SLOT + \site + 2, \
			  EX_TYPE_UACCESS)
.endm
	.set slot, 0
	.rept SYNTHJIT_PATH_SLOTS
	COPY_SITE slot, SYNTHJIT_COPY_SITE_A
	COPY_SITE slot, SYNTHJIT_COPY_SITE_B
	.set slot, slot + 1
	.endr
