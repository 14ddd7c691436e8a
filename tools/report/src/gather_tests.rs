//! A run in small: two paths of a recorded machine, calls of a few instructions.

use super::*;
use crate::counts;
use crate::page;

/// Where the kernel's functions of this small run begin.
const SYMBOLS: &str =
    "> SYMBOL ffffffff81000000 entry_SYSCALL_64\n> SYMBOL ffffffff81000100 anon_pipe_write\n\
    > SYMBOL ffffffff81000200 a_function_that_nobody_knows\n";

/// The values of a path (`TGID FD.CALL`) of a machine that synthctl's tests recorded.
fn recorded(path: &str) -> impl Iterator<Item = &'static str> {
    let machine = include_str!("../../synthctl/tests/host/recorded/attached.txt");
    let (_, rest) = machine
        .split_once("=== /sys/kernel/debug/synthjit/values\n")
        .unwrap();
    let listing = rest.split("===").next().unwrap();
    let about = format!("{path} ");
    listing
        .lines()
        .filter_map(move |line| line.strip_prefix(&about))
}

fn values() -> String {
    let path = |call: &str, path| {
        let lines = recorded(path).map(|line| format!("> VALUE {call} {line}\n"));
        lines.collect::<String>()
    };
    path("write", "99 1.write") + &path("read", "100 0.read")
}

/// A stock call takes a hundred instructions, an attached one four: user space, entry of the path, and two behind it.
fn sections() -> (String, String) {
    let (mut log, mut counted) = (String::new(), String::new());
    for (call, path) in [(WRITE, "99 1.write"), (READ, "100 0.read")] {
        let line = recorded(path).find_map(|line| line.strip_prefix("entry 0x"));
        let entry = u64::from_str_radix(line.unwrap(), 16).unwrap();
        log += &format!("> SECTION {call} stock 100\n> SECTION {call} attached 4\n");
        counted +=
            "section\n7f00 1\nffffffff81000000 9\nffffffff81000104 80\nffffffff81000200 10\n";
        counted += &format!("section\n7f00 1\n{entry:x} 3\n");
    }
    (log, counted)
}

fn boots() -> Boots {
    let (sections, counted) = sections();
    let facts = "> FACT kernel 7.2\n> FACT version #1 SMP\n> FACT cpu A & B\n> FACT options nokaslr\n> FACT vulnerability mds Not affected\n\
        > FACT vulnerability spectre_v2 Mitigation: Retpolines\n";
    let mut figures = String::new();
    for mode in ["stock", "attached"] {
        for call in ["write", "read"] {
            figures += &format!("> SIZE {call} 1 {mode} 100\n> SIZE {call} 2 {mode} 101\n");
        }
        (1..=7).for_each(|number| figures += &format!("> PROGRAM {number} {mode} 70000 10\n"));
    }
    let log = |text: &str| Log::parse(text).unwrap();
    Boots {
        functions: log(&(facts.to_owned() + &sections + SYMBOLS + &values())),
        counts: counts::parse(&counted).unwrap(),
        clock: log(&(sections.clone() + &figures)),
        vector_write: log(&sections),
        vector_read: log(&sections),
        unhardened: log(&sections),
        no_smap: log(&sections),
    }
}

fn error(boots: &Boots) -> String {
    format!("{:#}", report(boots, "abc", "today").unwrap_err())
}

#[test]
fn a_run_becomes_a_report() {
    let report = report(&boots(), "abc", "today").unwrap();
    let write = &report.calls[0];
    assert_eq!(
        (write.stock.instructions, write.attached.instructions),
        (100, 4)
    );
    let names = |profile: &Profile| {
        let functions = profile.functions.iter();
        functions
            .map(|f| (f.name.clone(), f.instructions))
            .collect::<Vec<_>>()
    };
    let named = |list: &[(&str, u64)]| {
        list.iter()
            .map(|(n, i)| (n.to_string(), *i))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&write.stock),
        named(&[
            ("syscall (in user space)", 1),
            ("entry_SYSCALL_64", 9),
            ("anon_pipe_write", 80),
            ("a_function_that_nobody_knows", 10)
        ])
    );
    // What a path does first.
    assert_eq!(
        names(&write.attached),
        named(&[("syscall (in user space)", 1), ("enter_kernel", 3)])
    );
    assert_eq!(report.about.mitigations.len(), 1);
    assert_eq!(report.programs[1].thesis_ratio, 56.0);
}

#[test]
fn a_count_that_is_not_the_clock_s_is_no_report() {
    let mut wrong = boots();
    wrong.counts[2].0[0].1 += 1;
    assert!(error(&wrong).contains("100 instructions by the guest's clock and 101 by the plugin's"));
    wrong.counts.pop();
    assert!(error(&wrong).contains("the guest marked 4 calls and the plugin saw 3"));
}

#[test]
fn a_plugin_that_changes_what_it_counts_is_no_report() {
    let mut wrong = boots();
    wrong.clock.sections[0].ticks = 99;
    assert!(error(&wrong).contains("100 instructions with the plugin, 99 without"));
}

#[test]
fn what_was_not_measured_is_told() {
    let mut wrong = boots();
    wrong.clock.programs.remove(&(5, Mode::Attached));
    assert!(error(&wrong).contains("program 5 was not measured"));
    let mut wrong = boots();
    wrong.no_smap.sections.clear();
    assert!(error(&wrong).contains("pipe_write_1 was not measured"));
}

#[test]
fn the_page_needs_nothing_else_and_shows_everything() {
    let report = report(&boots(), "abc", "today").unwrap();
    let page = page::page(&report).into_string();
    // Nothing is fetched: no address, no other file.
    for word in ["http:", "https:", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    for word in [
        "A &amp; B",
        "Mitigation: Retpolines",
        "a_function_that_nobody_knows",
        "enter_kernel",
        "21.42",
        "0.95",
        "abc",
        "today",
    ] {
        assert!(page.contains(word), "{word}");
    }
    // Each figure is for eyes and for readers of screens.
    assert_eq!(
        page.matches("<svg").count(),
        page.matches("role=\"img\" aria-label=\"").count()
    );
}
