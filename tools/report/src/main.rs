//! `report TOP`: reads the logs of the boots of `qemu/boots-report.toml` below `TOP/build/log`, writes `report.json` and
//! `index.html` into `TOP/build/report`.

#![forbid(unsafe_code)]

mod attribute;
mod counts;
mod data;
mod gather;
mod log;
mod page;
mod thesis;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use gather::Boots;
use log::Log;

fn main() -> ExitCode {
    let top = std::env::args_os().nth(1);
    match run(Path::new(top.as_deref().unwrap_or(".".as_ref()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("report: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(top: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = top.join("build/log").join(name);
        // The kernel's console may hold bytes that are no text.
        let bytes = std::fs::read(&path);
        let bytes =
            bytes.with_context(|| format!("cannot read {}: run make report", path.display()))?;
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let log = |boot: &str| {
        let name = format!("report-{boot}.log");
        Log::parse(&read(&name)?).with_context(|| format!("build/log/{name}"))
    };
    let boots = Boots {
        functions: log("functions")?,
        counts: counts::parse(&read("report-functions.counts")?)?,
        clock: log("clock")?,
        vector_write: log("vector-write")?,
        vector_read: log("vector-read")?,
        unhardened: log("unhardened")?,
        no_smap: log("no-smap")?,
    };
    let counted = std::fs::metadata(top.join("build/log/report-functions.counts"))?.modified()?;
    let date = jiff::Timestamp::try_from(counted)?.strftime("%Y-%m-%d %H:%M UTC");
    let report = gather::report(&boots, &commit(top), &date.to_string())?;

    let out = top.join("build/report");
    std::fs::create_dir_all(&out)?;
    std::fs::write(
        out.join("report.json"),
        serde_json::to_string_pretty(&report)?,
    )?;
    std::fs::write(out.join("index.html"), page::page(&report).into_string())?;
    let calls = boots.counts.len();
    println!("{calls} calls: the plugin's counts and the guest's clock agree on each");
    println!("build/report/index.html, and its numbers in build/report/report.json");
    Ok(())
}

/// What git calls the commit; a tree without git has none.
fn commit(top: &Path) -> String {
    let output = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(top)
        .output();
    let text = output.ok().filter(|output| output.status.success());
    let text = text.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown".to_owned())
}
