//! ptrace and seccomp switched on in the middle of a stream: every call is seen from that moment on.

use crate::proc::{Board, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::Call::Write;
use crate::tests::support::lab::{Lab, Res};
use crate::tests::support::looper::Looper;
use crate::tests::support::tracer::{request, Tracer};
use crate::{area, ensure, same};

area!("trace":
    ptrace_sees_every_call, ptrace_changes_a_call, ptrace_attach_storm, tsc_and_personality,
);

fn ptrace_sees_every_call(lab: &Lab) -> Res {
    let looper = Looper::start(lab)?;
    for _ in 0..3 {
        {
            let t = Tracer::stop(looper.kid.pid)?;
            // The next entries alternate strictly; find a write to begin with.
            let mut entry = t.to_call()?;
            if entry.orig_rax == 0 {
                t.to_call()?;
                entry = t.to_call()?;
            }
            let rounds = looper.board.word(0);
            let hits = lab.hits_of(looper.kid.pid, looper.w, Write);
            for i in 0..50 {
                same!(
                    (entry.orig_rax, entry.rdi as i32, entry.rdx),
                    (1, looper.w, 1),
                    "entry {i} must be the write"
                );
                same!(
                    t.peek(entry.rsi)? as u8,
                    (rounds + i) as u8,
                    "byte of write {i}"
                );
                same!(t.to_call()?.rax, 1, "result of write {i}");
                let read = t.to_call()?;
                same!(
                    (read.orig_rax, read.rdi as i32),
                    (0, looper.r),
                    "entry {i} must be the read"
                );
                same!(t.to_call()?.rax, 1, "result of read {i}");
                entry = t.to_call()?;
                same!(
                    looper.board.word(0),
                    rounds + i + 1,
                    "rounds of the process"
                );
            }
            let hits2 = lab.hits_of(looper.kid.pid, looper.w, Write);
            ensure!(hits2 <= hits, "traced calls ran specialized");
            t.to_call()?;
        }
        looper.fast_again(lab)?;
    }
    looper.finish()
}

/// A tracer replaces the result: the process must get the tracer's.
fn ptrace_changes_a_call(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let board = Board::new()?;
    let kid = Kid::spawn(|| -> Res {
        let _me = lab.attach()?;
        let p = Pipe::new(0)?;
        lab.warm(&p)?;
        board.raise(0, 1);
        loop {
            let got = sys::write(p.w, b"four");
            board.put(0, got.map_or_else(|e| 1000 + e as u64, |n| n as u64));
            board.add(1, 1);
            let mut b = [0; 4];
            let _ = sys::read(p.r, &mut b);
            if board.flag(1) == 1 {
                return Ok(());
            }
        }
    })?;
    ensure!(board.await_flag(0, 1), "the child did not get ready");
    {
        let t = Tracer::stop(kid.pid)?;
        let mut regs = t.to_call()?;
        while regs.orig_rax != 1 {
            regs = t.to_call()?;
        }
        let mut exit = t.to_call()?;
        exit.rax = (-(libc::EDQUOT as i64)) as u64;
        request(
            libc::PTRACE_SETREGS,
            kid.pid,
            0,
            &exit as *const libc::user_regs_struct as usize,
        )?;
        t.to_call()?;
        same!(
            board.word(0),
            1000 + libc::EDQUOT as u64,
            "result as the tracer set it"
        );
    }
    board.raise(1, 1);
    lab.warm(&rig.p)
}

fn ptrace_attach_storm(lab: &Lab) -> Res {
    let looper = Looper::start(lab)?;
    for _ in 0..60 {
        let t = Tracer::stop(looper.kid.pid)?;
        t.to_call()?;
        drop(t);
    }
    looper.fast_again(lab)?;
    looper.finish()
}

/// Other per-task settings of the processor that are switched together with the vector.
fn tsc_and_personality(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // ADDR_NO_RANDOMIZE, to no effect on what is mapped already.
    sys::sys(libc::SYS_personality, &[0x0040000])?;
    lab.fast_again(&rig.p)?;
    sys::sys(
        libc::SYS_sched_setaffinity,
        &[0, 8, [1u64].as_ptr() as usize],
    )?;
    lab.fast_again(&rig.p)?;
    let all = [u64::MAX];
    sys::sys(libc::SYS_sched_setaffinity, &[0, 8, all.as_ptr() as usize])?;
    // From CPU to CPU: the vector must come along.
    for cpu in [0u64, 1, 0, 1, 0] {
        let mask = [1u64 << cpu];
        if sys::sys(libc::SYS_sched_setaffinity, &[0, 8, mask.as_ptr() as usize]).is_ok() {
            lab.fast_again(&rig.p)?;
        }
    }
    Ok(())
}
