//! Runs generated code in this very process.
//!
//! Code memory lies near the test's own text, so that distances fit, and is either writable or executable. A trampoline
//! loads all registers and jumps; the code ends at one of two places that store all registers again: user space (`sysret`)
//! or the stock entry. A fault at a copy continues behind it, as an exception entry would have it. On request every
//! instruction is counted by single-stepping, and memory is changed when a given instruction is reached, as another CPU
//! could. An observer, if there is one, is told the way that each run took.
//!
//! All state is global, as it is in a machine; [`Machine::get`] hands it out to one test at a time.

use std::arch::global_asm;
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use synthjit_engine::specs::layout;

global_asm!(
    ".pushsection .data",
    ".balign 8",
    "synthjit_test_in: .fill 17, 8, 0",
    "synthjit_test_out: .fill 16, 8, 0",
    "synthjit_test_sp: .quad 0",
    "synthjit_test_left: .quad 0",
    "synthjit_test_step: .quad 0",
    ".popsection",
    "synthjit_test_run:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + synthjit_test_sp], rsp",
    "cmp qword ptr [rip + synthjit_test_step], 0",
    "je 2f",
    "pushfq",
    "or qword ptr [rsp], 0x100",
    "popfq",
    "2:",
    "mov rax, [rip + synthjit_test_in]",
    "mov rcx, [rip + synthjit_test_in + 8]",
    "mov rdx, [rip + synthjit_test_in + 16]",
    "mov rbx, [rip + synthjit_test_in + 24]",
    "mov rsp, [rip + synthjit_test_in + 32]",
    "mov rbp, [rip + synthjit_test_in + 40]",
    "mov rsi, [rip + synthjit_test_in + 48]",
    "mov rdi, [rip + synthjit_test_in + 56]",
    "mov r8, [rip + synthjit_test_in + 64]",
    "mov r9, [rip + synthjit_test_in + 72]",
    "mov r10, [rip + synthjit_test_in + 80]",
    "mov r11, [rip + synthjit_test_in + 88]",
    "mov r12, [rip + synthjit_test_in + 96]",
    "mov r13, [rip + synthjit_test_in + 104]",
    "mov r14, [rip + synthjit_test_in + 112]",
    "mov r15, [rip + synthjit_test_in + 120]",
    "jmp [rip + synthjit_test_in + 128]",
    "synthjit_test_stock:",
    "mov qword ptr [rip + synthjit_test_left], 1",
    "jmp 3f",
    "synthjit_test_user:",
    "mov qword ptr [rip + synthjit_test_left], 0",
    "3:",
    "mov [rip + synthjit_test_out], rax",
    "mov [rip + synthjit_test_out + 8], rcx",
    "mov [rip + synthjit_test_out + 16], rdx",
    "mov [rip + synthjit_test_out + 24], rbx",
    "mov [rip + synthjit_test_out + 32], rsp",
    "mov [rip + synthjit_test_out + 40], rbp",
    "mov [rip + synthjit_test_out + 48], rsi",
    "mov [rip + synthjit_test_out + 56], rdi",
    "mov [rip + synthjit_test_out + 64], r8",
    "mov [rip + synthjit_test_out + 72], r9",
    "mov [rip + synthjit_test_out + 80], r10",
    "mov [rip + synthjit_test_out + 88], r11",
    "mov [rip + synthjit_test_out + 96], r12",
    "mov [rip + synthjit_test_out + 104], r13",
    "mov [rip + synthjit_test_out + 112], r14",
    "mov [rip + synthjit_test_out + 120], r15",
    "mov rsp, [rip + synthjit_test_sp]",
    "pushfq",
    "and qword ptr [rsp], -0x101",
    "popfq",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
    // The module's thunks: they call Rust, and leave garbage in every register that they may change.
    ".macro synthjit_test_keep register:vararg",
    ".irp r, \\register",
    "push \\r",
    ".endr",
    ".endm",
    ".macro synthjit_test_give register:vararg",
    ".irp r, \\register",
    "pop \\r",
    ".endr",
    ".endm",
    "synthjit_test_tail:",
    "synthjit_test_keep rdx, rbx, rbp, r8, r9, r10, r11, r12, r13, r14, r15",
    "mov rbp, rsp",
    "and rsp, -16",
    "call {on_tail}",
    "mov rsp, rbp",
    "synthjit_test_give r15, r14, r13, r12, r11, r10, r9, r8, rbp, rbx, rdx",
    "mov rax, -0x1111",
    "mov rcx, -0x2222",
    "mov rsi, -0x3333",
    "mov rdi, -0x4444",
    "ret",
    "synthjit_test_miss:",
    "synthjit_test_keep rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15",
    "mov rbp, rsp",
    "and rsp, -16",
    "call {on_miss}",
    "mov rsp, rbp",
    "synthjit_test_give r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax",
    "ret",
    "synthjit_test_bail:",
    "synthjit_test_keep rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15",
    "mov rbp, rsp",
    "and rsp, -16",
    "mov rsi, rax",
    "call {on_bail}",
    "mov rsp, rbp",
    "synthjit_test_give r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax",
    "ret",
    // A copy on behalf of code that is stepped, from and to where the three words at rdi say.
    "synthjit_test_copy:",
    "push rdi",
    "mov rcx, [rdi + 16]",
    "mov rsi, [rdi + 8]",
    "mov rdi, [rdi]",
    "synthjit_test_copy_site:",
    "rep movsb",
    "pop rdx",
    "mov [rdx], rdi",
    "mov [rdx + 8], rsi",
    "mov [rdx + 16], rcx",
    "ret",
    on_tail = sym on_tail,
    on_miss = sym on_miss,
    on_bail = sym on_bail,
);

