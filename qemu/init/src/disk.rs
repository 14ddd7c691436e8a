//! A disk as the root: with a file `/disk` in the memory disk, what follows runs on the ext4 file system of the first disk.

use crate::systemd;
use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::mount::{mount, mount_move, MountFlags};
use rustix::process::{chdir, chroot};
use rustix::system::finit_module;

/// Names of the modules that the disk needs, one a line, in order.
const LIST: &str = "/disk";
const DEVICE: &str = "/dev/vda";
/// Where the disk is mounted before it becomes the root.
const PLACE: &str = "/disk-root";
/// What of the memory disk is wanted on the disk too: the runner's files, and folders.
const FILES: &[&str] = &["guest", "lib/synthjit.ko", "command"];
const FOLDERS: &[&str] = &["modules", "packages"];
/// How long a loaded driver may take to show the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Mounts the disk, copies our files there and makes it the root; nothing to do without a list.
///
/// # Errors
///
/// The disk cannot be had. Then the root may be the memory disk still, and the command must not run.
pub fn become_root() -> io::Result<()> {
    let Ok(list) = fs::read_to_string(LIST) else {
        return Ok(());
    };
    for name in list.lines() {
        let file = File::open(format!("/disk-modules/{name}.ko"))?;
        finit_module(&file, &CString::default(), 0)?;
    }
    mount(
        "devtmpfs",
        "/dev",
        "devtmpfs",
        MountFlags::empty(),
        None::<&std::ffi::CStr>,
    )?;
    let deadline = Instant::now() + PATIENCE;
    while !Path::new(DEVICE).exists() {
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("{DEVICE} does not appear")));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    fs::create_dir(PLACE)?;
    mount(
        DEVICE,
        PLACE,
        "ext4",
        MountFlags::NOATIME,
        None::<&std::ffi::CStr>,
    )?;
    bring_files()?;
    chdir(PLACE)?;
    mount_move(".", "/")?;
    chroot(".")?;
    chdir("/")?;
    // As in the memory disk.
    std::os::unix::fs::symlink("lib/synthjit.ko", "/synthjit.ko")
}

fn bring_files() -> io::Result<()> {
    let disk = Path::new(PLACE);
    for file in FILES {
        fs::copy(Path::new("/").join(file), disk.join(file))?;
    }
    for folder in FOLDERS {
        let Ok(entries) = fs::read_dir(Path::new("/").join(folder)) else {
            continue;
        };
        fs::create_dir(disk.join(folder))?;
        for entry in entries {
            let path = entry?.path();
            fs::copy(&path, disk.join(path.strip_prefix("/").unwrap_or(&path)))?;
        }
    }
    systemd::prepare(disk)
}
