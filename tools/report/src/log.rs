//! What a guest printed while it measured: the lines that `tests/guest/src/benchmarks/measure` describes.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{bail, Context, Result};
use indexmap::IndexMap;
use synthctl::values::Values;

/// State of the process that measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Before the module was loaded.
    Stock,
    /// After the process had attached itself.
    Attached,
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "stock" => Ok(Mode::Stock),
            "attached" => Ok(Mode::Attached),
            _ => bail!("there is no mode {word:?}"),
        }
    }
}

/// One marked call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub call: String,
    pub mode: Mode,
    /// Instructions by the guest's clock.
    pub ticks: u64,
}

/// All of one boot.
#[derive(Debug, Default)]
pub struct Log {
    pub facts: IndexMap<String, String>,
    /// In the order in which they happened.
    pub sections: Vec<Section>,
    /// Instructions by call, bytes and mode.
    pub sizes: BTreeMap<(String, u64, Mode), u64>,
    /// Instructions and rounds by the program's number and mode.
    pub programs: BTreeMap<(u32, Mode), (u64, u64)>,
    /// Where functions begin, and what they are called.
    pub symbols: BTreeMap<u64, String>,
    /// What a path was compiled from, by the call that the path is for.
    values: BTreeMap<String, String>,
}

impl Log {
    /// Reads a log of `vm`, in which what the guest's programs print begins with `> `. Other lines are not ours.
    pub fn parse(text: &str) -> Result<Self> {
        let mut log = Log::default();
        for line in text.lines().filter_map(|line| line.strip_prefix("> ")) {
            log.line(line)
                .with_context(|| format!("what does the guest mean by {line:?}"))?;
        }
        Ok(log)
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = rest.split(' ');
        let mut word = || words.next().context("there are words missing");
        match kind {
            "FACT" => {
                let (name, text) = rest
                    .split_once(' ')
                    .context("a fact has a name and a text")?;
                match text.split_once(' ') {
                    Some((which, text)) if name == "vulnerability" => self
                        .facts
                        .insert(format!("{name} {which}"), text.to_owned()),
                    _ => self.facts.insert(name.to_owned(), text.to_owned()),
                };
            }
            "SECTION" => self.sections.push(Section {
                call: word()?.to_owned(),
                mode: word()?.parse()?,
                ticks: word()?.parse()?,
            }),
            "SIZE" => {
                let key = (word()?.to_owned(), word()?.parse()?, word()?.parse()?);
                self.sizes.insert(key, word()?.parse()?);
            }
            "PROGRAM" => {
                let key = (word()?.parse()?, word()?.parse()?);
                self.programs
                    .insert(key, (word()?.parse()?, word()?.parse()?));
            }
            "SYMBOL" => {
                let address = u64::from_str_radix(word()?, 16)?;
                self.symbols.insert(address, word()?.to_owned());
            }
            "VALUE" => {
                let (call, value) = rest.split_once(' ').context("a value has a path")?;
                let text = self.values.entry(call.to_owned()).or_default();
                text.push_str(value);
                text.push('\n');
            }
            _ => {}
        }
        Ok(())
    }

    /// A fact's text.
    pub fn fact(&self, name: &str) -> Result<&str> {
        let text = self.facts.get(name).map(String::as_str);
        text.with_context(|| format!("the guest does not say its {name}"))
    }

    /// What the path for `call` was compiled from.
    pub fn values(&self, call: &str) -> Option<Values> {
        self.values.get(call).map(|text| Values::parse(text))
    }

    /// The calls that were measured, in order.
    pub fn calls(&self) -> Vec<&str> {
        let calls: indexmap::IndexSet<&str> = self
            .sections
            .iter()
            .map(|section| section.call.as_str())
            .collect();
        calls.into_iter().collect()
    }

    /// Median of a call's ticks in a mode.
    pub fn median(&self, call: &str, mode: Mode) -> Result<u64> {
        let of_call = |section: &&Section| section.call == call && section.mode == mode;
        let mut ticks: Vec<u64> = self
            .sections
            .iter()
            .filter(of_call)
            .map(|s| s.ticks)
            .collect();
        ticks.sort_unstable();
        let middle = ticks.len().saturating_sub(1) / 2;
        let median = ticks.get(middle).copied();
        median.with_context(|| format!("{call} was not measured {mode:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[    1.0] FACT cpu of the kernel's console\n> FACT cpu QEMU CPU 2.5+\n\
        > FACT vulnerability mds Not affected\n> SECTION a stock 12\n> SECTION a stock 10\n> SECTION a stock 9000\n\
        > SECTION b stock 1\n> SECTION a attached 2\n> SIZE write 64 stock 1115\n> PROGRAM 2 attached 400 10\n\
        > SYMBOL ff10 do_it\n> VALUE write base 0x40\n> VALUE write fd 0x4\n> # a remark\n> VERDICT 0\n";

    #[test]
    fn lines_are_read() {
        let log = Log::parse(TEXT).unwrap();
        assert_eq!(log.fact("cpu").unwrap(), "QEMU CPU 2.5+");
        assert_eq!(log.fact("vulnerability mds").unwrap(), "Not affected");
        assert_eq!(log.calls(), ["a", "b"]);
        assert_eq!(log.median("a", Mode::Stock).unwrap(), 12);
        assert_eq!(log.median("a", Mode::Attached).unwrap(), 2);
        assert_eq!(log.sizes[&("write".to_owned(), 64, Mode::Stock)], 1115);
        assert_eq!(log.programs[&(2, Mode::Attached)], (400, 10));
        assert_eq!(log.symbols[&0xff10], "do_it");
        assert_eq!(log.values("write").unwrap().get("fd"), Some(4));
        assert!(log.values("read").is_none());
    }

    #[test]
    fn what_is_missing_is_told() {
        let log = Log::parse(TEXT).unwrap();
        assert!(log.fact("kernel").is_err());
        assert!(log.median("b", Mode::Attached).is_err());
        for wrong in [
            "> SECTION a stock",
            "> SECTION a loaded 3",
            "> SIZE write x stock 3",
            "> SYMBOL zz f",
        ] {
            assert!(Log::parse(wrong).is_err(), "{wrong}");
        }
    }
}