/// The registers, in the order of their numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Regs {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8_to_r15: [u64; 8],
}

#[repr(C)]
struct Input {
    regs: Regs,
    target: u64,
}

/// A global that assembly writes as well.
#[repr(transparent)]
struct Shared<T>(UnsafeCell<T>);

// SAFETY: only touched by the test that holds the machine.
unsafe impl<T> Sync for Shared<T> {}

unsafe extern "C" {
    static synthjit_test_in: Shared<Input>;
    static synthjit_test_out: Shared<Regs>;
    static synthjit_test_left: Shared<u64>;
    static synthjit_test_step: Shared<u64>;
    fn synthjit_test_run();
    fn synthjit_test_stock();
    fn synthjit_test_user();
    fn synthjit_test_tail();
    fn synthjit_test_miss();
    fn synthjit_test_bail();
    fn synthjit_test_copy(registers: *mut [u64; 3]);
    fn synthjit_test_copy_site();
}

static TAILS: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());
static MISSES: AtomicU64 = AtomicU64::new(0);
static REPORTED: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());
static MUTEX_OFFSET: AtomicU64 = AtomicU64::new(0);
static CODE: AtomicU64 = AtomicU64::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);
static COUNT: AtomicBool = AtomicBool::new(false);
static FAULTS: AtomicU64 = AtomicU64::new(0);
static HOOK_AT: AtomicU64 = AtomicU64::new(0);
static HOOK_ADDRESS: AtomicU64 = AtomicU64::new(0);
static HOOK_VALUE: AtomicU64 = AtomicU64::new(0);

/// Most different instructions that one run passes, one after the other; the longest path has less than half of that.
const WAY: usize = 512;
static WAY_TAKEN: [AtomicU64; WAY] = [const { AtomicU64::new(0) }; WAY];
static WAY_LEN: AtomicUsize = AtomicUsize::new(0);

/// Told after a run: the addresses that were executed in code memory, in order, each followed by where it led if that
/// is elsewhere. A repeated instruction is there once.
pub type Observer = fn(&[u64]);

thread_local!(static OBSERVER: Cell<Option<Observer>> = const { Cell::new(None) });

/// From now on `observer` is told about all runs of this thread.
pub fn observe(observer: Option<Observer>) {
    OBSERVER.set(observer);
}

/// The tail: unlocks if it is told to, as the module's would.
extern "C" fn on_tail(pipe: u64, bits: u64) {
    if bits & 1 != 0 {
        store64(pipe + MUTEX_OFFSET.load(SeqCst), 0);
    }
    TAILS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((pipe, bits));
}

extern "C" fn on_miss() {
    MISSES.fetch_add(1, SeqCst);
}

extern "C" fn on_bail(data: u64, exit: u64) {
    REPORTED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push((data, exit));
}

