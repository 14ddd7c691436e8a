//! Decides from the two console streams of a run whether it went well.
//!
//! A run is good only if PID 1 gave its one verdict line, the verdict is good, and the kernel had nothing to complain about.
//! The verdict carries a word that this run alone knows, so nothing that a test prints can pass for it.

/// What begins the verdict line of PID 1; the run's word, `exit=N` and `taint=N` follow.
pub const VERDICT: &str = "GUEST-VERDICT";

/// Taints that an out-of-tree (bit 12), unsigned (bit 13) module brings.
pub const ALLOWED_TAINT: u64 = 1 << 12 | 1 << 13;

/// Texts by which the kernel says that something is wrong. Matched anywhere in a line of its console.
const COMPLAINTS: &[&str] = &[
    "Kernel panic",
    "BUG:",
    "kernel BUG at",
    "[ cut here ]",
    "Oops",
    "UBSAN:",
    "KASAN:",
    "KFENCE:",
    "general protection fault",
    "unable to handle",
    "stack segment",
    "double fault",
    "unchecked MSR access",
    "bad: scheduling from the idle thread",
    "scheduling while atomic",
    "suspicious RCU usage",
    "possible recursive locking",
    "circular locking dependency",
    "detected stalls",
    "detected expedited stalls",
    "self-detected stall",
    "soft lockup",
    "hard LOCKUP",
    "blocked for more than",
    "refcount_t:",
    "Bad page state",
    "list_add corruption",
    "list_del corruption",
    "Call Trace:",
];

/// Who wrote a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Kernel,
    Guest,
}

/// One line of the log, in the order of arrival.
#[derive(Clone, Debug)]
pub struct Line {
    pub from: From,
    pub text: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Good in every respect.
    Clean,
    /// The command in the guest ended with this exit status (128 and the signal's number if it was killed).
    Exit(i32),
    /// The kernel complained: index of the first such line.
    Complaint(usize),
    /// Taint bits beyond those an unsigned out-of-tree module brings.
    Tainted(u64),
    /// The guest ended without a verdict, or with two.
    Silence,
    /// The run was killed at its time limit.
    TimeLimit,
    /// A text that the kernel log had to have is not there.
    Missing(String),
}

impl Verdict {
    /// Exit code of the program for such a run: 1 a test failed, 3 the kernel complained, 4 the run did not end by itself.
    pub fn code(&self) -> u8 {
        match self {
            Verdict::Clean => 0,
            Verdict::Exit(_) | Verdict::Missing(_) => 1,
            Verdict::Complaint(_) | Verdict::Tainted(_) => 3,
            Verdict::Silence | Verdict::TimeLimit => 4,
        }
    }
}

/// Judges a finished run. `word` is what this run's verdict line must carry, `expect` are texts that the kernel must have logged.
pub fn judge(lines: &[Line], word: &str, timed_out: bool, expect: &[String]) -> Verdict {
    judge_with(lines, word, timed_out, expect, ALLOWED_TAINT)
}

/// [`judge`] with a choice of the taints that are no fault.
pub fn judge_with(
    lines: &[Line],
    word: &str,
    timed_out: bool,
    expect: &[String],
    allowed_taint: u64,
) -> Verdict {
    if let Some(first) = first_complaint(lines) {
        return Verdict::Complaint(first);
    }
    if timed_out {
        return Verdict::TimeLimit;
    }
    let guest = lines.iter().filter(|line| line.from == From::Guest);
    let mut verdicts = guest.filter_map(|line| verdict(&line.text, word));
    let (Some((exit, taint)), None) = (verdicts.next(), verdicts.next()) else {
        return Verdict::Silence;
    };
    if taint & !allowed_taint != 0 {
        return Verdict::Tainted(taint & !allowed_taint);
    }
    if exit != 0 {
        return Verdict::Exit(exit);
    }
    let logged = |text: &String| {
        lines
            .iter()
            .any(|line| line.from == From::Kernel && line.text.contains(text.as_str()))
    };
    match expect.iter().find(|text| !logged(text)) {
        Some(text) => Verdict::Missing(text.clone()),
        None => Verdict::Clean,
    }
}

