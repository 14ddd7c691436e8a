//! A filter made by libseccomp, with a rule that refuses and one that kills, loaded by a process in mid-stream.

use super::attach_files;
use super::tool::Tool;
use crate::tests::support::lab::{Lab, Res};
use crate::{area, ensure, same};
use std::os::unix::process::ExitStatusExt;

area!("libseccomp": errno_and_kill = 120);

const PROGRAM: &str = include_str!("seccomp.py");

fn errno_and_kill(lab: &Lab) -> Res {
    let look = |attach: &str| -> Res<(String, String)> {
        let (status, output) = Tool::start("python3", &["-c", PROGRAM, attach])?.end()?;
        same!(status.signal(), Some(libc::SIGSYS), "end of\n{output}");
        let (own, seen): (Vec<&str>, Vec<&str>) =
            output.lines().partition(|line| line.starts_with("own "));
        Ok((own.join("\n"), seen.join("\n")))
    };
    let [stock, attached] = attach_files(lab);
    let ((_, stock), (own, attached)) = (look(stock)?, look(attached)?);
    same!(attached, stock, "what the calls returned");
    let count = |what: &str| stock.matches(what).count();
    // Fifty refused of two hundred; the write to a closed descriptor fails by itself, before and afterwards.
    same!(
        (count("EDQUOT"), count("EBADF")),
        (50, 100),
        "refusals in\n{stock}"
    );
    ensure!(
        lab.stock || own == "own specialized before True\nown specialized afterwards False",
        "{own}"
    );
    Ok(())
}
