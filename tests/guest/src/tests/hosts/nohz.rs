//! A machine that has a CPU without a tick (`nohz_full`): processes keep the kernel's own entry there, and have their paths on the
//! others.

use super::traffic::{pin, Traffic, SOON};
use crate::proc::{poll_until, Board, Ended, Kid};
use crate::sys::{self, Pipe};
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{echo, Lab, Res, Stop};
use crate::{area, ensure, same};

area!("nohz":
    the_machine_has_both, served_on_a_cpu_with_a_tick = 300, stock_on_a_cpu_without = 300, moves_itself = 400, is_moved = 400,
);

const WITH_TICK: usize = 0;
const WITHOUT: usize = 1;

fn the_machine_has_both(_: &Lab) -> Res {
    same!(
        sys::read_text("/sys/devices/system/cpu/nohz_full")?,
        "1",
        "the CPUs without a tick"
    );
    same!(
        sysfs::get("platform/trap_vector")?,
        "available",
        "what the platform says"
    );
    Ok(())
}

fn served_on_a_cpu_with_a_tick(lab: &Lab) -> Res {
    let traffic = Traffic::start(lab, Some(WITH_TICK))?;
    traffic.is_served()?;
    same!(
        sysfs::state(traffic.echoer())?,
        "specialized",
        "the state there"
    );
    traffic.stop()
}

/// Runs `f` in a process that is attached and bound to a CPU.
fn bound(lab: &Lab, cpu: usize, f: impl FnOnce() -> Res) -> Res {
    let mut kid = Kid::spawn(|| {
        pin(0, cpu)?;
        let _me = lab.attach()?;
        f()
    })?;
    same!(kid.wait(SOON), Some(Ended::Exit(0)), "the process");
    Ok(())
}

fn hits(lab: &Lab, p: &Pipe) -> u64 {
    lab.hits(p.w, Call::Write) + lab.hits(p.r, Call::Read)
}

fn stock_on_a_cpu_without(lab: &Lab) -> Res {
    bound(lab, WITHOUT, || {
        let p = Pipe::new(0)?;
        for i in 0..2000u32 {
            echo(p.r, p.w, &i.to_le_bytes())?;
        }
        same!(hits(lab, &p), 0, "calls that ran specialized");
        let state = lab.state_of(sys::getpid());
        ensure!(
            state.starts_with("stock: ") && state.contains("nohz_full"),
            "state {state:?}"
        );
        Ok(())
    })
}

/// On each CPU the process asks which of its calls ran specialized there.
fn moves_itself(lab: &Lab) -> Res {
    const ECHOES: u32 = 300;
    bound(lab, WITH_TICK, || {
        let p = Pipe::new(0)?;
        lab.warm(&p)?;
        let mut served = 0;
        for round in 0..40 {
            for (cpu, allowed) in [(WITHOUT, 0), (WITH_TICK, 2 * u64::from(ECHOES))] {
                pin(0, cpu)?;
                let before = hits(lab, &p);
                for i in 0..ECHOES {
                    echo(p.r, p.w, &(i + round).to_le_bytes())?;
                }
                let more = hits(lab, &p) - before;
                ensure!(more <= allowed, "{more} calls ran specialized on CPU {cpu}");
                served += more;
            }
        }
        let all = 40 * 2 * u64::from(ECHOES);
        println!("# {served} of {all} calls on the CPU with a tick ran specialized");
        ensure!(served * 10 > all * 9, "{served} of {all}");
        Ok(())
    })
}

/// Others move it, at moments of their own choice.
fn is_moved(lab: &Lab) -> Res {
    let traffic = Traffic::start(lab, Some(WITH_TICK))?;
    let stop = Board::new()?;
    let pids = traffic.pids();
    let mut mover = Kid::spawn(|| {
        let mut cpu = WITH_TICK;
        while stop.flag(0) == 0 {
            cpu = WITH_TICK + WITHOUT - cpu;
            // One of them can have ended.
            for pid in &pids {
                let _ = pin(*pid, cpu);
            }
            stop.add(0, 1);
            crate::proc::nap(2);
        }
        0
    })?;
    let served = traffic.goes_on(40_000)?;
    let moved = poll_until(SOON, || (stop.word(0) > 100).then_some(()));
    stop.raise(0, 1);
    same!(mover.wait(SOON), Some(Ended::Exit(0)), "the mover");
    ensure!(moved.is_some(), "moved {} times", stop.word(0));
    println!("# moved {} times: {served:?}", stop.word(0));
    for pid in traffic.pids() {
        pin(pid, WITH_TICK)?;
    }
    traffic.is_served().map_err(|stop| match stop {
        Stop::Fail(text) => Stop::Fail(format!("after the moves: {text}")),
        other => other,
    })?;
    traffic.stop()
}
