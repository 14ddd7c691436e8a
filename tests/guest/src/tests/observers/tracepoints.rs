//! The module's own tracepoints (docs/tracing.md): one event for each thing that happens and is counted, with true fields.

use crate::proc::{nap, poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{echo, needs_module, Lab, Res, Stop, SOON};
use crate::tests::support::listener::{Event, Listener, EVENTS};
use crate::tests::support::tracefs::{self, put};
use crate::{area, ensure, same};
use nix::errno::Errno;
use std::os::unix::fs::MetadataExt;

area!("tracepoints":
    formats, made_and_gone, reasons_of_retiring, reasons_of_refusing, each_bailout = 120, bailouts_while_it_runs = 120,
    rmmod_while_somebody_listens,
);

/// What a path's event tells, in the order of the ring buffer.
const PATH_FIELDS: &[&str] = &[
    "pid_t pid",
    "pid_t tgid",
    "u32 fd",
    "u32 call",
    "u64 ino",
    "const void * code",
    "u32 bytes",
];
const REFUSE_FIELDS: &[&str] = &[
    "pid_t pid",
    "pid_t tgid",
    "int fd",
    "u32 call",
    "u64 ino",
    "u32 reason",
];

/// Fields of an event's format, without the common ones and without the place of the text.
fn format_of(name: &str) -> Res<Vec<String>> {
    let text = sys::read_text(&format!("{EVENTS}/{name}/format"))?;
    Ok(text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("field:")?.split(';').next())
        .filter(|field| !field.contains(" common_"))
        .map(str::to_owned)
        .collect())
}

fn formats(lab: &Lab) -> Res {
    needs_module(lab)?;
    tracefs::mounted()?;
    let mut names: Vec<String> = std::fs::read_dir(EVENTS)?
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    same!(
        names,
        ["bailout", "refuse", "retire", "synthesize"],
        "events"
    );
    let with = |more: &[&'static str]| [PATH_FIELDS, more].concat();
    let spec = "__data_loc char[] spec";
    same!(format_of("synthesize")?, with(&[spec]), "synthesize");
    same!(
        format_of("bailout")?,
        with(&["u32 reason", spec]),
        "bailout"
    );
    same!(format_of("retire")?, with(&["u32 reason", spec]), "retire");
    same!(format_of("refuse")?, REFUSE_FIELDS, "refuse");
    Ok(())
}

/// Where the slots of paths begin and end.
fn path_slots() -> Res<(u64, u64)> {
    let text = sys::read_text("/proc/kallsyms")?;
    let at = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.split_whitespace().nth(2) == Some(name))?;
        u64::from_str_radix(line.split(' ').next()?, 16).ok()
    };
    match (at("synthjit_arena_paths"), at("synthjit_arena_vectors")) {
        (Some(from), Some(to)) => Ok((from, to)),
        other => Err(Stop::Fail(format!("the arena in kallsyms: {other:?}"))),
    }
}

/// Size of a path's slot: specs/arena.toml, PATH_SLOT.
const PATH_SLOT: u64 = 896;
/// Where the first of them begins: rust/glue/arena.h.
const FIRST_SLOT: u64 = 64;