/// Slots for paths, then for vectors, then for exit routines.
pub const PATHS: usize = 8;
const VECTORS: usize = 8;
const ROUTINES: usize = layout::EXIT_ROUTINES;
const VECTORS_AT: usize = PATHS * layout::PATH_SLOT;
const ROUTINES_AT: usize = VECTORS_AT + VECTORS * layout::VECTOR_SLOT;
const CODE_BYTES: usize = (ROUTINES_AT + ROUTINES * layout::EXIT_ROUTINE).next_multiple_of(4096);

/// A slot of code memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// For a path, by its number.
    Path(usize),
    /// For a vector, by its number.
    Vector(usize),
    /// For the exit routine of a kind of path, by its number.
    Exits(usize),
}

/// The slot that `address` is in, and where it begins.
pub fn slot_of(address: u64) -> Option<(Slot, u64)> {
    let code = CODE.load(SeqCst);
    let offset = usize::try_from(address.checked_sub(code)?).ok()?;
    let (slot, from) = if offset < VECTORS_AT {
        let number = offset / layout::PATH_SLOT;
        (Slot::Path(number), number * layout::PATH_SLOT)
    } else if offset < ROUTINES_AT {
        let number = (offset - VECTORS_AT) / layout::VECTOR_SLOT;
        let from = VECTORS_AT + number * layout::VECTOR_SLOT;
        (Slot::Vector(number), from)
    } else {
        let number = (offset - ROUTINES_AT) / layout::EXIT_ROUTINE;
        (
            Slot::Exits(number),
            ROUTINES_AT + number * layout::EXIT_ROUTINE,
        )
    };
    (offset < CODE_BYTES).then_some((slot, code + from as u64))
}

/// The bytes of the slot that begins at `base`.
pub fn slot_bytes(slot: Slot, base: u64) -> Vec<u8> {
    match slot {
        Slot::Path(_) => bytes(base, layout::PATH_SLOT),
        Slot::Vector(_) => bytes(base, layout::VECTOR_SLOT),
        Slot::Exits(_) => bytes(base, layout::EXIT_ROUTINE),
    }
}

/// How the code was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    User,
    Stock,
}

/// What happened in one run.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub left: Left,
    pub regs: Regs,
    /// Instructions in code memory, if they were counted; a repeated one counts each time.
    pub steps: u64,
    /// What the tail was called with: pipe and bits.
    pub tails: Vec<(u64, u64)>,
    /// Calls of the miss handler.
    pub misses: u64,
    /// What the bail thunk was called with: address of the path's data and number of the exit.
    pub reported: Vec<(u64, u64)>,
    /// Faults at copies.
    pub faults: u64,
}

/// A change of memory that another CPU makes when this one reaches an instruction.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    pub at: u64,
    pub address: u64,
    pub value: u64,
}

/// Places in code memory and what lies behind it.
pub struct Machine {
    code: u64,
    /// 4096 bytes near the code, for counters.
    pub counters: u64,
    /// 4096 bytes below 2 GiB, for what an absolute 32-bit address refers to.
    pub low: u64,
    _alone: MutexGuard<'static, ()>,
}

