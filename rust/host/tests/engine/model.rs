//! A model of the pipe, written for the tests: what the stock calls do, and which calls a path must do itself.

use crate::facts::Form;

/// Bytes of a page.
pub const PAGE: usize = 4096;
/// `PIPE_BUF_FLAG_CAN_MERGE`.
pub const CAN_MERGE: u32 = 0x10;
/// `PIPE_BUF_FLAG_PACKET`.
pub const PACKET: u32 = 0x08;
/// `PIPE_BUF_FLAG_WHOLE`.
pub const WHOLE: u32 = 0x20;

/// One filled buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Number of its page.
    pub page: usize,
    pub offset: u32,
    pub len: u32,
    /// Filled by `write`, not spliced in.
    pub anon: bool,
    pub flags: u32,
}

/// A page of the fake memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Page {
    pub bytes: Vec<u8>,
    pub references: u32,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sum = self.bytes.iter().fold(0u32, |sum, &b| {
            sum.wrapping_mul(31).wrapping_add(u32::from(b))
        });
        write!(f, "Page({} references, sum {sum:#x})", self.references)
    }
}

/// Numbers of the pages that a pipe keeps for its next writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spare {
    /// As before 7.3.
    Places([Option<usize>; 2]),
    /// From 7.3 on, the last that came at the end.
    Pool(Vec<usize>),
}

/// `PIPE_PREALLOC_MAX`.
pub const POOL: usize = 8;
/// `PIPE_PREALLOC_KEEP`.
pub const KEEP: usize = 2;

impl Spare {
    /// These pages, at most two, in the pipe of a kernel of that form.
    pub fn of(form: Form, pages: &[usize]) -> Self {
        match form {
            Form::Pool => Self::Pool(pages.to_vec()),
            Form::Places => Self::Places([pages.first().copied(), pages.get(1).copied()]),
        }
    }

    /// The page of a new buffer, if there is one.
    fn take(&mut self) -> Option<usize> {
        match self {
            Self::Places(places) => places[0].take(),
            Self::Pool(pages) => pages.pop(),
        }
    }

    /// The stock read would keep the page of an emptied buffer.
    fn has_room(&self) -> bool {
        match self {
            Self::Places(places) => places.iter().any(Option::is_none),
            Self::Pool(pages) => pages.len() < KEEP,
        }
    }

    fn keep(&mut self, page: usize) {
        match self {
            Self::Places(places) => {
                let place = places.iter_mut().find(|place| place.is_none());
                *place.expect("a free place") = Some(page);
            }
            Self::Pool(pages) => pages.push(page),
        }
    }
}

/// A pipe and the pages it may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipe {
    pub ring_size: u32,
    pub max_usage: u32,
    pub tail: u32,
    /// The filled buffers from tail to head.
    pub buffers: Vec<Buffer>,
    pub spare: Spare,
    pub readers: u32,
    pub pages: Vec<Page>,
    /// The mutex's owner word.
    pub owner: u64,
    pub readers_wait: bool,
    pub fasync_readers: bool,
    pub fasync_writers: bool,
}

impl Pipe {
    pub fn head(&self) -> u32 {
        self.tail.wrapping_add(self.buffers.len() as u32)
    }
}

/// The rest of what a path looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Around {
    pub thread_flags: u32,
    pub syscall_work: u64,
    pub user_flags: u64,
    /// A mark was once put on something in pipefs.
    pub watched: bool,
    /// What the descriptor leads to: nothing, another kind of file, the right one.
    pub file: File,
    pub direct: bool,
    pub memory: Memory,
}

/// What was seen of the process's memory, and what it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub seen: Seen,
    /// So many long calls bail out until one asks for a look.
    pub left: u32,
}

/// What a path finds when it compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All of it is ordinary.
    Ordinary,
    /// It was, before mappings changed.
    Changed,
    /// Some is a device's.
    Device,
}

/// What a descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    None,
    OtherKind,
    OtherMode,
    Right,
}

impl Around {
    /// Nothing that concerns a path.
    pub fn quiet() -> Self {
        Self {
            thread_flags: 0,
            syscall_work: 0,
            user_flags: 0x246,
            watched: false,
            file: File::Right,
            direct: false,
            memory: Memory {
                seen: Seen::Ordinary,
                left: 1,
            },
        }
    }

