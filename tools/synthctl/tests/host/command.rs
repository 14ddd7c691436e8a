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
        "99      sh              specialized",
        "         1 write pipe:[382]          pipe_write        895       32552",
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
        "/sys/kernel/synthjit/processes/99/state",
        "stock: switched off for this process\n",
    );
    let output = synthctl(&machine, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(status["kernel"], "7.2.12+deb13-amd64");
    assert_eq!(status["available"], true);
    assert_eq!(status["stats"]["attached"], 3);
    assert_eq!(status["paths"][1]["name"], "pipe_write");
    let process = &status["processes"][1];
    assert_eq!(process["pid"], 99);
    assert_eq!(process["comm"], "sh");
    assert_eq!(process["state"], "stock");
    assert_eq!(
        process["stock"]["cure"],
        "write 1 to the process's enabled file"
    );
    let path = &process["paths"][0];
    assert_eq!((&path["fd"], &path["call"]), (&1.into(), &"write".into()));
    assert_eq!(path["object"], "pipe:[382]");
    assert_eq!((&path["size"], &path["hits"]), (&895.into(), &32552.into()));
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
        "96 sh: attached 99 sh: attached",
    );
    expect(
        &machine,
        &["attach", "--comm", "bash"],
        6,
        "no process is called",
    );
    machine.put("/sys/fs/cgroup/a/cgroup.procs", "100\n0\n");
    machine.put("/sys/fs/cgroup/a/b/cgroup.procs", "96\n");
    for path in ["a", "/a", "/sys/fs/cgroup/a"] {
        expect(
            &machine,
            &["detach", "--cgroup", path],
            0,
            "96 sh: detached 100 cat: detached",
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

#[test]
fn explain_tells_the_four_classes() {
    let machine = attached();
    let output = synthctl(&machine, &["explain", "99", "1"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    for part in [
        "99 sh: specialized\n1 write: pipe_write, 895 bytes, pipe:[382]\n",
        "\n1  seen to be constant\n    fd = 0x1\n",
        "\n2  constant, but only the kernel knows it\n",
        "    pipe_head = 0x",
        "\n3  likely constant, and kept so\n",
        "      [watch: task_newtask, sched_process_exec, sched_process_exit]\n",
        "      [guard: looked at on each call]\n",
        "\n4  dynamic, read on each call\n",
        "The mutex is taken.",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn explain_says_why_not() {
    let machine = attached();
    expect(
        &machine,
        &["explain", "100", "1"],
        0,
        "1 write: stock path there is no path for this kind of file cure:",
    );
    // Process 9 is not process 96, nor 99.
    expect(
        &machine,
        &["explain", "99"],
        0,
        "99 sh: specialized 1 write: pipe_write, 895 bytes, pipe:[382]",
    );
    expect(
        &machine,
        &["explain", "100", "2"],
        0,
        "descriptor 2 has not been looked at",
    );
    expect(
        &machine,
        &["explain", "100", "5"],
        6,
        "process 100 has no descriptor 5",
    );
    expect(&machine, &["explain", "77"], 6, "there is no such process");
    machine.put("/proc/77/comm", "other\n");
    expect(
        &machine,
        &["explain", "77"],
        6,
        "not attached, so all of its calls take the stock path cure: synthctl attach 77",
    );
}

#[test]
fn disasm_fits_80_columns() {
    let machine = attached();
    let output = synthctl(&machine, &["disasm", "100", "0"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(text.starts_with("pipe_read of descriptor 0 of process 100, 838 bytes at 0xffffffffc0414000\nuser_ptr_max: 0x"), "{text}");
    expect(
        &machine,
        &["disasm", "100", "0", "--call", "write"],
        6,
        "has no path cure: synthctl explain 100 0",
    );
    machine.put("/sys/kernel/debug/synthjit/values", "100 0.read base 0x1\n");
    expect(
        &machine,
        &["disasm", "100", "0"],
        8,
        "built with the module",
    );
}

#[test]
fn run_fails_with_codes_of_its_own() {
    let machine = attached();
    machine.put(
        "/sys/kernel/synthjit/platform/trap_vector",
        "refused: SELinux is active and decides about each read and write anew\n",
    );
    expect(&machine, &["run", "true"], 125, "SELinux is active");
}
