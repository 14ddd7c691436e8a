//! Which function, or which op of the engine, an instruction belongs to.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{bail, Context, Result};
use indexmap::IndexMap;
use synthctl::values::Values;
use synthjit_engine::template::PathKind;

use crate::counts::Counts;
use crate::data::{Function, Layer};

/// The first address that is the kernel's.
const KERNEL: u64 = 1 << 63;

/// What the module calls its generated code in kallsyms, followed by what it was emitted for.
const VECTOR: &str = "synthjit_vector";
const PATH: &str = "synthjit_path";

/// The addresses of one path, and which op wrote what.
struct Path {
    range: Range<u64>,
    /// Where the instructions of a op begin.
    ops: BTreeMap<u64, &'static str>,
}

impl Path {
    fn of(kind: PathKind, values: &Values) -> Result<Self> {
        let emitted = values
            .emit(kind)
            .context("the path's values are not those of this engine")?;
        let base = values.get("base").context("the path has no base")?;
        let at = |offset: usize| base + offset as u64;
        Ok(Path {
            range: base..at(emitted.code.len),
            ops: emitted
                .ops
                .all()
                .iter()
                .map(|(offset, op)| (at(*offset), *op))
                .collect(),
        })
    }
}

/// Everything that bears a name.
pub struct Map<'l> {
    symbols: &'l BTreeMap<u64, String>,
    paths: Vec<Path>,
}

impl<'l> Map<'l> {
    /// `values` are those of the paths that may have been executed.
    pub fn new(symbols: &'l BTreeMap<u64, String>, values: &[(PathKind, Values)]) -> Result<Self> {
        let paths = values.iter().map(|(kind, values)| Path::of(*kind, values));
        Ok(Map {
            symbols,
            paths: paths.collect::<Result<_>>()?,
        })
    }

    /// Instructions by function, in the order in which the functions first ran. Nothing is left out.
    ///
    /// # Errors
    ///
    /// If an address of the kernel has no name.
    pub fn functions(&self, counts: &Counts) -> Result<Vec<Function>> {
        let mut functions: IndexMap<(String, Layer), u64> = IndexMap::new();
        for (address, count) in &counts.0 {
            *functions.entry(self.name(*address)?).or_insert(0) += count;
        }
        let function = |((name, layer), instructions)| Function {
            name,
            layer,
            instructions,
        };
        Ok(functions.into_iter().map(function).collect())
    }

    fn name(&self, address: u64) -> Result<(String, Layer)> {
        if address < KERNEL {
            return Ok(("syscall (in user space)".to_owned(), Layer::Entry));
        }
        if let Some(path) = self.paths.iter().find(|path| path.range.contains(&address)) {
            let op = path.ops.range(..=address).next_back();
            let (_, op) = op.with_context(|| format!("no op wrote the code at {address:x}"))?;
            return Ok(((*op).to_owned(), Layer::of_op(op)));
        }
        let symbol = self.symbols.range(..=address).next_back();
        let (_, name) = symbol.with_context(|| format!("there is no function at {address:x}"))?;
        if name.starts_with(PATH) {
            bail!("the guest did not tell the values of {name}");
        }
        // The name of the vector itself has the number of the process.
        match name.starts_with(VECTOR) {
            true => Ok(("vector".to_owned(), Layer::Dispatch)),
            false => Ok((name.clone(), Layer::of_function(name))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbols() -> BTreeMap<u64, String> {
        let symbols = [
            (0xffff_ffff_8100_0000, "entry_SYSCALL_64"),
            (0xffff_ffff_8100_0100, "anon_pipe_write"),
            (0xffff_ffff_c000_0000, "synthjit_vector_pid97"),
        ];
        symbols
            .map(|(address, name)| (address, name.to_owned()))
            .into()
    }

    #[test]
    fn every_instruction_has_one_owner() {
        let symbols = symbols();
        let map = Map::new(&symbols, &[]).unwrap();
        let counts = Counts(vec![
            (0x7f00_0000_1000, 1),
            (0xffff_ffff_c000_0004, 5),
            (0xffff_ffff_8100_0100, 1),
            (0xffff_ffff_8100_0000, 2),
            (0xffff_ffff_8100_0120, 4096),
        ]);
        let functions = map.functions(&counts).unwrap();
        let found: Vec<_> = functions
            .iter()
            .map(|f| (f.name.as_str(), f.layer, f.instructions))
            .collect();
        assert_eq!(
            found,
            [
                ("syscall (in user space)", Layer::Entry, 1),
                ("vector", Layer::Dispatch, 5),
                ("anon_pipe_write", Layer::Pipe, 4097),
                ("entry_SYSCALL_64", Layer::Entry, 2),
            ]
        );
        assert_eq!(
            functions.iter().map(|f| f.instructions).sum::<u64>(),
            counts.sum()
        );
    }

    #[test]
    fn what_has_no_name_is_told() {
        let symbols = symbols();
        let map = Map::new(&symbols, &[]).unwrap();
        assert!(map
            .functions(&Counts(vec![(0xffff_8000_0000_0000, 1)]))
            .is_err());
    }
}