impl Machine {
    /// The machine, once nobody else uses it.
    pub fn get() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        static PLACES: OnceLock<(u64, u64)> = OnceLock::new();
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, low) = *PLACES.get_or_init(|| {
            install_handlers();
            (
                map_near(CODE_BYTES + 4096),
                map(0, 4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_32BIT),
            )
        });
        signal_stack();
        CODE.store(code, SeqCst);
        Self {
            code,
            counters: code + CODE_BYTES as u64,
            low,
            _alone: alone,
        }
    }

    pub fn path_slot(&self, index: usize) -> u64 {
        assert!(index < PATHS);
        self.code + (index * layout::PATH_SLOT) as u64
    }

    pub fn vector_slot(&self, index: usize) -> u64 {
        assert!(index < VECTORS);
        self.code + (VECTORS_AT + index * layout::VECTOR_SLOT) as u64
    }

    pub fn exit_routine(&self, index: usize) -> u64 {
        assert!(index < ROUTINES);
        self.code + (ROUTINES_AT + index * layout::EXIT_ROUTINE) as u64
    }

    pub fn stock_entry(&self) -> u64 {
        synthjit_test_stock as *const () as u64
    }

    pub fn user_entry(&self) -> u64 {
        synthjit_test_user as *const () as u64
    }

    pub fn tail_thunk(&self) -> u64 {
        synthjit_test_tail as *const () as u64
    }

    pub fn miss_thunk(&self) -> u64 {
        synthjit_test_miss as *const () as u64
    }

    pub fn bail_thunk(&self) -> u64 {
        synthjit_test_bail as *const () as u64
    }

    /// Where the tail finds the mutex in a pipe.
    pub fn set_mutex_offset(&self, offset: u64) {
        MUTEX_OFFSET.store(offset, SeqCst);
    }

    /// Puts code into a slot.
    pub fn install(&self, slot: u64, bytes: &[u8]) {
        protect(self.code, CODE_BYTES, libc::PROT_READ | libc::PROT_WRITE);
        store(slot, bytes);
        protect(self.code, CODE_BYTES, libc::PROT_READ | libc::PROT_EXEC);
    }

    /// Runs code until it leaves.
    pub fn run(&self, target: u64, regs: Regs, count: bool, hook: Option<Hook>) -> Outcome {
        let hook = hook.unwrap_or(Hook {
            at: 0,
            address: 0,
            value: 0,
        });
        HOOK_ADDRESS.store(hook.address, SeqCst);
        HOOK_VALUE.store(hook.value, SeqCst);
        HOOK_AT.store(hook.at, SeqCst);
        STEPS.store(0, SeqCst);
        COUNT.store(count, SeqCst);
        let observer = OBSERVER.get();
        WAY_LEN.store(0, SeqCst);
        FAULTS.store(0, SeqCst);
        MISSES.store(0, SeqCst);
        REPORTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        TAILS.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // SAFETY: this test holds the machine, and the code at `target` is code that ends at one of the two places.
        let (left, regs) = unsafe {
            *synthjit_test_in.0.get() = Input { regs, target };
            *synthjit_test_step.0.get() = u64::from(count || hook.at != 0 || observer.is_some());
            synthjit_test_run();
            (*synthjit_test_left.0.get(), *synthjit_test_out.0.get())
        };
        if let Some(observer) = observer {
            let len = WAY_LEN.load(SeqCst);
            assert!(len < WAY, "a run of more than {WAY} instructions");
            let way: Vec<u64> = WAY_TAKEN[..len].iter().map(|at| at.load(SeqCst)).collect();
            observer(&way);
        }
        Outcome {
            left: if left == 0 { Left::User } else { Left::Stock },
            regs,
            steps: if count { STEPS.load(SeqCst) } else { 0 },
            tails: std::mem::take(&mut TAILS.lock().unwrap_or_else(PoisonError::into_inner)),
            misses: MISSES.load(SeqCst),
            reported: std::mem::take(&mut REPORTED.lock().unwrap_or_else(PoisonError::into_inner)),
            faults: FAULTS.load(SeqCst),
        }
    }
}

