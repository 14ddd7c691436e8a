//! Boots in which the kernel is made to oops: exactly the oopses that the boot names are accepted, in their order, each with
//! its place in generated code. Whatever else the kernel complains about is a complaint as ever.

use crate::boots::Boot;
use crate::judge::{self, From, Line, Verdict, ALLOWED_TAINT, VERDICT};

/// Taint of a kernel that has oopsed (TAINT_DIE).
const DIED: u64 = 1 << 7;

/// Last line of an oops.
const END: &str = "---[ end trace";
/// The lines of an oops by which the kernel complains. Any other is not the oops's.
const OF_OOPS: [&str; 3] = ["Oops: ", "BUG: unable to handle", "Call Trace:"];
/// What shows that the instruction that faulted was generated.
const IN_ARENA: &str = "RIP: 0010:synthjit_path_";
/// What the module says of it.
const TOLD: &str = "synthjit: a fault in generated code: ";
/// What a panic begins with.
const PANIC: &str = "Kernel panic - not syncing: ";

/// Taint that a live patch brings.
const LIVE_PATCH: u64 = 1 << 15;

/// Judges the run of a boot.
pub fn judge(lines: &[Line], word: &str, timed_out: bool, boot: &Boot) -> Verdict {
    if boot.oopses.is_empty() {
        return match boot.live_patch {
            true => {
                let allowed = ALLOWED_TAINT | LIVE_PATCH;
                judge::judge_with(lines, word, timed_out, &boot.expect, allowed)
            }
            false => judge::judge(lines, word, timed_out, &boot.expect),
        };
    }
    let mut rest = lines.to_vec();
    for text in &boot.oopses {
        if let Err(verdict) = take_oops(&mut rest, text) {
            return verdict;
        }
    }
    if let Some(reason) = &boot.panics {
        let text = format!("{PANIC}{reason}");
        let found = rest
            .iter_mut()
            .find(|line| line.from == From::Kernel && line.text.ends_with(&text));
        match found {
            Some(line) => line.text.clear(),
            None => return Verdict::Missing(text),
        }
        // A machine that panics gives no verdict: this one must be the only one.
        rest.push(Line {
            from: From::Guest,
            text: format!("{VERDICT} {word} exit=0 taint=0"),
        });
    }
    judge::judge_with(&rest, word, timed_out, &boot.expect, ALLOWED_TAINT | DIED)
}

