//! kvm_amd beside attached processes, on QEMU's SVM. What is looked at in `MSR_LSTAR` meanwhile: `tests/kmod/synthjit_lstar/look.c`.

use super::beside::{self, Guest, Run};
use super::load_anew;
use super::lstar::Lstar;
use super::traffic::{pin, run_first, Traffic, SOON};
use super::vm::Vm;
use crate::proc::{self, nap, poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::Call;
use crate::tests::support::lab::{echo, Lab, Res, Stop};
use crate::torture::stressors::hotplug::others;
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::time::Duration;

area!("kvm":
    a_guest_runs = 300, beside_attached_processes = 600, comes_and_goes = 600, cpus_come_and_go = 600,
    a_host_is_left_alone = 300, a_sharer_of_its_memory_is_left_alone = 300,
    is_there_before_the_module = 300,
);

/// In the order in which they need one another.
const MODULES: [&str; 4] = ["irqbypass", "ccp", "kvm", "kvm_amd"];
/// Rounds of the guest between two exits to its host.
const ROUNDS: u64 = 64;

/// KVM's modules while they are loaded.
struct Kvm(());

impl Kvm {
    /// Without kvm's thread in the process that hosts a guest: a process with threads is not specialized anyway.
    fn load(options: &str) -> Res<Kvm> {
        for name in MODULES {
            let options = if name == "kvm" { options } else { "" };
            match sys::insmod(&format!("/modules/{name}.ko"), options) {
                Ok(_) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(Stop::Fail(format!("insmod {name}: {error}"))),
            }
        }
        Ok(Kvm(()))
    }
}

impl Drop for Kvm {
    fn drop(&mut self) {
        for name in ["kvm_amd", "kvm"] {
            // The last descriptor of a virtual machine may still be closing.
            poll_until(Duration::from_secs(20), || {
                matches!(sys::rmmod(name), Ok(_) | Err(Errno::ENOENT)).then_some(())
            });
        }
    }
}

impl Run for Vm {
    fn run(&mut self) -> Result<(u64, u64), String> {
        let (exits, wrong) = self.enter()?;
        // Now and then something else than the end of its slice takes it off the CPU.
        if exits % 16 == 0 {
            nap(1);
        }
        Ok((exits, wrong))
    }
}

/// A process that does nothing but host a guest.
fn host(cpu: Option<usize>) -> Res<Guest> {
    Guest::start(cpu, || {
        Vm::new(ROUNDS).map_err(|error| format!("no virtual machine: {error}"))
    })
}

/// Without any attached process: what the other tests rest on.
fn a_guest_runs(_: &Lab) -> Res {
    let _kvm = Kvm::load("")?;
    let lstar = Lstar::load()?;
    let mut guest = host(None)?;
    guest.goes_on(50)?;
    guest.stop()?;
    lstar.is_right(100)
}

/// On each CPU in turn, since the value of `MSR_TSC_AUX` that KVM leaves in a CPU for the next return to user mode is the guest's own on
/// the first one by chance.
fn beside_attached_processes(lab: &Lab) -> Res {
    let kvm = Kvm::load("")?;
    let lstar = Lstar::load()?;
    beside::are_served(lab, host, 150)?;
    drop(kvm);
    lstar.has_seen(&[("looks_foreign", 100)])?;
    lstar.is_right(1000)
}

/// The one who loads and unloads is attached too: KVM reads and writes `MSR_LSTAR` in its context.
fn comes_and_goes(lab: &Lab) -> Res {
    let lstar = Lstar::load()?;
    let traffic = Traffic::start(lab, None)?;
    let rig = lab.rig()?;
    // With the second, each CPU is prepared when the first guest is made instead of now.
    for options in ["", "enable_virt_at_load=0"] {
        let kvm = Kvm::load(options)?;
        let mut guest = host(None)?;
        guest.goes_on(10)?;
        traffic.is_served()?;
        guest.stop()?;
        drop(kvm);
        traffic.is_served()?;
        lab.fast_again(&rig.p)?;
    }
    traffic.stop()?;
    lstar.is_right(1000)
}

fn cpus_come_and_go(lab: &Lab) -> Res {
    let kvm = Kvm::load("")?;
    let lstar = Lstar::load()?;
    beside::cpus_come_and_go(lab, host, 10)?;
    drop(kvm);
    lstar.is_right(1000)
}

/// A process that was specialized makes a virtual machine: from its first virtual CPU on it enters as the kernel does, and the guest
/// is right from its first instruction.
fn a_host_is_left_alone(lab: &Lab) -> Res {
    let _kvm = Kvm::load("nx_huge_pages=never")?;
    let lstar = Lstar::load()?;
    for _ in 0..5 {
        let mut kid = Kid::spawn(|| host_of_a_guest(lab))?;
        same!(kid.wait(SOON), Some(Ended::Exit(0)), "the host");
    }
    lstar.is_right(100)
}

fn host_of_a_guest(lab: &Lab) -> Res {
    // With a CPU of its own, only the hook of the module tells that it is to look again.
    pin(0, others().len())?;
    let rig = lab.rig()?;
    let machine = Vm::new(ROUNDS)?;
    let hits = |lab: &Lab| lab.hits(rig.p.w, Call::Write) + lab.hits(rig.p.r, Call::Read);
    let before = hits(lab);
    for i in 0..30u8 {
        let (_, wrong) = machine.enter().map_err(Stop::Fail)?;
        same!(wrong, 0, "what the guest found wrong");
        echo(rig.p.r, rig.p.w, &[i, !i])?;
    }
    same!(
        hits(lab),
        before,
        "calls that ran specialized beside a guest of their own"
    );
    let state = lab.state_of(sys::getpid());
    ensure!(
        state.starts_with("stock: ") && state.contains("virtual machine"),
        "state {state:?}"
    );
    Ok(())
}

/// Bytes of the stack of [`sharer`], which calls little.
const STACK: usize = 64 << 10;

/// What [`sharer`] works on.
struct Shared {
    p: Pipe,
    board: &'static Board,
}

/// Echoes until it is told to stop. It shares its memory with another process, whose thread-local variables it must leave alone: it
/// allocates nothing.
extern "C" fn sharer(shared: *mut libc::c_void) -> libc::c_int {
    // SAFETY: its maker keeps this alive until it has ended.
    let Shared { p, board } = unsafe { &*shared.cast::<Shared>() };
    let mut value = 0u8;
    while board.flag(0) == 0 {
        let mut got = [!value];
        if sys::write(p.w, &[value]) != Ok(1)
            || sys::read(p.r, &mut got) != Ok(1)
            || got[0] != value
        {
            return 1;
        }
        value = value.wrapping_add(1);
        board.add(0, 1);
    }
    0
}

/// A process that shares the address space of a guest's host can let the guest run as well, so it loses its vector at once, on whatever
/// CPU it is.
fn a_sharer_of_its_memory_is_left_alone(lab: &Lab) -> Res {
    let _kvm = Kvm::load("nx_huge_pages=never")?;
    let lstar = Lstar::load()?;
    let stack = sys::map(STACK, 3, libc::MAP_PRIVATE)?;
    let mut shared = Shared {
        p: Pipe::new(0)?,
        board: Board::new()?,
    };
    let (board, r, w) = (shared.board, shared.p.r, shared.p.w);
    // SAFETY: a new process with a stack of its own; what it is given outlives it.
    let pid = unsafe {
        libc::clone(
            sharer,
            (stack + STACK) as *mut libc::c_void,
            libc::CLONE_VM | libc::SIGCHLD,
            std::ptr::from_mut(&mut shared).cast(),
        )
    };
    ensure!(pid > 0, "clone: {}", Errno::last());
    // With a CPU of its own that no thread of the kernel's takes away either it is never scheduled out.
    pin(0, 0)?;
    pin(pid, others().len())?;
    run_first(pid)?;
    let attached = lab.attach_other(pid)?;
    let hits = || lab.hits_of(pid, w, Call::Write) + lab.hits_of(pid, r, Call::Read);
    let rounds = |n: u64| {
        let before = board.word(0);
        poll_until(SOON, || (board.word(0) - before >= n).then_some(()))
    };
    let served = poll_until(SOON, || (hits() > 1000).then_some(()));
    let result = served
        .ok_or_else(|| Stop::Fail(format!("state {:?}", lab.state_of(pid))))
        .and_then(|()| {
            let machine = Vm::new(ROUNDS)?;
            let before = hits();
            for _ in 0..10 {
                same!(
                    machine.enter().map_err(Stop::Fail)?.1,
                    0,
                    "what the guest found wrong"
                );
            }
            ensure!(rounds(1000).is_some(), "the sharer does not go on");
            same!(hits(), before, "calls that ran specialized");
            let state = lab.state_of(pid);
            ensure!(state.contains("virtual machine"), "state {state:?}");
            Ok(())
        });
    board.raise(0, 1);
    let mut status = 0;
    // SAFETY: `status` is ours; its memory and stack are in use until it has ended.
    let ended = unsafe { libc::waitpid(pid, &mut status, 0) };
    drop(attached);
    result?;
    same!(
        (ended, proc::decode(status)),
        (pid, Some(Ended::Exit(0))),
        "the sharer"
    );
    lstar.is_right(100)
}

/// synthjit is loaded, and attaches, while a guest runs.
fn is_there_before_the_module(lab: &Lab) -> Res {
    let kvm = Kvm::load("")?;
    let lstar = Lstar::load()?;
    let mut guest = host(None)?;
    guest.goes_on(10)?;
    for _ in 0..4 {
        load_anew()?;
        let traffic = Traffic::start(lab, None)?;
        guest.goes_on(10)?;
        traffic.stop()?;
    }
    guest.stop()?;
    drop(kvm);
    lstar.is_right(100)
}
