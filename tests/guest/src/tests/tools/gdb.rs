//! gdb attaches in mid-stream and catches calls.

use super::super::lab::{Lab, Res};
use super::compare_runs;
use super::stream::Stream;
use super::tool::Tool;
use crate::{area, ensure};

area!("gdb": catches_calls = 120);

const SCRIPT: &str = "/tmp/gdb.script";

/// Runs gdb with commands on the stream; it has it do the mixture as soon as it has attached. What it printed behind "SEEN".
fn gdb(stream: &Stream, commands: &str) -> Res<Vec<String>> {
    let (ask, n) = (stream.ask_address(), stream.next_mixture());
    let script = format!(
        "set language c\nset confirm off\nset pagination off\nset width 0\nset debuginfod enabled off\n\
         set {{unsigned int}} {ask:#x} = {n}\n{commands}\ndetach\n"
    );
    std::fs::write(SCRIPT, script)?;
    let pid = stream.pid().to_string();
    let arguments = ["-nx", "-q", "-batch", "-x", SCRIPT, "-p", &pid];
    let (status, output) = Tool::start("gdb", &arguments)?.end()?;
    let seen = output.lines().filter_map(|line| line.strip_prefix("SEEN "));
    let seen: Vec<String> = seen.map(str::to_owned).collect();
    ensure!(
        status.success() && !seen.is_empty() && output.contains("detached"),
        "gdb: {status}\n{output}"
    );
    Ok(seen)
}

/// Catches calls at entry and exit.
fn catches_calls(lab: &Lab) -> Res {
    let commands = "catch syscall close\ncontinue\ncontinue\ndelete\ncatch syscall\nset $n = 0\n\
         while $n < 60\n\
         continue\n\
         printf \"SEEN %ld(%ld, %ld) %ld\\n\", $orig_rax, $rdi, $rdx, $rax\n\
         set $n = $n + 1\n\
         end\n\
         delete";
    compare_runs(lab, 60, |stream| {
        let seen = gdb(stream, commands)?;
        Ok((seen, stream.await_mixture()?))
    })
}