/// Blanks the lines of the first oops, if it is the one that `text` names. Line numbers stay as they are.
fn take_oops(lines: &mut [Line], text: &str) -> Result<(), Verdict> {
    let missing = || Verdict::Missing(format!("Oops: {text}"));
    let first = lines
        .iter()
        .position(judge::complains)
        .ok_or_else(missing)?;
    let kernel = |line: &Line| line.from == From::Kernel;
    let length = lines[first..]
        .iter()
        .position(|line| kernel(line) && line.text.contains(END))
        .ok_or(Verdict::Complaint(first))?;
    let oops = &mut lines[first..=first + length];
    let has = |what: &str| {
        oops.iter()
            .any(|line| kernel(line) && line.text.contains(what))
    };
    let named = oops.iter().any(|line| {
        kernel(line)
            && line
                .text
                .split_once("Oops: ")
                .is_some_and(|(_, of)| of.contains(text))
    });
    let other = |line: &Line| {
        judge::complains(line) && !OF_OOPS.iter().any(|text| line.text.contains(text))
    };
    if let Some(at) = oops.iter().position(other) {
        return Err(Verdict::Complaint(first + at));
    }
    if !(named && has(IN_ARENA) && has(TOLD)) {
        return Err(Verdict::Complaint(first));
    }
    oops.iter_mut()
        .filter(|line| kernel(line))
        .for_each(|line| line.text.clear());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OOPS: &[&str] = &[
        "[    2.0] BUG: unable to handle page fault for address: fffffc0000000000",
        "[    2.0] Oops: Oops: 0000 [#1] SMP NOPTI",
        "[    2.0] RIP: 0010:synthjit_path_pipe_write_pid7_fd4+0x1c0/0x380 [synthjit]",
        "[    2.0] Call Trace:",
        "[    2.0] synthjit: a fault in generated code: pipe_write of process 7 for descriptor 4, +0x1c0 in its slot",
        "[    2.0] ---[ end trace 0000000000000000 ]---",
    ];
    const PANICKED: &[&str] = &[
        "[    2.1] Kernel panic - not syncing: Fatal exception",
        "[    2.1] Kernel Offset: 0x2000000 from 0xffffffff81000000",
    ];
    const GOOD: &str = "GUEST-VERDICT w0rd exit=0 taint=12416";

    fn run(kernel: &[&[&str]], guest: &[&str], panics: bool) -> Verdict {
        let line = |from| {
            move |text: &&str| Line {
                from,
                text: text.to_string(),
            }
        };
        let lines: Vec<_> = kernel
            .iter()
            .flat_map(|part| part.iter())
            .map(line(From::Kernel))
            .chain(guest.iter().map(line(From::Guest)))
            .collect();
        let boot = Boot {
            oopses: vec!["Oops: 0000".to_owned()],
            panics: panics.then(|| "Fatal exception".to_owned()),
            ..Boot::new("x", vec!["/guest".to_owned()])
        };
        judge(&lines, "w0rd", false, &boot)
    }

    #[test]
    fn live_patches_taint_where_a_boot_says_so() {
        let lines = [Line {
            from: From::Guest,
            text: format!("{VERDICT} w0rd exit=0 taint=45056"),
        }];
        let mut boot = Boot::new("x", vec!["/guest".to_owned()]);
        assert_eq!(
            judge(&lines, "w0rd", false, &boot),
            Verdict::Tainted(LIVE_PATCH)
        );
        boot.live_patch = true;
        assert_eq!(judge(&lines, "w0rd", false, &boot), Verdict::Clean);
    }

    #[test]
    fn the_oops_that_was_named_is_no_complaint() {
        assert_eq!(run(&[OOPS], &[GOOD], false), Verdict::Clean);
    }

    #[test]
    fn it_must_come_and_once_only() {
        assert_eq!(
            run(&[], &[GOOD], false),
            Verdict::Missing("Oops: Oops: 0000".into())
        );
        assert_eq!(run(&[OOPS, OOPS], &[GOOD], false), Verdict::Complaint(6));
    }

    #[test]
    fn another_oops_is_a_complaint() {
        for (at, text) in [
            (1, "[    2.0] Oops: invalid opcode: 0000 [#1] SMP NOPTI"),
            (2, "[    2.0] RIP: 0010:anon_pipe_write+0x1/0x2"),
            (4, "[    2.0] nothing was told"),
            (5, "[    2.0] the end is missing"),
        ] {
            let mut other = OOPS.to_vec();
            other[at] = text;
            assert_eq!(
                run(&[&other], &[GOOD], false),
                Verdict::Complaint(0),
                "{text}"
            );
        }
    }

    #[test]
    fn what_comes_before_and_after_is_judged() {
        let stall: &[&str] = &["[    3.0] rcu: INFO: rcu_preempt self-detected stall on CPU"];
        assert_eq!(run(&[OOPS, stall], &[GOOD], false), Verdict::Complaint(6));
        assert_eq!(run(&[stall, OOPS], &[GOOD], false), Verdict::Complaint(0));
        let amid = [&OOPS[..3], stall, &OOPS[3..]];
        assert_eq!(run(&amid, &[GOOD], false), Verdict::Complaint(3));
        assert_eq!(
            run(&[OOPS], &["GUEST-VERDICT w0rd exit=1 taint=12416"], false),
            Verdict::Exit(1)
        );
        assert_eq!(
            run(&[OOPS], &["GUEST-VERDICT w0rd exit=0 taint=12928"], false),
            Verdict::Tainted(512)
        );
        assert_eq!(run(&[OOPS], &[], false), Verdict::Silence);
    }

    #[test]
    fn a_panic_is_accepted_only_where_it_must_come() {
        assert_eq!(run(&[OOPS, PANICKED], &[], true), Verdict::Clean);
        assert_eq!(run(&[OOPS, PANICKED], &[], false), Verdict::Complaint(6));
        assert_eq!(
            run(&[OOPS], &[], true),
            Verdict::Missing(format!("{PANIC}Fatal exception"))
        );
        assert_eq!(run(&[OOPS, PANICKED], &[GOOD], true), Verdict::Silence);
    }
}
