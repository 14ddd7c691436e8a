//! The command line: what goes where, and exit codes.

mod common;

use std::process::{Command, Output};

use common::Bench;

fn specc(bench: &Bench, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_specc"))
        .args(args)
        .current_dir(bench.dir.path())
        .output()
        .expect("specc runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const GENERATE: &[&str] = &[
    "generate",
    "--specs",
    "specs",
    "--out",
    "out",
    "--kernel-source",
    "kernel",
    "--release",
    "7.2.0-test",
];

#[test]
fn generate_is_silent_when_all_is_known() {
    let bench = Bench::new();
    let out = specc(&bench, GENERATE);
    assert!(out.status.success());
    assert_eq!(text(&out.stderr) + &text(&out.stdout), "");
    assert!(bench
        .rust()
        .contains("pub const RELEASE: &str = \"7.2.0-test\";"));
}

#[test]
fn generate_tells_what_it_leaves_out_and_succeeds() {
    let bench = Bench::new();
    bench.edit("kernel/fs/thing.c", "|= x", "= x");
    let out = specc(&bench, GENERATE);
    assert!(out.status.success());
    let said = text(&out.stderr);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(
        said.starts_with("specc: thing_push in fs/thing.c is not the text that was reviewed"),
        "{said}"
    );
}

#[test]
fn a_wrong_spec_fails_and_writes_nothing() {
    let bench = Bench::new();
    bench.edit("specs/push.toml", "class = 1", "class = 7");
    for args in [GENERATE, &["check", "--specs", "specs"]] {
        let out = specc(&bench, args);
        assert!(!out.status.success(), "{args:?}");
        assert!(text(&out.stderr)
            .starts_with("specc: push.toml: value.fd.class: there is no class 7\n  cure: "));
    }
    assert!(!bench.out().exists());
}

#[test]
fn check_says_nothing_when_all_is_right() {
    let out = specc(&Bench::new(), &["check", "--specs", "specs"]);
    assert!(out.status.success() && out.stdout.is_empty() && out.stderr.is_empty());
}

#[test]
fn fingerprint_serves_the_author() {
    let bench = Bench::new();
    let args = [
        "fingerprint",
        "--specs",
        "specs",
        "--kernel-source",
        "kernel",
    ];
    let out = specc(&bench, &args);
    assert!(out.status.success());
    assert_eq!(
        text(&out.stdout).matches("reviewed for 7.2").count(),
        2,
        "{}",
        text(&out.stdout)
    );

    // A mirror without a fingerprint is what one has before the first review.
    let spec = bench.read("specs/push.toml");
    let cut: String = spec
        .lines()
        .filter(|l| !l.starts_with("reviewed"))
        .map(|l| format!("{l}\n"))
        .collect();
    bench.write("specs/push.toml", &cut);
    let said = text(&specc(&bench, &args).stdout);
    let line = said
        .lines()
        .find(|l| l.contains("thing_push"))
        .expect("its line");
    assert!(line.ends_with(" NEW"), "{line}");

    let with_text = text(&specc(&bench, &[&args[..], &["--text"]].concat()).stdout);
    assert!(with_text.contains("t -> flags |= x ;"), "{with_text}");
    assert!(
        !with_text.contains("no such x"),
        "comments are not part of it"
    );

    bench.edit("kernel/fs/thing.c", "int thing_push(", "int thing_shove(");
    let out = specc(&bench, &args);
    assert!(!out.status.success(), "a mirror that is not there");
    assert!(text(&out.stdout).contains("not found in fs/thing.c"));
}