fn made_and_gone(lab: &Lab) -> Res {
    needs_module(lab)?;
    let listener = Listener::to(&["synthesize", "retire"])?;
    let counts = || Ok::<_, Stop>((lab.stat("synthesized")?, lab.stat("retired")?));
    let before = counts()?;
    let rig = lab.rig()?;
    let me = sys::getpid();
    let ends = [
        (rig.p.w, Call::Write, "write"),
        (rig.p.r, Call::Read, "read"),
    ];
    let now = counts()?;
    let made = listener.heard("synthesize")?;
    same!(made.len() as u64, now.0 - before.0, "events of paths made");
    same!(
        listener.heard("retire")?.len() as u64,
        now.1 - before.1,
        "events of paths gone"
    );
    let (from, to) = path_slots()?;
    let mut codes = Vec::new();
    for (fd, call, name) in ends {
        let file = |file: &str| sysfs::get(&sysfs::fd_file(me, fd, call, file));
        let found = made.iter().rev().find(|e| e.is_about(me, fd, name));
        let event = found.ok_or_else(|| Stop::Fail(format!("no event of {fd}.{name}")))?;
        same!(event.get("pid"), me.to_string(), "pid");
        same!(event.get("spec"), file("spec")?, "spec");
        same!(event.get("bytes"), file("size")?, "bytes");
        let inode = std::fs::metadata(format!("/proc/self/fd/{fd}"))?.ino();
        same!(event.get("ino"), inode.to_string(), "ino");
        let code = u64::from_str_radix(event.get("code").trim_start_matches("0x"), 16);
        ensure!(
            code.is_ok_and(|c| (from..to).contains(&c) && (c - from) % PATH_SLOT == FIRST_SLOT),
            "code {:?} is no slot of {from:x} to {to:x}",
            event.get("code")
        );
        codes.push(event.get("code").to_owned());
    }
    ensure!(codes[0] != codes[1], "two paths at {codes:?}");
    // The descriptors stay open: what comes is of the detaching alone.
    tracefs::clear()?;
    let before = counts()?;
    sysfs::detach(me)?;
    let gone = listener.heard("retire")?;
    same!(
        gone.len() as u64,
        counts()?.1 - before.1,
        "events of paths gone"
    );
    same!(gone.len(), 2, "paths gone");
    for ((fd, _, name), code) in ends.iter().zip(&codes) {
        let event = gone.iter().find(|e| e.is_about(me, *fd, name));
        let event = event.ok_or_else(|| Stop::Fail(format!("{fd}.{name} did not go")))?;
        same!(event.get("reason"), "detached", "reason");
        same!(event.get("code"), code, "code");
    }
    Ok(())
}

/// Does something; all paths that go meanwhile must go for this reason, and at least `least` must.
fn go_for(
    lab: &Lab,
    listener: &Listener,
    reason: &str,
    least: u64,
    f: impl FnOnce() -> Res,
) -> Res {
    tracefs::clear()?;
    let before = lab.stat("retired")?;
    f()?;
    let gone = poll_until(SOON, || {
        let n = lab.stat("retired").ok()? - before;
        (n >= least).then_some(n)
    });
    let heard = listener.heard("retire")?;
    same!(Some(heard.len() as u64), gone, "events for {reason}");
    for event in heard {
        same!(event.get("reason"), reason, "reason of {event:?}");
    }
    Ok(())
}

/// A child that attaches itself, makes its paths and then does something else.
fn child(lab: &Lab, f: impl FnOnce() -> i32) -> Res {
    let mut kid = Kid::spawn(|| -> Res {
        let (me, p) = (lab.attach()?, Pipe::new(0)?);
        lab.warm(&p)?;
        std::mem::forget(me);
        same!(f(), 0, "what it does");
        Ok(())
    })?;
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the child");
    Ok(())
}

fn reasons_of_retiring(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let listener = Listener::to(&["retire"])?;
    let own = format!("processes/{}/enabled", sys::getpid());
    let on_and_off = |file: &str| -> Res {
        sysfs::set(file, "0")?;
        echo(rig.p.r, rig.p.w, b"stock")?;
        sysfs::set(file, "1")?;
        Ok(())
    };
    go_for(lab, &listener, "threads", 2, || {
        let joined = std::thread::spawn(|| ()).join();
        ensure!(joined.is_ok(), "the thread");
        Ok(())
    })?;
    lab.warm(&rig.p)?;
    go_for(lab, &listener, "remade", 2, || {
        // On as before: everybody recompiles.
        sysfs::set("enabled", "1")?;
        echo(rig.p.r, rig.p.w, b"anew")
    })?;
    lab.warm(&rig.p)?;
    go_for(lab, &listener, "disabled", 2, || on_and_off("enabled"))?;
    lab.warm(&rig.p)?;
    go_for(lab, &listener, "process_disabled", 2, || on_and_off(&own))?;
    lab.warm(&rig.p)?;
    go_for(lab, &listener, "replaced", 1, || {
        let q = Pipe::new(0)?;
        sys::dup2(rig.p.r, q.w)?;
        let null = sys::open("/dev/null", libc::O_WRONLY, 0)?;
        sys::dup2(null, rig.p.w)?;
        same!(
            sys::write(rig.p.w, b"away"),
            Ok(4),
            "write to the other object"
        );
        sys::close(null)?;
        Ok(())
    })?;
    drop(rig);
    go_for(lab, &listener, "exited", 2, || child(lab, || 0))?;
    go_for(lab, &listener, "exec", 2, || {
        child(lab, || {
            let arguments = [c"/bin/true".as_ptr(), std::ptr::null()];
            // SAFETY: the list ends with a null; on success this does not return.
            unsafe { libc::execv(arguments[0], arguments.as_ptr()) };
            7
        })
    })
}

