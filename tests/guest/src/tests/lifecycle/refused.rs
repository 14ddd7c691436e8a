//! For machines on which the platform must refuse: it says why, and nothing else happens.

use crate::proc::Kid;
use crate::sys::{self, Pipe};
use crate::sysfs;
use crate::tests::support::lab::{echo, noise, Lab, Res, Stop};
use crate::tests::support::listener::Listener;
use crate::{area, ensure, same};
use nix::errno::Errno;

area!("refused": says_why, attach_is_refused, attach_is_traced, reason_is_in_the_log, stock_calls_work, module_comes_and_goes);

fn reason() -> String {
    std::env::var(crate::tests::REASON_VAR).unwrap_or_default()
}

fn says_why(_: &Lab) -> Res {
    let text = sysfs::get("platform/trap_vector")?;
    ensure!(
        text.starts_with("refused: ") && text.len() > 14,
        "platform/trap_vector: {text:?}"
    );
    ensure!(
        text.contains(&reason()),
        "platform/trap_vector says {text:?}, not {:?}",
        reason()
    );
    if let Ok(watched) = sysfs::listing("watched") {
        same!(watched, "", "functions that are watched");
    }
    Ok(())
}

fn attach_is_refused(_: &Lab) -> Res {
    // It is there until it is ended.
    let kid = Kid::spawn::<()>(|| loop {
        crate::proc::nap(1000);
    })?;
    for pid in [sys::getpid(), kid.pid] {
        same!(
            sysfs::attach(pid),
            Err(Errno::EOPNOTSUPP),
            "attach of {pid}"
        );
        ensure!(sysfs::state(pid).is_err(), "processes/{pid} exists");
    }
    ensure!(
        sysfs::list("processes").is_empty(),
        "processes is not empty"
    );
    same!(sysfs::counter("attached")?, 0, "stats/attached");
    Ok(())
}

/// Each refusal is an event. Which reason it names is in `says_why`, in the other form.
fn attach_is_traced(_: &Lab) -> Res {
    let listener = Listener::to(&["refuse"])?;
    let before = sysfs::counter("refused")?;
    let me = sys::getpid();
    let tgid = me.to_string();
    for _ in 0..3 {
        same!(sysfs::attach(me), Err(Errno::EOPNOTSUPP), "attach");
    }
    let heard = listener.heard("refuse")?;
    same!(
        heard.len() as u64,
        sysfs::counter("refused")? - before,
        "events"
    );
    same!(heard.len(), 3, "events");
    for event in heard {
        same!(
            [
                event.get("tgid"),
                event.get("pid"),
                event.get("fd"),
                event.get("call")
            ],
            [tgid.as_str(), "0", "-1", "none"],
            "whom the event is about"
        );
        ensure!(
            !["", "none"].contains(&event.get("reason")),
            "an event without a reason: {event:?}"
        );
    }
    Ok(())
}

fn reason_is_in_the_log(_: &Lab) -> Res {
    let _ = sysfs::attach(sys::getpid());
    let mut log = vec![0u8; 1 << 18];
    // SYSLOG_ACTION_READ_ALL
    let n = sys::sys(libc::SYS_syslog, &[3, log.as_mut_ptr() as usize, log.len()])?;
    let text = String::from_utf8_lossy(log.get(..n).unwrap_or_default()).into_owned();
    ensure!(
        text.lines()
            .any(|l| l.contains("synthjit") && l.contains("refused") && l.contains(&reason())),
        "no line of the log says that and why it was refused"
    );
    Ok(())
}

fn stock_calls_work(_: &Lab) -> Res {
    let p = Pipe::new(0)?;
    for i in 0..50 {
        echo(p.r, p.w, &noise(i, 1 + 80 * i as usize))?;
    }
    Ok(())
}

fn module_comes_and_goes(lab: &Lab) -> Res {
    for _ in 0..10 {
        same!(sys::rmmod(sysfs::MODULE), Ok(0), "rmmod");
        crate::tests::load_if_missing().map_err(Stop::Fail)?;
        says_why(lab)?;
    }
    Ok(())
}
