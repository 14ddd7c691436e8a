//! For a module whose paths fault when they are told to (`qemu/module-faults`): what a fault in generated code does to the
//! process, to others and to the module.

use crate::proc::{self, poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{echo, noise, Lab, Res, Stop, SOON};
use crate::tests::support::looper::Looper;
use crate::{area, ensure, same};
use nix::errno::Errno;

// In this order the boots of qemu/boots.toml expect their oopses.
area!("recover":
    invalid_opcode_in_write, protection_in_write, page_fault_in_read, while_others_are_attached, dies_with_the_mutex,
    dies_alone_with_the_mutex,     panics_if_told_to, breakpoint_panics,
);

/// The counts that fault, `rust/engine/x86/forced.rs`.
pub const COUNTS: [usize; 5] = [
    INVALID_OPCODE,
    BREAKPOINT,
    PROTECTION,
    PAGE_FAULT,
    WITH_MUTEX,
];
const INVALID_OPCODE: usize = 4001;
const BREAKPOINT: usize = 4002;
const PROTECTION: usize = 4003;
const PAGE_FAULT: usize = 4004;
const WITH_MUTEX: usize = 4005;
/// How the module's refusal begins.
const REASON: &str = "a fault in generated code";

/// A process that is about to call with a count that faults.
struct Victim {
    kid: Kid,
    board: &'static Board,
    pipe: Pipe,
    call: Call,
}

impl Victim {
    /// Attached, specialized, waiting for [`Victim::fault`].
    fn start(lab: &Lab, call: Call, count: usize) -> Res<Victim> {
        let (pipe, board) = (Pipe::new(0)?, Board::new()?);
        let kid = Kid::spawn(|| -> Res {
            let _me = lab.attach()?;
            lab.warm(&pipe)?;
            board.raise(0, 1);
            ensure!(board.await_flag(1, 1), "nobody tells it to go on");
            let mut buffer = [0x5au8; 4096];
            // A timer may send a call to the stock path.
            for _ in 0..50 {
                let done = match call {
                    Call::Write => sys::write_at(pipe.w, buffer.as_ptr() as usize, count),
                    Call::Read => sys::write(pipe.w, b"ten bytes!")
                        .and_then(|_| sys::read_at(pipe.r, buffer.as_mut_ptr() as usize, count)),
                };
                done?;
                if call == Call::Write {
                    sys::read(pipe.r, &mut buffer)?;
                }
            }
            ensure!(false, "no call faults");
            Ok(())
        })?;
        let victim = Victim {
            kid,
            board,
            pipe,
            call,
        };
        ensure!(
            victim.board.await_flag(0, 1),
            "the process did not get ready"
        );
        Ok(victim)
    }

    fn fault(&self) {
        self.board.raise(1, 1);
    }

    fn descriptor(&self) -> i32 {
        match self.call {
            Call::Write => self.pipe.w,
            Call::Read => self.pipe.r,
        }
    }

    /// The log says whose code it was, and what for.
    fn is_named(&self) -> Res {
        let want = format!(
            "synthjit: {REASON}: pipe_{} of process {} for descriptor {}, +0x",
            self.call.name(),
            self.kid.pid,
            self.descriptor().abs()
        );
        let log = kernel_log()?;
        ensure!(
            log.lines().any(|line| line.contains(&want)),
            "no line of the log has {want:?}"
        );
        Ok(())
    }
}

fn kernel_log() -> Res<String> {
    let mut log = vec![0u8; 1 << 20];
    // SYSLOG_ACTION_READ_ALL
    let n = sys::sys(libc::SYS_syslog, &[3, log.as_mut_ptr() as usize, log.len()])?;
    Ok(String::from_utf8_lossy(log.get(..n).unwrap_or_default()).into_owned())
}

fn panic_on_oops(on: bool) -> Res {
    sys::write_text("/proc/sys/kernel/panic_on_oops", if on { "1" } else { "0" })?;
    Ok(())
}

/// No code runs any more, nobody can be attached, and the files say why.
fn platform_is_lost(lab: &Lab) -> Res {
    let lost = poll_until(SOON, || {
        let text = sysfs::get("platform/trap_vector").ok()?;
        text.starts_with(&format!("refused: {REASON}"))
            .then_some(())
    });
    ensure!(
        lost.is_some(),
        "platform/trap_vector: {:?}",
        sysfs::get("platform/trap_vector")
    );
    same!(
        sysfs::attach(sys::getpid()),
        Err(Errno::EOPNOTSUPP),
        "attach after a fault"
    );
    // A process that nobody ever attached is as ever.
    let p = Pipe::new(0)?;
    for count in COUNTS {
        echo(p.r, p.w, &noise(1, count))?;
    }
    same!(lab.hits(p.w, Call::Write), 0, "hits");
    Ok(())
}

/// The process and what it had are gone from the module.
fn is_gone(pid: i32) -> Res {
    let gone = poll_until(SOON, || {
        (!sysfs::list("processes").contains(&pid.to_string())).then_some(())
    });
    ensure!(
        gone.is_some(),
        "processes/{pid} is still there: {:?}",
        sysfs::state(pid)
    );
    Ok(())
}

/// The module goes, and once it is back everything works again.
fn starts_anew(lab: &Lab) -> Res {
    same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod after a fault");
    crate::tests::load_if_missing().map_err(Stop::Fail)?;
    same!(
        sysfs::get("platform/trap_vector")?,
        "available",
        "platform/trap_vector of a new module"
    );
    let rig = lab.rig()?;
    lab.fast_again(&rig.p)
}

/// The process dies of `signal` and of nothing else does anybody take harm.
fn survives(lab: &Lab, call: Call, count: usize, signal: i32) -> Res {
    panic_on_oops(false)?;
    let mut victim = Victim::start(lab, call, count)?;
    let waiting = match call {
        Call::Write => 0,
        Call::Read => 10,
    };
    victim.fault();
    same!(
        victim.kid.wait(SOON),
        Some(Ended::Signal(signal)),
        "the process whose code faulted"
    );
    platform_is_lost(lab)?;
    victim.is_named()?;
    is_gone(victim.kid.pid)?;
    same!(lab.stat("attached")?, 0, "attached");
    same!(lab.stat("arena_bytes_used")?, 0, "arena_bytes_used");
    // The call did nothing, and the pipe is for others to use.
    same!(
        sys::fionread(victim.pipe.r)?,
        waiting,
        "bytes in the dead process's pipe"
    );
    let mut rest = [0; 10];
    let rest = rest.get_mut(..waiting as usize).unwrap_or_default();
    if waiting > 0 {
        same!(
            sys::read(victim.pipe.r, rest),
            Ok(10),
            "what it had written"
        );
    }
    echo(victim.pipe.r, victim.pipe.w, b"others go on")?;
    starts_anew(lab)
}

fn invalid_opcode_in_write(lab: &Lab) -> Res {
    survives(lab, Call::Write, INVALID_OPCODE, libc::SIGSEGV)
}

fn protection_in_write(lab: &Lab) -> Res {
    survives(lab, Call::Write, PROTECTION, libc::SIGSEGV)
}

/// The kernel ends a process that touched no memory of the kernel's by another signal (arch/x86/mm/fault.c, page_fault_oops).
fn page_fault_in_read(lab: &Lab) -> Res {
    survives(lab, Call::Read, PAGE_FAULT, libc::SIGKILL)
}

/// Others that are attached lose their code and not a byte, wherever they run.
fn while_others_are_attached(lab: &Lab) -> Res {
    panic_on_oops(false)?;
    let loopers = [
        Looper::start(lab)?,
        Looper::start(lab)?,
        Looper::start(lab)?,
    ];
    for looper in &loopers {
        looper.fast_again(lab)?;
    }
    let mut victim = Victim::start(lab, Call::Write, INVALID_OPCODE)?;
    victim.fault();
    same!(
        victim.kid.wait(SOON),
        Some(Ended::Signal(libc::SIGSEGV)),
        "the process whose code faulted"
    );
    platform_is_lost(lab)?;
    victim.is_named()?;
    is_gone(victim.kid.pid)?;
    for looper in &loopers {
        looper.slow_now(lab)?;
        let state = lab.state_of(looper.kid.pid);
        ensure!(
            state.starts_with(&format!("stock: {REASON}")),
            "state of another: {state:?}"
        );
    }
    same!(lab.stat("attached")?, 3, "attached");
    // They may be let go, and be attached no more.
    let pid = loopers[0].kid.pid;
    sysfs::detach(pid)?;
    same!(sysfs::attach(pid), Err(Errno::EOPNOTSUPP), "attach again");
    // Switches change nothing.
    for text in ["0", "1"] {
        sysfs::set("enabled", text)?;
    }
    for looper in &loopers[1..] {
        looper.slow_now(lab)?;
    }
    starts_anew(lab)?;
    for looper in loopers {
        looper.finish()?;
    }
    Ok(())
}

impl Victim {
    /// The victim keeps the pipe, this process does not: whoever has it after the fault cannot end.
    fn leave_the_pipe(&mut self) {
        let (r, w) = (self.pipe.r, self.pipe.w);
        self.pipe.close_read();
        self.pipe.close_write();
        // No descriptors any more, numbers for messages.
        (self.pipe.r, self.pipe.w) = (-r, -w);
    }
}

/// Waits until a process hangs in the kernel. The kernel is told that this is no news.
fn hangs(pid: i32) -> Res {
    sys::write_text("/proc/sys/kernel/hung_task_timeout_secs", "0")?;
    let hangs = poll_until(SOON, || (proc::state(pid) == Some('D')).then_some(()));
    ensure!(
        hangs.is_some(),
        "{pid} should hang, its state is {:?}",
        proc::state(pid)
    );
    Ok(())
}

/// Whoever dies holding a lock of the kernel's leaves it locked: that pipe is lost to others, and only that.
fn dies_with_the_mutex(lab: &Lab) -> Res {
    panic_on_oops(false)?;
    let mut victim = Victim::start(lab, Call::Write, WITH_MUTEX)?;
    let (board, w) = (victim.board, victim.pipe.w);
    let other = Kid::spawn(|| -> Res {
        ensure!(board.await_flag(2, 1), "nobody tells it to go on");
        sys::write(w, b"?")?;
        Ok(())
    })?;
    victim.leave_the_pipe();
    victim.fault();
    let ended = victim.kid.wait(SOON);
    board.raise(2, 1);
    let hangs = hangs(other.pid);
    // It can be ended no more, so nobody waits for it.
    std::mem::forget(other);
    same!(
        ended,
        Some(Ended::Signal(libc::SIGSEGV)),
        "the process whose code faulted"
    );
    hangs?;
    platform_is_lost(lab)?;
    victim.is_named()?;
    is_gone(victim.kid.pid)?;
    starts_anew(lab)
}

/// If nobody else has the pipe the dead process itself cannot close it, and does not end.
fn dies_alone_with_the_mutex(lab: &Lab) -> Res {
    panic_on_oops(false)?;
    let mut victim = Victim::start(lab, Call::Write, WITH_MUTEX)?;
    let pid = victim.kid.pid;
    victim.leave_the_pipe();
    victim.fault();
    let checked = hangs(pid).and_then(|()| victim.is_named());
    std::mem::forget(victim);
    checked?;
    platform_is_lost(lab)?;
    is_gone(pid)?;
    starts_anew(lab)
}

/// A boot of its own: the machine is gone afterwards.
fn panics_if_told_to(lab: &Lab) -> Res {
    panic_on_oops(true)?;
    panics(lab, Call::Write, INVALID_OPCODE)
}

/// Another: an int3, which retired slots are full of, is beyond recovery whatever `panic_on_oops` says
/// (arch/x86/kernel/traps.c, exc_int3; arch/x86/kernel/dumpstack.c, oops_end).
fn breakpoint_panics(lab: &Lab) -> Res {
    panic_on_oops(false)?;
    panics(lab, Call::Read, BREAKPOINT)
}

fn panics(lab: &Lab, call: Call, count: usize) -> Res {
    let victim = Victim::start(lab, call, count)?;
    victim.fault();
    proc::nap(10_000);
    Err(Stop::Fail("the machine goes on after a fault".into()))
}
