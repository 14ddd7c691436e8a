//! Runs the commands of a text of the docs in one shell and holds what they print against what the text says.
//!
//! A block of the kind `console` has lines that begin with `# `, which are typed, each followed by what it prints. There `...`
//! stands for anything, also in the midst of a line, and a line `...` for any number of lines, also none.
//! tools/vm/tests/docs.rs sees to it that each text with such a block is run: here, or by a test with the tools that it needs.

use crate::proc::{nap, Kid};
use crate::{sys, sysfs};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const TEXTS: [(&str, &str); 2] = [
    ("README", include_str!("../../../README.md")),
    ("tutorial", include_str!("../../../docs/tutorial.md")),
];
/// Behind the output of a command, on a line of its own.
const END: &str = "-- end of the command --";
/// The folder that has synthjit.ko, and those that have programs.
const FOLDER: &str = "/lib";
const PATH: &str = "/:/bin";

/// A command and the lines that it is to print.
struct Step {
    command: &'static str,
    want: Vec<&'static str>,
}

/// Returns the exit code.
pub fn main() -> i32 {
    for (name, text) in TEXTS {
        match run(text, FOLDER, PATH) {
            Ok(commands) => println!("{name}: {commands} commands answered as the text says"),
            Err(why) => {
                println!("{name}: {why}");
                return 1;
            }
        }
        // The next one begins from the start.
        if sysfs::present() && sys::rmmod(sysfs::MODULE).is_err() {
            println!("{name}: the module stays");
            return 1;
        }
    }
    0
}

/// Runs the commands of a text in a folder: how many there are. `$PID` is a process that is there.
///
/// # Errors
///
/// What was printed that the text does not say.
pub fn run(text: &'static str, folder: &str, path: &str) -> Result<usize, String> {
    let steps = steps(text);
    let somebody = Kid::spawn::<()>(|| loop {
        nap(1000);
    });
    let somebody = somebody.map_err(|e| format!("no process: {e}"))?;
    let mut shell = Command::new("/bin/sh")
        .current_dir(folder)
        .env("PATH", path)
        .env("PID", somebody.pid.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("no shell: {e}"))?;
    let mut typed = shell.stdin.take().ok_or("the shell takes no commands")?;
    let printed = shell.stdout.take().ok_or("the shell prints nothing")?;
    let mut lines = BufReader::new(printed).lines();
    // Errors are part of what is printed.
    writeln!(typed, "exec 2>&1").map_err(|e| e.to_string())?;
    for step in &steps {
        println!("# {}", step.command);
        writeln!(typed, "{}\necho '{END}'", step.command).map_err(|e| e.to_string())?;
        let mut said = Vec::new();
        loop {
            match lines.next() {
                Some(Ok(line)) if line == END => break,
                Some(Ok(line)) => said.push(line),
                other => return Err(format!("no more lines: {other:?}, {:?}", shell.try_wait())),
            }
        }
        said.iter().for_each(|line| println!("{line}"));
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        if !lines_fit(&step.want, &said) {
            return Err(format!(
                "`{}` was to print\n{}",
                step.command,
                step.want.join("\n")
            ));
        }
    }
    drop(typed);
    shell.wait().map_err(|e| e.to_string())?;
    if steps.is_empty() {
        return Err("the text has no commands".to_owned());
    }
    Ok(steps.len())
}

fn steps(text: &'static str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (inside, line) {
            (_, "```console") => inside = true,
            (_, "```") => inside = false,
            (true, line) => match (line.strip_prefix("# "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    command,
                    want: Vec::new(),
                }),
                (None, Some(step)) => step.want.push(line),
                (None, None) => {}
            },
            _ => {}
        }
    }
    steps
}

fn lines_fit(want: &[&str], said: &[&str]) -> bool {
    match (want.split_first(), said.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((&"...", rest)), _) => (0..=said.len()).any(|n| lines_fit(rest, &said[n..])),
        (Some(_), None) => false,
        (Some((line, want)), Some((other, said))) => {
            line_fits(line, other) && lines_fit(want, said)
        }
    }
}

fn line_fits(want: &str, said: &str) -> bool {
    match want.split_once("...") {
        None => want == said,
        Some((before, after)) => said.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len())
                .filter(|n| rest.is_char_boundary(*n))
                .any(|n| line_fits(after, &rest[n..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_for_anything() {
        assert!(line_fits("a ... c", "a b c"));
        assert!(line_fits("...", ""));
        assert!(!line_fits("a ... c", "a b"));
        assert!(!line_fits("a", "ab"));
        assert!(lines_fit(&["x", "...", "y"], &["x", "y"]));
        assert!(lines_fit(&["...", "y", "..."], &["x", "y", "y", "z"]));
        assert!(!lines_fit(&["x"], &["x", "y"]));
        assert!(!lines_fit(&["x", "..."], &["y"]));
    }

    #[test]
    fn the_text_has_commands_and_answers() {
        assert_eq!(steps(TEXTS[0].1).len(), 2);
        let steps = steps(TEXTS[1].1);
        assert!(steps
            .iter()
            .any(|step| step.command == "insmod synthjit.ko"));
        assert!(steps.iter().any(|step| step.want.contains(&"specialized")));
    }
}
