//! For modules that were built without one of their paths, because a kernel function is not as it was reviewed.

use crate::proc::poll_until;
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{echo, noise, Lab, Res, Stop};
use crate::{area, ensure, same};
use std::time::Duration;

area!("left_out": platform_says_so, other_call_is_specialised, never_specialised);

/// Name of the path that is left out, its call and the other one.
fn path() -> Res<(String, Call, Call)> {
    let name = std::env::var(crate::tests::LEFT_OUT_VAR).unwrap_or_default();
    match name.as_str() {
        "pipe_write" => Ok((name, Call::Write, Call::Read)),
        "pipe_read" => Ok((name, Call::Read, Call::Write)),
        _ => Err(Stop::Fail(format!(
            "no path has the name {name:?}: give --left-out pipe_write or pipe_read"
        ))),
    }
}

fn platform_says_so(_: &Lab) -> Res {
    let (name, call, other) = path()?;
    same!(
        sysfs::get("platform/trap_vector")?,
        "available",
        "platform/trap_vector"
    );
    let of = |name: &str| sysfs::get(&format!("platform/paths/{name}"));
    let function = format!("anon_pipe_{}", call.name());
    let why = format!("{function} in fs/pipe.c has changed");
    same!(of(&name)?, format!("left out: {why}"), "the path");
    let listing = sysfs::listing("left_out")?;
    same!(listing, format!("{name}: {why}"), "left_out");
    same!(
        of(&format!("pipe_{}", other.name()))?,
        "available",
        "the path of the other call"
    );
    Ok(())
}

fn ends(p: &Pipe, left_out: Call) -> (i32, i32) {
    match left_out {
        Call::Write => (p.w, p.r),
        Call::Read => (p.r, p.w),
    }
}

fn other_call_is_specialised(lab: &Lab) -> Res {
    let (_, call, other) = path()?;
    let p = Pipe::new(0)?;
    let _me = lab.attach()?;
    let (_, fd) = ends(&p, call);
    let fast = poll_until(Duration::from_secs(5), || {
        let before = lab.hits(fd, other);
        let good = (0..4).all(|i| echo(p.r, p.w, &noise(i, 9)).is_ok());
        (good && lab.hits(fd, other) > before).then_some(())
    });
    ensure!(
        fast.is_some(),
        "{} of {fd} is not specialized; state {:?}",
        other.name(),
        lab.state_of(sys::getpid())
    );
    lab.fast(&[(fd, other, 10)], || {
        (0..10).try_for_each(|i| echo(p.r, p.w, &noise(i, 30)))
    })
}

fn never_specialised(lab: &Lab) -> Res {
    let (_, call, _) = path()?;
    let p = Pipe::new(0)?;
    let _me = lab.attach()?;
    for i in 0..200 {
        echo(p.r, p.w, &noise(i, 1 + i as usize * 20))?;
    }
    crate::proc::nap(50);
    let (fd, _) = ends(&p, call);
    ensure!(
        sysfs::hits(sys::getpid(), fd, call).is_none(),
        "{} of {fd} has a path",
        call.name()
    );
    Ok(())
}
