//! `make test-programs`: real programs in the guest, stock and attached, and the table of them that `docs/programs.md` keeps.

use anyhow::{bail, Context, Result};

use crate::boots::Boots;
use crate::guest;
use crate::kept;
use crate::project::Project;
use crate::qemu;

const KEPT: &str = "docs/programs.md";
const BOOT: &str = "programs";
/// Between these lines is what a run writes.
const BEGIN: &str = "<!-- make test-programs writes from here -->";
const END: &str = "<!-- to here -->";
/// What the lines for the table begin with; known to tests/guest/src/benchmarks/programs/mod.rs.
const ROW: &str = "ROW ";

const HEAD: &str = "\
| program | processes | pipe calls | of a page | of more | waits | served | bailed out | stock | attached | change | | why |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|---|
";

/// Numbers of two runs may differ by a quarter, or by [`FEW`] if they are counts, and percentages by some [`POINTS`]: who waits
/// for whom depends on where a program was when its time on the CPU was over. How much of its calls must be served of each
/// program, and what the effect must be, is for the guest to say.
const PART: f64 = 0.25;
const FEW: f64 = 40.0;
const POINTS: f64 = 20.0;
/// The column of the waits, between bars: their number is not compared. One program waited 58 times in a run and 168 in another.
const WAITS: usize = 6;

/// Boots the programs, prints the table and compares it with the kept one. Returns the exit code.
pub fn run(project: &Project) -> Result<u8> {
    qemu::check_version(project)?;
    let boots = Boots::load(&project.path("qemu/boots.toml"))?;
    let boot = boots.by_name().find(|boot| boot.name == BOOT);
    let boot = boot.with_context(|| format!("qemu/boots.toml has no boot {BOOT:?}"))?;
    let (run, report, totals, code) = guest::one(project, boot)?;
    let table = table(run.guest_lines());
    println!("{table}");
    print!("{report}");
    println!("{totals}");
    let kept = keep(project, &table, code == 0, kept::blessed())?;
    Ok(if kept { code } else { code.max(1) })
}

fn table<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let rows = lines.filter_map(|line| line.strip_prefix(ROW));
    rows.fold(HEAD.to_owned(), |table, row| table + row + "\n")
}

/// Compares the table with the kept one, or replaces that if `bless` is set and all programs were `right`. True if they are equal
/// now, apart from what differs from run to run.
fn keep(project: &Project, table: &str, right: bool, bless: bool) -> Result<bool> {
    let path = project.path(KEPT);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {KEPT}"))?;
    let Some((before, page, after)) = kept::between(&text, BEGIN, END) else {
        bail!("{KEPT} lacks the lines {BEGIN:?} and {END:?}");
    };
    if bless && right {
        std::fs::write(&path, format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))?;
        println!("{KEPT} is replaced");
        return Ok(true);
    }
    let different = different(page.trim(), table.trim());
    if different.is_empty() {
        println!("the table is the one in {KEPT}");
        return Ok(true);
    }
    println!("the table differs from {KEPT} (SYNTH_BLESS=1 accepts the change):");
    for (kept, seen) in &different {
        println!("    - {kept}\n    + {seen}");
    }
    Ok(false)
}

/// The lines of two tables that differ; one that only one of them has is beside an empty one.
fn different<'t>(kept: &'t str, seen: &'t str) -> Vec<(&'t str, &'t str)> {
    let (mut kept, mut seen) = (kept.lines(), seen.lines());
    let pairs = std::iter::from_fn(|| match (kept.next(), seen.next()) {
        (None, None) => None,
        (kept, seen) => Some((kept.unwrap_or_default(), seen.unwrap_or_default())),
    });
    pairs.filter(|(a, b)| !same_line(a, b)).collect()
}

fn same_line(a: &str, b: &str) -> bool {
    let (a, b): (Vec<_>, Vec<_>) = (a.split('|').collect(), b.split('|').collect());
    let same = |(column, (a, b)): (usize, (&&str, &&str))| {
        let (a, b) = (a.trim(), b.trim());
        let counts = a.parse::<u64>().is_ok() && b.parse::<u64>().is_ok();
        (column == WAITS && counts) || same_cell(a, b)
    };
    a.len() == b.len() && a.iter().zip(&b).enumerate().all(same)
}

fn same_cell(a: &str, b: &str) -> bool {
    let percent = |cell: &str| cell.strip_suffix(" %")?.parse::<f64>().ok();
    if let (Some(a), Some(b)) = (percent(a), percent(b)) {
        return (a - b).abs() <= POINTS;
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(x), Ok(y)) if a.contains('.') => (x - y).abs() <= PART * x,
        (Ok(x), Ok(y)) => (x - y).abs() <= FEW.max(PART * x),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT_ROW: &str = "| `a` | 3 | 16000 | 7.5 | +3.6 % | costs | it sleeps |";

    #[test]
    fn numbers_may_differ_a_little_and_words_not_at_all() {
        let other = |from: &str, to: &str| same_line(KEPT_ROW, &KEPT_ROW.replace(from, to));
        assert!(other("16000", "12100") && other("3 |", "30 |") && other("+3.6 %", "-16.3 %"));
        assert!(!other("16000", "11900") && !other("16000", "0") && !other("+3.6 %", "-16.5 %"));
        assert!(other("7.5", "9.3") && !other("7.5", "9.4"));
        assert!(!other("costs", "nothing") && !other("sleeps", "waits") && !other("`a`", "`b`"));
        assert!(!same_line(KEPT_ROW, "") && !other("| costs ", ""));
        let row = |waits: &str| format!("| `a` | 3 | 901 | 7 | 1 | {waits} | 6 % |");
        assert!(same_line(&row("168"), &row("58")) && !same_line(&row("168"), &row("many")));
    }

    #[test]
    fn a_row_of_one_table_only_is_told() {
        let one = table(["noise", "ROW | a | 1 |"].into_iter());
        let two = table(["ROW | a | 1 |", "ROW | b | 1 |"].into_iter());
        assert!(different(&one, &one).is_empty());
        assert_eq!(different(&one, &two), [("", "| b | 1 |")]);
        assert_eq!(different(&two, &one), [("| b | 1 |", "")]);
    }

    #[test]
    fn only_a_right_table_is_kept() {
        let top = std::env::temp_dir().join(format!("synthjit-programs-{}", std::process::id()));
        std::fs::create_dir_all(top.join("docs")).unwrap();
        let (file, project) = (top.join(KEPT), Project { top: top.clone() });
        let empty = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        std::fs::write(&file, &empty).unwrap();
        let table = table(["ROW | a | 1 |"].into_iter());
        let keep = |right, bless| keep(&project, &table, right, bless).unwrap();
        assert!(!keep(true, false) && !keep(false, true));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), empty);
        assert!(keep(true, true) && keep(true, false));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("a\n") && text.ends_with("\nb\n") && text.contains("| a | 1 |"));
        std::fs::remove_dir_all(top).unwrap();
    }
}
