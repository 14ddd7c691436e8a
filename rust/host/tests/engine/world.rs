//! Fake kernel objects, laid out as the facts say, and user memory.

use synthjit_engine::specs::{layout, Facts, Reason};
use synthjit_engine::target::Target;
use synthjit_engine::template::exits::{self, Entries};
use synthjit_engine::template::memory::Seen;
use synthjit_engine::template::{self, Instance, PathCode, PathData, PathKind};
use synthjit_engine::worth;
use synthjit_engine::x86::masm::Profile;

use crate::facts::{self, Form};
use crate::machine::{
    bytes, load32, load64, memory, protect, store, store32, store64, Hook, Left, Machine, Outcome,
    Regs,
};
use crate::model::{self, Around, Buffer, File, Page, Pipe, Spare, PAGE, POOL};

/// Exits of a path before it reports itself.
const BUDGET: i32 = 100;

/// Number of pages of the fake memory.
pub const PAGES: usize = 16;
/// Accessible bytes of user memory.
pub const USER: usize = 2 * PAGE;
/// The descriptor.
pub const FD: u32 = 4;

const HEAP: usize = 16 * PAGE;
const TASK: u64 = 0;
const FILES: u64 = 0x2000;
const TABLE: u64 = 0x2100;
const ARRAY: u64 = 0x2200;
const FILE: u64 = 0x2800;
const PIPE: u64 = 0x3000;
const FSNOTIFY: u64 = 0x3800;
const CHANGES: u64 = 0x3900;
const RING: u64 = 0x4000;
const STACK: u64 = 0x8000;
const STACK_TOP: u64 = 0xe008;
/// No address of a page.
const STALE: u64 = 0x5a5a_5a5a_5a5a_5a5a;

/// A task with one descriptor on a pipe.
pub struct World {
    pub form: Form,
    pub machine: Machine,
    pub facts: Facts,
    pub target: Target,
    heap: u64,
    frames: u64,
    data: u64,
    /// First byte of accessible user memory; behind its [`USER`] bytes nothing is.
    pub user: u64,
}

/// How a run ended and what it left.
pub struct Ran {
    pub outcome: Outcome,
    pub before: Regs,
    /// The heap without the stack, before and after.
    pub heap: [Vec<u8>; 2],
}

impl World {
    /// One on a kernel of that form.
    pub fn new(form: Form) -> Self {
        let machine = Machine::get();
        let (heap, frames, data) = (memory(HEAP), memory(PAGES * 64), memory(PAGES * PAGE));
        let user = memory(USER + PAGE);
        protect(user + USER as u64, PAGE, libc::PROT_NONE);
        let facts = Facts {
            tss_sp2: machine.low,
            pipe_fsnotify: heap + FSNOTIFY,
            page_bias: data.wrapping_sub(frames << 6),
            ..facts::facts_of(form)
        };
        machine.set_mutex_offset(facts.pipe_mutex_owner);
        let target = Target {
            stock_entry: machine.stock_entry(),
            tail_thunk: machine.tail_thunk(),
            miss_thunk: machine.miss_thunk(),
            bail_thunk: machine.bail_thunk(),
            bailouts_traced: machine.counters + 2560,
            verw_sel: machine.counters + 64,
            ..facts::target()
        };
        Self {
            form,
            machine,
            facts,
            target,
            heap,
            frames,
            data,
            user,
        }
    }

    pub fn profile(&self) -> Profile {
        Profile::Host {
            leave: self.machine.user_entry(),
        }
    }

    pub fn instance(&self) -> Instance {
        Instance {
            fd: FD,
            task: self.heap + TASK,
            kernel_stack: self.heap + STACK_TOP,
            files: self.heap + FILES,
            file_mode: facts::instance().file_mode,
            data: PathData(self.machine.counters),
            memory_changes: self.heap + CHANGES,
            exit: Entries::default(),
        }
    }

    /// Address of the field at this offset of the data of paths.
    pub fn data(&self, offset: u64) -> u64 {
        PathData(self.machine.counters).at(offset)
    }

    /// Exits that are taken until one asks for a look at the memory.
    pub fn left(&self) -> u32 {
        load32(self.data(PathData::MEMORY_LEFT))
    }

