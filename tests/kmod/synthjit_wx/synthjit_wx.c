// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: looks through all of the kernel's page tables for pages that are
 * writable and executable, and for further mappings of a given range.
 *
 * Parameters, written by the test before it reads `scan`:
 *   pgd         address of the kernel's top table (init_top_pgt in /proc/kallsyms)
 *   start, end  the range; 0, 0: none
 *   bait        1: has one writable and executable mapping made, which a scan must find
 * `scan` walks the tables each time it is read and tells what is there at that moment.
 *
 * Tables may change and be freed during the walk. They are read by nofault copies, so the
 * worst that can happen is a page that is reported wrongly.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <asm/special_insns.h>

#define ENTRIES 512
#define MAX_LEVELS 5
#define MAX_PAGES 512

static unsigned long pgd, start, end;
module_param(pgd, ulong, 0600);
module_param(start, ulong, 0600);
module_param(end, ulong, 0600);

static DEFINE_MUTEX(scan_lock);
static unsigned long tables[MAX_LEVELS + 1][ENTRIES];
static unsigned long pfns[MAX_PAGES];
static unsigned int pages;

/* What a mapping allows. */
enum { RO, W, X, WX, KINDS };

static struct {
	unsigned long leaves, wx, first;
	unsigned int own[KINDS], direct[KINDS], other[KINDS];
} seen;

static void leaf(unsigned long addr, unsigned long pfn, unsigned long count, unsigned int kind)
{
	unsigned int i;

	seen.leaves++;
	if (kind == WX && !seen.wx++)
		seen.first = addr;
	for (i = 0; i < pages; i++) {
		unsigned long at = addr + ((pfns[i] - pfn) << PAGE_SHIFT);

		if (pfns[i] < pfn || pfns[i] - pfn >= count)
			continue;
		if (at == start + i * PAGE_SIZE)
			seen.own[kind]++;
		else if (at == (unsigned long)__va(pfns[i] << PAGE_SHIFT))
			seen.direct[kind]++;
		else
			seen.other[kind]++;
	}
}

static void walk(unsigned long table, unsigned int level, unsigned int first, unsigned long base, bool w,
		 bool x)
{
	unsigned int shift = PAGE_SHIFT + 9 * (level - 1), i;
	unsigned long before = 0;

	if (copy_from_kernel_nofault(tables[level], (void *)table, sizeof(tables[level])))
		return;
	for (i = first; i < ENTRIES; i++) {
		unsigned long entry = tables[level][i];
		unsigned long addr = base + ((unsigned long)i << shift);
		bool entry_w = w && (entry & _PAGE_RW), entry_x = x && !(entry & _PAGE_NX);
		unsigned long next;

		if (!(entry & _PAGE_PRESENT))
			continue;
		if (level == 1 || (level <= 3 && (entry & _PAGE_PSE))) {
			unsigned long pfn = (entry & PTE_PFN_MASK) >> PAGE_SHIFT;

			/* In a large entry the lowest bit of the address is the PAT. */
			pfn &= ~((1ul << (shift - PAGE_SHIFT)) - 1);
			leaf(addr, pfn, 1ul << (shift - PAGE_SHIFT), entry_w << 0 | entry_x << 1);
			continue;
		}
		next = (unsigned long)__va(entry & PTE_PFN_MASK);
		/* KASAN maps whole regions by one table. */
		if (next != before)
			walk(next, level - 1, 0, addr, entry_w, entry_x);
		before = next;
		if (level >= 3)
			cond_resched();
	}
}

static void find_pages(void)
{
	unsigned long at;

	pages = 0;
	for (at = start; at < end && pages < MAX_PAGES; at += PAGE_SIZE)
		pfns[pages++] = page_to_pfn(vmalloc_to_page((void *)at));
}

static int get_scan(char *buf, const struct kernel_param *param)
{
	bool five = native_read_cr4() & X86_CR4_LA57;
	unsigned int level = five ? 5 : 4;
	int len;

	if (!pgd)
		return -EINVAL;
	mutex_lock(&scan_lock);
	memset(&seen, 0, sizeof(seen));
	find_pages();
	/* The upper half; its addresses begin with ones. */
	walk(pgd, level, ENTRIES / 2, five ? 0xfe00000000000000ul : 0xffff000000000000ul, true, true);
	len = scnprintf(buf, PAGE_SIZE, "leaves %lu\nwx %lu %#lx\npages %u\n"
			"own ro %u w %u x %u wx %u\ndirect ro %u w %u x %u wx %u\nother ro %u w %u x %u wx %u\n",
			seen.leaves, seen.wx, seen.first, pages,
			seen.own[0], seen.own[1], seen.own[2], seen.own[3],
			seen.direct[0], seen.direct[1], seen.direct[2], seen.direct[3],
			seen.other[0], seen.other[1], seen.other[2], seen.other[3]);
	mutex_unlock(&scan_lock);
	return len;
}

static const struct kernel_param_ops scan_ops = { .get = get_scan };
module_param_cb(scan, &scan_ops, NULL, 0400);

static struct page *bait_page;
static void *bait_map;

static void end_bait(void)
{
	if (bait_map)
		vunmap(bait_map);
	if (bait_page)
		__free_page(bait_page);
	bait_map = NULL;
	bait_page = NULL;
}

static int set_bait(const char *text, const struct kernel_param *param)
{
	unsigned int level;
	pte_t *pte;
	bool on;
	int ret = kstrtobool(text, &on);

	if (ret)
		return ret;
	end_bait();
	if (!on)
		return 0;
	bait_page = alloc_page(GFP_KERNEL);
	bait_map = bait_page ? vmap(&bait_page, 1, VM_MAP, PAGE_KERNEL) : NULL;
	if (!bait_map)
		return -ENOMEM;
	/* vmap() makes nothing executable. Nobody uses the page, so no TLB has the entry. */
	pte = lookup_address((unsigned long)bait_map, &level);
	if (!pte || level != PG_LEVEL_4K)
		return -EIO;
	set_pte(pte, __pte(pte_val(*pte) & ~_PAGE_NX));
	return 0;
}

static const struct kernel_param_ops bait_ops = { .set = set_bait };
module_param_cb(bait, &bait_ops, NULL, 0200);

static int __init wx_init(void)
{
	return 0;
}
module_init(wx_init);

static void __exit wx_exit(void)
{
	end_bait();
}
module_exit(wx_exit);

MODULE_DESCRIPTION("Finds writable and executable kernel mappings; for tests");
MODULE_LICENSE("GPL");
