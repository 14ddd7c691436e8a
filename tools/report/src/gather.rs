//! From logs and counts to a report. Whatever does not agree is an error: a page with wrong numbers is worse than none.

use anyhow::{bail, ensure, Context, Result};
use synthjit_engine::template::PathKind;

use crate::attribute::Map;
use crate::counts::Counts;
use crate::data::{About, Call, Profile, Program, Report, Size, Step};
use crate::log::{Log, Mode};
use crate::thesis;

/// The calls of the steps.
const WRITE: &str = "pipe_write_1";
const READ: &str = "pipe_read_1";

/// What the boots of `qemu/boots-report.toml` said.
pub struct Boots {
    /// With the plugin, and what it counted.
    pub functions: Log,
    pub counts: Vec<Counts>,
    /// The same calls without it, and all else.
    pub clock: Log,
    /// A module that has no path for writes, and one that has none for reads.
    pub vector_write: Log,
    pub vector_read: Log,
    /// A kernel without mitigations.
    pub unhardened: Log,
    /// A CPU without SMAP.
    pub no_smap: Log,
}

/// Everything that a page shows.
pub fn report(boots: &Boots, commit: &str, date: &str) -> Result<Report> {
    Ok(Report {
        about: about(&boots.functions, commit, date)?,
        calls: calls(boots)?,
        sizes: sizes(&boots.clock)?,
        steps: steps(boots)?,
        programs: programs(&boots.clock)?,
    })
}

fn about(log: &Log, commit: &str, date: &str) -> Result<About> {
    let mitigations = log.facts.iter().filter_map(|(name, text)| {
        let name = name.strip_prefix("vulnerability ")?;
        (text != "Not affected").then(|| (name.to_owned(), text.clone()))
    });
    Ok(About {
        kernel: format!("{}, {}", log.fact("kernel")?, log.fact("version")?),
        cpu: log.fact("cpu")?.to_owned(),
        options: log.fact("options")?.to_owned(),
        commit: commit.to_owned(),
        date: date.to_owned(),
        mitigations: mitigations.collect(),
    })
}

fn calls(boots: &Boots) -> Result<Vec<Call>> {
    let log = &boots.functions;
    ensure!(
        log.sections.len() == boots.counts.len(),
        "the guest marked {} calls and the plugin saw {}",
        log.sections.len(),
        boots.counts.len()
    );
    for (n, (section, counts)) in log.sections.iter().zip(&boots.counts).enumerate() {
        ensure!(
            section.ticks == counts.sum(),
            "call {n} ({}, {:?}) took {} instructions by the guest's clock and {} by the plugin's counts",
            section.call,
            section.mode,
            section.ticks,
            counts.sum()
        );
    }
    let paths = PathKind::ALL.map(|kind| {
        let call = if kind == PathKind::PipeWrite {
            "write"
        } else {
            "read"
        };
        let values = log.values(call);
        values
            .map(|values| (kind, values))
            .with_context(|| format!("there was no path for {call}"))
    });
    let paths = paths.into_iter().collect::<Result<Vec<_>>>()?;
    let map = Map::new(&log.symbols, &paths)?;
    let call = |name| {
        let one = |mode| profile(boots, &map, name, mode);
        Ok(Call {
            name: str::to_owned(name),
            title: title(name),
            stock: one(Mode::Stock)?,
            attached: one(Mode::Attached)?,
        })
    };
    log.calls().into_iter().map(call).collect()
}

/// The median call, function by function, if the clock alone says the same in a boot without the plugin.
fn profile(boots: &Boots, map: &Map<'_>, call: &str, mode: Mode) -> Result<Profile> {
    let instructions = boots.functions.median(call, mode)?;
    let alone = boots.clock.median(call, mode)?;
    ensure!(
        instructions == alone,
        "{call}, {mode:?}: {instructions} instructions with the plugin, {alone} without"
    );
    let all = boots.functions.sections.iter().zip(&boots.counts);
    let of_call: Vec<_> = all
        .filter(|(s, _)| s.call == call && s.mode == mode)
        .collect();
    let alike: Vec<_> = of_call
        .iter()
        .filter(|(s, _)| s.ticks == instructions)
        .collect();
    let (_, counts) = alike.first().context("the median is one of the calls")?;
    let functions = map.functions(counts)?;
    let sum: u64 = functions.iter().map(|f| f.instructions).sum();
    ensure!(
        sum == instructions,
        "{call}, {mode:?}: the functions sum up to {sum}, not {instructions}"
    );
    Ok(Profile {
        instructions,
        functions,
        alike: (alike.len(), of_call.len()),
    })
}