    /// Has bail-outs reported, or not.
    pub fn trace_bailouts(&self, on: bool) {
        store32(self.target.bailouts_traced, on.into());
    }

    /// Where vectors count down what is in vain.
    pub fn budget(&self) -> u64 {
        self.machine.counters + 2048
    }

    /// Address of the pipe.
    pub fn pipe(&self) -> u64 {
        self.heap + PIPE
    }

    /// Address of the task.
    pub fn task(&self) -> u64 {
        self.heap + TASK
    }

    /// How often the exits of paths of `kind` were taken, in the order of their numbers.
    pub fn taken(&self, kind: PathKind) -> Vec<u64> {
        let data = PathData(self.machine.counters);
        let exits = kind.exits().all().iter().zip(0u8..);
        exits.map(|(_, number)| load64(data.exit(number))).collect()
    }

    /// Makes a path and puts it into slot 0 or 1, by its kind, and the exit routine of its kind.
    pub fn install(&self, kind: PathKind, instance: &Instance) -> PathCode {
        self.install_for(&self.facts, &self.target, kind, instance)
            .unwrap_or_else(|reason| panic!("{kind:?}: {}", reason.text()))
    }

    /// [`World::install`] for a kernel and a machine.
    pub fn install_for(
        &self,
        facts: &Facts,
        target: &Target,
        kind: PathKind,
        instance: &Instance,
    ) -> Result<PathCode, Reason> {
        let slot = self.machine.path_slot(kind as usize);
        let base = self.machine.exit_routine(kind as usize);
        let mut out = [0; layout::EXIT_ROUTINE];
        let exit = exits::emit_routine(self.profile(), kind, facts, target, base, &mut out)?;
        self.machine.install(base, &out);
        let instance = Instance {
            exit: exit.entries,
            ..*instance
        };
        let mut out = [0; layout::PATH_SLOT];
        let code = template::emit_for(
            self.profile(),
            kind,
            facts,
            &instance,
            target,
            slot,
            &mut out,
        )?;
        self.machine.install(slot, &out);
        Ok(code)
    }

    fn frame(&self, page: usize) -> u64 {
        self.frames + (page * 64) as u64
    }

    /// Puts a pipe and its surroundings into memory.
    pub fn set(&self, pipe: &Pipe, around: &Around) {
        let f = &self.facts;
        store(self.heap, &vec![0x5a; STACK as usize]);
        store32(self.data(PathData::BUDGET), BUDGET as u32);
        store32(self.data(PathData::FAULTS), BUDGET as u32);
        store32(self.data(PathData::FD), FD);
        store64(self.data(PathData::TASK), self.task());
        let (task, file, at) = (self.task(), self.heap + FILE, self.pipe());
        store32(task + f.thread_flags, around.thread_flags);
        store64(task + f.syscall_work, around.syscall_work);
        store32(task + f.pagefault_disabled, 0);
        store64(self.heap + FSNOTIFY, u64::from(around.watched));
        store64(self.heap + FILES + f.files_fdt, self.heap + TABLE);
        store64(self.heap + TABLE + f.fdtable_fd, self.heap + ARRAY);
        store64(
            self.heap + ARRAY + u64::from(FD) * 8,
            if around.file == File::None { 0 } else { file },
        );
        store64(
            file + f.file_f_op,
            f.pipeanon_fops + u64::from(around.file == File::OtherKind),
        );
        store32(
            file + f.file_f_mode,
            self.instance().file_mode ^ u32::from(around.file == File::OtherMode),
        );
        store32(
            file + f.file_f_flags,
            if around.direct {
                f.o_direct as u32 | 1
            } else {
                0x801
            },
        );
        store64(file + f.file_private_data, at);
        self.set_memory(&around.memory);
        self.set_pipe(at, pipe);
    }

    fn set_memory(&self, memory: &model::Memory) {
        const NOW: u32 = 0xffff_fffe;
        store32(self.heap + CHANGES, NOW);
        let seen = Seen::NEVER.looked(
            0,
            match memory.seen {
                model::Seen::Ordinary => Some(NOW),
                model::Seen::Changed => Some(NOW - 2),
                model::Seen::Device => None,
            },
        );
        store64(self.data(PathData::MEMORY_SEEN), seen.word);
        store32(self.data(PathData::MEMORY_LEFT), memory.left);
    }

