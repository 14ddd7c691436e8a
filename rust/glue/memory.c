// SPDX-License-Identifier: GPL-2.0
/*
 * Whether a process's memory is such that a page of it can be copied with interrupts off.
 *
 * Memory of a device is not: each access goes out to it and may take a microsecond.
 * Only mappings lead there, and each change of one moves mm->mm_lock_seq
 * (include/linux/mmap_lock.h), which paths compare before a long copy.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/sched.h>

#include "glue.h"

/* Of the vDSO, of its data and of uprobes: RAM all of it, though marked like devices (mm/mmap.c). */
static const struct vm_operations_struct *special_mapping_ops;

/* -ENOENT: the symbol is missing. */
int synthjit_memory_start(void)
{
	special_mapping_ops = (void *)synthjit_symbol("special_mapping_vmops");
	return special_mapping_ops ? 0 : -ENOENT;
}

/*
 * All pages are RAM and cached. Without the three flags each page has a struct page and
 * is mapped by vm_page_prot (mm/memory.c, vm_normal_page). The file system of a DAX file
 * is a device.
 */
static bool vma_is_ordinary(const struct vm_area_struct *vma)
{
	if (vma->vm_ops == special_mapping_ops)
		return true;
	return !(vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP)) &&
	       !(pgprot_val(vma->vm_page_prot) & _PAGE_CACHE_MASK) && !vma_is_dax(vma);
}

/* The lock of @mm's mappings is held. */
static bool mm_all_ordinary(struct mm_struct *mm, int most)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;

	mmap_assert_locked(mm);
	/* Another user could change mappings while a path of this one copies. */
	if (atomic_read(&mm->mm_users) != 1 || mm->map_count > most)
		return false;
	for_each_vma(vmi, vma)
		if (!vma_is_ordinary(vma))
			return false;
	return true;
}

/*
 * Boolean: all memory of the current process is ordinary, as long as its mm_lock_seq is
 * @changes. One with more than @most mappings is not looked at, and nobody is waited for.
 * Process context.
 */
synthjit_u32 synthjit_memory_look(synthjit_u32 most, synthjit_u32 *changes)
{
	struct mm_struct *mm = current->mm;
	bool ordinary;

	if (!mm || !mmap_read_trylock(mm))
		return false;
	ordinary = mm_all_ordinary(mm, most);
	/* Stands still while the lock is held. */
	*changes = mm->mm_lock_seq.sequence;
	mmap_read_unlock(mm);
	return ordinary;
}

/* By the process whose path is in @slot. */
void synthjit_memory_note(synthjit_u32 slot, synthjit_u64 seen, synthjit_u32 left)
{
	if (slot >= SYNTHJIT_PATH_SLOTS)
		return;
	WRITE_ONCE(synthjit_data_of_paths[slot].memory_seen, seen);
	WRITE_ONCE(synthjit_data_of_paths[slot].memory_left, left);
}

/* Boolean: the path in @slot has asked for a look. */
synthjit_u32 synthjit_memory_asked(synthjit_u32 slot)
{
	return slot < SYNTHJIT_PATH_SLOTS && !READ_ONCE(synthjit_data_of_paths[slot].memory_left);
}
