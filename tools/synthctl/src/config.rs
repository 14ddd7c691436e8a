//! The file that says which processes `synthctl daemon` attaches.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Error, Kind};
use crate::machine::Machine;
use crate::process;

/// Where the file of a machine is.
pub const PLACE: &str = "/etc/synthjit/synthctl.toml";

/// Times between two looks at the processes that are allowed, in seconds. A look reads some small files of each process.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.1..=3600.0;

const MANUAL: &str = "man synthctl-daemon shows what the file may say";

/// What the file says, users by number.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Time between two looks at the processes.
    pub interval: Duration,
    pub rules: Vec<Rule>,
}

/// One `[[attach]]`: a process matches if everything that is given is true of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Line in the file, from 1.
    pub line: usize,
    /// As in /proc/PID/comm.
    pub comm: Option<String>,
    /// Effective user.
    pub uid: Option<u32>,
    /// Path from the root of the cgroups; groups below it count too.
    pub cgroup: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "second")]
    interval: Spanned<f64>,
    #[serde(default)]
    attach: Vec<Spanned<Table>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    comm: Option<Spanned<String>>,
    user: Option<Spanned<User>>,
    cgroup: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a user's name or number")]
enum User {
    Number(u32),
    Name(String),
}

fn second() -> Spanned<f64> {
    Spanned::new(0..0, 1.0)
}

impl Config {
    /// Reads a file of the machine.
    ///
    /// # Errors
    ///
    /// If it is not there, or something in it is wrong: the line and what to write instead.
    pub fn read(machine: &Machine, path: &Path) -> Result<Self, Error> {
        let name = path.display();
        let text = machine.text(path).map_err(|error| {
            Error::new(Kind::Other, format!("cannot read {name}: {error}"), MANUAL)
        })?;
        let wrong = |at: usize, what: &str, cure: &str| {
            let what = format!("{name}, line {}: {what}", line(&text, at));
            Error::new(Kind::Other, what, cure)
        };
        let file: File = toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, error.message().trim_end(), MANUAL)
        })?;
        let interval = *file.interval.get_ref();
        if !INTERVALS.contains(&interval) {
            let what = format!("interval is {interval} seconds");
            let cure = format!("write {} to {} seconds", INTERVALS.start(), INTERVALS.end());
            return Err(wrong(file.interval.span().start, &what, &cure));
        }
        let rules = file.attach.into_iter().map(|table| {
            let at = table.span().start;
            let Table { comm, user, cgroup } = table.into_inner();
            if comm.is_none() && user.is_none() && cgroup.is_none() {
                return Err(wrong(
                    at,
                    "this [[attach]] does not say which processes",
                    "give comm, user or cgroup",
                ));
            }
            for text in [&comm, &cgroup].into_iter().flatten() {
                if text.get_ref().is_empty() {
                    let cure = "write a name, or leave the line out";
                    return Err(wrong(
                        text.span().start,
                        "an empty text matches nothing",
                        cure,
                    ));
                }
            }
            let uid = user.map(|user| {
                number(machine, user.get_ref()).map_err(|name| {
                    wrong(
                        user.span().start,
                        &format!("there is no user {name:?}"),
                        "getent passwd lists the users; a number will do too",
                    )
                })
            });
            Ok(Rule {
                line: line(&text, at),
                comm: comm.map(|comm| process::kept(comm.get_ref()).to_owned()),
                uid: uid.transpose()?,
                cgroup: cgroup.map(|path| from_the_root(path.get_ref())),
            })
        });
        Ok(Self {
            interval: Duration::from_secs_f64(interval),
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// The first rule that a process matches.
    pub fn rule(&self, machine: &Machine, pid: i32) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matches(machine, pid))
    }
}

impl Rule {
    fn matches(&self, machine: &Machine, pid: i32) -> bool {
        let comm = |wanted: &str| process::name(machine, pid).is_some_and(|name| name == wanted);
        let below = |wanted: &str| {
            process::cgroup(machine, pid).is_some_and(|path| {
                let rest = path.strip_prefix(wanted.trim_end_matches('/'));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        self.comm.as_deref().is_none_or(comm)
            && self
                .uid
                .is_none_or(|uid| process::user(machine, pid) == Some(uid))
            && self.cgroup.as_deref().is_none_or(below)
    }
}

/// Line of a place in a text, from 1.
fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// A user's number, or the name that nobody has. getent(1) knows what /etc/nsswitch.conf names, not /etc/passwd alone.
fn number<'u>(machine: &Machine, user: &'u User) -> Result<u32, &'u str> {
    match user {
        User::Number(uid) => Ok(*uid),
        User::Name(name) => {
            let entry = machine.answer("getent", &["passwd", name]);
            let number = entry.and_then(|entry| entry.split(':').nth(2)?.parse().ok());
            number.ok_or(name)
        }
    }
}

/// A cgroup's path as /proc/PID/cgroup has it, whether it is given so, or from /sys/fs/cgroup on, or relative to that.
fn from_the_root(path: &str) -> String {
    let path = path.strip_prefix("/sys/fs/cgroup").unwrap_or(path);
    format!("/{}", path.trim_matches('/'))
}
