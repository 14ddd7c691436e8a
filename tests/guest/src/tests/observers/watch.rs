//! File-system notification on a pipe. Runs last: the first mark leaves the pipe file system marked until reboot.

use crate::sys;
use crate::sysfs::Call::{Read, Write};
use crate::tests::support::lab::{echo, expect, Lab, Res};
use crate::{area, ensure, same, skip};

area!("watch": inotify_on_a_pipe, after_the_watch);

fn inotify_on_a_pipe(lab: &Lab) -> Res {
    let rig = lab.rig()?;
    // SAFETY: a plain call.
    let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK) };
    if fd < 0 {
        skip!("no inotify: {}", nix::errno::Errno::last());
    }
    let path = format!("/proc/self/fd/{}\0", rig.p.w);
    // SAFETY: the path ends with a null.
    let wd = unsafe {
        libc::inotify_add_watch(fd, path.as_ptr().cast(), libc::IN_MODIFY | libc::IN_ACCESS)
    };
    ensure!(wd >= 0, "inotify_add_watch: {}", nix::errno::Errno::last());
    let event = |want: u32, what: &str| -> Res {
        let mut buf = [0u8; 256];
        let n = sys::read(fd, &mut buf);
        same!(n, Ok(16), "bytes of events after the {what}");
        let mask = u32::from_ne_bytes([buf[4], buf[5], buf[6], buf[7]]);
        same!(mask, want, "event of the {what}");
        Ok(())
    };
    for i in 0..20u8 {
        lab.slow(rig.p.w, Write, 0, || {
            same!(sys::write(rig.p.w, &[i, 1]), Ok(2), "write");
            Ok(())
        })?;
        event(libc::IN_MODIFY, "write")?;
        lab.slow(rig.p.r, Read, 0, || expect(rig.p.r, &[i]))?;
        event(libc::IN_ACCESS, "partial read")?;
        expect(rig.p.r, &[1])?;
        event(libc::IN_ACCESS, "emptying read")?;
    }
    // SAFETY: both numbers are ours.
    unsafe { libc::inotify_rm_watch(fd, wd) };
    sys::close(fd)?;
    Ok(())
}

fn after_the_watch(lab: &Lab) -> Res {
    // Whether specialized again or not, calls must be right.
    let p = sys::Pipe::new(0)?;
    let _me = lab.attach()?;
    for i in 0..50u8 {
        echo(p.r, p.w, &[i, 2, 3])?;
    }
    Ok(())
}
