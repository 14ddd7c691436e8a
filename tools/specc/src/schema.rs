//! The shape of the TOML files. Unknown keys are errors, so that a misspelt key cannot go unnoticed.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A spec file: one path, or the assumptions and constants that several paths share.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Same as the file's stem; a Rust identifier.
    pub name: String,
    pub kind: Kind,
    /// For people: what the path or assumption is about.
    pub doc: String,
    /// System call by its C name; paths only.
    #[serde(default)]
    pub call: String,
    /// Number of the system call on x86-64; paths only.
    #[serde(default)]
    pub syscall: Option<u32>,
    /// Symbol of the `struct file_operations` whose files the path is for; paths only.
    #[serde(default)]
    pub object: String,
    /// Specs whose values, mirrors, asserts and headers also hold for this one.
    #[serde(default)]
    pub uses: Vec<String>,
    /// Kernel headers that the C expressions need.
    #[serde(default)]
    pub include: Vec<String>,
    #[serde(default)]
    pub value: Vec<Value>,
    #[serde(default)]
    pub mirror: Vec<Mirror>,
    /// Functions that the stock call passes, besides the mirrors that are `watched`.
    #[serde(default)]
    pub function: Vec<Function>,
    /// Static keys that decide in watched functions and may be other than the source initialises them.
    #[serde(default)]
    pub key: Vec<Key>,
    /// C conditions which must hold at compile time for the path to be right.
    #[serde(default, rename = "assert")]
    pub asserts: Vec<String>,
    /// Names of reasons in `reasons.toml` for which this spec refuses, besides those of its values.
    #[serde(default)]
    pub refuses: Vec<String>,
    /// Each situation in which a path leaves the call to the stock kernel; those of used specs count too.
    #[serde(default)]
    pub bail: Vec<Bail>,
    /// From where on the path must finish.
    #[serde(default)]
    pub commit: String,
    #[serde(default)]
    pub observable: Observable,
    /// Arguments why an assumption is complete; for reviewers.
    #[serde(default)]
    pub proof: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A specialized system call.
    Path,
    /// Constants and assumptions that paths share.
    Common,
}

/// Prose: what others can tell apart and what they cannot.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observable {
    #[serde(default)]
    pub stays: Vec<String>,
    #[serde(default)]
    pub differs: Vec<String>,
}

/// Why a path leaves a call to the stock kernel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bail {
    /// The word for it in files and tools, the same in all specs that have it.
    pub name: String,
    /// What the situation is, in a sentence.
    pub doc: String,
    /// What a person can do about it.
    pub cure: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    pub name: String,
    /// 1 seen to be constant, 2 constant but only we know it, 3 likely constant, 4 dynamic.
    pub class: u8,
    /// C expression of integer type, evaluated when the module is loaded.
    #[serde(default)]
    pub c: Option<String>,
    /// Preprocessor condition under which `c` makes sense; on kernels where it is false the number is 0.
    #[serde(default)]
    pub when: Option<String>,
    /// Kernel symbol whose address is the value, looked up when the module is loaded.
    #[serde(default)]
    pub symbol: Option<String>,
    #[serde(default)]
    pub from: Option<From>,
    #[serde(default)]
    pub kept: Option<Kept>,
    /// Kernel events that end a watch.
    #[serde(default)]
    pub events: Vec<String>,
    /// Reason shown while the assumption does not hold; for watches.
    #[serde(default)]
    pub reason: Option<String>,
    pub doc: String,
}

/// Where a value without a C expression comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// The module finds it with code of its own when it is loaded.
    Load,
    /// Found out when the path is compiled.
    Synthesis,
    /// Read by the path on each call; nothing is baked in.
    Call,
    /// Not a number: a state that events keep.
    Event,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kept {
    Always,
    Guard,
    Watch,
    /// Not kept at all: read on each call.
    Never,
}

/// Stands for a fingerprint where a reviewed series has no such mirror.
pub const ABSENT: &str = "absent";

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    pub name: String,
    #[serde(default)]
    pub kind: MirrorKind,
    /// Relative to the root of the kernel source.
    pub file: String,
    /// True if the stock call passes it as a function of its own: whoever changes a byte of it has the stock kernel make the calls.
    #[serde(default)]
    pub watched: bool,
    /// Its symbol in the running kernel, where that is not `name`; only with `watched`.
    #[serde(default)]
    pub symbol: Option<String>,
    /// Preprocessor condition under which that symbol is there; only with `watched`. Without it, it always is.
    #[serde(default)]
    pub watched_when: Option<String>,
    /// Reviewed fingerprints by kernel series ("7.2"), lower-case hexadecimal SHA-256; [`ABSENT`] if the review found
    /// that the series does without it.
    #[serde(default)]
    pub reviewed: BTreeMap<String, String>,
    /// What the path takes from it.
    pub doc: String,
}

