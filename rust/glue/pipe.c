// SPDX-License-Identifier: GPL-2.0
/*
 * What a path cannot do inline: look at the process at synthesis, and finish after
 * the commit point when somebody came in between.
 */
#include <linux/compat.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/irq_work.h>
#include <linux/nospec.h>
#include <linux/pipe_fs_i.h>
#include <linux/poll.h>
#include <linux/resume_user_mode.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/irq-entry-common.h>

#include "glue.h"

/* Process context. */
void synthjit_view_current(struct synthjit_view *view)
{
	*view = (struct synthjit_view) {
		.files_count = current->files ? atomic_read(&current->files->count) : 0,
		.threads = get_nr_threads(current),
		.compat = !user_64bit_mode(task_pt_regs(current)),
		.task = (unsigned long)current,
		.kernel_stack = (unsigned long)task_pt_regs(current),
		.files = (unsigned long)current->files,
		.mm = (unsigned long)current->mm,
		.ran_ns = READ_ONCE(current->se.sum_exec_runtime),
	};
}

/* Process context. A descriptor that is not open gives f_op 0. */
void synthjit_view_fd(synthjit_u32 fd, struct synthjit_fd_view *view)
{
	struct file *file = NULL;
	struct fdtable *table;

	*view = (struct synthjit_fd_view) {};
	/* A look, no reference: struct file is never another type (SLAB_TYPESAFE_BY_RCU). */
	rcu_read_lock();
	table = current->files ? rcu_dereference_raw(current->files->fdt) : NULL;
	if (table && fd < table->max_fds)
		file = rcu_dereference_raw(table->fd[array_index_nospec(fd, table->max_fds)]);
	if (file) {
		view->f_op = (unsigned long)READ_ONCE(file->f_op);
		view->ino = file_inode(file)->i_ino;
		view->f_mode = (__force u32)READ_ONCE(file->f_mode);
	}
	rcu_read_unlock();
}

/* Nothing to do: the interrupt itself is what is wanted, for the exit work behind it. */
static void exit_kick_raised(struct irq_work *work)
{
}

static DEFINE_PER_CPU(struct irq_work, exit_kick) = IRQ_WORK_INIT_HARD(exit_kick_raised);

/*
 * The rest of anon_pipe_write() or anon_pipe_read() (fs/pipe.c) behind the commit
 * point. What it wakes may need the exit work that SYSRET skips: then a self-IPI,
 * taken as soon as the process is back in user space, has the stock interrupt exit
 * do it. Interrupts off.
 */
static void pipe_finish(struct pipe_inode_info *pipe, u32 bits)
{
	lockdep_assert_irqs_disabled();
	if (bits & SYNTHJIT_TAIL_UNLOCK) {
		/* Lockdep has not seen the path take it, which never waits for it: a trylock. */
		mutex_acquire(&pipe->mutex.dep_map, 0, 1, _THIS_IP_);
		mutex_unlock(&pipe->mutex);
	}
	if (!(bits & SYNTHJIT_TAIL_ONLY_UNLOCK)) {
		if (bits & SYNTHJIT_TAIL_WRITE) {
			wake_up_interruptible_sync_poll(&pipe->rd_wait, EPOLLIN | EPOLLRDNORM);
			kill_fasync(&pipe->fasync_readers, SIGIO, POLL_IN);
		} else {
			kill_fasync(&pipe->fasync_writers, SIGIO, POLL_OUT);
		}
	}
	if (read_thread_flags() & synthjit_exit_work)
		irq_work_queue(this_cpu_ptr(&exit_kick));
}

/* Called by the tail thunk with interrupts off. */
asmlinkage void synthjit_tail(struct pipe_inode_info *pipe, u32 bits);
asmlinkage noinstr void synthjit_tail(struct pipe_inode_info *pipe, u32 bits)
{
	synthjit_thunk_enter();
	pipe_finish(pipe, bits);
	synthjit_thunk_leave();
}

/* No tail runs any more; waits for the last self-IPI. */
void synthjit_tail_stop(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		irq_work_sync(per_cpu_ptr(&exit_kick, cpu));
}
