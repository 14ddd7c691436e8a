//! The screen of `top` on a recorded machine.

use std::time::Duration;

use ratatui::backend::TestBackend;
use ratatui::crossterm::event::KeyCode;
use ratatui::Terminal;
use synthctl::module::Module;
use synthctl::top::model::Sample;
use synthctl::top::{draw, Screen};

use crate::recorded::{attached, Recorded};

/// The lines of a terminal of 80 columns and 24 lines.
fn lines(screen: &Screen) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
    terminal.draw(|frame| draw(frame, screen)).expect("drawn");
    let buffer = terminal.backend().buffer().clone();
    let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
    cells
        .chunks(80)
        .map(|line| line.concat().trim_end().to_owned())
        .collect()
}

#[track_caller]
fn shows(screen: &Screen, text: &str) {
    let lines = lines(screen);
    assert!(
        lines.iter().any(|line| line.contains(text)),
        "no {text:?} in\n{}",
        lines.join("\n")
    );
}

/// A screen after two looks, two seconds apart, between which 1000 of 4000 writes hit and 50 calls bailed out.
fn busy(machine: &Recorded) -> Screen {
    let module = Module::open(&machine.machine).expect("a module");
    let mut screen = Screen::new(Sample::read(&module));
    let number = |file: &str| -> u64 {
        machine
            .machine
            .text(file)
            .expect("text")
            .parse()
            .expect("a number")
    };
    let hits = "/sys/kernel/synthjit/processes/99/fds/1.write/hits";
    machine.put(hits, &format!("{}\n", number(hits) + 1000));
    let bails = "/sys/kernel/synthjit/stats/bailouts";
    machine.put(bails, &format!("{}\n", number(bails) + 50));
    machine.count(99, "1.write", "exit_work 0\nreader_waits 50\nno_room 6\n");
    let io = machine.machine.text("/proc/99/io").expect("text");
    let calls: u64 = io
        .lines()
        .find_map(|line| line.strip_prefix("syscw: "))
        .and_then(|n| n.parse().ok())
        .expect("a number");
    machine.put(
        "/proc/99/io",
        &format!("syscr: 0\nsyscw: {}\n", calls + 4000),
    );
    let mut now = Sample::read(&module);
    now.at = screen.now.at + Duration::from_secs(2);
    screen.renew(now);
    screen
}

#[test]
fn rates_are_those_of_the_time_between() {
    let machine = attached();
    let screen = busy(&machine);
    shows(
        &screen,
        "synthjit on 7.2.12+deb13-amd64: available, switched on",
    );
    shows(&screen, "25 bail-outs/s");
    shows(
        &screen,
        "bail-outs by reason: reader_waits 25/s, no_room 3/s",
    );
    shows(
        &screen,
        "PID     COMMAND         FD    CALL   OBJECT             HITS/S     RATE",
    );
    shows(
        &screen,
        "99      sh              1     write  pipe:[382]         500        25.0%  fast",
    );
    shows(
        &screen,
        "96      sh                           no path yet        0",
    );
    shows(&screen, "q end");
}

#[test]
fn keys_switch_and_open() {
    let machine = attached();
    let mut screen = busy(&machine);
    let module = Module::open(&machine.machine).expect("a module");
    let text = |file: &str| machine.machine.text(file).expect("text").chars().next();
    // 96 has no path; then 99.
    assert!(screen.key(&module, KeyCode::Down));
    assert!(screen.key(&module, KeyCode::Char(' ')));
    assert_eq!(text("/sys/kernel/synthjit/processes/99/enabled"), Some('0'));
    assert_eq!(text("/sys/kernel/synthjit/processes/96/enabled"), Some('1'));
    assert!(screen.key(&module, KeyCode::Char('o')));
    assert_eq!(text("/sys/kernel/synthjit/enabled"), Some('0'));
    assert!(screen.key(&module, KeyCode::Enter));
    shows(&screen, "99 sh, descriptor 1, write, pipe:[382]");
    shows(&screen, "user_flags: guard:");
    while !lines(&screen)
        .concat()
        .contains("50 reader_waits: Somebody waits")
    {
        let before = screen.open.as_ref().map(|(_, first)| *first);
        screen.key(&module, KeyCode::Down);
        let now = screen.open.as_ref().map(|(_, first)| *first);
        assert_ne!(now, before, "it is not shown");
    }
    let code = "  guard_eq                cmp qword ptr [rdi+file_f_op], pipeanon_fops";
    let at = |screen: &Screen| {
        let (text, first) = screen.open.as_ref()?;
        Some((text.iter().position(|line| line == code)?, *first))
    };
    let (line, _) = at(&screen).expect("the code");
    while at(&screen).is_some_and(|(line, first)| line > first + 16) {
        screen.key(&module, KeyCode::PageDown);
    }
    shows(&screen, code);
    assert!(line > 20);
    // Back to the table, then out.
    assert!(screen.key(&module, KeyCode::Char('q')));
    shows(&screen, "HITS/S");
    assert!(!screen.key(&module, KeyCode::Char('q')));
}

#[test]
fn what_goes_wrong_is_told_below() {
    let machine = attached();
    let mut screen = busy(&machine);
    machine.remove("/sys/kernel/synthjit");
    let module = Module {
        machine: &machine.machine,
    };
    assert!(screen.key(&module, KeyCode::Char('o')));
    shows(&screen, "the module is not loaded any more");
    screen.renew(Sample::read(&module));
    assert!(screen.rows.is_empty());
}
