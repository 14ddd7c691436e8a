//! The matrix of machines, `qemu/matrix.toml`: data, in which every cell has the answer that it must give.
//!
//! A group lists values for each axis and one answer for all cells that come of them, so an answer is written once and a cell
//! that answers something else is noticed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{bail, Context, Result};
use serde::Deserialize;

use crate::cover;

/// What a machine must answer to the module.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Answer {
    /// Calls run specialized and the tests pass.
    Works,
    /// The platform is refused, for this reason of `specs/reasons.toml`.
    Refuses(String),
    /// The platform is good, the process is on the stock path, for this reason of `specs/reasons.toml`.
    Stock(String),
    /// The kernel does not load the module, and its log says this.
    Rejected(String),
}

/// A list of machines that give one answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Heading in the table.
    pub title: String,
    pub answer: Answer,
    /// Roles of kernels in `qemu/kernels`.
    #[serde(default = "other")]
    pub kernel: Vec<String>,
    /// Names from `[cpus]`, or QEMU's own names with switches.
    #[serde(default = "max")]
    pub cpu: Vec<String>,
    /// Numbers of CPUs.
    #[serde(default = "one_cpu")]
    pub smp: Vec<u32>,
    /// Threads of a core, of which each counts as a CPU.
    #[serde(default = "one")]
    pub threads: u32,
    /// So many of the CPUs the kernel uses; not given: all.
    pub online: Option<u32>,
    /// Each list is an axis: options of the kernel's command line. An empty option is none.
    #[serde(default)]
    pub options: Vec<Vec<String>>,
    /// Kernel modules that the guest loads before it looks, in order; the last one is what the table tells.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Options that the kernel must not take, because they mean nothing on such a machine.
    #[serde(default)]
    pub ignored: Vec<String>,
    /// Not every combination, but as many as it takes for each two values of two axes to meet.
    #[serde(default)]
    pub pairwise: bool,
    /// Facts that each cell must tell (`tests/guest/src/cell.rs`), with a text that they must contain.
    #[serde(default)]
    pub shows: BTreeMap<String, String>,
    /// The same with a text that they must not contain.
    #[serde(default)]
    pub lacks: BTreeMap<String, String>,
}

/// What QEMU cannot show, for people to know.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotShown {
    /// A platform reason of `specs/reasons.toml`, or other words.
    pub what: String,
    pub why: String,
}

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// Short names for CPU models with many switches.
    #[serde(default)]
    pub cpus: BTreeMap<String, String>,
    pub group: Vec<Group>,
    #[serde(default)]
    pub not_shown: Vec<NotShown>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Role of its kernel.
    pub kernel: String,
    /// Name of its CPU as the file has it.
    pub cpu: String,
    pub smp: u32,
    /// The kernel's options.
    pub options: String,
    /// Modules that the guest loads.
    pub modules: Vec<String>,
}

/// `specs/reasons.toml`, as far as it matters here.
#[derive(Debug, Deserialize)]
pub struct Reasons {
    reason: Vec<Reason>,
}

#[derive(Debug, Deserialize)]
struct Reason {
    name: String,
    kind: String,
    text: String,
}

fn other() -> Vec<String> {
    vec!["other".to_owned()]
}

fn max() -> Vec<String> {
    vec!["max".to_owned()]
}

fn one_cpu() -> Vec<u32> {
    vec![1]
}

fn one() -> u32 {
    1
}

impl Reasons {
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is wrong", path.display()))
    }

    /// What the module says for a reason.
    pub fn text(&self, name: &str, kind: &str) -> Option<&str> {
        let found = self
            .reason
            .iter()
            .find(|r| r.name == name && r.kind == kind);
        found.map(|reason| reason.text.as_str())
    }

    /// Name of the reason that the module gives with this text.
    pub fn name(&self, text: &str) -> Option<&str> {
        let found = self.reason.iter().find(|reason| reason.text == text);
        found.map(|reason| reason.name.as_str())
    }

    fn platform(&self) -> impl Iterator<Item = &str> {
        let platform = self.reason.iter().filter(|r| r.kind == "platform");
        platform.map(|reason| reason.name.as_str())
    }
}

