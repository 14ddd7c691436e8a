//! The shell steps of `qemu/`, run in a folder of their own with an archive that is made up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Answers apt inside the "build root" out of two lists, as `apt-cache search` and `apt-cache madison` print them.
const IN_ROOT: &str = r#"#!/bin/sh
case "$*" in
*update*) ;;
*search*) cat qemu/search ;;
*madison*) cat qemu/madison ;;
esac
"#;

/// What an archive has: releases with headers, with an image, with an image that is not signed; packages of sources.
struct Archive {
    headers: &'static [&'static str],
    image: &'static [&'static str],
    unsigned: &'static [&'static str],
    sources: &'static [&'static str],
}

/// Two releases of 7.2 of which one source is left, one of 7.3.
const ARCHIVE: Archive = Archive {
    headers: &["7.2.11", "7.2.12", "7.3.4"],
    image: &["7.2.11", "7.2.12", "7.3.4"],
    unsigned: &[],
    sources: &["7.2.12", "7.3.4"],
};

impl Archive {
    fn search(&self) -> String {
        let of = |what: &str, releases: &[&str]| -> String {
            releases
                .iter()
                .map(|release| format!("linux-{what}-{release}+deb13-amd64 - {what}\n"))
                .collect()
        };
        let mut series: Vec<_> = self.sources.iter().map(|s| series(s)).collect();
        series.dedup();
        let sources: String = series
            .iter()
            .map(|series| format!("linux-source-{series} - source\n"))
            .collect();
        of("headers", self.headers)
            + &of("image", self.image)
            + &of("binary-unsigned", self.unsigned)
            + "linux-headers-7.9.1+deb13-cloud-amd64 - headers\n"
            + &sources
    }

    fn madison(&self) -> String {
        let line = |version: &&str| {
            let series = series(version);
            format!(" linux-source-{series} | {version}-1~bpo13+1 | archive Packages\n")
        };
        self.sources.iter().map(line).collect()
    }
}

fn series(version: &str) -> &str {
    version
        .rsplit_once('.')
        .map_or(version, |(series, _)| series)
}

/// A copy of the scripts in a temporary folder; removed at the end.
struct Sandbox(PathBuf);

impl Sandbox {
    fn new(name: &str, archive: &Archive, kernels: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("vm-steps-{name}-{}", std::process::id()));
        fs::create_dir_all(folder.join("qemu")).unwrap();
        fs::create_dir_all(folder.join("build/root")).unwrap();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../qemu");
        for script in ["steps", "lib.sh", "kernel-releases", "kernel-of"] {
            fs::copy(scripts.join(script), folder.join("qemu").join(script)).unwrap();
        }
        let sandbox = Sandbox(folder);
        sandbox.script("in-root", IN_ROOT);
        for (file, text) in [
            ("kernels", kernels),
            ("search", &archive.search()),
            ("madison", &archive.madison()),
        ] {
            fs::write(sandbox.0.join("qemu").join(file), text).unwrap();
        }
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

/// What the step says of these pins, and the releases that it chooses.
fn resolve(name: &str, archive: &Archive, kernels: &str) -> (String, String) {
    let sandbox = Sandbox::new(name, archive, kernels);
    let (text, success) = sandbox.run(&["qemu/steps", "kernel-releases"]);
    assert!(success, "{text}");
    (
        text,
        fs::read_to_string(sandbox.0.join("build/kernels")).unwrap(),
    )
}

/// The project's own pins.
fn pins() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../qemu/kernels")).unwrap()
}

const RUN_7_3: &str = "run 7.3.4+deb13-amd64 7.3 7.3.4-1~bpo13+1\n";
const RUN_7_2: &str = "run 7.2.12+deb13-amd64 7.2 7.2.12-1~bpo13+1\n";
const OTHER_7_3: &str = "other 7.3.4+deb13-amd64 7.3 7.3.4-1~bpo13+1\n";
const OTHER_7_2: &str = "other 7.2.12+deb13-amd64 7.2 7.2.12-1~bpo13+1\n";

