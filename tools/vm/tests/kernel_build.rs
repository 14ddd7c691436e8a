//! `tools/kernel-build` with kernels that are made up: which build it says a module is for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const RELEASE: &str = "7.2.12+test-amd64";
const VERSION: &str = "#1 SMP PREEMPT_DYNAMIC Debian 7.2.12-1 (2026-11-04)";
const ID: &str = "00112233445566778899aabbccddeeff01234567";

/// A folder with a kernel's headers, sources and programs of its own; removed at the end.
struct Sandbox(PathBuf);

impl Sandbox {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("kernel-build-{name}-{}", std::process::id()));
        let sandbox = Sandbox(folder);
        sandbox.file("kdir/include/config/kernel.release", RELEASE);
        sandbox.file(
            "kdir/include/generated/utsversion.h",
            &format!("#define UTS_VERSION \"{VERSION}\"\n"),
        );
        // What an image has inside is beside it here.
        sandbox.program(
            "kdir/scripts/extract-vmlinux",
            "echo . >>\"$1.unpacked\"; cat \"$1.elf\"",
        );
        sandbox.program("bin/uname", "echo another");
        sandbox
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn program(&self, name: &str, text: &str) {
        self.file(name, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An image that says to be of `version`, and has a build ID.
    fn image(&self, version: &str) {
        self.file(
            "image",
            &format!("\0\u{1}{RELEASE} (who@where) {version}\0"),
        );
        self.file("empty.s", "");
        let elf = self.path("image.elf");
        for (program, words) in [
            ("as", vec!["-o", "empty.o", "empty.s"]),
            (
                "ld",
                vec![
                    "--build-id=0x00112233445566778899aabbccddeeff01234567",
                    "-e",
                    "0",
                    "-o",
                ],
            ),
        ] {
            let mut command = Command::new(program);
            command.args(words).current_dir(&self.0);
            if program == "ld" {
                command.arg(&elf).arg("empty.o");
            }
            assert!(command.status().unwrap().success(), "{program}");
        }
    }

    fn unpacked(&self) -> usize {
        fs::read_to_string(self.path("image.unpacked")).map_or(0, |text| text.lines().count())
    }

    /// What it prints, what it says besides, and whether it succeeded.
    fn run(&self, image: &str) -> (String, String, bool) {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-build");
        let output = Command::new(tool)
            .args([self.path("kdir"), self.path("kdir")])
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.path("bin").display()),
            )
            .env("IMAGE", image)
            .env("CACHE", self.path("cache/build"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            text(output.stdout),
            text(output.stderr),
            output.status.success(),
        )
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn header(id: &str) -> String {
    format!(
        "/* The build of the kernel that this module is for: tools/kernel-build. */\n\
         #define SYNTHJIT_KERNEL_VERSION \"{VERSION}\"\n#define SYNTHJIT_KERNEL_BUILD_ID \"{id}\"\n"
    )
}

#[test]
fn an_image_tells_its_build_id() {
    let sandbox = Sandbox::new("image");
    sandbox.image(VERSION);
    let image = sandbox.path("image");
    for _ in 0..2 {
        let told = sandbox.run(image.to_str().unwrap());
        assert_eq!(told, (header(ID), String::new(), true));
    }
    assert_eq!(sandbox.unpacked(), 1, "what was found is kept");
    // Another image is looked at again.
    fs::remove_file(sandbox.path("image.elf")).unwrap();
    sandbox.file(
        "image",
        &format!("longer: {RELEASE} (who@where) {VERSION}\0"),
    );
    let (text, said, success) = sandbox.run(image.to_str().unwrap());
    assert_eq!((text, success), (header(""), true));
    assert!(said.contains("no build ID"), "{said}");
}

#[test]
fn an_image_of_another_build_is_none() {
    let sandbox = Sandbox::new("other");
    sandbox.image("#1 SMP PREEMPT_DYNAMIC Debian 7.2.12-2 (2026-11-20)");
    let image = sandbox.path("image");
    let (text, said, success) = sandbox.run(image.to_str().unwrap());
    assert_eq!((text, success), (header(""), true));
    assert!(
        said.contains("is not of the build of the headers"),
        "{said}"
    );
    assert!(said.contains("no build ID"), "{said}");
    assert_eq!(sandbox.unpacked(), 0);
}

#[test]
fn without_an_image_the_version_is_left() {
    let sandbox = Sandbox::new("none");
    let (text, said, success) = sandbox.run("");
    assert_eq!((text, success), (header(""), true));
    assert!(said.contains("no build ID"), "{said}");
}

#[test]
fn headers_without_a_version_stop_the_build() {
    let sandbox = Sandbox::new("headers");
    fs::remove_file(sandbox.path("kdir/include/generated/utsversion.h")).unwrap();
    let (text, said, success) = sandbox.run("");
    assert_eq!((text.as_str(), success), ("", false));
    assert!(said.contains("does not tell which build"), "{said}");
}

/// The notes of the kernel that runs the tests, read in another way than by the tool.
fn running_id() -> Option<String> {
    let notes = fs::read("/sys/kernel/notes").ok()?;
    let word =
        |at: usize| Some(u32::from_le_bytes(notes.get(at..at + 4)?.try_into().ok()?) as usize);
    let mut at = 0;
    loop {
        let (name, size, kind) = (word(at)?, word(at + 4)?, word(at + 8)?);
        let desc = at + 12 + name.next_multiple_of(4);
        if kind == 3 && notes.get(at + 12..at + 16) == Some(b"GNU\0") {
            let bytes = notes.get(desc..desc + size)?;
            return Some(bytes.iter().map(|b| format!("{b:02x}")).collect());
        }
        at = desc + size.next_multiple_of(4);
    }
}

#[test]
fn the_running_kernel_tells_its_own() {
    let Some(id) = running_id() else { return };
    let sandbox = Sandbox::new("running");
    // It says to be the one that the headers are of ...
    sandbox.program(
        "bin/uname",
        &format!("case $1 in -r) echo '{RELEASE}' ;; -v) echo '{VERSION}' ;; esac"),
    );
    assert_eq!(sandbox.run(""), (header(&id), String::new(), true));
    // ... or of another build of the same release.
    sandbox.program(
        "bin/uname",
        &format!("case $1 in -r) echo '{RELEASE}' ;; *) echo '#2' ;; esac"),
    );
    let (text, said, success) = sandbox.run("");
    assert_eq!((text, success), (header(""), true));
    assert!(said.contains("no build ID"), "{said}");
}
