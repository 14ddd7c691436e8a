//! The sysfs files: names, rights, contents, and what they say to bad input.

use crate::proc::{poll_until, state, Ended, Kid};
use crate::sys;
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{needs_module, Lab, Res};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

area!("abi":
    files_and_rights, platform_is_available, attach_bad_input, detach_bad_input, attach_twice, kernel_thread, dead_process, thread_number,
    switch_bad_input, not_for_everyone, );

const SOON: Duration = Duration::from_secs(20);

fn mode(rest: &str) -> Res<u32> {
    let meta = std::fs::metadata(sysfs::path(rest))?;
    same!((meta.uid(), meta.gid()), (0, 0), "owner of {rest}");
    Ok(meta.permissions().mode() & 0o7777)
}

fn files_and_rights(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let me = sys::getpid();
    for (file, want) in [
        ("enabled", 0o644),
        ("attach", 0o200),
        ("detach", 0o200),
        ("platform/trap_vector", 0o444),
        ("platform/paths/pipe_read", 0o444),
        ("platform/paths/pipe_write", 0o444),
    ] {
        same!(mode(file)?, want, "mode of {file}");
    }
    for name in [
        "attached",
        "synthesized",
        "retired",
        "bailouts",
        "refused",
        "arena_bytes_used",
    ] {
        same!(
            mode(&format!("stats/{name}"))?,
            0o444,
            "mode of stats/{name}"
        );
    }
    for name in sysfs::list(sysfs::LISTINGS) {
        let file = format!("{}/{name}", sysfs::LISTINGS);
        same!(mode(&file)?, 0o400, "mode of {file}");
    }
    for name in sysfs::list("stats") {
        same!(
            mode(&format!("stats/{name}"))?,
            0o444,
            "mode of stats/{name}"
        );
    }
    same!(
        mode(&format!("processes/{me}/enabled"))?,
        0o644,
        "mode of a process's enabled"
    );
    same!(
        mode(&format!("processes/{me}/state"))?,
        0o444,
        "mode of a process's state"
    );
    for (fd, call) in [(rig.p.w, Call::Write), (rig.p.r, Call::Read)] {
        for (file, want) in [
            ("spec", 0o444),
            ("code", 0o400),
            ("size", 0o444),
            ("hits", 0o444),
            ("bailouts", 0o444),
        ] {
            let path = sysfs::fd_file(me, fd, call, file);
            same!(mode(&path)?, want, "mode of {path}");
        }
    }
    Ok(())
}

fn platform_is_available(lab: &Lab) -> Res {
    needs_module(lab)?;
    same!(
        sysfs::get("platform/trap_vector")?,
        "available",
        "platform/trap_vector"
    );
    let kinds = sysfs::list("platform/paths");
    same!(kinds, ["pipe_read", "pipe_write"], "platform/paths");
    for kind in kinds {
        let file = format!("platform/paths/{kind}");
        same!(sysfs::get(&file)?, "available", "{file}");
    }
    same!(sysfs::listing("left_out")?, "", "left_out");
    Ok(())
}

/// What is no number at all.
const NO_NUMBERS: [&str; 9] = [
    "abc",
    "\n",
    " ",
    "12x",
    "0x",
    "1 2",
    "-",
    "1.5",
    "99999999999999999999999",
];

fn attach_bad_input(lab: &Lab) -> Res {
    needs_module(lab)?;
    for text in NO_NUMBERS {
        same!(
            sysfs::set("attach", text),
            Err(Errno::EINVAL),
            "{text:?} into attach"
        );
    }
    for text in ["4194305", "2147483647"] {
        same!(
            sysfs::set("attach", text),
            Err(Errno::ESRCH),
            "{text:?} into attach"
        );
    }
    for text in ["0", "-1"] {
        let got = sysfs::set("attach", text);
        ensure!(
            matches!(got, Err(Errno::EINVAL | Errno::ESRCH)),
            "{text:?} into attach: {got:?}"
        );
    }
    // A line end is allowed and not needed.
    let me = sys::getpid();
    for text in [format!("{me}"), format!("{me}\n")] {
        same!(
            sysfs::set("attach", &text),
            Ok(text.len()),
            "{text:?} into attach"
        );
        same!(
            sysfs::set("detach", &text),
            Ok(text.len()),
            "{text:?} into detach"
        );
    }
    for file in ["attach", "detach"] {
        same!(sysfs::get(file), Err(Errno::EACCES), "{file} read by root");
    }
    for file in ["platform/trap_vector", "stats/attached"] {
        same!(
            sysfs::set(file, "1"),
            Err(Errno::EACCES),
            "{file} written by root"
        );
    }
    Ok(())
}