fn reasons_of_refusing(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig()?;
    let listener = Listener::to(&["refuse"])?;
    let me = sys::getpid();
    let null = sys::open("/dev/null", libc::O_WRONLY, 0)?;
    let inode = |fd: i32| -> Res<String> {
        Ok(std::fs::metadata(format!("/proc/self/fd/{fd}"))?
            .ino()
            .to_string())
    };
    let closed = sys::dup(null)?;
    sys::close(closed)?;
    for (fd, want, ino, reason) in [
        (null, Ok(1), inode(null)?, "unknown_object"),
        (rig.p.r, Err(Errno::EBADF), inode(rig.p.r)?, "wrong_mode"),
        (closed, Err(Errno::EBADF), "0".to_owned(), "not_open"),
    ] {
        tracefs::clear()?;
        let before = lab.stat("refused")?;
        let told = poll_until(SOON, || {
            let got = sys::write(fd, b"x");
            let heard = listener.heard("refuse");
            match (got == want, heard) {
                (true, Ok(events)) if events.is_empty() => None,
                (true, heard) => Some(heard),
                (false, _) => Some(Err(Stop::Fail(format!("write to {fd}: {got:?}")))),
            }
        });
        let Some(events) = told else {
            return Err(Stop::Fail(format!("no event for {reason}")));
        };
        let events = events?;
        same!(events.len() as u64, lab.stat("refused")? - before, "events");
        for event in &events {
            ensure!(event.is_about(me, fd, "write"), "{event:?} of {fd}");
            same!(event.get("pid"), me.to_string(), "pid");
            same!(event.get("ino"), ino, "ino");
            same!(event.get("reason"), reason, "reason");
        }
    }
    // The process as a whole, which no counter counts.
    tracefs::clear()?;
    let before = lab.stat("refused")?;
    let board = Board::new()?;
    let thread = std::thread::spawn(move || board.await_flag(0, 1));
    let told = poll_until(SOON, || match listener.heard("refuse") {
        Ok(events) if events.is_empty() => None,
        heard => Some(heard),
    });
    board.raise(0, 1);
    ensure!(thread.join().unwrap_or(false), "the thread");
    let Some(events) = told else {
        return Err(Stop::Fail("no event for threads".into()));
    };
    for event in events? {
        ensure!(event.is_about(me, -1, "none"), "{event:?}");
        same!(event.get("reason"), "threads", "reason");
    }
    same!(lab.stat("refused")?, before, "refused descriptors");
    sys::close(null)?;
    lab.fast_again(&rig.p)
}