impl Matrix {
    pub fn load(path: &Path, reasons: &Reasons) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text, reasons).with_context(|| format!("{} is wrong", path.display()))
    }

    fn parse(text: &str, reasons: &Reasons) -> Result<Self> {
        let matrix: Self = toml::from_str(text)?;
        matrix.check_answers(reasons)?;
        matrix.check_complete(reasons)?;
        matrix.check_cells()?;
        Ok(matrix)
    }

    /// QEMU's name of a CPU.
    pub fn model<'a>(&'a self, cpu: &'a str) -> &'a str {
        self.cpus.get(cpu).map_or(cpu, String::as_str)
    }

    fn check_answers(&self, reasons: &Reasons) -> Result<()> {
        for group in &self.group {
            let known = match &group.answer {
                Answer::Works => true,
                Answer::Rejected(text) => !text.is_empty(),
                Answer::Refuses(name) => reasons.text(name, "platform").is_some(),
                Answer::Stock(name) => reasons.text(name, "process").is_some(),
            };
            if !known {
                bail!(
                    "group {:?}: specs/reasons.toml has no such reason: {:?}",
                    group.title,
                    group.answer
                );
            }
        }
        Ok(())
    }

    /// Each reason to refuse a platform must be shown, or it must be said why not.
    fn check_complete(&self, reasons: &Reasons) -> Result<()> {
        for name in reasons.platform() {
            let shown = self
                .group
                .iter()
                .any(|group| matches!(&group.answer, Answer::Refuses(reason) if reason == name));
            let excused = self.not_shown.iter().any(|entry| entry.what == name);
            match (shown, excused) {
                (false, false) => {
                    bail!("reason {name:?} is shown by no group, and no not_shown entry says why")
                }
                (true, true) => {
                    bail!("reason {name:?} is shown, but a not_shown entry says it is not")
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// No machine twice, no CPU name that is never used.
    fn check_cells(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        let mut unused: BTreeSet<_> = self.cpus.keys().map(String::as_str).collect();
        for group in &self.group {
            let cells = group.cells();
            if cells.is_empty() {
                bail!("group {:?} has no cells: an axis is empty", group.title);
            }
            for cell in cells {
                if cell.smp == 0 || group.threads == 0 || cell.smp % group.threads != 0 {
                    bail!(
                        "group {:?}: {} CPUs do not make cores of {} threads",
                        group.title,
                        cell.smp,
                        group.threads
                    );
                }
                if let Some(name) = self.cpus.get_key_value(&cell.cpu) {
                    unused.remove(name.0.as_str());
                }
                if !seen.insert((cell.name(), group.threads)) {
                    bail!("group {:?}: {} is there already", group.title, cell.name());
                }
            }
        }
        match unused.first() {
            Some(name) => bail!("no group has the CPU {name:?}"),
            None => Ok(()),
        }
    }
}

impl Group {
    /// Its machines, in order.
    pub fn cells(&self) -> Vec<Cell> {
        let mut sizes = vec![self.kernel.len(), self.cpu.len(), self.smp.len()];
        sizes.extend(self.options.iter().map(Vec::len));
        let rows = if self.pairwise {
            cover::pairs(&sizes)
        } else {
            cover::product(&sizes)
        };
        rows.iter().filter_map(|row| self.cell(row)).collect()
    }

    fn cell(&self, row: &[usize]) -> Option<Cell> {
        let (first, rest) = row.split_at_checked(3)?;
        let options: Option<Vec<&str>> = self
            .options
            .iter()
            .zip(rest)
            .map(|(axis, at)| axis.get(*at).map(String::as_str))
            .collect();
        let options: Vec<_> = options?.into_iter().filter(|o| !o.is_empty()).collect();
        Some(Cell {
            kernel: self.kernel.get(first[0])?.clone(),
            cpu: self.cpu.get(first[1])?.clone(),
            smp: *self.smp.get(first[2])?,
            options: options.join(" "),
            modules: self.modules.clone(),
        })
    }
}

impl Cell {
    /// What the cell is called in messages and, with other characters, its log.
    pub fn name(&self) -> String {
        let mut name = format!("{} {} smp{}", self.kernel, self.cpu, self.smp);
        if !self.options.is_empty() {
            name.push(' ');
            name.push_str(&self.options);
        }
        if let Some(module) = self.modules.last() {
            name.push_str(" with ");
            name.push_str(module);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons() -> Reasons {
        toml::from_str(
            "[[reason]]\nname = \"kpti\"\nkind = \"platform\"\ntext = \"isolates\"\n\
             [[reason]]\nname = \"observed\"\nkind = \"process\"\ntext = \"looks\"\n",
        )
        .unwrap()
    }

    const KPTI: &str =
        "[[group]]\ntitle = \"k\"\nanswer = { refuses = \"kpti\" }\noptions = [[\"pti=on\"]]\n";

    #[test]
    fn what_is_loaded_is_in_the_name() {
        let loads =
            "[[group]]\ntitle = \"l\"\nanswer = \"works\"\nmodules = [\"kvm\", \"kvm_amd\"]\n";
        let matrix = Matrix::parse(
            &format!("{KPTI}{loads}[[group]]\ntitle = \"w\"\nanswer = \"works\"\n"),
            &reasons(),
        )
        .unwrap();
        let names = matrix.group.iter().flat_map(Group::cells);
        let names: Vec<_> = names.map(|cell| cell.name()).collect();
        assert_eq!(
            names,
            [
                "other max smp1 pti=on",
                "other max smp1 with kvm_amd",
                "other max smp1"
            ]
        );
    }

    #[test]
    fn a_group_is_the_product_of_its_axes() {
        let matrix = Matrix::parse(
            &format!("{KPTI}[[group]]\ntitle = \"w\"\nanswer = \"works\"\nsmp = [1, 2]\noptions = [[\"\", \"a\"], [\"b\"]]\n"),
            &reasons(),
        )
        .unwrap();
        let names: Vec<_> = matrix.group[1].cells().iter().map(Cell::name).collect();
        assert_eq!(
            names,
            [
                "other max smp1 b",
                "other max smp1 a b",
                "other max smp2 b",
                "other max smp2 a b"
            ]
        );
    }

    #[test]
    fn mistakes_are_told() {
        let works = "[[group]]\ntitle = \"w\"\nanswer = \"works\"\n";
        let wrong = [
            (works.to_owned(), "shown by no group"),
            (format!("{KPTI}{KPTI}"), "is there already"),
            (format!("{KPTI}{works}smp = []\n"), "an axis is empty"),
            (format!("{KPTI}{works}threads = 2\n"), "do not make cores"),
            (
                format!("{KPTI}[cpus]\nx = \"max,-smap\"\n"),
                "no group has the CPU",
            ),
            (
                format!("{KPTI}[[not_shown]]\nwhat = \"kpti\"\nwhy = \"?\"\n"),
                "is shown, but",
            ),
            (KPTI.replace("kpti", "observed"), "no such reason"),
            (format!("{KPTI}{works}expect = 1\n"), "unknown field"),
        ];
        for (text, reason) in wrong {
            let error = Matrix::parse(&text, &reasons()).unwrap_err();
            assert!(format!("{error:#}").contains(reason), "{error:#}");
        }
    }

    #[test]
    fn the_projects_matrix_is_right() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let reasons = Reasons::load(&top.join("specs/reasons.toml")).unwrap();
        let matrix = Matrix::load(&top.join("qemu/matrix.toml"), &reasons).unwrap();
        let cells: usize = matrix.group.iter().map(|group| group.cells().len()).sum();
        let readme = std::fs::read_to_string(top.join("README.md")).unwrap();
        assert!(
            readme.contains(&format!("each of {cells} machines")),
            "README.md must say that there are {cells} machines"
        );
    }
}