    fn set_pipe(&self, at: u64, pipe: &Pipe) {
        let f = &self.facts;
        store64(at + f.pipe_mutex_owner, pipe.owner);
        let list = at + f.pipe_rd_wait_head;
        store64(
            list,
            if pipe.readers_wait {
                self.heap + FILE
            } else {
                list
            },
        );
        store32(at + f.pipe_head, pipe.head());
        store32(at + f.pipe_tail, pipe.tail);
        store32(at + f.pipe_max_usage, pipe.max_usage);
        store32(at + f.pipe_ring_size, pipe.ring_size);
        store32(at + f.pipe_readers, pipe.readers);
        self.set_spare(at, &pipe.spare);
        store64(at + f.pipe_fasync_readers, u64::from(pipe.fasync_readers));
        store64(at + f.pipe_fasync_writers, u64::from(pipe.fasync_writers));
        store64(at + f.pipe_bufs, self.heap + RING);
        // Dead buffers keep old contents, without operations.
        for i in 0..u64::from(pipe.ring_size) {
            store64(self.heap + RING + i * f.buf_size + f.buf_ops, 0);
        }
        for (i, buffer) in pipe.buffers.iter().enumerate() {
            let slot = self.ring_slot(pipe, i);
            store64(slot + f.buf_page, self.frame(buffer.page));
            store32(slot + f.buf_offset, buffer.offset);
            store32(slot + f.buf_len, buffer.len);
            store64(
                slot + f.buf_ops,
                f.anon_pipe_buf_ops + u64::from(!buffer.anon),
            );
            store32(slot + f.buf_flags, buffer.flags);
        }
        for (i, page) in pipe.pages.iter().enumerate() {
            store32(self.frame(i) + f.page_refcount, page.references);
            store(self.data + (i * PAGE) as u64, &page.bytes);
        }
    }

    fn set_spare(&self, at: u64, spare: &Spare) {
        let f = &self.facts;
        match spare {
            Spare::Places(places) => {
                for (i, page) in places.iter().enumerate() {
                    let frame = page.map_or(0, |p| self.frame(p));
                    store64(at + f.pipe_tmp_page + 8 * i as u64, frame);
                }
            }
            Spare::Pool(pages) => {
                // What lies behind the last is stale, as pop leaves it.
                for i in 0..POOL {
                    let frame = pages.get(i).map_or(STALE, |p| self.frame(*p));
                    store64(at + f.pipe_pool_pages + 8 * i as u64, frame);
                }
                store32(at + f.pipe_pool_count, pages.len() as u32);
            }
        }
    }

    fn spare_now(&self, at: u64) -> Spare {
        let f = &self.facts;
        let page = |offset: u64| Some(load64(at + offset)).filter(|frame| *frame != 0);
        match self.form {
            Form::Places => Spare::Places([0, 8].map(|o| {
                let frame = page(f.pipe_tmp_page + o);
                frame.map(|frame| self.page_number(frame))
            })),
            Form::Pool => {
                let count = u64::from(load32(at + f.pipe_pool_count));
                let pages = (0..count).filter_map(|i| page(f.pipe_pool_pages + 8 * i));
                Spare::Pool(pages.map(|frame| self.page_number(frame)).collect())
            }
        }
    }

    fn ring_slot(&self, pipe: &Pipe, index: usize) -> u64 {
        let number = pipe.tail.wrapping_add(index as u32) & (pipe.ring_size - 1);
        self.heap + RING + u64::from(number) * self.facts.buf_size
    }

    fn page_number(&self, frame: u64) -> usize {
        ((frame - self.frames) / 64) as usize
    }