#[test]
fn a_release_that_is_there_is_taken() {
    let (text, kernels) = resolve("there", &ARCHIVE, &pins());
    assert!(!text.contains("gone"), "{text}");
    assert_eq!(kernels, format!("{RUN_7_3}{OTHER_7_2}"));
}

#[test]
fn a_release_without_its_own_source_is_replaced_by_the_newest_of_its_series() {
    let (text, kernels) = resolve("source", &ARCHIVE, "run 7.2.11+deb13-amd64\n");
    assert!(text.contains("kernel 7.2.11+deb13-amd64 is gone from the archive, 7.2.12+deb13-amd64 takes its place"), "{text}");
    assert_eq!(kernels, RUN_7_2);
}

/// A kernel of a series that nobody reviewed would have no paths.
#[test]
fn a_series_that_is_gone_is_replaced_by_another_that_was_reviewed() {
    let pins = "run 7.3.4+deb13-amd64\nother 7.2.12+deb13-amd64\n";
    let moved_on = Archive {
        headers: &["7.2.12", "7.4.1"],
        image: &["7.2.12", "7.4.1"],
        unsigned: &[],
        sources: &["7.2.12", "7.4.1"],
    };
    let (text, kernels) = resolve("newer", &moved_on, pins);
    assert!(
        text.contains(
            "kernel 7.3.4+deb13-amd64 is gone from the archive, 7.2.12+deb13-amd64 takes its place"
        ),
        "{text}"
    );
    assert_eq!(kernels, format!("{RUN_7_2}{OTHER_7_2}"));

    let only_newest = Archive {
        headers: &["7.3.4", "7.4.1"],
        image: &["7.3.4", "7.4.1"],
        unsigned: &[],
        sources: &["7.3.4", "7.4.1"],
    };
    let (text, kernels) = resolve("older", &only_newest, pins);
    assert!(text.contains("kernel 7.2.12+deb13-amd64 is gone"), "{text}");
    assert_eq!(kernels, format!("{RUN_7_3}{OTHER_7_3}"));
}

#[test]
fn if_no_named_series_is_left_the_newest_of_all_is_taken() {
    let pins = "run 7.6.1+deb13-amd64\nother 7.5.9+deb13-amd64\n";
    let (text, kernels) = resolve("made-up", &ARCHIVE, pins);
    assert!(text.contains("7.6.1") && text.contains("7.5.9"), "{text}");
    assert_eq!(kernels, format!("{RUN_7_3}{OTHER_7_3}"));
}

#[test]
fn what_cannot_be_booted_is_passed_over() {
    let no_image = Archive {
        image: &["7.2.12"],
        ..ARCHIVE
    };
    let (text, kernels) = resolve("image", &no_image, &pins());
    assert!(
        text.contains("7.2.12+deb13-amd64 takes its place"),
        "{text}"
    );
    assert_eq!(kernels, format!("{RUN_7_2}{OTHER_7_2}"));
    // The signed image comes days after the others.
    let unsigned = Archive {
        unsigned: &["7.3.4"],
        ..no_image
    };
    let (_, kernels) = resolve("unsigned", &unsigned, &pins());
    assert_eq!(kernels, format!("{RUN_7_3}{OTHER_7_2}"));
}

#[test]
fn an_empty_archive_ends_the_run_with_the_reason() {
    let empty = Archive {
        headers: &[],
        image: &[],
        unsigned: &[],
        sources: &[],
    };
    let sandbox = Sandbox::new("empty", &empty, &pins());
    let (text, success) = sandbox.run(&["qemu/steps", "kernel-releases"]);
    assert!(
        !success && text.contains("the archive has no kernel with headers, source and image"),
        "{text}"
    );
}

#[test]
fn steps_are_cached_until_their_inputs_change() {
    let sandbox = Sandbox::new("cached", &ARCHIVE, "run 7.2.12+deb13-amd64\n");
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
    let sandbox = Sandbox::new("fails", &ARCHIVE, "");
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