    /// True if a path comes to look at the memory for a call of that count, and does not find it ordinary.
    pub fn minds_memory(&self, pipe: &Pipe, writes: bool, count: u64, limits: Limits) -> bool {
        let sigio = if writes {
            pipe.fasync_readers
        } else {
            pipe.fasync_writers
        };
        self.allows(writes, limits.exit_work)
            && !sigio
            && count > limits.short
            && count <= limits.count
            && self.memory.seen != Seen::Ordinary
    }

    /// True if a path finds that the descriptor is not what it was; exit work and user flags come first.
    pub fn shows_another_object(&self, exit_work: u32) -> bool {
        self.thread_flags & exit_work == 0
            && self.user_flags & 0x1_0100 == 0
            && self.file != File::Right
    }

    /// True if a path may go on.
    fn allows(&self, writes: bool, exit_work: u32) -> bool {
        self.thread_flags & exit_work == 0
            && self.syscall_work == 0
            && self.user_flags & 0x1_0100 == 0
            && !self.watched
            && self.file == File::Right
            && !(writes && self.direct)
    }
}

/// What a path must do with a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Must {
    /// Nothing: bail out.
    BailOut,
    /// All: the pipe afterwards and the result. For `read` also what the user got.
    Do {
        pipe: Pipe,
        result: u64,
        data: Vec<u8>,
    },
}

/// Largest count that is copied, and largest that is copied from or to any memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub count: u64,
    pub short: u64,
    pub exit_work: u32,
}

/// What the path for `write` must do with `count` bytes; `data` is the user's buffer as far as it is accessible.
pub fn write(pipe: &Pipe, around: &Around, count: u64, data: &[u8], limits: Limits) -> Must {
    let len = count as usize;
    let busy = pipe.owner != 0 || pipe.readers_wait || pipe.fasync_readers || pipe.readers == 0;
    if !around.allows(true, limits.exit_work)
        || busy
        || !(1..=limits.count).contains(&count)
        || around.minds_memory(pipe, true, count, limits)
        || data.len() < len
    {
        return Must::BailOut;
    }
    let mut after = pipe.clone();
    match after.buffers.last_mut() {
        None => {
            let Some(page) = after.spare.take() else {
                return Must::BailOut;
            };
            after.pages[page].bytes[..len].copy_from_slice(&data[..len]);
            after.buffers.push(Buffer {
                page,
                offset: 0,
                len: count as u32,
                anon: true,
                flags: CAN_MERGE,
            });
        }
        Some(last) => {
            let end = (last.offset + last.len) as usize;
            if !last.anon || last.flags & CAN_MERGE == 0 || end + len > PAGE {
                return Must::BailOut;
            }
            after.pages[last.page].bytes[end..end + len].copy_from_slice(&data[..len]);
            last.len += count as u32;
        }
    }
    Must::Do {
        pipe: after,
        result: count,
        data: Vec::new(),
    }
}

/// What the path for `read` must do with `count` bytes, if `room` bytes of the user's buffer are accessible.
pub fn read(pipe: &Pipe, around: &Around, count: u64, room: usize, limits: Limits) -> Must {
    let busy = pipe.owner != 0 || pipe.fasync_writers;
    if !around.allows(false, limits.exit_work)
        || busy
        || !(1..=limits.count).contains(&count)
        || around.minds_memory(pipe, false, count, limits)
    {
        return Must::BailOut;
    }
    let Some(first) = pipe.buffers.first() else {
        return Must::BailOut;
    };
    if !first.anon || first.flags & (PACKET | WHOLE) != 0 || first.len == 0 {
        return Must::BailOut;
    }
    let len = count.min(u64::from(first.len)) as usize;
    let all = len == first.len as usize;
    let more_behind = count > u64::from(first.len) && pipe.buffers.len() > 1;
    let full = pipe.buffers.len() as u32 >= pipe.max_usage;
    let page = first.page;
    if room < len
        || more_behind
        || all && (full || pipe.pages[page].references != 1 || !pipe.spare.has_room())
    {
        return Must::BailOut;
    }
    let start = first.offset as usize;
    let data = pipe.pages[page].bytes[start..start + len].to_vec();
    let mut after = pipe.clone();
    if all {
        after.buffers.remove(0);
        after.tail = after.tail.wrapping_add(1);
        after.spare.keep(page);
    } else {
        after.buffers[0].offset += len as u32;
        after.buffers[0].len -= len as u32;
    }
    Must::Do {
        pipe: after,
        result: len as u64,
        data,
    }
}
