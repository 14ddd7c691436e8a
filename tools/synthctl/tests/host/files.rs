//! Man pages and completions, which are made from the command line's own description.

use std::fs;
use std::process::Command;

use clap::CommandFactory;
use synthctl::cli::Cli;

#[test]
fn every_command_has_a_page_and_is_completed() {
    let folder = tempfile::tempdir().expect("a folder");
    let status = Command::new(env!("CARGO_BIN_EXE_synthctl-files"))
        .arg(folder.path())
        .status()
        .expect("it runs");
    assert!(status.success());
    let completions = ["synthctl.bash", "synthctl.fish", "_synthctl"]
        .map(|name| fs::read_to_string(folder.path().join("completions").join(name)).expect(name));
    let command = Cli::command();
    let page = fs::read_to_string(folder.path().join("man1/synthctl.1")).expect("a page");
    assert!(page.contains("Exit codes"), "{page}");
    for name in command.get_subcommands().map(clap::Command::get_name) {
        assert!(
            folder
                .path()
                .join(format!("man1/synthctl-{name}.1"))
                .is_file(),
            "no page for {name}"
        );
        assert!(
            completions.iter().all(|text| text.contains(name)),
            "{name} is not completed"
        );
    }
}

/// The document tells every command and every exit code, and no others.
#[test]
fn the_document_is_complete() {
    let doc = include_str!("../../../../docs/synthctl.md");
    for name in Cli::command()
        .get_subcommands()
        .map(clap::Command::get_name)
    {
        assert!(
            doc.contains(&format!("`synthctl {name}")),
            "docs/synthctl.md does not tell of {name}"
        );
    }
    let help = Cli::command().render_long_help().to_string();
    let codes = |text: &str, begin: &str, end: char| -> Vec<(String, String)> {
        text.lines()
            .filter_map(|line| {
                let (code, meaning) = line.strip_prefix(begin)?.split_once(end)?;
                code.trim().parse::<u8>().ok()?;
                Some((
                    code.trim().to_owned(),
                    meaning.trim_matches(&[' ', '|', '`'][..]).replace('`', ""),
                ))
            })
            .collect()
    };
    let (told, known) = (codes(doc, "| ", '|'), codes(&help, "  ", ' '));
    assert_eq!(told[..known.len()], known);
    assert_eq!(known.len(), 9);
}

/// What the document shows of disassembly is what is printed.
#[test]
fn the_documents_listing_is_what_is_printed() {
    let doc = include_str!("../../../../docs/synthctl.md");
    let (_, block) = doc.split_once("## disasm").expect("a section");
    let block = block.split("```text\n").nth(1).expect("a block");
    let (block, _) = block.split_once("```").expect("its end");
    let machine = crate::recorded::attached();
    let output = Command::new(env!("CARGO_BIN_EXE_synthctl"))
        .arg("--root")
        .arg(machine.root())
        .args(["disasm", "100", "0"])
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains(block), "not in\n{text}");
}
