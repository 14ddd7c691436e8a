//! The process changes: exec, fork, exit.

use crate::proc::{nap, poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::exec_probe;
use crate::tests::support::lab::{echo, expect, noise, Lab, Res, SOON};
use crate::{area, ensure, same, skip};
use nix::errno::Errno;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

area!("task":
    exec_stays_attached, exec_from_thread, exec_32_bit, fork_child_is_not_attached, fork_both_use_the_pipe, fork_storm, vfork_child, exit_cleans_up, killed_while_running, exit_with_threads,
    leader_and_thread_exit_together,
);

fn exec_stays_attached(lab: &Lab) -> Res {
    let p = Pipe::new(0)?;
    let mut kid = Kid::spawn(|| -> Res {
        let me = lab.attach()?;
        lab.warm(&p)?;
        // Bytes from before that the new program must find.
        same!(sys::write(p.w, b"heirloom"), Ok(8), "write");
        std::mem::forget(me);
        ensure!(false, "no exec: {}", exec_probe::exec(lab.stock, p.r, p.w));
        Ok(())
    })?;
    same!(
        kid.wait(Duration::from_secs(30)),
        Some(Ended::Exit(0)),
        "the program after exec"
    );
    Ok(())
}

fn exec_from_thread(lab: &Lab) -> Res {
    let p = Pipe::new(0)?;
    let mut kid = Kid::spawn(|| -> Res {
        let me = lab.attach()?;
        lab.warm(&p)?;
        same!(sys::write(p.w, b"heirloom"), Ok(8), "write");
        std::mem::forget(me);
        let (stock, r, w) = (lab.stock, p.r, p.w);
        // The thread takes the process over: its leader dies and it becomes the leader.
        let t = std::thread::spawn(move || exec_probe::exec(stock, r, w));
        ensure!(false, "no exec: {:?}", t.join());
        Ok(())
    })?;
    same!(
        kid.wait(Duration::from_secs(30)),
        Some(Ended::Exit(0)),
        "the program after exec"
    );
    Ok(())
}

/// A program of 32 bits that writes four bytes to the descriptor in its code and ends with 42.
fn program_of_32_bits(fd: u8) -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let code = [
        0xb8, 4, 0, 0, 0, // mov eax, 4 (write)
        0xbb, fd, 0, 0, 0, // mov ebx, fd
        0xb9, 0x74, 0x80, 0x04, 0x08, // mov ecx, the four bytes behind this code
        0xba, 4, 0, 0, 0, // mov edx, 4
        0xcd, 0x80, // int 0x80
        0xb8, 1, 0, 0, 0, // mov eax, 1 (exit)
        0xbb, 42, 0, 0, 0, // mov ebx, 42
        0xcd, 0x80, // int 0x80
        b'c', b'o', b'm', b'p',
    ];
    let mut elf = Vec::new();
    let mut put = |bytes: &[u8]| elf.extend_from_slice(bytes);
    put(&[0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for half in [2u16, 3] {
        put(&half.to_le_bytes()); // executable, 386
    }
    for word in [1, BASE + 84, 52, 0, 0] {
        put(&word.to_le_bytes()); // version, entry, program headers, none, flags
    }
    for half in [52u16, 32, 1, 40, 0, 0] {
        put(&half.to_le_bytes());
    }
    let size = 84 + code.len() as u32;
    for word in [1, 0, BASE, BASE, size, size, 5, 4096] {
        put(&word.to_le_bytes()); // load all of it, readable and executable
    }
    let text = code.iter().enumerate().map(|(i, b)| {
        if i == 11 {
            84 + code.len() as u8 - 4
        } else {
            *b
        }
    });
    let bytes: Vec<u8> = text.collect();
    put(&bytes);
    elf
}

/// An attached process becomes a 32-bit one: its calls come by another entry, none of its code is for this one.
fn exec_32_bit(lab: &Lab) -> Res {
    use std::os::unix::fs::PermissionsExt;
    let p = Pipe::new(0)?;
    let path = format!("/tmp/synthjit-guest-32-{}", sys::getpid());
    std::fs::write(&path, program_of_32_bits(p.w as u8))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let name = std::ffi::CString::new(path.as_str()).unwrap_or_default();
    let mut kid = Kid::fork(|| {
        if let Err(why) = lab.attach().and_then(|me| {
            lab.warm(&p)?;
            std::mem::forget(me);
            Ok(())
        }) {
            crate::proc::note(&format!("before exec: {why:?}"));
            return 1;
        }
        let args = [name.as_ptr(), std::ptr::null()];
        // SAFETY: the array ends with a null pointer.
        unsafe { libc::execv(name.as_ptr(), args.as_ptr()) };
        Errno::last() as i32 + 100
    })?;
    let end = kid.wait(SOON);
    std::fs::remove_file(&path)?;
    if end == Some(Ended::Exit(100 + libc::ENOEXEC)) {
        skip!("this kernel runs no 32-bit programs");
    }
    same!(end, Some(Ended::Exit(42)), "the 32-bit program");
    expect(p.r, b"comp")
}

fn fork_child_is_not_attached(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    let mut kid = Kid::spawn(|| -> Res {
        let attached = !lab.stock && sysfs::state(sys::getpid()).is_ok();
        ensure!(!attached, "it is attached");
        (0..50).try_for_each(|i| echo(rig.p.r, rig.p.w, &noise(i, 10)))
    })?;
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the child");
    lab.fast_again(&rig.p)
}

fn fork_both_use_the_pipe(lab: &Lab) -> Res {
    let (rig, back) = (lab.rig()?, Pipe::new(0)?);
    lab.warm(&back)?;
    let (r, w) = (rig.p.r, back.w);
    let mut kid = Kid::spawn(|| -> Res {
        let mut b = [0; 256];
        for _ in 0..500 {
            let n = sys::read(r, &mut b)?;
            same!(
                sys::write(w, b.get(..n).unwrap_or_default()),
                Ok(n),
                "write"
            );
        }
        Ok(())
    })?;
    for i in 0..500u64 {
        let data = noise(i, 1 + (i % 250) as usize);
        same!(sys::write(rig.p.w, &data), Ok(data.len()), "write");
        expect(back.r, &data)?;
    }
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the child");
    lab.fast_again(&rig.p)
}

fn fork_storm(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for i in 0..60u64 {
        let mut kid = Kid::fork(|| (i % 100) as i32)?;
        echo(rig.p.r, rig.p.w, &noise(i, 40))?;
        same!(
            kid.wait(SOON),
            Some(Ended::Exit((i % 100) as i32)),
            "child {i}"
        );
    }
    lab.fast_again(&rig.p)
}

fn vfork_child(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    for _ in 0..5 {
        // posix_spawn and Command use CLONE_VM with CLONE_VFORK: same memory, own table.
        let out = std::process::Command::new("/proc/self/exe")
            .arg("exec-probe")
            .arg("nothing")
            .status()?;
        same!(out.code(), Some(exec_probe::NOTHING), "the spawned program");
        echo(rig.p.r, rig.p.w, b"after vfork")?;
    }
    lab.fast_again(&rig.p)
}

/// Attaches in a child, which then ends as `how` says; its directory must go and the count of attached processes fall.
fn ends(lab: &Lab, how: impl FnOnce(&Pipe) -> Res, kill: bool) -> Res {
    let before = lab.stat("attached")?;
    let board = Board::new()?;
    let mut kid = Kid::spawn(|| -> Res {
        let p = Pipe::new(0)?;
        let me = lab.attach()?;
        lab.warm(&p)?;
        std::mem::forget(me);
        board.raise(0, 1);
        how(&p)
    })?;
    ensure!(board.await_flag(0, 1), "the child did not get ready");
    if kill {
        nap(20);
        kid.signal(libc::SIGKILL);
    }
    let want = if kill {
        Ended::Signal(libc::SIGKILL)
    } else {
        Ended::Exit(0)
    };
    same!(kid.wait(SOON), Some(want), "the child");
    if !lab.stock {
        let gone = poll_until(SOON, || {
            (sysfs::state(kid.pid).is_err() && lab.stat("attached").ok() == Some(before))
                .then_some(())
        });
        ensure!(
            gone.is_some(),
            "processes/{} stays; attached {before} -> {}",
            kid.pid,
            lab.stat("attached")?
        );
    }
    Ok(())
}

fn exit_cleans_up(lab: &Lab) -> Res {
    for _ in 0..5 {
        ends(lab, |_| Ok(()), false)?;
    }
    Ok(())
}

fn killed_while_running(lab: &Lab) -> Res {
    for _ in 0..5 {
        ends(
            lab,
            |p| loop {
                echo(p.r, p.w, b"until the end")?;
            },
            true,
        )?;
    }
    Ok(())
}

fn exit_with_threads(lab: &Lab) -> Res {
    for _ in 0..3 {
        ends(
            lab,
            |p| {
                let (r, w) = (p.r, p.w);
                for _ in 0..3 {
                    std::thread::spawn(move || loop {
                        let _ = sys::write(w, b"x");
                        let mut b = [0];
                        let _ = sys::read(r, &mut b);
                    });
                }
                nap(10);
                // SAFETY: ends all threads at once, wherever they are.
                unsafe { libc::_exit(0) }
            },
            false,
        )?;
    }
    Ok(())
}

/// The leader leaves as not the last, and the last thread overtakes it before the kernel tells of either: one of the two must
/// still end the attachment (do_exit, kernel/exit.c: what is counted first is not always told first).
fn leader_and_thread_exit_together(lab: &Lab) -> Res {
    if std::thread::available_parallelism()?.get() < 2 {
        skip!("needs two CPUs");
    }
    for i in 0..80_u32 {
        ends(
            lab,
            |_| {
                let go = Arc::new(AtomicU32::new(0));
                let thread = Arc::clone(&go);
                std::thread::spawn(move || {
                    thread.store(1, Ordering::SeqCst);
                    while thread.load(Ordering::SeqCst) == 1 {}
                    for _ in 0..(i % 30) * 100 {
                        std::hint::spin_loop();
                    }
                    exit_thread()
                });
                while go.load(Ordering::SeqCst) == 0 {
                    std::thread::yield_now();
                }
                go.store(2, Ordering::SeqCst);
                exit_thread()
            },
            false,
        )?;
    }
    Ok(())
}

/// Ends the calling thread only, at once.
fn exit_thread() -> ! {
    // SAFETY: Nothing of the thread is needed any more.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!()
}