/// The report of a process that is ended because memory ran out (mm/oom_kill.c) shows a stack, which is no complaint. Some tests
/// have memory run out. Everything else inside of a report is judged as everywhere.
#[derive(Default)]
struct OomKiller {
    reports: bool,
}

impl OomKiller {
    /// True if the line announces the one stack of a report. Lines must be given in order, all of them.
    fn shows_its_stack(&mut self, line: &Line) -> bool {
        if line.from != From::Kernel {
            return false;
        }
        if line.text.contains(" invoked oom-killer: ") {
            self.reports = true;
        }
        self.reports && line.text.contains("Call Trace:") && {
            self.reports = false;
            true
        }
    }
}

/// Index of the first line by which the kernel complains.
pub fn first_complaint(lines: &[Line]) -> Option<usize> {
    let mut killer = OomKiller::default();
    lines
        .iter()
        .position(|line| !killer.shows_its_stack(line) && complains(line))
}

/// What a verdict is in a run that had to make the kernel complain: clean if its first complaint contains `text`.
pub fn provoked(lines: &[Line], verdict: Verdict, text: &str) -> Verdict {
    match verdict {
        Verdict::Complaint(at) if lines[at].text.contains(text) => Verdict::Clean,
        Verdict::Clean | Verdict::Exit(_) | Verdict::Tainted(_) => {
            Verdict::Missing(text.to_owned())
        }
        other => other,
    }
}

/// True if the line is one by which the kernel complains.
///
/// `WARNING:` begins what WARN() says; in the midst of a line it is advice about mitigations.
pub fn complains(line: &Line) -> bool {
    let message = line
        .text
        .split_once("] ")
        .map_or(line.text.as_str(), |(_, message)| message);
    line.from == From::Kernel
        && (message.starts_with("WARNING:")
            || COMPLAINTS.iter().any(|text| line.text.contains(text)))
}

