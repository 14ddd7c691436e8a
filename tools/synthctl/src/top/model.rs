//! The numbers of `top`: two samples of the module's files, and what happened in between.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::module::Module;
use crate::process::{self, Calls};
use crate::status::{Path, Process, State, Status};

/// Everything at one moment.
pub struct Sample {
    pub at: Instant,
    pub status: Status,
    /// Calls of each process, by the kernel's account.
    pub calls: BTreeMap<i32, Calls>,
}

impl Sample {
    /// What the files say now.
    pub fn read(module: &Module<'_>) -> Self {
        let status = Status::read(module);
        let calls = status
            .processes
            .iter()
            .map(|p| (p.pid, process::calls(module.machine, p.pid)))
            .collect();
        Self {
            at: Instant::now(),
            status,
            calls,
        }
    }

    fn process(&self, pid: i32) -> Option<&Process> {
        self.status.processes.iter().find(|p| p.pid == pid)
    }

    fn path(&self, pid: i32, fd: u32, call: &str) -> Option<&Path> {
        let mut paths = self.process(pid)?.paths.iter();
        paths.find(|path| path.fd == fd && path.call == call)
    }
}

/// A path, or a process that has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub pid: i32,
    pub comm: String,
    /// Descriptor and call of the path.
    pub path: Option<(u32, String)>,
    pub object: String,
    /// Calls that the path did in a second.
    pub hits: f64,
    /// Their part of the process's calls of that kind; `None` if it made none.
    pub rate: Option<f64>,
    /// What the process runs.
    pub state: State,
    /// Why it is on the stock path.
    pub why: String,
}

/// What happened between two samples, by process and descriptor.
pub fn rows(before: &Sample, now: &Sample) -> Vec<Row> {
    let seconds = seconds(before, now);
    let mut rows = Vec::new();
    for process in &now.status.processes {
        let row = Row {
            pid: process.pid,
            comm: process.comm.clone(),
            path: None,
            object: String::new(),
            hits: 0.0,
            rate: None,
            state: process.state,
            why: process
                .stock
                .as_ref()
                .map_or(String::new(), |why| why.reason.clone()),
        };
        if process.paths.is_empty() {
            rows.push(row);
            continue;
        }
        for path in &process.paths {
            // A path that was compiled meanwhile counts from zero.
            let earlier = before.path(process.pid, path.fd, &path.call);
            let hits = match earlier {
                Some(earlier) if earlier.hits <= path.hits => path.hits - earlier.hits,
                _ => path.hits,
            };
            let calls = calls(before, now, process.pid, &path.call);
            rows.push(Row {
                path: Some((path.fd, path.call.clone())),
                object: path.object.clone(),
                hits: hits as f64 / seconds,
                rate: (calls > 0).then(|| (hits as f64 / calls as f64).min(1.0)),
                ..row.clone()
            });
        }
    }
    rows
}

/// Bail-outs of all processes in a second.
pub fn bailouts(before: &Sample, now: &Sample) -> f64 {
    let count = |sample: &Sample| sample.status.stats.get("bailouts").copied().unwrap_or(0);
    count(now).saturating_sub(count(before)) as f64 / seconds(before, now)
}

/// Why calls bailed out of paths, and how many of all processes in a second; the most frequent reason first.
pub fn reasons(before: &Sample, now: &Sample) -> Vec<(String, f64)> {
    let seconds = seconds(before, now);
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for process in &now.status.processes {
        for path in &process.paths {
            let earlier = before.path(process.pid, path.fd, &path.call);
            let earlier = earlier.and_then(|path| path.bailouts.as_ref());
            for (at, bailed) in path.bailouts.iter().flatten().enumerate() {
                // As for hits: a path that was compiled meanwhile counts from zero.
                let earlier = earlier.and_then(|list| list.get(at));
                let more = match earlier {
                    Some(earlier) if earlier.count <= bailed.count => bailed.count - earlier.count,
                    _ => bailed.count,
                };
                *sums.entry(&bailed.name).or_default() += more;
            }
        }
    }
    let mut reasons: Vec<(String, f64)> = sums
        .into_iter()
        .filter(|(_, sum)| *sum > 0)
        .map(|(name, sum)| (name.to_owned(), sum as f64 / seconds))
        .collect();
    reasons.sort_by(|a, b| b.1.total_cmp(&a.1));
    reasons
}

fn calls(before: &Sample, now: &Sample, pid: i32, call: &str) -> u64 {
    let of = |sample: &Sample| {
        let calls = sample.calls.get(&pid).copied().unwrap_or_default();
        if call == "read" {
            calls.read
        } else {
            calls.write
        }
    };
    of(now).saturating_sub(of(before))
}

fn seconds(before: &Sample, now: &Sample) -> f64 {
    now.at.duration_since(before.at).as_secs_f64().max(0.001)
}
