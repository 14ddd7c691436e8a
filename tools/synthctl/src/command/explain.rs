//! `synthctl explain`: why a process or a descriptor is where it is, and what its paths rest on.

use synthjit_engine::specs::{Kept, Source, SpecInfo, ValueInfo};

use crate::error::{Error, Kind};
use crate::module::{lines_about, Module};
use crate::paint::{BAD, GOOD, NOTE, STRONG};
use crate::reason;
use crate::status::{Counts, Path, Process, State};
use crate::text::wrap;
use crate::values::Values;

/// What the four classes of values are, by their numbers (specs/README.md).
const CLASSES: [&str; 4] = [
    "seen to be constant",
    "constant, but only the kernel knows it",
    "likely constant, and kept so",
    "dynamic, read on each call",
];

/// The attached process `pid`.
///
/// # Errors
///
/// If there is no such process, or it is not attached.
pub fn process(module: &Module<'_>, pid: i32) -> Result<Process, Error> {
    Process::read(module, pid, &Counts::read(module)).ok_or_else(|| {
        if module.machine.has(format!("/proc/{pid}")) {
            return Error::new(
                Kind::NoProcess,
                format!("process {pid} is not attached, so all of its calls take the stock path"),
                format!("synthctl attach {pid}"),
            );
        }
        let gone = std::io::Error::from_raw_os_error(3);
        module.explain(&format!("cannot look at process {pid}"), Some(pid), &gone)
    })
}

/// Prints what is known about a process, or about the paths of one of its descriptors.
pub fn explain(module: &Module<'_>, pid: i32, fd: Option<u32>) -> Result<u8, Error> {
    let process = process(module, pid)?;
    state(&process);
    let without = without(module, pid).unwrap_or_else(|error| {
        let what = format!("descriptors without a path are not told: {}", error.what);
        detail(&what, &error.cure);
        Vec::new()
    });
    let Some(fd) = fd else {
        process.paths.iter().for_each(one_line);
        without.iter().for_each(stock);
        if process.paths.is_empty() && without.is_empty() {
            println("no descriptor has been looked at: it has not read or written since it was attached");
        }
        return Ok(0);
    };
    let (paths, stocks): (Vec<_>, Vec<_>) = (
        process.paths.iter().filter(|path| path.fd == fd).collect(),
        without.iter().filter(|x| x.fd == fd).collect(),
    );
    for path in &paths {
        one_path(module, pid, path)?;
    }
    stocks.iter().for_each(|x| stock(x));
    if paths.is_empty() && stocks.is_empty() {
        if !module.machine.has(format!("/proc/{pid}/fd/{fd}"))
            && crate::process::object(module.machine, pid, fd).is_none()
        {
            return Err(Error::new(
                Kind::NoProcess,
                format!("process {pid} has no descriptor {fd}"),
                format!("ls -l /proc/{pid}/fd"),
            ));
        }
        println(&format!("descriptor {fd} has not been looked at: the process has not read or written it since it was attached, or since its paths were last recompiled"));
    }
    Ok(0)
}

fn println(text: &str) {
    anstream::println!("{}", wrap(text, 0));
}

fn state(process: &Process) {
    let Process { pid, comm, .. } = process;
    match (process.state, &process.stock) {
        (State::Specialized, _) => {
            anstream::println!("{STRONG}{pid} {comm}{STRONG:#}: {GOOD}specialized{GOOD:#}");
        }
        (_, Some(why)) => {
            anstream::println!("{STRONG}{pid} {comm}{STRONG:#}: {BAD}stock path{BAD:#}");
            detail(&why.reason, &why.cure);
        }
        _ => {
            anstream::println!("{STRONG}{pid} {comm}{STRONG:#}: {NOTE}pending{NOTE:#}");
            detail(
                "it has not passed through the kernel since it was attached",
                "",
            );
        }
    }
}

fn detail(reason: &str, cure: &str) {
    anstream::println!("    {}", wrap(reason, 4));
    if !cure.is_empty() {
        anstream::println!("    {STRONG}cure:{STRONG:#} {}", wrap(cure, 10));
    }
}

/// A descriptor that is known to have no path for a call.
struct Without {
    fd: u32,
    call: String,
    reason: String,
}

