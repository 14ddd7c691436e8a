// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/debug/synthjit: listings, which may be longer than a file of sysfs.
 * What they say is Rust's.
 *
 * A listing consists of records with rising keys, and seq_file asks for one at a
 * time: it makes its buffer larger until a whole record fits (fs/seq_file.c), so
 * nothing is cut off, and each record is of one moment. The position between two
 * reads is a key, not a count, so a record that goes away hides no other.
 *
 * debugfs may be missing, switched off or not mounted. The module does not depend on
 * it: errors are ignored, as debugfs wants it (fs/debugfs/inode.c).
 */
#include <linux/debugfs.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/seq_file.h>

#include "glue.h"

struct listing {
	const char *name;
	u32 id;
	bool addresses;		/* it tells some of the kernel's */
};

static const struct listing listings[] = {
	{ "exited", SYNTHJIT_LIST_EXITED },
	{ "without", SYNTHJIT_LIST_WITHOUT },
	{ "bailouts", SYNTHJIT_LIST_BAILOUTS },
	{ "assumptions", SYNTHJIT_LIST_ASSUMPTIONS },
	{ "left_out", SYNTHJIT_LIST_LEFT_OUT },
	{ "values", SYNTHJIT_LIST_VALUES, .addresses = true },
};

/* A key as seq_file passes it around: NULL is the end. Keys are small and not negative. */
static void *record_of(long key)
{
	return key < 0 ? NULL : (void *)(key + 1);
}

static long key_of(void *record)
{
	return (long)record - 1;
}

static void *listing_start(struct seq_file *m, loff_t *pos)
{
	const struct listing *listing = m->private;
	long key = synthjit_rs_list_next(listing->id, *pos);

	if (key >= 0)
		*pos = key;
	return record_of(key);
}

static void *listing_next(struct seq_file *m, void *record, loff_t *pos)
{
	*pos = key_of(record) + 1;
	return listing_start(m, pos);
}

static void listing_stop(struct seq_file *m, void *record)
{
}

static int listing_show(struct seq_file *m, void *record)
{
	const struct listing *listing = m->private;

	synthjit_rs_list_show(listing->id, key_of(record), m);
	return 0;
}

static const struct seq_operations listing_ops = {
	.start = listing_start,
	.next = listing_next,
	.stop = listing_stop,
	.show = listing_show,
};

static int listing_open(struct inode *inode, struct file *file)
{
	int ret = seq_open(file, &listing_ops);

	if (!ret)
		((struct seq_file *)file->private_data)->private = inode->i_private;
	return ret;
}

static ssize_t listing_read(struct file *file, char __user *buf, size_t size, loff_t *pos)
{
	const struct listing *listing = ((struct seq_file *)file->private_data)->private;

	if (listing->addresses && !synthjit_may_see_addresses(file))
		return -EPERM;
	return seq_read(file, buf, size, pos);
}

/*
 * The owner is given because debugfs calls release() after the file is gone too
 * (full_proxy_release(), fs/debugfs/file.c): an open listing keeps the module.
 */
static const struct file_operations listing_fops = {
	.owner = THIS_MODULE,
	.open = listing_open,
	.read = listing_read,
	.llseek = seq_lseek,
	.release = seq_release,
};

/* `watched` is the glue's own: a function a line, and whether its text is as it was reviewed. */
static int watched_show(struct seq_file *m, void *unused)
{
	synthjit_watched_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(watched);

static struct dentry *folder;

/* At load, when Rust can answer. */
void synthjit_debugfs_start(void)
{
	unsigned int i;

	folder = debugfs_create_dir("synthjit", NULL);
	for (i = 0; i < ARRAY_SIZE(listings); i++)
		debugfs_create_file(listings[i].name, 0400, folder, (void *)&listings[i],
				    &listing_fops);
	debugfs_create_file("watched", 0400, folder, NULL, &watched_fops);
}

/* No listing is read when this returns. */
void synthjit_debugfs_stop(void)
{
	debugfs_remove(folder);
	folder = NULL;
}

/* Part of a record. Not 0: the record does not fit and is asked for again, in a larger buffer. */
int synthjit_list_write(struct seq_file *m, const char *text, unsigned long len)
{
	return seq_write(m, text, len);
}
