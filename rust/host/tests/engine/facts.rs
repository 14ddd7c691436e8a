//! Facts about kernels that do not exist but might: offsets as on a stock 7.3 or 7.2, addresses in the ranges where a kernel
//! has them.

use synthjit_engine::specs::{layout, Facts};
use synthjit_engine::target::Target;
use synthjit_engine::template::exits::Entries;
use synthjit_engine::template::{Instance, PathData};

/// Address at which a path slot of the examples lies.
pub const PATH_BASE: u64 = 0xffff_ffff_c040_0000;
/// Address at which a vector slot of the examples lies.
pub const VECTOR_BASE: u64 = 0xffff_ffff_c043_0000;

/// The forms in which kernels keep a pipe's spare pages, in which they differ for a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A pool, as in 7.3.
    Pool,
    /// Two places, as in 7.2.
    Places,
}

impl Form {
    /// All forms, the newest first.
    pub const ALL: [Self; 2] = [Self::Pool, Self::Places];
}

/// The newest kernel.
pub fn facts() -> Facts {
    facts_of(Form::Pool)
}

/// A kernel of that form.
pub fn facts_of(form: Form) -> Facts {
    let common = common();
    match form {
        Form::Pool => Facts {
            pipe_pool_pages: 0x80,
            pipe_pool_count: 0xc0,
            pipe_pool_keep: 2,
            pipe_fasync_readers: 0xc8,
            pipe_fasync_writers: 0xd0,
            pipe_bufs: 0xd8,
            ..common
        },
        Form::Places => Facts {
            pipe_tmp_page: 0x80,
            pipe_fasync_readers: 0x90,
            pipe_fasync_writers: 0x98,
            pipe_bufs: 0xa0,
            ..common
        },
    }
}

/// A kernel of that form that checks itself: its locks are larger, so are the offsets behind them (as on the debug kernel).
pub fn spacious_facts_of(form: Form) -> Facts {
    let facts = Facts {
        pagefault_disabled: 0x1514,
        files_fdt: 0x58,
        file_f_op: 0x48,
        file_f_mode: 0x40,
        file_f_flags: 0x68,
        file_private_data: 0x58,
        pipe_rd_wait_head: 0xc8,
        pipe_head: 0x128,
        pipe_tail: 0x12c,
        pipe_max_usage: 0x130,
        pipe_ring_size: 0x134,
        pipe_readers: 0x13c,
        pipe_fasync_readers: 0x168,
        pipe_fasync_writers: 0x170,
        pipe_bufs: 0x178,
        task_rchar: 0x11e8,
        task_wchar: 0x11f0,
        task_syscr: 0x11f8,
        task_syscw: 0x1200,
        ..facts_of(form)
    };
    match form {
        Form::Pool => Facts {
            pipe_pool_pages: 0x158,
            pipe_pool_count: 0x198,
            ..facts
        },
        Form::Places => Facts {
            pipe_tmp_page: 0x158,
            ..facts
        },
    }
}

fn common() -> Facts {
    Facts {
        tss_sp2: 0xffff_ffff_8320_601c,
        thread_flags: 0,
        syscall_work: 8,
        exit_work_mask: 0x0048_0bb7,
        sysret_flags_mask: 0x1_0100,
        user_ptr_max: 0x7fff_ffff_f000,
        pagefault_disabled: 0xa10,
        files_fdt: 0x20,
        fdtable_fd: 8,
        file_f_op: 8,
        file_f_mode: 4,
        file_f_flags: 0x28,
        file_private_data: 0x18,
        pipeanon_fops: 0xffff_ffff_8264_2d40,
        anon_pipe_buf_ops: 0xffff_ffff_8264_2e80,
        pipe_fsnotify: 0xffff_8881_0012_3450,
        pipe_mutex_owner: 0,
        pipe_rd_wait_head: 0x20 + 8,
        pipe_head: 0x50,
        pipe_tail: 0x54,
        pipe_max_usage: 0x58,
        pipe_ring_size: 0x5c,
        pipe_readers: 0x64,
        buf_size: 40,
        buf_page: 0,
        buf_offset: 8,
        buf_len: 12,
        buf_ops: 16,
        buf_flags: 24,
        page_size: 4096,
        page_bias: 0xffff_8880_0000_0000_u64.wrapping_sub(0xffff_ea00_0000_0000 << 6),
        struct_page_shift: 6,
        page_refcount: 0x34,
        o_direct: 0o40000,
        buf_can_merge: 0x10,
        buf_packet_or_whole: 0x28,
        task_wchar: 0xc88,
        task_syscw: 0xc98,
        task_rchar: 0xc80,
        task_syscr: 0xc90,
        mm_lock_seq: 0x168,
        ..Facts::default()
    }
}

