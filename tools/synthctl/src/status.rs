//! A picture of the module at one moment. `status --json` prints it; docs/synthctl.md describes the keys.

use std::collections::BTreeMap;

use serde::Serialize;
use synthjit_engine::specs::Bail;

use crate::module::{lines_about, Module};
use crate::process;
use crate::reason;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Release of the running kernel.
    pub kernel: String,
    /// Whether processes can be specialized here.
    pub available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Why>,
    /// Switched on for all processes.
    pub enabled: bool,
    /// The kinds of paths.
    pub paths: Vec<Kind>,
    /// Counters since load, by the names of the files in `stats/`.
    pub stats: BTreeMap<String, u64>,
    /// The attached processes, by number.
    pub processes: Vec<Process>,
}

/// A reason, with what can be done about it.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    /// The reason.
    pub reason: String,
    /// Empty if it is unknown.
    pub cure: String,
}

/// A kind of path.
#[derive(Clone, Debug, Serialize)]
pub struct Kind {
    /// Name of its spec.
    pub name: String,
    /// Whether the module can make it.
    pub available: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// What an attached process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not passed through the kernel yet.
    Pending,
    /// It has a vector.
    Specialized,
    /// The stock path.
    Stock,
}

/// An attached process.
#[derive(Clone, Debug, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its name.
    pub comm: String,
    /// Switched on.
    pub enabled: bool,
    /// What it runs.
    pub state: State,
    /// Why it is on the stock path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stock: Option<Why>,
    /// Its paths, by descriptor.
    pub paths: Vec<Path>,
}

/// A path of a process.
#[derive(Clone, Debug, Serialize)]
pub struct Path {
    /// Its descriptor.
    pub fd: u32,
    /// Name of the system call.
    pub call: String,
    /// What the descriptor leads to; empty if that cannot be seen.
    pub object: String,
    /// Name of its spec.
    pub spec: String,
    /// Bytes of code.
    pub size: u64,
    /// Calls that it did.
    pub hits: u64,
    /// Calls that bailed out of it. The key is what docs/synthctl.md calls it.
    #[serde(rename = "gave_back", skip_serializing_if = "Option::is_none")]
    pub bailed_out: Option<u64>,
    /// Why, in the order of its spec; reasons that never happened too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bailouts: Option<Vec<Bailed>>,
}

/// Why calls bailed out, and how many.
#[derive(Clone, Debug, Serialize)]
pub struct Bailed {
    /// The word for it.
    pub name: String,
    /// Calls.
    pub count: u64,
    /// What the situation is; empty if it is unknown.
    pub doc: &'static str,
    /// What can be done about it.
    pub cure: &'static str,
}

impl Bailed {
    /// So many calls for the reason of this name.
    pub fn new(name: &str, count: u64) -> Self {
        let known = Bail::ALL.iter().find(|bail| bail.name() == name);
        Self {
            name: name.to_owned(),
            count,
            doc: known.map_or("", |bail| bail.doc()),
            cure: known.map_or("", |bail| bail.cure()),
        }
    }

    /// A `REASON COUNT` of the listing `bailouts`.
    fn parse(text: &str) -> Option<Self> {
        let (name, count) = text.split_once(' ')?;
        Some(Self::new(name, count.parse().ok()?))
    }
}

impl Why {
    fn of(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            cure: reason::cure(reason).to_owned(),
        }
    }
}

impl Status {
    /// What the files say now. What goes away while they are read is left out.
    pub fn read(module: &Module<'_>) -> Self {
        let refusal = module.refusal();
        let is_on = |file: &str| module.text(file).is_ok_and(|text| text == "1");
        let counts = Counts::read(module);
        Self {
            kernel: module
                .machine
                .text("/proc/sys/kernel/osrelease")
                .unwrap_or_default(),
            available: refusal.is_none(),
            refused: refusal.as_deref().map(Why::of),
            enabled: is_on("enabled"),
            paths: Kind::all(module),
            stats: module
                .names("stats")
                .into_iter()
                .map(|name| {
                    let value = module.number(&format!("stats/{name}"));
                    (name, value)
                })
                .collect(),
            processes: module
                .attached()
                .into_iter()
                .filter_map(|pid| Process::read(module, pid, &counts))
                .collect(),
        }
    }
}

impl Kind {
    /// All kinds of paths.
    pub fn all(module: &Module<'_>) -> Vec<Self> {
        let kind = |name: String| {
            let verdict = module.text(&format!("platform/paths/{name}")).ok()?;
            Some(Self {
                name,
                available: verdict == "available",
                left_out: verdict.strip_prefix("left out: ").map(str::to_owned),
            })
        };
        let names = module.names("platform/paths");
        names.into_iter().filter_map(kind).collect()
    }
}

/// Why calls bailed out of paths, as the listing `bailouts` tells it to root.
pub struct Counts(Option<String>);

impl Counts {
    /// What it says now.
    pub fn read(module: &Module<'_>) -> Self {
        Self(module.listing("bailouts").ok())
    }

    /// Those of a path; `None` if they are not for this user to see.
    fn of(&self, pid: i32, path: &str) -> Option<Vec<Bailed>> {
        let lines = lines_about(self.0.as_ref()?, pid, path);
        let counts: Vec<Bailed> = lines.filter_map(Bailed::parse).collect();
        (!counts.is_empty()).then_some(counts)
    }
}

impl Process {
    /// An attached process; `None` if it is not, or not any more.
    pub fn read(module: &Module<'_>, pid: i32, counts: &Counts) -> Option<Self> {
        let folder = format!("processes/{pid}");
        let state = module.text(&format!("{folder}/state")).ok()?;
        let stock = state.strip_prefix("stock: ");
        let mut paths: Vec<Path> = module
            .names(&format!("{folder}/fds"))
            .iter()
            .filter_map(|name| Path::read(module, pid, name, counts))
            .collect();
        paths.sort_by(|a, b| (a.fd, &a.call).cmp(&(b.fd, &b.call)));
        Some(Self {
            pid,
            comm: process::name(module.machine, pid).unwrap_or_default(),
            enabled: module
                .text(&format!("{folder}/enabled"))
                .is_ok_and(|text| text == "1"),
            state: match state.as_str() {
                "pending" => State::Pending,
                "specialized" => State::Specialized,
                _ => State::Stock,
            },
            stock: stock.map(Why::of),
            paths,
        })
    }
}

impl Path {
    /// The path in the folder `name` of a process's `fds`; `None` if it is gone.
    pub fn read(module: &Module<'_>, pid: i32, name: &str, counts: &Counts) -> Option<Self> {
        let (fd, call) = name.split_once('.')?;
        let fd = fd.parse().ok()?;
        let folder = format!("processes/{pid}/fds/{name}");
        Some(Self {
            fd,
            call: call.to_owned(),
            object: process::object(module.machine, pid, fd).unwrap_or_default(),
            spec: module.text(&format!("{folder}/spec")).ok()?,
            size: module.number(&format!("{folder}/size")),
            hits: module.number(&format!("{folder}/hits")),
            bailed_out: module
                .text(&format!("{folder}/bailouts"))
                .ok()
                .and_then(|text| text.parse().ok()),
            bailouts: counts.of(pid, name),
        })
    }
}
