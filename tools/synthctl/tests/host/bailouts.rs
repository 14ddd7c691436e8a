//! Why calls bailed out of paths, as each command tells it.

use std::process::Command;
use std::time::Duration;

use synthctl::exited::Exited;
use synthctl::module::Module;
use synthctl::status::Bailed;
use synthctl::top::model::{reasons, Sample};

use crate::recorded::{attached, Recorded};

/// The recorded machine, some calls of whose writer have bailed out.
fn counted() -> Recorded {
    let machine = attached();
    let text = "single_step 0\nexit_work 3\nreader_waits 12\nno_such_word 1\n";
    machine.count(99, "1.write", text);
    machine
}

/// What the program prints, white space made one.
fn said(machine: &Recorded, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_synthctl"))
        .arg("--root")
        .arg(machine.root())
        .args(args)
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let fits = |line: &str| line.chars().count() <= 80;
    assert!(args.contains(&"--json") || text.lines().all(fits), "{text}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn status_tells_those_that_happened() {
    let text = said(&counted(), &["status"]);
    let line = "bailed out: exit_work 3, reader_waits 12, no_such_word 1";
    assert!(text.contains(line), "{text}");
    assert!(!said(&attached(), &["status"]).contains("bailed out"));
}

/// Whoever may not read listings, or has no debugfs, sees how many.
#[test]
fn without_listings_there_is_the_sum() {
    let machine = counted();
    machine.remove("/sys/kernel/debug");
    let text = said(&machine, &["status"]);
    assert!(text.contains("bailed out: 16, root sees why"), "{text}");
    let all: serde_json::Value =
        serde_json::from_str(&said(&machine, &["status", "--json"])).expect("JSON");
    let path = &all["processes"][1]["paths"][0];
    assert_eq!(
        (path["gave_back"].as_u64(), path.get("bailouts")),
        (Some(16), None)
    );
    let text = said(&machine, &["explain", "99", "1"]);
    for part in [
        "descriptors without a path are not told: cannot read /sys/kernel/debug/synthjit/without: debugfs is not mounted cure: mount -t debugfs",
        "without the values: cannot read /sys/kernel/debug/synthjit/values: debugfs is not mounted",
        "16, root sees why single_step The process is being stepped",
    ] {
        assert!(text.contains(part), "{text}");
    }
    machine.put("/sys/kernel/debug/other", "");
    let text = said(&machine, &["explain", "99", "1"]);
    assert!(
        text.contains("this kernel has no debugfs for the module cure: boot without debugfs=off"),
        "{text}"
    );
}

#[test]
fn programs_get_what_it_is_and_the_cure() {
    let status = |machine: &Recorded| -> serde_json::Value {
        serde_json::from_str(&said(machine, &["status", "--json"])).expect("JSON")
    };
    let all = status(&counted());
    let bailouts = &all["processes"][1]["paths"][0]["bailouts"];
    assert_eq!(bailouts.as_array().map(Vec::len), Some(4));
    assert_eq!(
        (&bailouts[2]["name"], &bailouts[2]["count"]),
        (&"reader_waits".into(), &12.into())
    );
    assert_eq!(
        bailouts[2]["doc"],
        "Somebody waits for data or polls the read end."
    );
    assert_ne!(bailouts[2]["cure"], "");
    // A newer module may have reasons that are not known here.
    assert_eq!(bailouts[3]["cure"], "");
}

#[test]
fn explain_says_what_can_be_done() {
    let text = said(&counted(), &["explain", "99", "1"]);
    let part = "exit_work: 3 The kernel has something to do before the process runs on";
    assert!(text.contains(part), "{text}");
    let part = "reader_waits: 12 Somebody waits for data or polls the read end. cure: ";
    assert!(text.contains(part), "{text}");
    assert!(!text.contains("not counted"), "{text}");
}

#[test]
fn top_sums_what_came_between_two_looks() {
    let machine = counted();
    let module = Module::open(&machine.machine).expect("a module");
    let before = Sample::read(&module);
    let more = "single_step 0\nexit_work 4\nreader_waits 52\nno_such_word 1\n";
    machine.count(99, "1.write", more);
    machine.count(100, "0.read", "exit_work 7\n");
    let mut now = Sample::read(&module);
    now.at = before.at + Duration::from_secs(2);
    let told = reasons(&before, &now);
    let expected = [("reader_waits", 20.0), ("exit_work", 4.0)];
    assert_eq!(told, expected.map(|(name, rate)| (name.to_owned(), rate)));
}

#[test]
fn the_end_of_a_process_is_told_by_call() {
    let text =
        "7 read 1 write 2\n70 read 5 write 6 read.pipe_empty 3 read.exit_work 4 write.no_room 9\n";
    let exited = Exited::find(text, 70).expect("a line");
    assert_eq!((exited.read.hits, exited.write.hits), (5, 6));
    assert_eq!(
        (exited.read.bailed_out(), exited.write.bailed_out()),
        (7, 9)
    );
    let names = |list: &[Bailed]| -> Vec<String> { list.iter().map(|b| b.name.clone()).collect() };
    assert_eq!(names(&exited.read.bailouts), ["exit_work", "pipe_empty"]);
    assert_eq!(exited.write.bailouts[0].count, 9);
    assert!(Exited::find(text, 7).is_some_and(|e| e.read.bailouts.is_empty()));
    assert!(Exited::find(text, 0).is_none());
    for wrong in ["7 read", "7 read x write 1", "7 close 1 write 2"] {
        assert!(Exited::find(wrong, 7).is_none(), "{wrong}");
    }
}