/// A function of the running kernel that the stock call passes and a path stands for, watched as a `watched` mirror is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its symbol in the running kernel.
    pub name: String,
    /// Preprocessor condition under which it is there. Without it, it always is.
    #[serde(default)]
    pub when: Option<String>,
    /// A kernel may have made it part of its callers; then there is nothing to watch but them.
    #[serde(default)]
    pub optional: bool,
    /// What the stock call does in it.
    pub doc: String,
}

/// A static key that decides in a watched function. Those that no spec names must be as the source initialises them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Its symbol in the running kernel; with `*` at the end, all that begin so.
    pub name: String,
    pub state: KeyState,
    /// Why a path is right in this state.
    pub doc: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    On,
    Off,
    /// Whatever it is when the module is loaded.
    Boot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MirrorKind {
    /// A C function, all its definitions in the file (there may be several under `#ifdef`).
    #[default]
    Function,
    /// The body of `SYSCALL_DEFINEn(name, …)`.
    Syscall,
    /// `struct`, `union` or `enum`, also one declared as `some_macro(name) { … };`.
    Struct,
    /// A preprocessor macro, all its definitions in the file.
    Macro,
    /// `SYM_*_START(name)` to `SYM_*_END(name)`, or `.macro name` to `.endm`.
    Asm,
    /// A variable with an initialiser.
    Variable,
    /// A macro called outside all functions with the name among its arguments: `LSM_HOOK(int, 0, name, …)`.
    Invocation,
}

/// `reasons.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reasons {
    pub doc: String,
    pub reason: Vec<Reason>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    pub name: String,
    pub kind: ReasonKind,
    pub text: String,
    pub cure: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReasonKind {
    /// No process on this machine can be specialized.
    Platform,
    /// This process cannot be, for now or for good.
    Process,
    /// This descriptor cannot be.
    Descriptor,
    /// Code that existed was dropped.
    Invalidated,
}

/// `arena.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arena {
    pub doc: String,
    pub constant: Vec<Constant>,
    /// Conditions over the constants.
    #[serde(default, rename = "assert")]
    pub asserts: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    pub name: String,
    pub value: u32,
    pub doc: String,
}

/// `target.toml`: what code has to know of the machine that it is for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    pub doc: String,
    /// Kernel headers that the C expressions need, besides `rust/glue/glue.h`.
    #[serde(default)]
    pub include: Vec<String>,
    /// What the engine asks for.
    pub fact: Vec<MachineFact>,
    /// Arrays of the module itself, which code gets addresses in.
    #[serde(default)]
    pub array: Vec<Array>,
}

/// One fact about the machine, of the running kernel.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineFact {
    pub name: String,
    #[serde(rename = "type")]
    pub of: FactType,
    /// C expression, evaluated when the module is loaded, after the platform was found good. It may be a variable that the
    /// module's own code has set by then.
    #[serde(default)]
    pub c: Option<String>,
    /// Kernel symbol whose address is the fact, looked up when the module is loaded; addresses only.
    #[serde(default)]
    pub symbol: Option<String>,
    pub doc: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactType {
    /// Yes or no: decides how code is made. 0 or 1 where it is a number.
    Bool,
    /// 64 bits, baked into code.
    Address,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Array {
    pub name: String,
    /// C expression of its address.
    pub c: String,
    pub doc: String,
}

impl Value {
    /// True if its number is known once the module is loaded.
    pub fn is_fact(&self) -> bool {
        self.c.is_some() || self.symbol.is_some() || self.from == Some(From::Load)
    }

    /// How it is kept; classes 1, 2 and 4 need not say it.
    pub fn keeping(&self) -> Kept {
        self.kept.unwrap_or(if self.class == 4 {
            Kept::Never
        } else {
            Kept::Always
        })
    }
}

impl Mirror {
    /// Name in kallsyms of the function to be watched, or `None` if it is none of its own.
    pub fn watched_symbol(&self) -> Option<&str> {
        self.watched
            .then(|| self.symbol.as_deref().unwrap_or(&self.name))
    }
}