/// Every bail-out is an event and is counted, once; none is an event when nobody listens.
fn each_bailout(lab: &Lab) -> Res {
    needs_module(lab)?;
    let rig = lab.rig_with(libc::O_NONBLOCK)?;
    let me = sys::getpid();
    let bail = || -> Res {
        for _ in 0..50 {
            let mut b = [0; 8];
            same!(sys::read(rig.p.r, &mut b), Err(Errno::EAGAIN), "empty pipe");
            let nothing = sys::write_at(rig.p.w, b.as_ptr() as usize, 0);
            same!(nothing, Ok(0), "write of nothing");
        }
        Ok(())
    };
    for _ in 0..3 {
        let listener = Listener::to(&["bailout"])?;
        lab.fast_again(&rig.p)?;
        tracefs::clear()?;
        let before = lab.stat("bailouts")?;
        bail()?;
        let heard = listener.heard("bailout")?;
        let counted = lab.stat("bailouts")? - before;
        same!(heard.len() as u64, counted, "events of bail-outs");
        ensure!(heard.len() >= 100, "{} events", heard.len());
        for (fd, call, name) in [
            (rig.p.w, Call::Write, "write"),
            (rig.p.r, Call::Read, "read"),
        ] {
            let of_it: Vec<&Event> = heard.iter().filter(|e| e.is_about(me, fd, name)).collect();
            ensure!(of_it.len() >= 50, "{} of {fd}.{name}", of_it.len());
            let file = |file: &str| sysfs::get(&sysfs::fd_file(me, fd, call, file));
            for event in of_it {
                same!(event.get("pid"), me.to_string(), "pid");
                same!(event.get("spec"), file("spec")?, "spec");
                same!(event.get("bytes"), file("size")?, "bytes");
            }
        }
        ensure!(
            heard.iter().all(|e| e.get("tgid") == me.to_string()),
            "events of others"
        );
        put("events/synthjit/bailout/enable", "0")?;
        lab.fast_again(&rig.p)?;
        tracefs::clear()?;
        let before = lab.stat("bailouts")?;
        bail()?;
        ensure!(lab.stat("bailouts")? - before >= 100, "not counted");
        same!(listener.heard("bailout")?.len(), 0, "events, though off");
    }
    Ok(())
}

/// A process that does nothing but bail out, on another CPU if there is one.
fn bailing(lab: &Lab, board: &'static Board) -> Res<Kid> {
    let kid = Kid::spawn(|| -> Res {
        let p = Pipe::new(libc::O_NONBLOCK)?;
        let _me = lab.attach()?;
        lab.warm(&p)?;
        board.raise(0, 1);
        let mut b = [0; 8];
        while board.flag(1) == 0 {
            same!(sys::read(p.r, &mut b), Err(Errno::EAGAIN), "read");
            // Whoever reads what was heard must keep up.
            if board.add(0, 1) % 16 == 0 {
                nap(1);
            }
        }
        Ok(())
    })?;
    ensure!(board.await_flag(0, 1), "the child did not get ready");
    Ok(kid)
}

/// Whoever listens while calls bail out hears each one that is begun after listening has begun.
fn bailouts_while_it_runs(lab: &Lab) -> Res {
    needs_module(lab)?;
    let board = Board::new()?;
    let mut kid = bailing(lab, board)?;
    for round in 0..3 {
        let listener = Listener::to(&[])?;
        let outer = lab.stat("bailouts")?;
        put("events/synthjit/bailout/enable", "1")?;
        let inner = lab.stat("bailouts")?;
        // The path is recompiled first; the counter is read again after that.
        let enough = poll_until(SOON, || {
            (lab.stat("bailouts").ok()? > inner + 100).then_some(())
        });
        ensure!(enough.is_some(), "round {round}: no bail-outs");
        let inner = lab.stat("bailouts")? - inner;
        put("events/synthjit/bailout/enable", "0")?;
        let outer = lab.stat("bailouts")? - outer;
        let heard = listener.heard("bailout")?;
        ensure!(
            (inner..=outer).contains(&(heard.len() as u64)),
            "round {round}: {} events of {inner} to {outer} bail-outs",
            heard.len()
        );
        for event in heard {
            same!(event.get("tgid"), kid.pid.to_string(), "tgid");
        }
    }
    board.raise(1, 1);
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the child");
    Ok(())
}

fn rmmod_while_somebody_listens(lab: &Lab) -> Res {
    needs_module(lab)?;
    for _ in 0..3 {
        let board = Board::new()?;
        let mut kid = bailing(lab, board)?;
        let _listener = Listener::to(&["bailout", "synthesize", "retire", "refuse"])?;
        same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
        ensure!(
            !std::path::Path::new(EVENTS).exists(),
            "the events are still there"
        );
        let before = board.word(0);
        let moved = poll_until(SOON, || (board.word(0) > before + 100).then_some(()));
        ensure!(moved.is_some(), "the process stands still");
        board.raise(1, 1);
        same!(kid.wait(SOON), Some(Ended::Exit(0)), "the child");
        crate::tests::load_if_missing().map_err(Stop::Fail)?;
    }
    Ok(())
}
