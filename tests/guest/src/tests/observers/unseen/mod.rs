//! No byte of a function that a path stands for changes unnoticed: whoever traces, probes or patches one finds each call that begins
//! afterwards in the stock kernel, and the paths come back when it is over.

mod denied;
mod early;
mod passed;
mod restartable;
mod switched;
mod toggled;
mod traced;

use crate::sysfs;
use crate::tests::support::lab::{Lab, Res, Stop};
use crate::{ensure, skip};

pub use denied::TESTS as DENIED;
pub use early::TESTS as EARLY;
pub use passed::TESTS as PASSED;
pub use restartable::TESTS as RESTARTABLE;
pub use switched::TESTS as SWITCHED;
pub use toggled::TESTS as TOGGLED;
pub use traced::TESTS as TRACED;

/// More than one passes the same functions, and takes longer to have them patched.
fn needs_one_cpu() -> Res {
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        skip!("for machines with one CPU");
    }
    Ok(())
}

/// The functions whose text is watched.
fn watched() -> Res<Vec<String>> {
    let text = match sysfs::listing("watched") {
        Ok(text) => text,
        Err(nix::errno::Errno::ENOENT) => skip!("no debugfs"),
        Err(e) => return Err(Stop::Fail(format!("the listing `watched`: {e}"))),
    };
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    ensure!(names.len() > 20, "only these are watched: {names:?}");
    Ok(names)
}

/// The watched functions whose text is not as it was reviewed; for messages.
fn changed() -> String {
    let text = sysfs::listing("watched").unwrap_or_default();
    let changed = text.lines().filter_map(|l| l.strip_suffix(" changed"));
    changed.collect::<Vec<_>>().join(" ")
}

/// [`Lab::fast_again`]; a failure says which text is changed.
fn fast_again(lab: &Lab, p: &crate::sys::Pipe) -> Res {
    lab.fast_again(p).map_err(|stop| match stop {
        Stop::Fail(text) => Stop::Fail(format!("{text}; changed: {:?}", changed())),
        skipped => skipped,
    })
}
