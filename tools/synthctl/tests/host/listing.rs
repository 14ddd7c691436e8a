//! Disassembly with ops and names, of the recorded machine's code.

use crate::recorded::{attached, Recorded};
use synthctl::listing::{list, Line};
use synthctl::module::{lines_about, Module};
use synthctl::values::Values;
use synthjit_engine::specs::Facts;
use synthjit_engine::target::Target;
use synthjit_engine::template::PathKind;

/// The recorded paths: kind, values, code.
fn paths(machine: &Recorded) -> [(PathKind, Values, Vec<u8>); 2] {
    [(PathKind::PipeWrite, "write"), (PathKind::PipeRead, "read")].map(|(kind, call)| {
        let processes = "/sys/kernel/synthjit/processes";
        let folder = machine
            .machine
            .names(processes)
            .into_iter()
            .flat_map(|pid| {
                let fds = format!("{processes}/{pid}/fds");
                let names = machine.machine.names(&fds);
                names.into_iter().map(move |name| format!("{fds}/{name}"))
            })
            .find(|folder| folder.ends_with(call))
            .expect("a path");
        let code = machine
            .machine
            .bytes(format!("{folder}/code"))
            .expect("code");
        let words: Vec<&str> = folder.rsplit('/').collect();
        let module = Module::open(&machine.machine).expect("a module");
        let pid = words[2].parse().expect("a number");
        let values = Values::read(&module, pid, words[0]).expect("values");
        (kind, values, code)
    })
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines
        .iter()
        .filter_map(|line| match line {
            Line::Instruction { op, text } => Some(format!("{op}: {text}")),
            _ => None,
        })
        .collect()
}

const PROCESSES: &str = "/sys/kernel/synthjit/processes/";
const VALUES: &str = "/sys/kernel/debug/synthjit/values";

/// The listing `values` with zero for each fact that the engine asks for today and a recorded path lacks.
fn completed(listing: &str) -> String {
    // PID PATH NAME NUMBER
    let path = |line: &str| line.rsplitn(3, ' ').nth(2).expect("a path").to_owned();
    let name = |line: &str| line.rsplitn(3, ' ').nth(1).expect("a name").to_owned();
    let lines: Vec<&str> = listing.lines().collect();
    let mut text = String::new();
    for recorded in lines.chunk_by(|a, b| path(a) == path(b)) {
        let path = path(recorded[0]);
        let lacks = |fact: &&&str| recorded.iter().all(|line| name(line) != **fact);
        let facts = Target::NAMES.iter().chain(Facts::NAMES);
        let missing = facts.filter(lacks).map(|fact| format!("{path} {fact} 0x0"));
        for line in recorded
            .iter()
            .map(|line| (*line).to_owned())
            .chain(missing)
        {
            text += &line;
            text.push('\n');
        }
    }
    text
}

/// The recording with all facts, and with the code that the engine makes today of its values. The kernel's own bytes are held against them by the guest
/// test `synthctl.disasm_names_everything`.
fn with_code_of_today(recorded: &str) -> String {
    let parts: Vec<(&str, &str)> = recorded
        .split("=== ")
        .filter_map(|part| part.split_once('\n'))
        .collect();
    let of = |name: &str| parts.iter().find(|part| part.0 == name).expect("a file").1;
    let listing = &completed(of(VALUES));
    let emitted = |pid: &str, path: &str| {
        let spec = of(&format!("{PROCESSES}{pid}/fds/{path}/spec")).trim();
        let kind = PathKind::ALL.into_iter().find(|k| k.spec().name == spec);
        let pid = pid.parse().expect("a number");
        let lines: Vec<&str> = lines_about(listing, pid, path).collect();
        let emitted = Values::parse(&lines.join("\n")).emit(kind.expect("a path"));
        emitted.expect("the path")
    };
    let mut text = String::new();
    for (name, body) in &parts {
        let words: Vec<&str> = match name.strip_prefix(PROCESSES) {
            Some(rest) => rest.split('/').collect(),
            None => Vec::new(),
        };
        let body = match words[..] {
            [pid, "fds", path, "code"] => {
                let emitted = emitted(pid, path);
                let lines = emitted.bytes[..emitted.code.len].chunks(16);
                lines
                    .map(|line| line.iter().map(|b| format!(" {b:02x}")).collect::<String>() + "\n")
                    .collect()
            }
            [pid, "fds", path, "size"] => format!("{}\n", emitted(pid, path).code.len),
            _ if *name == VALUES => {
                let line = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
                    [pid, path, "entry", _] => {
                        format!("{pid} {path} entry {:#x}\n", emitted(pid, path).code.entry)
                    }
                    _ => format!("{line}\n"),
                };
                listing.lines().map(line).collect()
            }
            _ => (*body).to_owned(),
        };
        text += &format!("=== {name}\n{body}");
    }
    text
}

/// `SYNTH_BLESS=1` brings the recording up to date.
#[test]
fn the_recording_is_of_this_engine() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/host/recorded/attached.txt"
    );
    let recorded = std::fs::read_to_string(path).expect("the recording");
    let today = with_code_of_today(&recorded);
    if std::env::var_os("SYNTH_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(path, today).expect("the recording");
    } else {
        assert!(
            recorded == today,
            "the recorded code is another than this engine's; SYNTH_BLESS=1 replaces it"
        );
    }
}

#[test]
fn the_kernels_bytes_are_made_again_and_named() {
    for (kind, values, code) in paths(&attached()) {
        let lines = list(kind, &values, &code).expect("the same bytes");
        let texts = texts(&lines);
        for text in [
            "guard_user_flags_clear: test r11d, sysret_flags_mask",
            "set: mov rcx, task",
            "load_rax: mov rax, [files+files_fdt]",
            "load64: mov rax, [rax+fdtable_fd]",
            "guard_eq: cmp qword ptr [rdi+file_f_op], pipeanon_fops",
            "guard_eq32: cmp dword ptr [rdi+file_f_mode], file_mode",
            "try_lock: xor eax, eax",
            "guard_count: lea rdi, [rdx-1]",
            ": cmp rdi, page_size-1",
            "copy: rep movsb [rdi], [rsi]",
            "return_to_user: sysretq",
            "go_external: jmp exit_held",
            "go_external: jmp exit_entered",
        ] {
            assert!(
                texts.iter().any(|t| t.ends_with(text)),
                "no {text:?} in {texts:#?}"
            );
        }
        for name in [
            "entry",
            "single_step",
            "foreign_buffer",
            "replaced",
            "page_missing",
            "of_three",
            "end",
            "leave",
            "tail",
        ] {
            assert!(
                lines.contains(&Line::Place(name.to_owned())),
                "no place {name}"
            );
        }
        let constants: Vec<&str> = lines
            .iter()
            .filter_map(|line| match line {
                Line::Constant { name, .. } => Some(name.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(constants, ["user_ptr_max", "page_bias"]);
    }
}

/// Guards lead to pads that bear the names of their reasons.
#[test]
fn pads_are_named_after_their_reasons() {
    for (kind, values, code) in paths(&attached()) {
        let texts = texts(&list(kind, &values, &code).expect("the same bytes"));
        for text in [
            "jne single_step",
            "jne replaced",
            "jne of_three",
            "jne foreign_buffer",
        ] {
            let is = |line: &String| line.ends_with(text);
            assert!(texts.iter().any(is), "no {text:?} in {texts:#?}");
        }
    }
}