fn without(module: &Module<'_>, pid: i32) -> Result<Vec<Without>, Error> {
    let listing = module.listing("without")?;
    let one = |line: &str| {
        let (name, reason) = line.split_once(": ")?;
        let (fd, call) = name.split_once('.')?;
        Some(Without {
            fd: fd.parse().ok()?,
            call: call.to_owned(),
            reason: reason.to_owned(),
        })
    };
    Ok(lines_about(&listing, pid, "").filter_map(one).collect())
}

fn stock(without: &Without) {
    let Without { fd, call, reason } = without;
    anstream::println!("{STRONG}{fd} {call}{STRONG:#}: {NOTE}stock path{NOTE:#}");
    detail(reason, reason::cure(reason));
}

fn one_line(path: &Path) {
    let Path { fd, call, spec, .. } = path;
    anstream::println!(
        "{STRONG}{fd} {call}{STRONG:#}: {GOOD}{spec}{GOOD:#}, {} bytes, {}",
        path.size,
        path.object
    );
}

fn one_path(module: &Module<'_>, pid: i32, path: &Path) -> Result<(), Error> {
    let spec = super::disasm::kind(&path.spec)?.spec();
    one_line(path);
    anstream::println!("    {}", wrap(spec.doc, 4));
    let values = match Values::read(module, pid, &format!("{}.{}", path.fd, path.call)) {
        Ok(values) => Some(values),
        Err(error) => {
            detail(&format!("without the values: {}", error.what), &error.cure);
            None
        }
    };
    for (class, title) in (1..).zip(CLASSES) {
        anstream::println!("\n{STRONG}{class}  {title}{STRONG:#}");
        for value in spec.values.iter().filter(|value| value.class == class) {
            one_value(value, values.as_ref());
        }
    }
    bailouts(spec, path);
    prose("from where on it finishes", &[spec.commit]);
    prose("what stays as it was", spec.stays);
    prose("what differs", spec.differs);
    mirrors(spec);
    Ok(())
}

fn one_value(value: &ValueInfo, values: Option<&Values>) {
    let number = match value.source {
        Source::Fact | Source::Seen => values.and_then(|values| values.get(value.name)),
        Source::Call | Source::Event => None,
    };
    let number = number.map_or(String::new(), |number| format!(" = {number:#x}"));
    let kept = match value.kept {
        Kept::Guard => "  [guard: looked at on each call]".to_owned(),
        Kept::Watch => format!("  [watch: {}]", value.events.join(", ")),
        Kept::Always | Kept::Never => String::new(),
    };
    anstream::println!("    {GOOD}{}{GOOD:#}{number}", value.name);
    if !kept.is_empty() {
        anstream::println!("      {NOTE}{}{NOTE:#}", wrap(kept.trim(), 6));
    }
    anstream::println!("      {}", wrap(value.doc, 6));
}

/// Why the path bails out, and how often it did.
fn bailouts(spec: &SpecInfo, path: &Path) {
    anstream::println!("\n{STRONG}what goes to the stock path, call by call{STRONG:#}");
    match (&path.bailouts, path.bailed_out) {
        (Some(_), _) => {}
        (None, Some(count)) => anstream::println!("    {NOTE}{count}, root sees why{NOTE:#}"),
        (None, None) => anstream::println!("    {NOTE}the path is gone{NOTE:#}"),
    }
    for bail in spec.bails {
        let mut counted = path.bailouts.iter().flatten();
        let count = counted.find(|bailed| bailed.name == bail.name());
        let count = count.map_or(String::new(), |bailed| format!(": {}", bailed.count));
        anstream::println!("    {GOOD}{}{GOOD:#}{count}", bail.name());
        anstream::println!("      {}", wrap(bail.doc(), 6));
        anstream::println!("      {STRONG}cure:{STRONG:#} {}", wrap(bail.cure(), 12));
    }
}

fn prose(title: &str, items: &[&str]) {
    if items.iter().all(|item| item.is_empty()) {
        return;
    }
    anstream::println!("\n{STRONG}{title}{STRONG:#}");
    for item in items {
        anstream::println!("    {}", wrap(item, 4));
    }
}

fn mirrors(spec: &SpecInfo) {
    let names: Vec<&str> = spec.mirrors.iter().map(|mirror| mirror.name).collect();
    prose(
        "the kernel's own text that it stands for",
        &[&names.join(", ")],
    );
}
