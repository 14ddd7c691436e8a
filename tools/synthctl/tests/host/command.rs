//! The program, on recorded machines: what it prints and what it ends with.

use std::process::{Command, Output};

use crate::recorded::{attached, Recorded};

fn synthctl(recorded: &Recorded, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_synthctl"))
        .arg("--root")
        .arg(recorded.root())
        .args(args)
        .output()
        .expect("it runs")
}

/// Exit code and all that was printed, white space made one.
fn said(recorded: &Recorded, args: &[&str]) -> (i32, String) {
    let output = synthctl(recorded, args);
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(both).expect("text");
    let words: Vec<&str> = text.split_whitespace().collect();
    (output.status.code().expect("an end"), words.join(" "))
}

fn expect(recorded: &Recorded, args: &[&str], code: i32, text: &str) {
    let (ended, said) = said(recorded, args);
    assert_eq!(ended, code, "{args:?}: {said}");
    assert!(said.contains(text), "{args:?}: not {text:?}, but {said}");
}

#[test]
fn status_tells_all_within_80_columns() {
    let machine = attached();
    let output = synthctl(&machine, &["status"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(!text.contains('\x1b'), "colour, but this is no terminal");
    for line in [
        "kernel    7.2.12+deb13-amd64",
        "platform  available",
        "98      sh              specialized",
        "         1 write pipe:[382]          pipe_write        884       15996",
    ] {
        assert!(
            text.lines().any(|l| l == line),
            "no line {line:?} in\n{text}"
        );
    }
}

#[test]
fn status_for_programs_has_every_key() {
    let machine = attached();
    machine.put(
        "/sys/kernel/synthjit/processes/98/state",
        "stock: switched off for this process\n",
    );
    let output = synthctl(&machine, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(status["kernel"], "7.2.12+deb13-amd64");
    assert_eq!(status["available"], true);
    assert_eq!(status["stats"]["attached"], 3);
    assert_eq!(status["paths"][1]["name"], "pipe_write");
    let process = &status["processes"][1];
    assert_eq!(process["pid"], 98);
    assert_eq!(process["comm"], "sh");
    assert_eq!(process["state"], "stock");
    assert_eq!(
        process["stock"]["cure"],
        "write 1 to the process's enabled file"
    );
    let path = &process["paths"][0];
    assert_eq!((&path["fd"], &path["call"]), (&1.into(), &"write".into()));
    assert_eq!(path["object"], "pipe:[382]");
    assert_eq!((&path["size"], &path["hits"]), (&884.into(), &15996.into()));
}

#[test]
fn what_the_tests_write_reaches_the_files() {
    let machine = attached();
    expect(
        &machine,
        &["attach", "4", "4", "3"],
        0,
        "3 : attached 4 : attached",
    );
    assert_eq!(
        machine
            .machine
            .text("/sys/kernel/synthjit/attach")
            .expect("text"),
        "4"
    );
    expect(&machine, &["off"], 0, "3 processes stay attached");
    assert_eq!(
        machine
            .machine
            .text("/sys/kernel/synthjit/enabled")
            .expect("text")
            .chars()
            .next(),
        Some('0')
    );
}

#[test]
fn names_and_cgroups_mean_processes() {
    let machine = attached();
    expect(
        &machine,
        &["attach", "--comm", "sh"],
        0,
        "96 sh: attached 98 sh: attached",
    );
    expect(
        &machine,
        &["attach", "--comm", "bash"],
        6,
        "no process is called",
    );
    machine.put("/sys/fs/cgroup/a/cgroup.procs", "99\n0\n");
    machine.put("/sys/fs/cgroup/a/b/cgroup.procs", "96\n");
    for path in ["a", "/a", "/sys/fs/cgroup/a"] {
        expect(
            &machine,
            &["detach", "--cgroup", path],
            0,
            "96 sh: detached 99 cat: detached",
        );
    }
    expect(&machine, &["detach", "--cgroup", "c"], 6, "is no cgroup");
}

#[test]
fn usage_is_checked() {
    let machine = attached();
    for wrong in [
        &["attach"][..],
        &["attach", "0"],
        &["attach", "1", "--comm", "a"],
        &["no-such-command"],
    ] {
        assert_eq!(said(&machine, wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn a_missing_module_is_told_with_its_cure() {
    let machine = attached();
    machine.remove("/sys/kernel/synthjit");
    for command in [&["status"][..], &["attach", "1"], &["off"]] {
        expect(
            &machine,
            command,
            3,
            "the module is not loaded cure: insmod synthjit.ko",
        );
    }
    machine.put("/sys/module/module/parameters/sig_enforce", "Y\n");
    expect(
        &machine,
        &["status"],
        7,
        "takes only signed modules (module.sig_enforce)",
    );
    machine.put(
        "/sys/kernel/security/lockdown",
        "none [integrity] confidentiality\n",
    );
    expect(
        &machine,
        &["status"],
        7,
        "lockdown (integrity) lets only signed modules in cure: sign synthjit.ko",
    );
}

#[test]
fn doctor_ends_with_the_number_of_problems() {
    let machine = attached();
    expect(&machine, &["doctor"], 0, "no problem found");
    machine.put("/proc/self/status", "CapEff:\t0000000000000000\n");
    expect(&machine, &["doctor"], 1, "1 problem found");
}