/// The machine: a recent CPU without weaknesses.
pub fn target() -> Target {
    Target {
        smap: true,
        erms: true,
        stock_entry: 0xffff_ffff_8200_0080,
        tail_thunk: 0xffff_ffff_c03f_0000,
        miss_thunk: 0xffff_ffff_c03f_0100,
        bail_thunk: 0xffff_ffff_c03f_0200,
        bailouts_traced: 0xffff_ffff_c03f_0300,
        verw_sel: 0xffff_ffff_8200_0f00,
        ..Target::default()
    }
}

/// One bit for each switch of the machine.
pub const SWITCHES: u32 = Target::SWITCHES.len() as u32;

/// The machine with its switches in these positions, the first in the lowest bit.
pub fn target_with(switches: u32) -> Target {
    let mut target = target();
    for (bit, at) in Target::SWITCHES.iter().enumerate() {
        target.set(*at, u64::from(switches >> bit & 1));
    }
    target
}

/// The process and its descriptor.
pub fn instance() -> Instance {
    Instance {
        fd: 4,
        task: 0xffff_8881_0200_0040,
        kernel_stack: 0xffff_c900_0012_ff58,
        files: 0xffff_8881_0300_0000,
        file_mode: 0x0c26_0002,
        data: DATA,
        memory_changes: CHANGES,
        exit: EXITS,
    }
}

/// What an address in the examples is called.
pub fn symbol(address: u64) -> Option<&'static str> {
    let (facts, target, instance) = (facts(), target(), instance());
    let of_machine = Target::NAMES.iter().enumerate();
    let of_machine = of_machine
        .filter(|(at, _)| !Target::SWITCHES.contains(at) && target.get(*at) != 0)
        .map(|(at, name)| (target.get(at), *name));
    let others = [
        (CHANGES, "mm_lock_seq"),
        (DATA.at(PathData::MEMORY_SEEN), "memory_seen"),
        (DATA.at(PathData::MEMORY_SEEN) + 4, "memory_seen+4"),
        (DATA.at(PathData::HITS), "hits"),
        (EXITS.entered, "entered"),
        (EXITS.held, "held"),
        (BUDGET, "budget"),
        (instance.task, "task"),
        (instance.kernel_stack, "kernel_stack"),
        (instance.files + facts.files_fdt, "files.fdt"),
        (facts.tss_sp2, "tss_sp2"),
        (facts.pipeanon_fops, "pipeanon_fops"),
        (facts.anon_pipe_buf_ops, "anon_pipe_buf_ops"),
        (facts.pipe_fsnotify, "pipe_fsnotify"),
    ];
    of_machine
        .chain(others)
        .find(|(a, _)| *a == address)
        .map(|(_, name)| name)
}

/// Where the examples have the number of changes of the address space.
const CHANGES: u64 = 0xffff_8881_0400_0168;

/// Where the examples' vectors count down what is in vain.
pub const BUDGET: u64 = 0xffff_ffff_c044_0080;

/// The data of the examples' paths.
pub const DATA: PathData = PathData(0xffff_ffff_c044_0100);

/// Where the exit routine of the examples' paths begins: behind their slot.
pub const EXIT: u64 = PATH_BASE + layout::PATH_SLOT as u64;

/// Where it might be entered.
pub const EXITS: Entries = Entries {
    entered: EXIT,
    held: EXIT + 100,
};
