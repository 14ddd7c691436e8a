/* SPDX-License-Identifier: GPL-2.0 */
/* For tests only: what the files of this module share. */
#ifndef SYNTHJIT_LSTAR_H
#define SYNTHJIT_LSTAR_H

#include <linux/atomic.h>
#include <linux/types.h>

/* What was seen; main.c prints them in this order. */
enum lstar_count {
	LOOKS_UNATTACHED,	/* at a CPU that ran a task which is not attached */
	LOOKS_FOREIGN,		/* at one that had a vector, for an attached task */
	LOOKS_GUEST,		/* at one that had the value of a guest of guest.c */
	WRONG_UNATTACHED,	/* another value than the stock one for a task that is not attached */
	WRONG_HOST,		/* a vector for a task whose address space has virtual CPUs */
	WRONG_GUEST,		/* another value than the one that guest.c left in the CPU */
	CAPTURES,		/* times that guest.c took a CPU's value for the host's */
	WRONG_CAPTURES,		/* of them those that were not the stock one */
	SLICES,			/* times that guest.c let a guest run */
	WRONG_SLICES,		/* of them those in which the guest did not find its value */
	SKIPS,			/* of them those that found the value still in the CPU */
	COUNTS,
};

extern unsigned long lstar_stock;
void lstar_count(enum lstar_count which);
void lstar_wrong(enum lstar_count which, u64 value);

/* guest.c */
bool lstar_guest_value(u64 *value);
int lstar_guest_start(void);
void lstar_guest_stop(void);

/* host.c */
bool lstar_hosts_guests(void);
int lstar_host_start(void);
void lstar_host_stop(void);

/* look.c */
int lstar_look_start(void);
void lstar_look_stop(void);

#endif
