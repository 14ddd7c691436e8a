//! The shell steps of `qemu/`, run in a folder of their own with an archive that is made up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Answers apt inside the "build root": two releases of 7.2 of which one source is left, 7.3 without an image.
const IN_ROOT: &str = r#"#!/bin/sh
case "$*" in
*update*) ;;
*search*)
	for release in 7.2.11 7.2.12 7.3.4; do echo "linux-headers-$release+deb13-amd64 - headers"; done
	echo "linux-headers-7.3.4+deb13-cloud-amd64 - headers"
	for release in 7.2.11 7.2.12; do echo "linux-image-$release+deb13-amd64 - image"; done
	echo "linux-source-7.2 - source"
	echo "linux-source-7.3 - source" ;;
*madison*)
	echo " linux-source-7.2 | 7.2.12-1~bpo13+1 | archive Packages"
	echo " linux-source-7.3 | 7.3.4-1~bpo13+1 | archive Packages" ;;
esac
"#;

/// A copy of the scripts in a temporary folder; removed at the end.
struct Sandbox(PathBuf);

impl Sandbox {
    fn new(name: &str, kernels: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("vm-steps-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("qemu")).unwrap();
        fs::create_dir_all(folder.join("build/root")).unwrap();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../qemu");
        for script in ["steps", "lib.sh", "kernel-releases", "kernel-of"] {
            fs::copy(scripts.join(script), folder.join("qemu").join(script)).unwrap();
        }
        let sandbox = Sandbox(folder);
        sandbox.script("in-root", IN_ROOT);
        fs::write(sandbox.0.join("qemu/kernels"), kernels).unwrap();
        sandbox
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.0.join("qemu").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a script of the sandbox: what it printed and whether it succeeded.
    fn run(&self, words: &[&str]) -> (String, bool) {
        let output = Command::new(self.0.join(words[0]))
            .args(&words[1..])
            .current_dir(&self.0)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.success())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn resolve(name: &str, kernels: &str) -> (String, String) {
    let sandbox = Sandbox::new(name, kernels);
    let (text, success) = sandbox.run(&["qemu/steps", "kernel-releases"]);
    assert!(success, "{text}");
    (
        text,
        fs::read_to_string(sandbox.0.join("build/kernels")).unwrap(),
    )
}

#[test]
fn a_release_that_is_there_is_taken() {
    let (text, kernels) = resolve(
        "there",
        "# comment\n\nrun 7.2.12+deb13-amd64\nbuild 7.3.4+deb13-amd64\n",
    );
    assert!(!text.contains("gone"), "{text}");
    assert_eq!(kernels, "run 7.2.12+deb13-amd64 7.2 7.2.12-1~bpo13+1\nbuild 7.3.4+deb13-amd64 7.3 7.3.4-1~bpo13+1\n");
}

#[test]
fn a_release_without_its_own_source_is_replaced_by_the_newest_of_its_series() {
    let (text, kernels) = resolve("source", "run 7.2.11+deb13-amd64\n");
    assert!(text.contains("kernel 7.2.11+deb13-amd64 is gone from the archive, 7.2.12+deb13-amd64 takes its place"), "{text}");
    assert!(kernels.starts_with("run 7.2.12+deb13-amd64 "), "{kernels}");
}

#[test]
fn a_series_that_cannot_be_booted_is_replaced_by_the_newest_that_can() {
    let (text, kernels) = resolve("image", "run 7.3.4+deb13-amd64\nbuild 7.1.9+deb13-amd64\n");
    assert!(
        text.contains("7.2.12+deb13-amd64 takes its place"),
        "{text}"
    );
    assert!(kernels.starts_with("run 7.2.12+deb13-amd64 "), "{kernels}");
    assert!(kernels.contains("\nbuild 7.3.4+deb13-amd64 "), "{kernels}");
}

#[test]
fn steps_are_cached_until_their_inputs_change() {
    let sandbox = Sandbox::new("cached", "run 7.2.12+deb13-amd64\n");
    let again = |expected: bool| {
        let (text, success) = sandbox.run(&["qemu/steps", "kernel-releases"]);
        assert!(
            success && text.starts_with("[ 1/1] ") && text.contains("cached") == expected,
            "{text}"
        );
    };
    again(false);
    again(true);
    fs::write(sandbox.0.join("qemu/kernels"), "run 7.2.11+deb13-amd64\n").unwrap();
    again(false);
    again(true);
    fs::remove_file(sandbox.0.join("build/kernels")).unwrap();
    again(false);
}

#[test]
fn a_step_that_fails_shows_why_and_ends_the_run() {
    let sandbox = Sandbox::new("fails", "");
    sandbox.script("good", "#!/bin/sh\n# Step: a good one\necho quiet\n");
    sandbox.script(
        "bad",
        "#!/bin/sh\n# Step: a bad one\necho the reason >&2\nexit 3\n",
    );
    let (text, success) = sandbox.run(&["qemu/steps", "good", "bad:argument", "good"]);
    assert!(!success);
    assert!(text.starts_with("[ 1/3] a good one ... "), "{text}");
    assert!(
        text.contains(" s\n[ 2/3] a bad one (argument) ... FAILED\n    the reason\n"),
        "{text}"
    );
    assert!(
        !text.contains("[ 3/3]") && !text.contains("quiet"),
        "{text}"
    );
    assert!(text.contains("build/log/step-bad-argument.log"), "{text}");
}
