//! What tracepoints and counters of the kernel tell of an attached process that are neither of calls nor of synthjit: the same as of
//! any other, but for what docs/limits.md says.

use crate::sys;
use crate::tests::support::lab::{echo, needs_module, Lab, Res, Stop};
use crate::tests::support::perf::{Counter, Event};
use crate::tests::support::tracefs::{self, put};
use crate::{area, ensure, same, skip};

area!("told": page_faults_of_cold_buffers = 120, entry_is_no_msr_event = 120);

/// Buffers that are not in memory yet, a page each.
const BUFFERS: usize = 16;

/// Lines of the trace that contain a text; all is quiet meanwhile.
fn lines(what: &str) -> Res<usize> {
    put("tracing_on", "0")?;
    let text = sys::read_text("/sys/kernel/tracing/trace")?;
    put("tracing_on", "1")?;
    Ok(text.lines().filter(|l| l.contains(what)).count())
}

/// The kernel's page faults of this process, as perf counts them.
fn faults() -> Res<Counter> {
    let event = Event {
        // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_PAGE_FAULTS
        kind: 1,
        config: 2,
        kernel_only: true,
        cpu: -1,
        ..Event::default()
    };
    event
        .open()
        .map_err(|e| Stop::Fail(format!("perf_event_open: {e}")))
}

/// Page faults in the kernel by `work`, which touches [`BUFFERS`] cold buffers: what the tracepoint and what perf has.
fn cold(mut work: impl FnMut(usize) -> Res) -> Res<(usize, u64)> {
    let at = sys::map(BUFFERS * 4096, 3, libc::MAP_PRIVATE)?;
    let mut counter = faults()?;
    tracefs::clear()?;
    put("events/exceptions/page_fault_kernel/enable", "1")?;
    let before = counter.count()?;
    let done = (0..BUFFERS).try_for_each(|i| work(at + i * 4096));
    let counted = counter.count()? - before;
    put("events/exceptions/page_fault_kernel/enable", "0")?;
    done?;
    sys::unmap(at, BUFFERS * 4096)?;
    Ok((lines("page_fault_kernel:")?, counted))
}

/// A path meets the fault first and bails out, then the stock call meets it: one exception more, which the kernel counts
/// nowhere else, since page faults are disabled in the first.
fn page_faults_of_cold_buffers(lab: &Lab) -> Res {
    tracefs::mounted()?;
    if !std::path::Path::new("/sys/kernel/tracing/events/exceptions/page_fault_kernel").exists() {
        skip!("this kernel has no tracepoint of page faults");
    }
    let _clean = tracefs::Clean;
    put("current_tracer", "nop")?;
    let me = sys::getpid();
    put(
        "events/exceptions/page_fault_kernel/filter",
        &format!("common_pid == {me}"),
    )?;
    let rig = lab.rig()?;
    let exceptions = if lab.stock { BUFFERS } else { 2 * BUFFERS };
    let written = cold(|buffer| {
        same!(sys::write_at(rig.p.w, buffer, 32), Ok(32), "write");
        same!(sys::read(rig.p.r, &mut [1; 32]), Ok(32), "read");
        Ok(())
    })?;
    same!(
        written,
        (exceptions, BUFFERS as u64),
        "page faults of writes: tracepoint, perf"
    );
    lab.fast_again(&rig.p)?;
    let read = cold(|buffer| {
        same!(sys::write(rig.p.w, &[1; 32]), Ok(32), "write");
        same!(sys::read_at(rig.p.r, buffer, 32), Ok(32), "read");
        Ok(())
    })?;
    same!(
        read,
        (exceptions, BUFFERS as u64),
        "page faults of reads: tracepoint, perf"
    );
    lab.fast_again(&rig.p)
}

/// The vector's address is written and taken back at each context switch, and is no event of `msr:write_msr`.
fn entry_is_no_msr_event(lab: &Lab) -> Res {
    needs_module(lab)?;
    tracefs::mounted()?;
    const EVENT: &str = "events/msr/write_msr";
    if !std::path::Path::new(&format!("/sys/kernel/tracing/{EVENT}")).exists() {
        skip!("this kernel has no tracepoint of MSR writes");
    }
    let _clean = tracefs::Clean;
    put("current_tracer", "nop")?;
    put(&format!("{EVENT}/filter"), "msr == 0xc0000082")?;
    tracefs::clear()?;
    put(&format!("{EVENT}/enable"), "1")?;
    let rig = lab.rig()?;
    for i in 0..50 {
        crate::proc::nap(1);
        echo(rig.p.r, rig.p.w, &[i])?;
    }
    lab.fast_again(&rig.p)?;
    drop(rig);
    put(&format!("{EVENT}/enable"), "0")?;
    let seen = lines("write_msr:")?;
    ensure!(seen == 0, "{seen} writes of the entry's address are events");
    Ok(())
}
