//! What the module's own tracepoints tell.

use super::lab::Res;
use super::tracefs::{self, put, Clean};
use crate::ensure;
use crate::sys;
use std::collections::BTreeMap;

pub const EVENTS: &str = "/sys/kernel/tracing/events/synthjit";

/// One event: its fields as text.
#[derive(Debug)]
pub struct Event(BTreeMap<String, String>);

impl Event {
    pub fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    pub fn is_about(&self, tgid: i32, fd: i32, call: &str) -> bool {
        self.get("tgid") == tgid.to_string()
            && self.get("fd") == fd.to_string()
            && self.get("call") == call
    }
}

/// Listens to some of the tracepoints until it is dropped.
pub struct Listener(#[allow(dead_code, reason = "cleans up when dropped")] Clean);

impl Listener {
    pub fn to(names: &[&str]) -> Res<Listener> {
        tracefs::mounted()?;
        ensure!(
            std::path::Path::new(EVENTS).exists(),
            "there is no {EVENTS}"
        );
        let clean = Clean;
        put("current_tracer", "nop")?;
        put("buffer_size_kb", "4096")?;
        // Addresses as they are.
        put("options/hash-ptr", "0")?;
        tracefs::clear()?;
        for name in names {
            put(&format!("events/synthjit/{name}/enable"), "1")?;
        }
        Ok(Listener(clean))
    }

    /// All events of a name since the last [`tracefs::clear`].
    pub fn heard(&self, name: &str) -> Res<Vec<Event>> {
        put("tracing_on", "0")?;
        let text = sys::read_text("/sys/kernel/tracing/trace")?;
        put("tracing_on", "1")?;
        ensure!(!text.contains("LOST"), "events were lost");
        let mark = format!(": {name}: ");
        let parse = |line: &str| {
            let (_, fields) = line.split_once(&mark)?;
            let field = |word: &str| {
                word.split_once('=')
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
            };
            Some(Event(fields.split(' ').filter_map(field).collect()))
        };
        Ok(text.lines().filter_map(parse).collect())
    }
}