/// Exit status and taint, if the line is this run's verdict.
fn verdict(text: &str, word: &str) -> Option<(i32, u64)> {
    let mut fields = text.trim_end().strip_prefix(VERDICT)?.split_whitespace();
    if fields.next() != Some(word) {
        return None;
    }
    let exit = fields.next()?.strip_prefix("exit=")?.parse().ok()?;
    let taint = fields.next()?.strip_prefix("taint=")?.parse().ok()?;
    Some((exit, taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kernel: &[&str], guest: &[&str]) -> Verdict {
        judge(&lines(kernel, guest), "w0rd", false, &[])
    }

    fn lines(kernel: &[&str], guest: &[&str]) -> Vec<Line> {
        let line = |from| {
            move |text: &&str| Line {
                from,
                text: text.to_string(),
            }
        };
        kernel
            .iter()
            .map(line(From::Kernel))
            .chain(guest.iter().map(line(From::Guest)))
            .collect()
    }

    const GOOD: &str = "GUEST-VERDICT w0rd exit=0 taint=12288";
    const LOADED: &str = "[    1.9] synthjit: loading out-of-tree module taints kernel.";

    #[test]
    fn good() {
        assert_eq!(run(&[LOADED], &["ok 1 x", GOOD]), Verdict::Clean);
        assert_eq!(
            run(&[], &["GUEST-VERDICT w0rd exit=0 taint=0\r"]),
            Verdict::Clean
        );
    }

    #[test]
    fn only_this_runs_verdict_counts() {
        assert_eq!(run(&[], &["ok 1 x"]), Verdict::Silence);
        assert_eq!(
            run(&[], &["GUEST-VERDICT other exit=0 taint=0"]),
            Verdict::Silence
        );
        assert_eq!(run(&[], &["GUEST-VERDICT w0rd exit=0"]), Verdict::Silence);
        assert_eq!(
            run(&[GOOD], &[]),
            Verdict::Silence,
            "the kernel's stream carries no verdict"
        );
        assert_eq!(
            run(&[], &[GOOD, GOOD]),
            Verdict::Silence,
            "there is one PID 1"
        );
    }

    #[test]
    fn bad_exit_and_taint() {
        assert_eq!(
            run(&[], &["GUEST-VERDICT w0rd exit=3 taint=0"]),
            Verdict::Exit(3)
        );
        assert_eq!(
            run(&[], &["GUEST-VERDICT w0rd exit=139 taint=12288"]),
            Verdict::Exit(139)
        );
        assert_eq!(
            run(&[], &["GUEST-VERDICT w0rd exit=0 taint=12800"]),
            Verdict::Tainted(512)
        );
    }

    #[test]
    fn every_complaint_beats_a_good_verdict() {
        let texts = [
            "[    2.0] Kernel panic - not syncing: Attempted to kill init!",
            "[    2.0] BUG: unable to handle page fault for address: ffff8880",
            "[    2.0] WARNING: kernel/sched/core.c:1 at foo+0x1/0x2, CPU#0: guest/1",
            "[    2.0] Oops: int3: 0000 [#1] SMP NOPTI",
            "[    2.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[    2.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "[    2.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s!",
            "[    2.0] INFO: task guest:77 blocked for more than 120 seconds.",
            "[    2.0] ------------[ cut here ]------------",
            "[    2.0] unchecked MSR access error: WRMSR to 0xc0000082",
        ];
        for text in texts {
            assert_eq!(
                run(&[LOADED, text], &[GOOD]),
                Verdict::Complaint(1),
                "{text}"
            );
        }
    }

    #[test]
    fn a_provoked_complaint_must_come_first() {
        let provoke = |kernel: &[&str]| {
            let lines = lines(kernel, &[GOOD]);
            let verdict = judge(&lines, "w0rd", false, &[]);
            provoked(&lines, verdict, "KASAN:")
        };
        let (kasan, warning) = (
            "[    2.0] BUG: KASAN: slab-use-after-free in f+0x1/0x2",
            "[    2.0] WARNING: kernel/sched/core.c:1 at foo+0x1/0x2",
        );
        assert_eq!(provoke(&[LOADED, kasan, warning]), Verdict::Clean);
        assert_eq!(provoke(&[warning, kasan]), Verdict::Complaint(0));
        assert_eq!(provoke(&[LOADED]), Verdict::Missing("KASAN:".to_owned()));
        assert_eq!(
            provoked(&[], Verdict::TimeLimit, "KASAN:"),
            Verdict::TimeLimit
        );
    }

    #[test]
    fn advice_at_boot_is_no_complaint() {
        assert_eq!(
            run(&["[    0.3] RETBleed: WARNING: advice about SMT"], &[GOOD]),
            Verdict::Clean
        );
    }

    #[test]
    fn memory_may_run_out_but_nothing_else_may_happen_meanwhile() {
        let report =
            "[    9.0] guest invoked oom-killer: gfp_mask=0x402dc2, order=0, oom_score_adj=1000";
        let (trace, killed) = (
            "[    9.1] Call Trace:",
            "[    9.3] Memory cgroup out of memory: Killed process 9 (guest)",
        );
        assert_eq!(run(&[report, trace, killed], &[GOOD]), Verdict::Clean);
        assert_eq!(
            run(&[report, trace, trace, killed], &[GOOD]),
            Verdict::Complaint(2),
            "a second stack is somebody else's"
        );
        assert_eq!(
            run(&[report, "[    9.1] WARNING: a.c:1 at f"], &[GOOD]),
            Verdict::Complaint(1)
        );
        assert_eq!(run(&[killed, trace], &[GOOD]), Verdict::Complaint(1));
    }

    #[test]
    fn a_test_may_speak_of_bugs() {
        assert_eq!(
            run(&[], &["# BUG: is only a word here", GOOD]),
            Verdict::Clean
        );
    }

    #[test]
    fn time_limit_and_expected_text() {
        assert_eq!(
            judge(&lines(&[], &[GOOD]), "w0rd", true, &[]),
            Verdict::TimeLimit
        );
        let expect = ["refused: KPTI".to_owned()];
        assert_eq!(
            judge(&lines(&[], &[GOOD]), "w0rd", false, &expect),
            Verdict::Missing(expect[0].clone())
        );
        assert_eq!(
            judge(
                &lines(&["synthjit: refused: KPTI is on"], &[GOOD]),
                "w0rd",
                false,
                &expect
            ),
            Verdict::Clean
        );
        assert_eq!(
            judge(
                &lines(&[], &["refused: KPTI", GOOD]),
                "w0rd",
                false,
                &expect
            ),
            Verdict::Missing(expect[0].clone())
        );
    }
}
