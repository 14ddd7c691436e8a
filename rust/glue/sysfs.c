// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/synthjit: directories and files. What they say is Rust's. Each holds one
 * value, which fits a page; what may be longer is a listing (debugfs.c).
 *
 * A directory knows the process and descriptor that it speaks of by number, never
 * by pointer: Rust looks them up under its lock, so a file may be read while its
 * subject goes away. Removing a directory waits for reads of its files
 * (fs/kernfs), hence it is put on a list, which is worked off where no lock that
 * dir_file_show() and dir_file_store() take is held.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/kobject.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "glue.h"

struct synthjit_dir {
	struct kobject kobj;
	struct synthjit_dir *sub;	/* fds, of a process */
	struct list_head node;		/* doomed */
	int tgid;
	u32 fd, is_read;
	bool is_path;
};

struct dir_file {
	struct attribute attr;
	u32 id;
};

#define ATTR(_name, _mode, _id) \
	static struct dir_file attr_##_name = { \
		.attr = { .name = __stringify(_name), .mode = _mode }, .id = SYNTHJIT_ATTR_##_id }

ATTR(enabled, 0644, ENABLED);
ATTR(attach, 0200, ATTACH);
ATTR(detach, 0200, DETACH);
ATTR(trap_vector, 0444, TRAP_VECTOR);
ATTR(state, 0444, PROC_STATE);
ATTR(spec, 0444, FD_SPEC);
ATTR(size, 0444, FD_SIZE);
ATTR(hits, 0444, FD_HITS);
ATTR(bailouts, 0444, FD_BAILOUTS);
static struct dir_file attr_process_enabled = {
	.attr = { .name = "enabled", .mode = 0644 }, .id = SYNTHJIT_ATTR_PROC_ENABLED };

static struct attribute *root_attrs[] = {
	&attr_enabled.attr, &attr_attach.attr, &attr_detach.attr, NULL };
static struct attribute *platform_attrs[] = { &attr_trap_vector.attr, NULL };
static struct attribute *process_attrs[] = { &attr_process_enabled.attr, &attr_state.attr, NULL };
static struct attribute *path_attrs[] = {
	&attr_spec.attr, &attr_size.attr, &attr_hits.attr, &attr_bailouts.attr, NULL };

static struct synthjit_dir *to_dir(struct kobject *kobj)
{
	return container_of(kobj, struct synthjit_dir, kobj);
}

static ssize_t dir_file_show(struct kobject *kobj, struct attribute *attr, char *buf)
{
	struct synthjit_dir *dir = to_dir(kobj);
	u32 id = container_of(attr, struct dir_file, attr)->id;
	/* sysfs warns of a length of PAGE_SIZE (sysfs_kf_seq_show(), fs/sysfs/file.c). */
	ssize_t len = synthjit_rs_show(id, dir->tgid, dir->fd, dir->is_read, buf, PAGE_SIZE - 1);

	if (len == -EFBIG)
		pr_err_once("BUG: the value of %s does not fit a page\n", attr->name);
	return len;
}

static ssize_t dir_file_store(struct kobject *kobj, struct attribute *attr, const char *buf, size_t size)
{
	struct synthjit_dir *dir = to_dir(kobj);
	u32 id = container_of(attr, struct dir_file, attr)->id;

	/* Rights were checked when the file was opened, maybe by somebody else. */
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;

	return synthjit_rs_store(id, dir->tgid, buf, size);
}

/*
 * Code and what was baked into it hold addresses of kernel objects, so whoever reads
 * them must be allowed to know such: by capability when the file was opened and now, by kernel.kptr_restrict, whose
 * value modules can ask for only by printing, and by lockdown.
 */
bool synthjit_may_see_addresses(struct file *file)
{
	char text[20];
	int len = scnprintf(text, sizeof(text), "%pK", file);

	return file_ns_capable(file, &init_user_ns, CAP_SYSLOG) && capable(CAP_SYSLOG) &&
	       strspn(text, "0") != len && !security_locked_down(LOCKDOWN_KCORE);
}

static ssize_t dir_read_code(struct file *file, struct kobject *kobj,
			     const struct bin_attribute *attr, char *buf, loff_t offset, size_t size)
{
	struct synthjit_dir *dir = to_dir(kobj);

	if (!synthjit_may_see_addresses(file))
		return -EPERM;
	return synthjit_rs_code(dir->tgid, dir->fd, dir->is_read, buf, size, offset);
}

static const struct bin_attribute attr_code = {
	.attr = { .name = "code", .mode = 0400 },
	.read = dir_read_code,
};

static const struct sysfs_ops dir_ops = { .show = dir_file_show, .store = dir_file_store };

static void dir_release(struct kobject *kobj)
{
	kfree(to_dir(kobj));
}

static const struct kobj_type dir_type = { .release = dir_release, .sysfs_ops = &dir_ops };

static const struct synthjit_dir no_subject;
static struct synthjit_dir *root, *platform, *kinds, *stats, *processes;
static struct dir_file *stat_files, *kind_files;

static struct synthjit_dir *dir_new(struct kobject *parent, struct attribute **attrs,
				    const struct synthjit_dir *about, const char *name)
{
	struct synthjit_dir *dir = kmemdup(about, sizeof(*about), GFP_KERNEL);

	if (!dir)
		return NULL;
	if (kobject_init_and_add(&dir->kobj, &dir_type, parent, "%s", name) ||
	    (attrs && sysfs_create_files(&dir->kobj, (const struct attribute *const *)attrs)) ||
	    (dir->is_path && sysfs_create_bin_file(&dir->kobj, &attr_code))) {
		kobject_put(&dir->kobj);
		return NULL;
	}
	return dir;
}

