/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The places where generated code calls compiled code.
 *
 * All are called with interrupts off, on the task's kernel stack, with the
 * kernel's GS base, at a moment when the stock entry (arch/x86/entry/entry_64.S,
 * entry_SYSCALL_64) would not yet have run its mitigations. A path needs none,
 * because it has no return and no indirect branch; compiled code has, so these
 * thunks do what the stock entry does before it calls C. Untraining return
 * predictions and clearing the branch history are static calls that platform.c
 * points at the kernel's own routines if the CPU needs them; a static call is a
 * direct branch, as srso_alias_untrain_ret() demands. The kernel's macro for
 * untraining would not do: objtool lists the calls in its alternatives, and where
 * call depth is tracked the kernel patches what each listed call leads to, but
 * srso_alias_untrain_ret() lies at the very beginning of its text, with no page
 * before it (arch/x86/kernel/callthunks.c, patch_dest): loading would be an oops.
 * IBRS, IBPB and call depth tracking at entry are not done here: platform.c refuses
 * CPUs that need them.
 */
#include <linux/linkage.h>
#include <linux/objtool.h>
#include <linux/static_call_types.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>

/*
 * Keeps every register, has none but the arguments hold what the user chose, and
 * calls @function. @arguments sets rdi and rsi from what was kept: the saved rax is
 * at -8(%rbp). All others are zero then, as
 * PUSH_AND_CLEAR_REGS leaves them (arch/x86/entry/calling.h, CLEAR_REGS); rbp is the
 * frame's. The routines of the two static calls change no more than rax and rcx
 * (arch/x86/entry/entry_64.S, clear_bhb_loop; arch/x86/lib/retpoline.S).
 */
.macro CALL_C function arguments
	pushq	%rbp
	movq	%rsp, %rbp
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	andq	$-16, %rsp
	xorl	%eax, %eax
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%ebx, %ebx
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	\arguments
	call	STATIC_CALL_TRAMP(synthjit_untrain_ret)
	call	STATIC_CALL_TRAMP(synthjit_clear_bhb)
	call	\function
	leaq	-14*8(%rbp), %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rax
	popq	%rbp
	RET
.endm

	/* As the stock entry: what runs before the mitigations may not be probed. */
	.section .kprobes.text, "ax"

/* rdi: pipe, esi: SYNTHJIT_TAIL_* bits, both the path's. Preserves every register. */
SYM_CODE_START(synthjit_tail_thunk)
	ANNOTATE_NOENDBR
	UNWIND_HINT_FUNC
	CALL_C	synthjit_tail
SYM_CODE_END(synthjit_tail_thunk)

/* eax: system call number, edi: descriptor. Preserves every register. */
SYM_CODE_START(synthjit_miss_thunk)
	ANNOTATE_NOENDBR
	UNWIND_HINT_FUNC
	CALL_C	synthjit_miss, "movl %edi, %edi; movl -8(%rbp), %esi"
SYM_CODE_END(synthjit_miss_thunk)

/* rdi: data of a path, eax: number of its exit, both the exit routine's. Preserves every register. */
SYM_CODE_START(synthjit_bail_thunk)
	ANNOTATE_NOENDBR
	UNWIND_HINT_FUNC
	CALL_C	synthjit_bailed, "movl -8(%rbp), %esi"
SYM_CODE_END(synthjit_bail_thunk)

	.section .note.GNU-stack, "", @progbits
