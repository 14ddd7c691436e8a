//! The project's specs with some of their text replaced: faults, or Rust that parses.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use specc::{Set, Verdicts};

#[derive(Arbitrary, Debug)]
enum Input {
    /// One file is this.
    Whole { file: u8, text: String },
    /// Files are edited.
    Edits(Vec<Edit>),
}

/// `delete` bytes make way for `insert`.
#[derive(Arbitrary, Debug)]
struct Edit {
    file: u8,
    at: u16,
    delete: u8,
    insert: String,
}

/// Names and texts of the project's specs.
fn originals() -> &'static Vec<(String, String)> {
    static FILES: OnceLock<Vec<(String, String)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs");
        let paths = std::fs::read_dir(folder)
            .expect("the specs")
            .map(|e| e.expect("a file").path());
        let specs = paths.filter(|p| p.extension().is_some_and(|e| e == "toml"));
        let mut files: Vec<(String, String)> = specs
            .map(|p| {
                let name = p
                    .file_name()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned();
                (name, std::fs::read_to_string(&p).expect("text"))
            })
            .collect();
        files.sort();
        assert!(compile(&files), "the specs as they are");
        files
    })
}

/// True if `text` is an expression and stays one between brackets. The arena's conditions are Rust and copied as they are,
/// so what is wrong with them is the Rust compiler's to find.
fn is_condition(text: &str) -> bool {
    let between = format!("const _: () = assert!({text}, \"\");");
    syn::parse_str::<syn::Expr>(text).is_ok() && syn::parse_file(&between).is_ok()
}

/// True if the specs are right.
fn compile(files: &[(String, String)]) -> bool {
    match Set::from_texts(files) {
        Ok(mut set) => {
            set.arena
                .asserts
                .retain(|condition| is_condition(condition));
            let [rust, header, filler] = specc::texts(&set, &Verdicts::all_known(), "7.2");
            if let Err(error) = syn::parse_file(&rust) {
                panic!("{error} at {:?} in\n{rust}", error.span());
            }
            assert!(!header.is_empty() && !filler.is_empty());
            true
        }
        Err(error) => {
            assert!(!error.faults.is_empty() && !error.to_string().is_empty());
            false
        }
    }
}

fuzz_target!(|input: Input| {
    let mut files = originals().clone();
    let count = files.len();
    match input {
        Input::Whole { file, text } => files[usize::from(file) % count].1 = text,
        Input::Edits(edits) => {
            for edit in edits.iter().take(8) {
                let text = &mut files[usize::from(edit.file) % count].1;
                let start = text.floor_char_boundary(usize::from(edit.at) % (text.len() + 1));
                let end = start + usize::from(edit.delete);
                let end = text.floor_char_boundary(end.min(text.len()));
                text.replace_range(start..end, &edit.insert);
            }
        }
    }
    compile(&files);
});
