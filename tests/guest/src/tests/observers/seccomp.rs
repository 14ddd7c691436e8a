//! seccomp and user dispatch of system calls switched on in the middle of a stream.

use crate::proc::{Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, Lab, Res, SOON};
use crate::tests::support::signals::{count_signals, SIGNALS};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::sync::atomic::Ordering;

area!("trace":
    seccomp_errno, seccomp_allow, seccomp_trap, seccomp_kill, seccomp_in_state, syscall_user_dispatch,
);

/// A filter that does `action` for `nr` on descriptor `fd` and allows everything else.
fn filter(nr: i64, fd: i32, action: u32) -> Vec<libc::sock_filter> {
    let ins = |code: u16, k: u32, jt: u8, jf: u8| libc::sock_filter { code, jt, jf, k };
    vec![
        ins(0x20, 0, 0, 0), // load the number
        ins(0x15, nr as u32, 0, 3),
        ins(0x20, 16, 0, 0), // load the first argument
        ins(0x15, fd as u32, 0, 1),
        ins(0x06, action, 0, 0),
        ins(0x06, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]
}

fn seccomp_errno(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let q = Pipe::new(0)?;
    lab.warm(&q)?;
    sys::install_filter(&filter(
        libc::SYS_write,
        rig.p.w,
        libc::SECCOMP_RET_ERRNO | libc::EDQUOT as u32,
    ))?;
    lab.slow(rig.p.w, Write, 100, || {
        for i in 0..100 {
            same!(
                sys::write(rig.p.w, b"forbidden"),
                Err(Errno::EDQUOT),
                "write {i}"
            );
        }
        Ok(())
    })?;
    same!(sys::fionread(rig.p.r), Ok(0), "bytes that slipped through");
    // Other descriptors are allowed, on the stock path, since every call must be filtered.
    lab.slow(q.w, Write, 20, || {
        for i in 0..20u8 {
            echo(q.r, q.w, &[i])?;
        }
        Ok(())
    })
}

fn seccomp_allow(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    sys::install_filter(&filter(libc::SYS_getcpu, 0, libc::SECCOMP_RET_ERRNO | 1))?;
    lab.slow(rig.p.w, Write, 20, || {
        for i in 0..20u8 {
            echo(rig.p.r, rig.p.w, &[i])?;
        }
        Ok(())
    })
}

fn seccomp_trap(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    count_signals(libc::SIGSYS, 0);
    sys::install_filter(&filter(libc::SYS_read, rig.p.r, libc::SECCOMP_RET_TRAP))?;
    let mut b = [0];
    lab.slow(rig.p.r, Read, 10, || {
        for i in 1..=10u64 {
            same!(sys::write(rig.p.w, b"x"), Ok(1), "write");
            let _ = sys::read(rig.p.r, &mut b);
            same!(SIGNALS.load(Ordering::SeqCst), i, "SIGSYSs");
        }
        Ok(())
    })?;
    same!(sys::fionread(rig.p.r), Ok(10), "bytes not read");
    Ok(())
}

fn seccomp_kill(lab: &Lab) -> Res {
    let mut kid = Kid::spawn(|| -> Res {
        let rig = lab.rig()?;
        sys::install_filter(&filter(
            libc::SYS_write,
            rig.p.w,
            libc::SECCOMP_RET_KILL_PROCESS,
        ))?;
        let _ = sys::write(rig.p.w, b"last");
        Ok(())
    })?;
    same!(
        kid.wait(SOON),
        Some(Ended::Signal(libc::SIGSYS)),
        "the child that wrote"
    );
    Ok(())
}

/// No event retires the vector, since each path looks for itself; but `state` must tell its reader why no call is fast.
fn seccomp_in_state(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    if lab.stock {
        return Ok(());
    }
    let me = sys::getpid();
    same!(lab.state_of(me), "specialized", "state before the filter");
    sys::install_filter(&filter(libc::SYS_write, rig.p.w, libc::SECCOMP_RET_ALLOW))?;
    let state = lab.state_of(me);
    ensure!(
        state.starts_with("stock: ") && state.contains("seccomp"),
        "state with the filter: {state:?}"
    );
    lab.slow(rig.p.w, Write, 1, || echo(rig.p.r, rig.p.w, b"seen"))
}

/// Calls outside an allowed range of addresses are handed to the process itself.
fn syscall_user_dispatch(lab: &Lab) -> Res {
    const PR_SET_SYSCALL_USER_DISPATCH: usize = 59;
    let rig = lab.rig()?;
    let selector = Box::leak(Box::new(std::sync::atomic::AtomicU8::new(0)));
    let at = selector as *const _ as usize;
    extern "C" fn on_sys(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: the kernel passes a valid siginfo; the dispatch selector is switched off before any further call.
        unsafe {
            let selector = DISPATCH.load(Ordering::SeqCst) as *const std::sync::atomic::AtomicU8;
            (*selector).store(0, Ordering::SeqCst);
            // SYS_USER_DISPATCH
            if (*info).si_code == 2 {
                SIGNALS.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    SIGNALS.store(0, Ordering::SeqCst);
    DISPATCH.store(at, Ordering::SeqCst);
    // SAFETY: installs the handler above.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sys as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut());
    }
    if let Err(e) = sys::sys(
        libc::SYS_prctl,
        &[PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, at],
    ) {
        crate::skip!("no syscall user dispatch: {e}");
    }
    let done = lab.slow(rig.p.w, Write, 1, || {
        for i in 1..=10u64 {
            selector.store(1, Ordering::SeqCst);
            // Blocked: the handler runs instead of the call, and allows calls again.
            let _ = sys::write(rig.p.w, b"blocked");
            same!(SIGNALS.load(Ordering::SeqCst), i, "dispatched calls");
        }
        Ok(())
    });
    sys::sys(libc::SYS_prctl, &[PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0])?;
    done?;
    same!(sys::fionread(rig.p.r), Ok(0), "bytes that slipped through");
    lab.fast_again(&rig.p)
}

static DISPATCH: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
