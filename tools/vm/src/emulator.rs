//! What QEMU itself does wrong to a guest on a busy host, told from the guest's log. Such a run says nothing about us.

use crate::judge::{self, From, Line};

/// What a kernel says whose clock may run many times too fast. It counts the TSC while the PIT counts down, and takes the least of
/// three counts; a host that gives QEMU no CPU between the start of the PIT and the first look at the TSC makes that too small. It
/// sees the difference to the HPET, but trusts the PIT (pit_hpet_ptimer_calibrate_cpu, arch/x86/kernel/tsc.c). Then seconds of
/// the guest, those of its lockup detectors and those of our tests, are over in no time.
const WRONG_CLOCK: [&str; 2] = [
    "tsc: PIT calibration deviates from",
    "tsc: HPET/PMTIMER calibration failed. Using PIT calibration",
];

pub fn tells_wrong_clock(line: &Line) -> bool {
    line.from == From::Kernel && WRONG_CLOCK.iter().any(|text| line.text.contains(text))
}

/// What the kernel says of an int3 that belongs to nobody.
const INT3: &str = "Oops: int3: ";
/// The registers of the kernel's own code begin with this.
const RIP: &str = "RIP: 0010:";
/// The bytes around the instruction pointer, which is in angle brackets.
const CODE: &str = "Code: ";
/// An oops tells both within so many lines.
const WITHIN: usize = 10;

/// Tells whether the first thing that the kernel complained about is an int3 that it executed where memory holds none, and where.
///
/// The kernel patches its code by way of an int3, which it removes again before it stops to expect it
/// (smp_text_poke_batch_finish, arch/x86/kernel/alternative.c). QEMU drops the translation of a page before the store that changes
/// it and holds no lock in between (notdirty_write, accel/tcg/cputlb.c): another CPU may translate the old bytes in that moment,
/// and executes the int3 for as long as that translation lives. A stock kernel without any module dies so, if its static keys are
/// toggled for a minute or two while the host is busy. A processor executes what memory holds, which the oops shows.
pub fn stale_code(lines: &[Line]) -> Option<String> {
    let first = judge::first_complaint(lines)?;
    let oops = &lines[first..];
    if !oops[0].text.contains(INT3) {
        return None;
    }
    let after = |what: &str| {
        oops.iter()
            .filter(|line| line.from == From::Kernel)
            .take(WITHIN)
            .find_map(|line| line.text.split_once(what).map(|(_, rest)| rest))
    };
    let place = after(RIP)?;
    // Code of modules, ours and generated, has its module's name behind it.
    if !place.contains("+0x") || place.contains('[') {
        return None;
    }
    let (before, _) = after(CODE)?.split_once('<')?;
    let byte = before.split_whitespace().last()?;
    let held = u8::from_str_radix(byte, 16).ok()?;
    (held != 0xcc)
        .then(|| format!("QEMU executed an int3 in {place} where memory holds {held:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OOPS: [&str; 5] = [
        "[   88.6] Oops: int3: 0000 [#1] SMP NOPTI",
        "[   88.6] CPU: 0 UID: 0 PID: 102 Comm: guest Tainted: G           OE       7.2.12+deb13-amd64",
        "[   88.6] RIP: 0010:finish_task_switch.isra.0+0xd7/0x3d0",
        "[   88.6] Code: 00 fb 0f 1f 44 00 00 41 f6 45 2f 20 0f 85 6c 02 00 00 eb <3c> 4d 85 f6",
        "[   88.6] Call Trace:",
    ];

    fn lines(texts: &[&str]) -> Vec<Line> {
        let line = |text: &&str| Line {
            from: From::Kernel,
            text: text.to_string(),
        };
        texts.iter().map(line).collect()
    }

    fn with(at: usize, from: &str, to: &str) -> Option<String> {
        let mut oops = lines(&OOPS);
        assert!(oops[at].text.contains(from));
        oops[at].text = oops[at].text.replace(from, to);
        stale_code(&oops)
    }

    #[test]
    fn an_int3_that_memory_does_not_hold_is_the_emulator_s() {
        let mut log = lines(&["[    1.0] Run /init as init process"]);
        log.extend(lines(&OOPS));
        assert_eq!(
            stale_code(&log).as_deref(),
            Some("QEMU executed an int3 in finish_task_switch.isra.0+0xd7/0x3d0 where memory holds eb")
        );
    }

    #[test]
    fn every_other_oops_stays_a_complaint() {
        // An int3 that is there.
        assert_eq!(with(3, "eb <3c>", "cc <3c>"), None);
        // Another fault.
        assert_eq!(with(0, "int3", "invalid opcode"), None);
        // Generated code, the module's own, and a jump to nowhere.
        let place = "finish_task_switch.isra.0+0xd7/0x3d0";
        for other in [
            "synthjit_path_pipe_write_pid7_fd4+0x1c0/0x380 [synthjit]",
            "write_values+0x20/0x90 [synthjit]",
            "0xffffffffc0401234",
        ] {
            assert_eq!(with(2, place, other), None, "{other}");
        }
        // Bytes that could not be read.
        assert_eq!(
            with(
                3,
                OOPS[3],
                "[   88.6] Code: Unable to access opcode bytes at 0x1."
            ),
            None
        );
        // An oops after a complaint that is ours.
        let mut log = lines(&["[   80.0] BUG: sleeping function called from invalid context"]);
        log.extend(lines(&OOPS));
        assert_eq!(stale_code(&log), None);
        // What a program in the guest prints.
        let mut log = lines(&OOPS);
        log.iter_mut().for_each(|line| line.from = From::Guest);
        assert_eq!(stale_code(&log), None);
        assert_eq!(stale_code(&lines(&["[    1.0] all is well"])), None);
    }

    #[test]
    fn a_kernel_tells_that_its_clock_is_wrong() {
        for text in [
            "[    0.020000] tsc: PIT calibration deviates from HPET: 40911 2593259",
            "[    0.020000] tsc: HPET/PMTIMER calibration failed. Using PIT calibration.",
        ] {
            assert!(tells_wrong_clock(&lines(&[text])[0]));
        }
        let mut line = lines(&["tsc: PIT calibration deviates from what a test says"]).remove(0);
        line.from = From::Guest;
        assert!(!tells_wrong_clock(&line));
        assert!(!tells_wrong_clock(
            &lines(&["[    0.02] tsc: Unable to calibrate against PIT"])[0]
        ));
    }
}
