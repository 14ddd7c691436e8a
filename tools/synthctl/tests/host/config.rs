//! The file of rules: what it means, what is said of one that is wrong, and what `daemon` does by it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use synthctl::config::{Config, PLACE};

use crate::recorded::{attached, Recorded};

fn read(text: &str) -> Result<Config, String> {
    let machine = attached();
    machine.put(PLACE, text);
    machine.put("/commands/getent passwd web", "web:x:33:33::/:/bin/sh\n");
    Config::read(&machine.machine, Path::new(PLACE)).map_err(|error| error.to_string())
}

#[test]
fn all_that_a_file_may_say() {
    let text = "interval = 0.5\n[[attach]]\ncomm = \"a name of more than 15\"\nuser = \"web\"\n[[attach]]\nuser = 7\n\
                cgroup = \"/sys/fs/cgroup/a/b/\"\n[[attach]]\ncgroup = \"a\"\n";
    let config = read(text).expect("it is right");
    assert_eq!(config.interval, Duration::from_millis(500));
    let rules: Vec<_> = config
        .rules
        .iter()
        .map(|rule| {
            let (comm, cgroup) = (rule.comm.as_deref(), rule.cgroup.as_deref());
            (rule.line, comm, rule.uid, cgroup)
        })
        .collect();
    assert_eq!(
        rules,
        [
            (2, Some("a name of more "), Some(33), None),
            (5, None, Some(7), Some("/a/b")),
            (8, None, None, Some("/a")),
        ]
    );
}

#[test]
fn an_empty_file_attaches_nothing_each_second() {
    let config = read("").expect("it is right");
    assert_eq!(
        (config.interval, config.rules.len()),
        (Duration::from_secs(1), 0)
    );
}

#[test]
fn what_is_wrong_is_told_with_line_and_cure() {
    for (text, what, cure) in [
        (
            "interval = 0\n",
            "line 1: interval is 0 seconds",
            "write 0.1 to 3600 seconds",
        ),
        (
            "interval = nan\n",
            "line 1: interval is NaN seconds",
            "write 0.1 to 3600",
        ),
        (
            "\n[[attach]]\n",
            "line 2: this [[attach]] does not say which",
            "give comm, user or cgroup",
        ),
        (
            "[[attach]]\ncom = \"a\"\n",
            "line 2: unknown field `com`, expected one of `comm`, `user`, `cgroup`",
            "man synthctl-daemon",
        ),
        (
            "[[attach]]\ncomm = 1\n",
            "line 2: invalid type: integer `1`, expected a string",
            "man synthctl-daemon",
        ),
        (
            "[[attach]]\ncomm = \"\"\n",
            "line 2: an empty text matches nothing",
            "leave the line out",
        ),
        (
            "[[attach]]\nuser = \"web\"\n[[attach]]\n\nuser = \"bew\"\n",
            "line 5: there is no user \"bew\"",
            "getent passwd",
        ),
        (
            "[[attach]]\nuser = -1\n",
            "line 2: expected a user's name or number",
            "man synthctl-daemon",
        ),
        ("\n\n[[attach\n", "line 3: ", "man synthctl-daemon"),
    ] {
        let error = read(text).expect_err(text);
        assert!(
            error.starts_with(&format!("{PLACE}, {what}")) && error.contains(cure),
            "{text:?}: {error}"
        );
    }
}

/// The packages' file says how to write each rule; without its comment signs it is right.
#[test]
fn the_packages_file_is_right() {
    let text = include_str!("../../../../debian/synthctl.toml");
    assert_eq!(read(text).expect("it is right").rules, []);
    let all: String = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{}\n", line.replace("www-data", "web")))
        .collect();
    let config = read(&all).expect("it is right");
    assert_eq!(config.rules.len(), 3, "{all}");
    assert_eq!(config.interval, Duration::from_secs(1));
}

/// What `daemon --once` ends with and says.
fn once(machine: &Recorded) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_synthctl"))
        .arg("--root")
        .arg(machine.root())
        .args(["daemon", "--once"])
        .output()
        .expect("it runs");
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(both).expect("text");
    let words: Vec<&str> = text.split_whitespace().collect();
    (output.status.code(), words.join(" "))
}

#[test]
fn all_that_is_given_must_be_true() {
    let machine = attached();
    machine.put("/proc/96/status", "Name:\tsh\nUid:\t0\t1000\t0\t0\n");
    machine.put("/proc/99/status", "Name:\tsh\nUid:\t1000\t7\t1000\t1000\n");
    machine.put("/proc/100/status", "Name:\tcat\nUid:\t0\t0\t0\t0\n");
    machine.put("/proc/96/cgroup", "0::/a\n");
    machine.put("/proc/99/cgroup", "0::/a/b\n");
    machine.put("/proc/100/cgroup", "0::/ab\n");
    for (rules, attached) in [
        (
            "comm = \"sh\"",
            "96 sh: attached (line 1) 99 sh: attached (line 1)",
        ),
        ("user = 1000", "96 sh: attached (line 1)"),
        (
            "cgroup = \"a\"",
            "96 sh: attached (line 1) 99 sh: attached (line 1)",
        ),
        (
            "cgroup = \"/\"\ncomm = \"cat\"",
            "100 cat: attached (line 1)",
        ),
        (
            "comm = \"sh\"\ncgroup = \"/a/b\"",
            "99 sh: attached (line 1)",
        ),
        ("comm = \"cat\"\nuser = 1000", ""),
        (
            "comm = \"cat\"\n[[attach]]\ncomm = \"sh\"\nuser = 7",
            "99 sh: attached (line 3) 100 cat: attached (line 1)",
        ),
    ] {
        machine.put(PLACE, &format!("[[attach]]\n{rules}\n"));
        assert_eq!(once(&machine), (Some(0), attached.to_owned()), "{rules}");
    }
}

#[test]
fn the_daemon_says_what_stands_in_the_way() {
    let machine = attached();
    let (code, said) = once(&machine);
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains(&format!("cannot read {PLACE}")), "{said}");
    machine.put(PLACE, "");
    assert_eq!(
        once(&machine),
        (
            Some(0),
            format!("{PLACE} has no [[attach]]: nothing will be attached")
        )
    );
    machine.put(
        "/sys/kernel/synthjit/platform/trap_vector",
        "refused: SELinux is active and decides about each read and write anew\n",
    );
    let (code, said) = once(&machine);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("this machine is refused: SELinux"), "{said}");
    machine.remove("/sys/kernel/synthjit");
    assert_eq!(once(&machine).0, Some(3));
}
