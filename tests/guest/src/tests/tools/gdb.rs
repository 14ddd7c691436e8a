//! gdb attaches in mid-stream, catches calls and steps over them.

use super::compare_runs;
use super::stream::{call_address, Stream, MARK};
use super::tool::Tool;
use crate::sysfs::{self, Call};
use crate::tests::support::lab::{Lab, Res};
use crate::{area, ensure, same};

area!("gdb": catches_calls = 120, steps_over_calls = 120);

const SCRIPT: &str = "/tmp/gdb.script";

/// Runs gdb with commands on the stream; it has it do the mixture as soon as it has attached. What it printed.
fn gdb(stream: &Stream, commands: &str) -> Res<String> {
    let (ask, n) = (stream.ask_address(), stream.next_mixture());
    let script = format!(
        "set language c\nset confirm off\nset pagination off\nset width 0\nset debuginfod enabled off\n\
         set {{unsigned int}} {ask:#x} = {n}\n{commands}\ndetach\n"
    );
    std::fs::write(SCRIPT, script)?;
    let pid = stream.pid().to_string();
    // Without what the program was compiled from: no command asks for it, and reading it takes longer than all else.
    let arguments = [
        "-nx",
        "-q",
        "-readnever",
        "-batch",
        "-x",
        SCRIPT,
        "-p",
        &pid,
    ];
    let (status, output) = Tool::start("gdb", &arguments)?.end()?;
    ensure!(
        status.success() && output.contains("SEEN ") && output.contains("detached"),
        "gdb: {status}\n{output}"
    );
    Ok(output)
}

/// What was printed behind a word, line by line.
fn behind(output: &str, word: &str) -> Vec<String> {
    let texts = output.lines().filter_map(|line| line.strip_prefix(word));
    texts.map(str::to_owned).collect()
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
        let seen = behind(&gdb(stream, commands)?, "SEEN ");
        Ok((seen, stream.await_mixture()?))
    })
}

/// Calls of the mixture that are stepped over: the mark and one of each kind.
const STEPPED: usize = 22;

/// Registers that a call leaves as they are.
const KEPT: &[&str] = &[
    "rbx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r12", "r13", "r14", "r15", "cs",
    "ss", "fs_base", "gs_base",
];

/// Stops at the instruction `syscall` of every call from the moment of attaching to that of leaving, and goes on by one
/// instruction. It ends right behind the instruction, with the registers as a call leaves them; none is done by a path.
fn steps_over_calls(lab: &Lab) -> Res {
    let note: String = KEPT
        .iter()
        .map(|r| format!("set $b_{r} = ${r}\n"))
        .collect();
    let kept: Vec<String> = KEPT.iter().map(|r| format!("$b_{r} == ${r}")).collect();
    let (at, kept) = (call_address(), kept.join(" && "));
    let step = format!(
        "break *{at:#x}\n\
         set $n = -1\n\
         while $n < {last}\n\
         continue\n\
         if $n >= 0 || ($rax == 3 && (int) $rdi == {MARK})\n\
         set $n = $n + 1\n\
         printf \"SEEN %ld(%ld, %ld)\\n\", $rax, $rdi, $rdx\n\
         end\n\
         {note}\
         stepi\n\
         if $n >= 0\n\
         printf \"SEEN rax %ld, orig_rax %ld, rip +%ld, rcx +%ld, r11 %#lx, flags %#lx, others kept %d\\n\", \
         $rax, $orig_rax, (long) $rip - {at:#x}, $rcx - {at:#x}, $r11, $eflags | 0, {kept}\n\
         end\n\
         end\n\
         delete\n",
        last = STEPPED - 1
    );
    compare_runs(lab, 2 * STEPPED, |stream| {
        // While the process stands still, so that all of its calls lie in between.
        let files = [(stream.w, Call::Write), (stream.r, Call::Read)];
        let files =
            files.map(|(fd, call)| sysfs::path(&sysfs::fd_file(stream.pid(), fd, call, "hits")));
        let hits = format!(
            "shell sed -s 's/^/HITS /' {} 2>/dev/null\n",
            files.join(" ")
        );
        let output = gdb(stream, &format!("{hits}{step}{hits}"))?;
        let hits = behind(&output, "HITS ");
        let has_paths = stream.hits(lab) != (0, 0);
        same!(
            hits.len(),
            if has_paths { 4 } else { 0 },
            "hits in\n{output}"
        );
        let (before, after) = hits.split_at(hits.len() / 2);
        same!(after, before, "hits after stepping");
        Ok((behind(&output, "SEEN "), stream.await_mixture()?))
    })
}