static void dir_destroy(struct synthjit_dir *dir)
{
	if (!dir)
		return;
	dir_destroy(dir->sub);
	kobject_del(&dir->kobj);
	kobject_put(&dir->kobj);
}

/* Directories to be removed. Under doomed_lock. */
static LIST_HEAD(doomed);
static DEFINE_SPINLOCK(doomed_lock);

/* Task context; may be called under Rust's locks. The directory goes with the next synthjit_sysfs_remove_now(). */
void synthjit_sysfs_remove(struct synthjit_dir *dir)
{
	spin_lock(&doomed_lock);
	list_add_tail(&dir->node, &doomed);
	spin_unlock(&doomed_lock);
	synthjit_tidy_soon();
}

/* Process context, holding no lock that dir_file_show() and dir_file_store() take: waits for them. */
void synthjit_sysfs_remove_now(void)
{
	struct synthjit_dir *dir, *next;
	LIST_HEAD(now);

	might_sleep();
	spin_lock(&doomed_lock);
	list_splice_init(&doomed, &now);
	spin_unlock(&doomed_lock);
	list_for_each_entry_safe(dir, next, &now, node)
		dir_destroy(dir);
}

/* NULL: no memory. */
struct synthjit_dir *synthjit_sysfs_add_process(int tgid)
{
	struct synthjit_dir about = { .tgid = tgid };
	struct synthjit_dir *dir;
	char name[16];

	snprintf(name, sizeof(name), "%d", tgid);
	dir = dir_new(&processes->kobj, process_attrs, &about, name);
	if (!dir)
		return NULL;
	dir->sub = dir_new(&dir->kobj, NULL, &about, "fds");
	if (!dir->sub) {
		dir_destroy(dir);
		return NULL;
	}
	return dir;
}

/*
 * The directory of the same descriptor and call, if it is about to go: it shows whichever
 * path there is now. So the files of a path that is recompiled are never missing.
 */
static struct synthjit_dir *dir_take_doomed(struct synthjit_dir *fds, u32 fd, u32 is_read)
{
	struct synthjit_dir *dir;

	guard(spinlock)(&doomed_lock);
	list_for_each_entry(dir, &doomed, node) {
		if (dir->kobj.parent == &fds->kobj && dir->fd == fd && dir->is_read == is_read) {
			list_del(&dir->node);
			return dir;
		}
	}
	return NULL;
}

/* NULL: no memory. */
struct synthjit_dir *synthjit_sysfs_add_path(struct synthjit_dir *process, int tgid, synthjit_u32 fd,
					     synthjit_u32 is_read)
{
	struct synthjit_dir about = { .tgid = tgid, .fd = fd, .is_read = is_read, .is_path = true };
	struct synthjit_dir *dir = dir_take_doomed(process->sub, fd, is_read);
	char name[24];

	if (dir)
		return dir;
	snprintf(name, sizeof(name), "%u.%s", fd, is_read ? "read" : "write");
	return dir_new(&process->sub->kobj, path_attrs, &about, name);
}

/* A file for each of the names. NULL: no memory. The caller frees them after the directory is gone. */
static struct dir_file *dir_add_files(struct synthjit_dir *dir, const char *const *names, u32 first_id)
{
	struct dir_file *files;
	unsigned int n = 0, i;

	while (names[n])
		n++;
	files = kcalloc(n, sizeof(*files), GFP_KERNEL);
	for (i = 0; files && i < n; i++) {
		files[i].attr.name = names[i];
		files[i].attr.mode = 0444;
		files[i].id = first_id + i;
		sysfs_attr_init(&files[i].attr);
		if (sysfs_create_file(&dir->kobj, &files[i].attr))
			break;
	}
	if (files && i == n)
		return files;
	/* Some may be there. */
	while (files && i--)
		sysfs_remove_file(&dir->kobj, &files[i].attr);
	kfree(files);
	return NULL;
}

/* Files are usable as soon as they exist, so this comes last at load. */
int synthjit_sysfs_start(void)
{
	root = dir_new(kernel_kobj, NULL, &no_subject, "synthjit");
	if (!root)
		return -ENOMEM;
	platform = dir_new(&root->kobj, platform_attrs, &no_subject, "platform");
	stats = dir_new(&root->kobj, NULL, &no_subject, "stats");
	processes = dir_new(&root->kobj, NULL, &no_subject, "processes");
	if (platform)
		kinds = dir_new(&platform->kobj, NULL, &no_subject, "paths");
	if (stats)
		stat_files = dir_add_files(stats, synthjit_rs_stat_names, SYNTHJIT_ATTR_STAT);
	if (kinds)
		kind_files = dir_add_files(kinds, synthjit_rs_kind_names, SYNTHJIT_ATTR_KIND);
	if (!processes || !stat_files || !kind_files ||
	    sysfs_create_files(&root->kobj, (const struct attribute *const *)root_attrs)) {
		synthjit_sysfs_stop();
		return -ENOMEM;
	}
	return 0;
}

/* No attach or detach is running, and none can come, when this returns. */
void synthjit_sysfs_close(void)
{
	if (root)
		sysfs_remove_files(&root->kobj, (const struct attribute *const *)root_attrs);
}

/* After the last process directory is gone. */
void synthjit_sysfs_stop(void)
{
	synthjit_sysfs_close();
	dir_destroy(processes);
	dir_destroy(stats);
	dir_destroy(kinds);
	dir_destroy(platform);
	dir_destroy(root);
	processes = stats = kinds = platform = root = NULL;
	kfree(stat_files);
	kfree(kind_files);
	stat_files = kind_files = NULL;
}
