//! What the guest's memory disk holds.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::boots::{Boot, Root};
use crate::cpio::Archive;
use crate::project::{find_file, Kernel, Project};

const GUEST: &str = "build/target-guest/x86_64-unknown-linux-gnu/release";

/// What the kernel lacks to mount a disk as root, in the order of loading.
const DISK_MODULES: &[&str] = &["virtio_blk", "crc16", "mbcache", "jbd2", "ext4"];

/// Builds the archive for one boot:
/// `/init` (PID 1), `/guest`, the boot's other programs, `/lib/synthjit.ko`, `/bin/busybox` with `sh` and some more names, `/modules/*.ko`, and `/command`,
/// the words of the command that PID 1 runs, one a line. With a disk as root also `/disk`, the names of modules below `/disk-modules`
/// that PID 1 loads, one a line: it mounts the disk then and takes our files there. With [`Root::Packages`] also `/packages` and
/// an empty `/systemd`, after which PID 1 becomes systemd.
pub fn build(project: &Project, kernel: &Kernel, boot: &Boot) -> Result<Vec<u8>> {
    let cure = "run make test-guest or make demo, which build it";
    let mut archive = Archive::default();
    for folder in ["proc", "sys", "dev", "tmp", "root"] {
        archive.folder(folder);
    }
    archive.file("init", &project.read(&format!("{GUEST}/guest-init"), cure)?);
    archive.file("guest", &project.read(&format!("{GUEST}/guest"), cure)?);
    for name in &boot.programs {
        archive.file(name, &project.read(&format!("{GUEST}/{name}"), cure)?);
    }
    let module = format!("build/kmod/{}{}/synthjit.ko", kernel.release, boot.variant);
    archive.file("lib/synthjit.ko", &project.read(&module, "run make")?);
    archive.symlink("synthjit.ko", "lib/synthjit.ko");
    archive.file(
        "bin/busybox",
        &project.read(
            "build/root/usr/bin/busybox",
            "remove build/root and run make",
        )?,
    );
    for name in [
        "sh", "cat", "ls", "echo", "true", "dmesg", "insmod", "rmmod", "sleep",
    ] {
        archive.symlink(&format!("bin/{name}"), "busybox");
    }
    for name in &boot.modules {
        // One that is built here for tests, or else the distribution's.
        let built = project.path(format!("build/kmod/{}-{name}/{name}.ko", kernel.release));
        let bytes = match built.is_file() {
            true => std::fs::read(built)?,
            false => module_bytes(&project.image(kernel), name)?,
        };
        archive.file(&format!("modules/{name}.ko"), &bytes);
    }
    if boot.root == Root::Packages {
        archive.file("systemd", b"");
        for (name, bytes) in packages(project)? {
            archive.file(&format!("packages/{name}"), &bytes);
        }
    }
    if boot.root != Root::Memory {
        for name in DISK_MODULES {
            archive.file(
                &format!("disk-modules/{name}.ko"),
                &module_bytes(&project.image(kernel), name)?,
            );
        }
        archive.file("disk", DISK_MODULES.join("\n").as_bytes());
    }
    if let Some(word) = boot.run.iter().find(|word| word.contains('\n')) {
        bail!("a word of the command contains a line break: {word:?}");
    }
    archive.file("command", boot.run.join("\n").as_bytes());
    Ok(archive.finish())
}

/// Files of the test of the packages, by name: its scripts, and what `qemu/deb-modules` left.
fn packages(project: &Project) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for folder in ["tests/packages", "build/deb/guest"] {
        let entries = std::fs::read_dir(project.path(folder))
            .with_context(|| format!("there is no {folder}: run make test-deb"))?;
        for entry in entries {
            let entry = entry?;
            files.push((
                entry.file_name().to_string_lossy().into_owned(),
                std::fs::read(entry.path())?,
            ));
        }
    }
    Ok(files)
}

/// A module of the distribution, unpacked. File names have `-` where module names have `_`.
fn module_bytes(image: &Path, name: &str) -> Result<Vec<u8>> {
    let wanted = |file: &str| {
        let stem = file
            .strip_suffix(".ko.xz")
            .or_else(|| file.strip_suffix(".ko"));
        stem.is_some_and(|stem| stem.replace('-', "_") == name.replace('-', "_"))
    };
    let path =
        find_file(image, &wanted).with_context(|| format!("the kernel has no module {name}"))?;
    if path.extension().is_some_and(|end| end == "ko") {
        return Ok(std::fs::read(path)?);
    }
    let output = Command::new("xz")
        .arg("-dc")
        .arg(&path)
        .output()
        .context("cannot run xz: apt install xz-utils")?;
    if !output.status.success() {
        bail!("xz cannot unpack {}", path.display());
    }
    Ok(output.stdout)
}