fn detach_bad_input(lab: &Lab) -> Res {
    needs_module(lab)?;
    for text in NO_NUMBERS {
        same!(
            sysfs::set("detach", text),
            Err(Errno::EINVAL),
            "{text:?} into detach"
        );
    }
    same!(
        sysfs::set("detach", "4194305"),
        Err(Errno::ESRCH),
        "no such process"
    );
    same!(
        sysfs::set("detach", "1"),
        Err(Errno::ENOENT),
        "a process that is not attached"
    );
    same!(
        sysfs::detach(sys::getpid()),
        Err(Errno::ENOENT),
        "itself, not attached"
    );
    Ok(())
}

fn attach_twice(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let me = sys::getpid();
    same!(
        sysfs::attach(me),
        Err(Errno::EEXIST),
        "attach of an attached process"
    );
    lab.fast_again(&rig.p)?;
    sysfs::detach(me)?;
    same!(sysfs::detach(me), Err(Errno::ENOENT), "second detach");
    ensure!(sysfs::state(me).is_err(), "processes/{me} is still there");
    sysfs::attach(me)?;
    lab.fast_again(&rig.p)
}

fn kernel_thread(lab: &Lab) -> Res {
    needs_module(lab)?;
    same!(sysfs::attach(2), Err(Errno::EINVAL), "attach of kthreadd");
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
            continue;
        };
        // Kernel threads have no program.
        if pid > 2
            && std::fs::read_link(format!("/proc/{pid}/exe")).is_err()
            && sys::read_file(&format!("/proc/{pid}/maps")).is_ok_and(|m| m.is_empty())
        {
            let got = sysfs::attach(pid);
            ensure!(
                matches!(got, Err(Errno::EINVAL | Errno::ESRCH)),
                "attach of kernel thread {pid}: {got:?}"
            );
        }
    }
    Ok(())
}

fn dead_process(lab: &Lab) -> Res {
    needs_module(lab)?;
    let mut kid = Kid::spawn(|| 0)?;
    let dead = poll_until(SOON, || (state(kid.pid) == Some('Z')).then_some(()));
    ensure!(dead.is_some(), "the child does not end");
    // Dead, not yet reaped.
    let zombie = sysfs::attach(kid.pid);
    ensure!(
        matches!(zombie, Err(Errno::ESRCH)),
        "attach of a zombie: {zombie:?}"
    );
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the child");
    same!(
        sysfs::attach(kid.pid),
        Err(Errno::ESRCH),
        "attach of a process that is gone"
    );
    Ok(())
}

fn thread_number(lab: &Lab) -> Res {
    needs_module(lab)?;
    let board = crate::proc::Board::new()?;
    let t = std::thread::spawn(move || {
        // SAFETY: takes nothing.
        board.put(0, unsafe { libc::gettid() } as u64);
        board.raise(0, 1);
        board.await_flag(1, 1)
    });
    ensure!(board.await_flag(0, 1), "the thread");
    let got = sysfs::attach(board.word(0) as i32);
    board.raise(1, 1);
    let _ = t.join();
    ensure!(
        matches!(got, Err(Errno::ESRCH | Errno::EINVAL)),
        "attach of a thread that is not a leader: {got:?}"
    );
    Ok(())
}

fn switch_bad_input(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let own = format!("processes/{}/enabled", sys::getpid());
    for file in ["enabled", own.as_str()] {
        let before = sysfs::get(file)?;
        for text in ["2", "-1", "x", "\n", "10", "1x"] {
            same!(
                sysfs::set(file, text),
                Err(Errno::EINVAL),
                "{text:?} into {file}"
            );
        }
        same!(sysfs::get(file)?, before, "{file} after bad input");
        same!(
            sysfs::set(file, "1\n"),
            Ok(2),
            "1 with a line end into {file}"
        );
        same!(sysfs::get(file)?, "1", "{file}");
    }
    lab.fast_again(&rig.p)
}

fn not_for_everyone(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let me = sys::getpid();
    let code = sysfs::fd_file(me, rig.p.w, Call::Write, "code");
    let state = format!("processes/{me}/state");
    let mut kid = Kid::spawn(|| -> Res {
        // SAFETY: gives up root for good, in this child only.
        let failed = unsafe {
            libc::setresgid(65534, 65534, 65534) != 0 || libc::setresuid(65534, 65534, 65534) != 0
        };
        ensure!(!failed, "it stays root");
        for file in ["attach", "detach", "enabled"] {
            same!(sysfs::set(file, "1"), Err(Errno::EACCES), "write to {file}");
        }
        let hidden = sys::read_file(&sysfs::path(&code));
        same!(hidden, Err(Errno::EACCES), "read of code");
        sysfs::get(&state)?;
        Ok(())
    })?;
    same!(
        kid.wait(SOON),
        Some(Ended::Exit(0)),
        "what another user may do"
    );
    Ok(())
}
