/* SPDX-License-Identifier: GPL-2.0 */
/* Where slots are in the arena, for C and assembly. */
#ifndef SYNTHJIT_ARENA_H
#define SYNTHJIT_ARENA_H

#include "synthjit_specs.h"

/*
 * The first slot begins so many bytes behind the symbol of its part of the arena: tools that
 * find two symbols at one address take either, and each slot has one of its own.
 */
#define SYNTHJIT_SLOTS_AT SYNTHJIT_SLOT_ALIGN

#ifndef __ASSEMBLER__

extern u8 synthjit_arena_paths[];
extern u8 synthjit_arena_vectors[];
extern u8 synthjit_arena_exits[];
extern u8 synthjit_arena_end[];

#define SYNTHJIT_PATHS ((unsigned long)synthjit_arena_paths + SYNTHJIT_SLOTS_AT)
#define SYNTHJIT_VECTORS ((unsigned long)synthjit_arena_vectors + SYNTHJIT_SLOTS_AT)
#define SYNTHJIT_EXIT_CODE ((unsigned long)synthjit_arena_exits + SYNTHJIT_SLOTS_AT)

/* All slots, by numbers of their own: paths, and vectors behind them. */
#define SYNTHJIT_FIRST_VECTOR SYNTHJIT_PATH_SLOTS
#define SYNTHJIT_SLOTS (SYNTHJIT_FIRST_VECTOR + SYNTHJIT_VECTOR_SLOTS)

#endif
#endif
