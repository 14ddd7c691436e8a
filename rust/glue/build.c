// SPDX-License-Identifier: GPL-2.0
/*
 * Is the kernel that runs the very one that the module was built for?
 *
 * Paths bake in offsets, flags and the reviewed text of functions. A module loads into
 * every kernel of its release whose exported symbols have the same versions; of what
 * paths rest on nearly nothing is exported, and a distribution builds a release again
 * with other patches or another configuration. So the build is compared: the version
 * that the headers told (UTS_VERSION, init/version-timestamp.c), and the build ID, which
 * the linker makes of the image's contents (lib/buildid.c, vmlinux_build_id).
 */
#include <linux/buildid.h>
#include <linux/hex.h>
#include <linux/utsname.h>

#include "glue.h"
#include "synthjit_kernel.h"

/* For modinfo. */
MODULE_INFO(kernel_version, SYNTHJIT_KERNEL_VERSION);
MODULE_INFO(kernel_build_id, SYNTHJIT_KERNEL_BUILD_ID);

static const char wanted_version[] = SYNTHJIT_KERNEL_VERSION;
/* In hexadecimal; empty: there was no image to take it from. */
static const char wanted_id[] = SYNTHJIT_KERNEL_BUILD_ID;

/* Boolean. Says in the log what differs. May sleep. */
bool synthjit_right_build(void)
{
	const char *version = init_utsname()->version;
	char id[2 * BUILD_ID_SIZE_MAX + 1];
	const u8 *bytes;

	if (strcmp(version, wanted_version)) {
		pr_err("built for kernel \"%s\", this is \"%s\"\n", wanted_version, version);
		return false;
	}
	/* Missing where neither crash dumps nor stack traces want it. */
	bytes = (const u8 *)synthjit_symbol("vmlinux_build_id");
	if (!bytes || !*wanted_id) {
		pr_notice_once("%s no build ID: compared by its version alone\n",
			       *wanted_id ? "this kernel tells" : "the build found");
		return true;
	}
	bin2hex(id, bytes, BUILD_ID_SIZE_MAX);
	id[sizeof(id) - 1] = 0;
	if (strcmp(id, wanted_id)) {
		pr_err("built for the kernel with build ID %s, this one has %s\n", wanted_id, id);
		return false;
	}
	return true;
}
