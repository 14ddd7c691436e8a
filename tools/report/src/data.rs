//! All numbers of a report: what `build/report/report.json` holds and the page shows.

use indexmap::IndexMap;
use serde::Serialize;

/// Everything that was measured in one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub about: About,
    /// Single calls, function by function.
    pub calls: Vec<Call>,
    pub sizes: Vec<Size>,
    pub steps: Vec<Step>,
    pub programs: Vec<Program>,
}

/// What was measured, where and when.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    pub kernel: String,
    pub cpu: String,
    /// The kernel's command line.
    pub options: String,
    pub commit: String,
    /// In UTC.
    pub date: String,
    /// What the kernel does about each weakness of the CPU, unless the CPU does not have it.
    pub mitigations: IndexMap<String, String>,
}

/// One call, stock and from an attached process.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Its name in the guest's benchmark.
    pub name: String,
    pub title: String,
    pub stock: Profile,
    pub attached: Profile,
}

impl Call {
    /// How many times fewer instructions it takes from an attached process.
    pub fn ratio(&self) -> f64 {
        self.stock.instructions as f64 / self.attached.instructions as f64
    }
}

/// Where the instructions of one call went.
#[derive(Clone, Debug, Serialize)]
pub struct Profile {
    pub instructions: u64,
    /// In the order in which they first ran.
    pub functions: Vec<Function>,
    /// Calls that took just so many, of how many that were counted.
    pub alike: (usize, usize),
}

impl Profile {
    /// Instructions in a layer.
    pub fn layer(&self, layer: Layer) -> u64 {
        let of_layer = self.functions.iter().filter(|f| f.layer == layer);
        of_layer.map(|f| f.instructions).sum()
    }
}

/// One function of the kernel, or one op of generated code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Function {
    pub name: String,
    pub layer: Layer,
    pub instructions: u64,
}

/// What instructions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    Entry,
    Hardening,
    Dispatch,
    Guards,
    Files,
    Security,
    Pipe,
    Lock,
    Copy,
    Wake,
    Other,
}

impl Layer {
    pub const ALL: [Layer; 11] = [
        Layer::Entry,
        Layer::Hardening,
        Layer::Dispatch,
        Layer::Guards,
        Layer::Files,
        Layer::Security,
        Layer::Pipe,
        Layer::Lock,
        Layer::Copy,
        Layer::Wake,
        Layer::Other,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Layer::Entry => "entry and exit",
            Layer::Hardening => "hardening",
            Layer::Dispatch => "which call, which file",
            Layer::Guards => "guards of the path",
            Layer::Files => "file layer, accounting",
            Layer::Security => "security hooks",
            Layer::Pipe => "the pipe",
            Layer::Lock => "its lock",
            Layer::Copy => "copy",
            Layer::Wake => "wake-up",
            Layer::Other => "other",
        }
    }

    /// The layer of a function of the kernel. What is inlined into a function counts as that function's.
    pub fn of_function(name: &str) -> Layer {
        // Clones that the compiler makes bear the function's name and more.
        match name.split('.').next().unwrap_or(name) {
            "prandom_u32_state" => Layer::Hardening,
            thunk if thunk.contains("x86_indirect_thunk") || thunk.contains("x86_return_thunk") => {
                Layer::Hardening
            }
            entry if entry.starts_with("entry_SYS") => Layer::Entry,
            "do_syscall_64" | "syscall_return_via_sysret" | "fpregs_assert_state_consistent" => {
                Layer::Entry
            }
            call if call.starts_with("__x64_sys_") => Layer::Dispatch,
            "x64_sys_call" | "ksys_write" | "ksys_read" | "fdget_pos" | "__fdget_pos" => {
                Layer::Dispatch
            }
            "vfs_write" | "vfs_read" | "rw_verify_area" => Layer::Files,
            lsm if lsm.starts_with("security_")
                || lsm.starts_with("apparmor_")
                || lsm.starts_with("aa_")
                || lsm.starts_with("bpf_lsm_") =>
            {
                Layer::Security
            }
            // Called by AppArmor alone in these calls.
            "__rcu_read_lock" | "__rcu_read_unlock" => Layer::Security,
            pipe if pipe.starts_with("anon_pipe_") => Layer::Pipe,
            "mutex_lock" | "mutex_unlock" => Layer::Lock,
            copy if copy.contains("_from_iter") || copy.contains("_to_iter") => Layer::Copy,
            "rep_movs_alternative" => Layer::Copy,
            wake if wake.contains("__wake_up") => Layer::Wake,
            "_raw_spin_lock_irqsave" | "_raw_spin_unlock_irqrestore" | "kill_fasync" => Layer::Wake,
            _ => Layer::Other,
        }
    }

    /// The layer of what a op of the engine wrote into a path.
    pub fn of_op(op: &str) -> Layer {
        match op {
            "enter_kernel" | "leave_kernel" | "save" | "restore" | "return_to_user" => Layer::Entry,
            "open_user_memory" | "close_user_memory" | "clamp_user_pointer" => Layer::Hardening,
            "different" | "equal" | "above" | "above_or_equal" | "below" | "or64" => Layer::Guards,
            guard if guard.starts_with("guard_") || guard.starts_with("compare") => Layer::Guards,
            "add64_to" | "inc64" | "count_own" => Layer::Files,
            "try_lock" | "unlock" => Layer::Lock,
            "copy" | "copy_count" => Layer::Copy,
            "list_difference" => Layer::Wake,
            _ => Layer::Pipe,
        }
    }
}

/// Instructions of one size of pipe writes and reads.
#[derive(Clone, Debug, Serialize)]
pub struct Size {
    /// `write` or `read`.
    pub call: String,
    pub bytes: u64,
    pub stock: u64,
    pub attached: u64,
}

/// A step of specialization, and what the calls take after it.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub title: String,
    pub note: String,
    /// Instructions of a pipe write and a pipe read of one byte.
    pub write: u64,
    pub read: u64,
}

/// A test program of Massalin's thesis: what it took there (table 7.1), and here.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    pub number: u32,
    pub title: &'static str,
    /// Seconds under SunOS 3.5, user and system, on a Sun 3/160.
    pub sunos: &'static str,
    /// Seconds under Synthesis on a Quamachine set to a Sun's speed.
    pub synthesis: &'static str,
    /// The ratio of these two as printed.
    pub thesis_ratio: f64,
    /// Instructions of the whole program, stock and attached.
    pub stock: u64,
    pub attached: u64,
    pub rounds: u64,
}

impl Program {
    /// How many times fewer instructions the program takes when it is attached.
    pub fn ratio(&self) -> f64 {
        self.stock as f64 / self.attached as f64
    }
}