fn map(hint: u64, len: usize, protection: i32, flags: i32) -> u64 {
    // SAFETY: a new anonymous mapping harms nobody; the hint is only a hint.
    let place = unsafe {
        libc::mmap(
            hint as *mut libc::c_void,
            len,
            protection,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    assert_ne!(place, libc::MAP_FAILED, "no memory for {len} bytes");
    place as u64
}

/// Memory within reach of the test's own text.
fn map_near(len: usize) -> u64 {
    let text = synthjit_test_run as *const () as u64;
    for distance in 1..16u64 {
        let place = map(
            (text & !4095) + (distance << 26),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            0,
        );
        if place.abs_diff(text) < 1 << 30 {
            return place;
        }
    }
    panic!("no free memory within 1 GiB of {text:#x}");
}

/// Fresh memory of zeros.
pub fn memory(len: usize) -> u64 {
    map(0, len, libc::PROT_READ | libc::PROT_WRITE, 0)
}

/// Forbids or allows access, by `libc::PROT_*`.
pub fn protect(address: u64, len: usize, protection: i32) {
    // SAFETY: only called for memory that this file mapped.
    let result = unsafe { libc::mprotect(address as *mut libc::c_void, len, protection) };
    assert_eq!(result, 0, "mprotect of {address:#x}");
}

pub fn load64(address: u64) -> u64 {
    // SAFETY: tests only pass addresses in memory that this file mapped.
    unsafe { (address as *const u64).read_unaligned() }
}

pub fn load32(address: u64) -> u32 {
    load64(address) as u32
}

pub fn store64(address: u64, value: u64) {
    store(address, &value.to_le_bytes());
}

pub fn store32(address: u64, value: u32) {
    store(address, &value.to_le_bytes());
}

pub fn store(address: u64, bytes: &[u8]) {
    // SAFETY: as for `load64`; the slice cannot overlap that memory, which no reference points to.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) }
}

pub fn bytes(address: u64, len: usize) -> Vec<u8> {
    let mut copy = vec![0; len];
    // SAFETY: as for `store`.
    unsafe { std::ptr::copy_nonoverlapping(address as *const u8, copy.as_mut_ptr(), len) }
    copy
}

/// Signals need a stack of their own: the code's rsp may be any number.
fn signal_stack() {
    thread_local!(static DONE: () = {
        let stack = libc::stack_t { ss_sp: memory(1 << 16) as *mut libc::c_void, ss_flags: 0, ss_size: 1 << 16 };
        // SAFETY: memory of its own that is never freed.
        assert_eq!(unsafe { libc::sigaltstack(&stack, std::ptr::null_mut()) }, 0);
    });
    DONE.with(|()| ());
}

/// What was done about faults before: a fuzzer saves its input then.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

fn install_handlers() {
    // SAFETY: the handlers have the signature that SA_SIGINFO wants, and touch nothing but atomics and the context.
    unsafe {
        for (signal, handler) in [
            (libc::SIGSEGV, on_fault as *const () as usize),
            (libc::SIGTRAP, on_step as *const () as usize),
        ] {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            let mut before: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(signal, &action, &mut before), 0);
            if signal == libc::SIGSEGV {
                let _ = BEFORE.set(before);
            }
        }
    }
}

/// True if `address` is where one of the two copies of a path has to be.
fn is_copy(address: u64) -> bool {
    let offset = address.wrapping_sub(CODE.load(SeqCst));
    let in_slot = (offset % layout::PATH_SLOT as u64) as usize;
    offset < (PATHS * layout::PATH_SLOT) as u64
        && [layout::COPY_SITE_A, layout::COPY_SITE_B].contains(&in_slot)
}

/// What the kernel's exception table does for the two copies of each path; any other fault kills the test.
extern "C" fn on_fault(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes a valid context.
    let rip = unsafe { &mut (*context).uc_mcontext.gregs[libc::REG_RIP as usize] };
    if is_copy(*rip as u64) || *rip as u64 == synthjit_test_copy_site as *const () as u64 {
        FAULTS.fetch_add(1, SeqCst);
        *rip += 2;
    } else {
        let before = BEFORE.get().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: back to what was there before, which ends the test when the instruction faults again.
        unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
    }
}

/// After each instruction while the trap flag is set; rip is the next one.
extern "C" fn on_step(_: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes a valid context.
    let gregs = unsafe { &mut (*context).uc_mcontext.gregs };
    let rip = gregs[libc::REG_RIP as usize] as u64;
    let in_code = |at: u64| at.wrapping_sub(CODE.load(SeqCst)) < CODE_BYTES as u64;
    if in_code(rip) {
        STEPS.fetch_add(1, SeqCst);
    }
    let len = WAY_LEN.load(SeqCst);
    let last = match len {
        0 => 0,
        _ => WAY_TAKEN[len - 1].load(SeqCst),
    };
    if len < WAY && rip != last && (in_code(rip) || in_code(last)) {
        WAY_TAKEN[len].store(rip, SeqCst);
        WAY_LEN.store(len + 1, SeqCst);
    }
    if is_copy(rip) && !COUNT.load(SeqCst) && HOOK_AT.load(SeqCst) == 0 {
        // A trap for each byte would take most of the time.
        let names = [libc::REG_RDI, libc::REG_RSI, libc::REG_RCX].map(|name| name as usize);
        let mut registers = names.map(|name| gregs[name] as u64);
        // SAFETY: the copy that the code would do next, with the same outcome.
        unsafe { synthjit_test_copy(&mut registers) };
        for (name, value) in names.into_iter().zip(registers) {
            gregs[name] = value as i64;
        }
        gregs[libc::REG_RIP as usize] += 2;
    }
    if rip == HOOK_AT.load(SeqCst) {
        HOOK_AT.store(0, SeqCst);
        store64(HOOK_ADDRESS.load(SeqCst), HOOK_VALUE.load(SeqCst));
    }
}