/// What people call a call of the guest's benchmark.
fn title(name: &str) -> String {
    let title = match name {
        "pipe_write_1" => "Pipe write, 1 B",
        "pipe_read_1" => "Pipe read, 1 B",
        "pipe_write_1_merge" => "Pipe write, 1 B behind other data",
        "pipe_read_1_partial" => "Pipe read, 1 B of more",
        "pipe_write_64" => "Pipe write, 64 B",
        "pipe_read_64" => "Pipe read, 64 B",
        "pipe_write_4096" => "Pipe write, 4096 B",
        "pipe_read_4096" => "Pipe read, 4096 B",
        "unknown_number" => "Unknown system call",
        "no_path_write" => "Write to /dev/null, 1 B",
        "no_path_read" => "Read from /dev/zero, 1 B",
        other => return other.replace('_', " "),
    };
    title.to_owned()
}

fn sizes(log: &Log) -> Result<Vec<Size>> {
    let stock = log
        .sizes
        .iter()
        .filter(|((_, _, mode), _)| *mode == Mode::Stock);
    let sizes: Result<Vec<_>> = stock
        .map(|((call, bytes, _), stock)| {
            let attached = log.sizes.get(&(call.clone(), *bytes, Mode::Attached));
            Ok(Size {
                call: call.clone(),
                bytes: *bytes,
                stock: *stock,
                attached: *attached.with_context(|| format!("no {call} of {bytes} B attached"))?,
            })
        })
        .collect();
    let sizes = sizes?;
    if sizes.is_empty() {
        bail!("no sizes were measured");
    }
    Ok(sizes)
}

fn steps(boots: &Boots) -> Result<Vec<Step>> {
    let step = |title: &str, note: &str, write: (&Log, Mode), read: (&Log, Mode)| {
        Ok(Step {
            title: title.to_owned(),
            note: note.to_owned(),
            write: write.0.median(WRITE, write.1)?,
            read: read.0.median(READ, read.1)?,
        })
    };
    let both = |title, note, log, mode| step(title, note, (log, mode), (log, mode));
    [
        both("stock", "the kernel as it is", &boots.clock, Mode::Stock),
        step(
            "vector only",
            "the process is attached, but the module was built without this call's path: the vector looks, and goes to the stock entry",
            (&boots.vector_write, Mode::Attached),
            (&boots.vector_read, Mode::Attached),
        ),
        both(
            "stock, hardening off",
            "no module; booted with mitigations=off randomize_kstack_offset=off",
            &boots.unhardened,
            Mode::Stock,
        ),
        both("path", "vector and path: the layers are gone, what is known is baked in, nothing needs a mitigation", &boots.clock, Mode::Attached),
        both(
            "path, hardening off",
            "the same with mitigations=off randomize_kstack_offset=off",
            &boots.unhardened,
            Mode::Attached,
        ),
        both(
            "path, no SMAP",
            "the same on a CPU that does not guard user memory: the path neither opens nor closes it",
            &boots.no_smap,
            Mode::Attached,
        ),
    ]
    .into_iter()
    .collect()
}

fn programs(log: &Log) -> Result<Vec<Program>> {
    let program = |(number, row): (u32, &thesis::Row)| {
        let of = |mode| {
            let measured = log.programs.get(&(number, mode)).copied();
            measured.with_context(|| format!("program {number} was not measured {mode:?}"))
        };
        let ((stock, rounds), (attached, _)) = (of(Mode::Stock)?, of(Mode::Attached)?);
        Ok(Program {
            number,
            title: row.title,
            sunos: row.sunos,
            synthesis: row.synthesis,
            thesis_ratio: row.ratio,
            stock,
            attached,
            rounds,
        })
    };
    (1..).zip(&thesis::TABLE).map(program).collect()
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
