/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What rust/glue/entry.S takes from the kernel's headers, for the tests on the host. What the headers add besides
 * (marks for objtool, a return thunk) is no instruction that moves a value.
 */
#define SYM_CODE_START(name) .globl name; name:
#define SYM_CODE_END(name) .size name, . - name
#define ANNOTATE_NOENDBR
#define UNWIND_HINT_FUNC
#define STATIC_CALL_TRAMP(name) name
#define RET ret