    /// Reads the pipe back, in the shape of `like`.
    pub fn pipe_now(&self, like: &Pipe) -> Pipe {
        let (f, at) = (&self.facts, self.pipe());
        let tail = load32(at + f.pipe_tail);
        let filled = load32(at + f.pipe_head).wrapping_sub(tail);
        let mut pipe = Pipe {
            ring_size: load32(at + f.pipe_ring_size),
            max_usage: load32(at + f.pipe_max_usage),
            tail,
            buffers: Vec::new(),
            spare: self.spare_now(at),
            readers: load32(at + f.pipe_readers),
            pages: Vec::new(),
            owner: load64(at + f.pipe_mutex_owner),
            readers_wait: load64(at + f.pipe_rd_wait_head) != at + f.pipe_rd_wait_head,
            fasync_readers: load64(at + f.pipe_fasync_readers) != 0,
            fasync_writers: load64(at + f.pipe_fasync_writers) != 0,
        };
        pipe.buffers = (0..filled as usize)
            .map(|i| {
                let slot = self.ring_slot(&pipe, i);
                Buffer {
                    page: self.page_number(load64(slot + f.buf_page)),
                    offset: load32(slot + f.buf_offset),
                    len: load32(slot + f.buf_len),
                    anon: load64(slot + f.buf_ops) == f.anon_pipe_buf_ops,
                    flags: load32(slot + f.buf_flags),
                }
            })
            .collect();
        pipe.pages = (0..like.pages.len())
            .map(|i| Page {
                bytes: bytes(self.data + (i * PAGE) as u64, PAGE),
                references: load32(self.frame(i) + f.page_refcount),
            })
            .collect();
        pipe
    }

    /// Operations of the ring's buffer at `number`.
    pub fn ring_ops(&self, pipe: &Pipe, number: u32) -> u64 {
        let index = u64::from(number & (pipe.ring_size - 1));
        load64(self.heap + RING + index * self.facts.buf_size + self.facts.buf_ops)
    }

    /// The four accounts of the task: bytes read, bytes written, reads, writes.
    pub fn accounts(&self) -> [u64; 4] {
        let f = &self.facts;
        [f.task_rchar, f.task_wchar, f.task_syscr, f.task_syscw]
            .map(|offset| load64(self.task() + offset))
    }

    /// Faults are handled as usual again.
    pub fn faults_enabled(&self) -> bool {
        load32(self.task() + self.facts.pagefault_disabled) == 0
    }

    /// Exits of paths.
    pub fn bailouts(&self) -> u64 {
        worth::used(BUDGET, load32(self.data(PathData::BUDGET)))
    }

    /// Runs from `entry` a call with these arguments, all other registers at their own values.
    pub fn call(
        &self,
        entry: u64,
        kind: PathKind,
        call: [u64; 3],
        user_flags: u64,
        count: bool,
        hook: Option<Hook>,
    ) -> Ran {
        let [fd, buffer, len] = call;
        let mut before = Regs {
            rax: u64::from(kind.syscall()),
            rcx: 0x5555_0000_1234,
            rdx: len,
            rbx: 0xb0b0_b0b0_0000_0003,
            rsp: 0x7ffc_dead_bee8,
            rbp: 0xb0b0_b0b0_0000_0005,
            rsi: buffer,
            rdi: fd,
            r8_to_r15: [0; 8],
        };
        for (i, reg) in before.r8_to_r15.iter_mut().enumerate() {
            *reg = 0xb0b0_b0b0_0000_0008 + i as u64;
        }
        before.r8_to_r15[3] = user_flags;
        let old = bytes(self.heap, STACK as usize);
        let outcome = self.machine.run(entry, before, count, hook);
        Ran {
            outcome,
            before,
            heap: [old, bytes(self.heap, STACK as usize)],
        }
    }
}

impl Ran {
    /// True if the call bailed out with everything as it was.
    pub fn untouched(&self) -> Result<(), String> {
        if self.outcome.left != Left::Stock {
            return Err(format!("done with result {}", self.outcome.regs.rax as i64));
        }
        if self.outcome.regs != self.before {
            return Err(format!(
                "registers {:x?} instead of {:x?}",
                self.outcome.regs, self.before
            ));
        }
        match self.heap[0]
            .iter()
            .zip(&self.heap[1])
            .position(|(a, b)| a != b)
        {
            None => Ok(()),
            Some(at) => Err(format!("kernel memory changed at {at:#x}")),
        }
    }

    /// True if the call returned to user space with this result and all other registers as they were.
    pub fn returned(&self, result: u64) -> Result<(), String> {
        let expected = Regs {
            rax: result,
            ..self.before
        };
        if self.outcome.left != Left::User {
            return Err("bailed out".into());
        }
        if self.outcome.regs != expected {
            return Err(format!(
                "registers {:x?} instead of {expected:x?}",
                self.outcome.regs
            ));
        }
        Ok(())
    }
}
