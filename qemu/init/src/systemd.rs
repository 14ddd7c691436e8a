//! systemd as PID 1: with a file `/systemd` in the memory disk, this program gives its place to that of the disk, which runs this
//! program again as a service.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const WANTED: &str = "/systemd";
/// Where this program lies in the memory disk, and on the disk.
const OURSELVES: &str = "init";
const UNITS: &str = "etc/systemd/system";

/// The machine is up when it runs, or as far up as it comes.
const UNIT: &str = "[Unit]
Description=The runner's command
After=multi-user.target
[Service]
ExecStart=/init
StandardOutput=null
";

/// Puts this program and its unit on a disk, if systemd is wanted.
///
/// # Errors
///
/// The disk cannot be written.
pub fn prepare(disk: &Path) -> io::Result<()> {
    if !Path::new(WANTED).exists() {
        return Ok(());
    }
    fs::copy(Path::new("/").join(OURSELVES), disk.join(OURSELVES))?;
    let wants = disk.join(UNITS).join("multi-user.target.wants");
    fs::create_dir_all(&wants)?;
    fs::write(disk.join(UNITS).join("guest.service"), UNIT)?;
    symlink("../guest.service", wants.join("guest.service"))
}

/// Becomes systemd, if the disk was prepared for it; returns if not.
///
/// # Errors
///
/// Why it could not.
pub fn become_it() -> io::Result<()> {
    match Path::new("/").join(UNITS).join("guest.service").exists() {
        true => Err(Command::new("/sbin/init").exec()),
        false => Ok(()),
    }
}
