//! `synthctl disasm`: a path's code.

use synthjit_engine::template::PathKind;

use crate::cli::Call;
use crate::error::{Error, Kind};
use crate::listing::{self, Line, Unlike, OP};
use crate::module::Module;
use crate::paint::{GOOD, NOTE, STRONG};
use crate::status::{Path, Process};
use crate::values::Values;

/// Prints the code of a path.
pub fn disasm(module: &Module<'_>, pid: i32, fd: u32, call: Option<Call>) -> Result<u8, Error> {
    let path = choose(module, pid, fd, call)?;
    let (values, lines) = listing(module, pid, fd, &path.call)?;
    anstream::println!(
        "{STRONG}{} of descriptor {fd} of process {pid}{STRONG:#}, {} bytes at {:#x}",
        path.spec,
        path.size,
        values.get("base").unwrap_or(0)
    );
    lines.iter().for_each(print);
    Ok(0)
}

/// The values and the code of a path.
///
/// # Errors
///
/// If there is no such path, if its code is not for this user, or if this program would not make it so.
pub fn listing(
    module: &Module<'_>,
    pid: i32,
    fd: u32,
    call: &str,
) -> Result<(Values, Vec<Line>), Error> {
    let path = format!("{fd}.{call}");
    let code = module.code(pid, &path)?;
    let values = Values::read(module, pid, &path)?;
    let spec = module.text(&format!("processes/{pid}/fds/{path}/spec"));
    let kind = kind(&spec.unwrap_or_default())?;
    let lines = listing::list(kind, &values, &code).map_err(|unlike| {
        let what = match unlike {
            Unlike::Values => "the module tells other values than this synthctl knows",
            Unlike::Code => "the module's code is not what this synthctl would emit for its values, or it has just been recompiled",
        };
        Error::new(
            Kind::Other,
            what,
            "use the synthctl that was built with the module, or try again",
        )
    })?;
    Ok((values, lines))
}

fn print(line: &Line) {
    match line {
        Line::Place(_) | Line::Constant { .. } => anstream::println!("{NOTE}{line}{NOTE:#}"),
        Line::Instruction { op, text } => {
            anstream::println!("  {GOOD}{op:OP$}{GOOD:#}{text}");
        }
        Line::Gap(_) => anstream::println!("{line}"),
    }
}

/// The kind of path that implements a spec.
pub fn kind(spec: &str) -> Result<PathKind, Error> {
    let of_spec = |kind: &PathKind| kind.spec().name == spec;
    PathKind::ALL.into_iter().find(of_spec).ok_or_else(|| {
        Error::new(
            Kind::Other,
            format!("this synthctl does not know the spec {spec:?}"),
            "use the synthctl that was built with the module",
        )
    })
}

fn choose(module: &Module<'_>, pid: i32, fd: u32, call: Option<Call>) -> Result<Path, Error> {
    let process = super::explain::process(module, pid)?;
    let name = call.map(|call| match call {
        Call::Read => "read",
        Call::Write => "write",
    });
    let of_call = |path: &Path| path.fd == fd && name.is_none_or(|name| path.call == name);
    let Process { paths, .. } = process;
    paths.into_iter().find(of_call).ok_or_else(|| {
        Error::new(
            Kind::NoProcess,
            format!("descriptor {fd} of process {pid} has no path"),
            format!("synthctl explain {pid} {fd} says why"),
        )
    })
}
