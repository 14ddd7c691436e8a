//! Which edges of generated code the tests take: each conditional branch of each path, taken and not taken.
//!
//! The tests of paths and vectors run once more with every instruction stepped, so what is counted is what they execute.
//! `branches.toml` names the branches and lists the edges that may stay untaken, each with its reason.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind};
use serde::Deserialize;
use synthjit_engine::specs::layout;
use synthjit_engine::target::Target;
use synthjit_engine::template::exits::{self, Entries};
use synthjit_engine::template::PathKind;
use synthjit_engine::x86::masm::Profile;

use crate::disasm::reachable;
use crate::facts::{facts_of, instance, target, Form, PATH_BASE};
use crate::lawful::image;
use crate::machine::{observe, slot_bytes, slot_of, Slot};
use crate::{counts, pipes, vectors};

/// One way that a branch can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Edge {
    Taken,
    NotTaken,
}

const EDGES: [Edge; 2] = [Edge::Taken, Edge::NotTaken];

/// A branch of a path or its exit routine by its number in the order of addresses; of a vector by what it compares and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Branch {
    Path(usize, usize, Mnemonic),
    /// In the exit routine of a kind of path, likewise.
    Exits(usize, usize, Mnemonic),
    Vector(String),
}

/// What lies in a slot, and its branches by address.
struct Known {
    slot: Slot,
    bytes: Vec<u8>,
    branches: BTreeMap<u64, (Branch, u64)>,
}

thread_local! {
    static TAKEN: RefCell<BTreeSet<(Branch, Edge)>> = const { RefCell::new(BTreeSet::new()) };
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// Has the branches of the slot that begins at `base` in `known`. A slot is entered from outside at its first instruction,
/// `entry`.
fn report(known: &mut Vec<Known>, slot: Slot, base: u64, entry: u64) {
    let bytes = slot_bytes(slot, base);
    if known.iter().any(|k| k.slot == slot && k.bytes == bytes) {
        return;
    }
    known.retain(|k| k.slot != slot);
    known.push(Known {
        slot,
        branches: branches(slot, &bytes, base, entry),
        bytes,
    });
}

/// The conditional branches in the slot that begins at `base` and is entered at `entry`, each with the address behind it.
fn branches(slot: Slot, bytes: &[u8], base: u64, entry: u64) -> BTreeMap<u64, (Branch, u64)> {
    let code = match slot {
        Slot::Path(_) | Slot::Vector(_) => reachable(bytes, base, &[entry]),
        Slot::Exits(kind) => {
            let (kind, host) = (PathKind::ALL[kind], Profile::Host { leave: base });
            let target = Target {
                stock_entry: base,
                tail_thunk: base,
                miss_thunk: base,
                bail_thunk: base,
                bailouts_traced: base,
                ..target()
            };
            let mut out = [0; layout::EXIT_ROUTINE];
            let made =
                exits::emit_routine(host, kind, &facts_of(Form::Pool), &target, base, &mut out)
                    .expect("a routine");
            let Entries { entered, held } = made.entries;
            // Without fast string copies the second entry lies elsewhere.
            match bytes[(held - base) as usize] == 0x58 {
                true => reachable(bytes, base, &[entered, held]),
                false => return BTreeMap::new(),
            }
        }
    };
    // Without fast string copies a path and its exits have the same branches but for those that look at memory; they would be numbered
    // otherwise.
    let looks = |i: &Instruction| match slot {
        Slot::Path(_) => i.code() == Code::Mov_EAX_moffs32,
        Slot::Exits(_) | Slot::Vector(_) => true,
    };
    if !code.values().any(looks) {
        return BTreeMap::new();
    }
    let conditional = code
        .values()
        .filter(|i| i.flow_control() == FlowControl::ConditionalBranch);
    let name = |(number, branch): (usize, &Instruction)| {
        let is = match slot {
            Slot::Path(kind) => Branch::Path(kind, number, branch.mnemonic()),
            Slot::Vector(_) => Branch::Vector(describe(&code, branch)),
            Slot::Exits(kind) => Branch::Exits(kind, number, branch.mnemonic()),
        };
        (branch.ip(), (is, branch.next_ip()))
    };
    conditional.enumerate().map(name).collect()
}

/// A vector's branch in words: `je descriptor: path`.
fn describe(code: &BTreeMap<u64, Instruction>, branch: &Instruction) -> String {
    let before = code.range(..branch.ip()).rev().map(|(_, i)| i);
    // Neither moves nor branches change the flags.
    let mut compares =
        before.skip_while(|i| i.mnemonic() == Mnemonic::Mov || i.near_branch_target() != 0);
    let compare = compares.next().expect("something is compared");
    let what = match (compare.mnemonic(), compare.op0_register()) {
        (Mnemonic::Bt, _) => "map",
        (Mnemonic::Dec, _) => "budget",
        (Mnemonic::Cmp, iced_x86::Register::RAX) => "call",
        (Mnemonic::Cmp, iced_x86::Register::RDI) if compare.op1_kind() != OpKind::Register => {
            "descriptor"
        }
        other => panic!("{:#x}: {other:?} decides", branch.ip()),
    };
    let target = branch.near_branch_target();
    let to = match slot_of(target) {
        Some((Slot::Path(_), _)) => "path",
        Some((Slot::Vector(_), _)) => "vector",
        Some((Slot::Exits(_), _)) => "exits",
        None => "stock",
    };
    format!("{:?} {what}: {to}", branch.mnemonic()).to_lowercase()
}

/// Notes the edges of one run.
fn note(way: &[u64]) {
    KNOWN.with_borrow_mut(|known| {
        let mut entered = Vec::new();
        for pair in way.windows(2) {
            let (at, next) = (pair[0], pair[1]);
            let Some((slot, base)) = slot_of(at) else {
                continue;
            };
            // Later it may come back to the middle, from a call.
            if !entered.contains(&slot) {
                report(known, slot, base, at);
                entered.push(slot);
            }
            let of_slot = known.iter().find(|k| k.slot == slot);
            if let Some((branch, behind)) = of_slot.and_then(|k| k.branches.get(&at)) {
                let edge = match next == *behind {
                    true => Edge::NotTaken,
                    false => Edge::Taken,
                };
                TAKEN.with_borrow_mut(|taken| taken.insert((branch.clone(), edge)));
            }
        }
    });
}

/// `branches.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reviewed {
    /// On a kernel from 7.3 on.
    pool: Paths,
    /// Before.
    places: Paths,
    /// Of the exit routine, on both.
    exits: Vec<String>,
    vector: Vec<String>,
    #[serde(default)]
    untaken: Vec<Untaken>,
}

/// The branches of paths on a kernel of one form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Paths {
    pipe_write: Vec<String>,
    pipe_read: Vec<String>,
}

impl Reviewed {
    fn paths(&self, form: Form) -> &Paths {
        match form {
            Form::Pool => &self.pool,
            Form::Places => &self.places,
        }
    }
}

/// An edge that no test can take.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Untaken {
    code: String,
    branch: String,
    edge: Edge,
    reason: String,
}

/// An edge for people: code, branch, edge.
type Name = (String, String, Edge);

/// All edges by name, and whether each was taken; and what of the code the names do not fit.
fn judge(
    form: Form,
    reviewed: &Reviewed,
    taken: &BTreeSet<(Branch, Edge)>,
) -> (BTreeMap<Name, bool>, Vec<String>) {
    let mut edges = BTreeMap::new();
    let mut wrong = Vec::new();
    let paths = reviewed.paths(form);
    let lists = [
        ("pipe_write", &paths.pipe_write),
        ("pipe_read", &paths.pipe_read),
        ("pipe_write exits", &reviewed.exits),
        ("pipe_read exits", &reviewed.exits),
        ("vector", &reviewed.vector),
    ];
    for (code, names) in lists {
        for name in names {
            for edge in EDGES {
                let old = edges.insert((code.to_owned(), name.clone(), edge), false);
                if old.is_some() && edge == Edge::Taken {
                    wrong.push(format!("{code}: two branches are called {name:?}"));
                }
            }
        }
    }
    for (branch, edge) in taken {
        let (code, name) = match branch {
            Branch::Vector(name) => ("vector".to_owned(), name.clone()),
            Branch::Path(kind, number, mnemonic) | Branch::Exits(kind, number, mnemonic) => {
                let mut code = PathKind::ALL[*kind].spec().name.to_owned();
                if matches!(branch, Branch::Exits(..)) {
                    code += " exits";
                }
                let list = lists.iter().find(|(c, _)| **c == code).expect("a list").1;
                let name = list.get(*number).cloned().unwrap_or_default();
                if !name.starts_with(&format!("{mnemonic:?} ").to_lowercase()) {
                    wrong.push(format!(
                        "{code}: branch {number} is a {mnemonic:?}, not {name:?}"
                    ));
                }
                (code, name)
            }
        };
        match edges.get_mut(&(code.clone(), name.clone(), *edge)) {
            Some(taken) => *taken = true,
            None => wrong.push(format!("{code}: no name for {name:?}, {edge:?}")),
        }
    }
    (edges, wrong)
}

fn reviewed() -> Reviewed {
    toml::from_str(include_str!("branches.toml")).expect("branches.toml is right")
}

/// The number that the pad at this address pushes.
fn exit_at(code: &BTreeMap<u64, Instruction>, address: u64) -> Option<usize> {
    let pad = code.get(&address)?;
    (pad.code() == Code::Pushq_imm8).then(|| pad.immediate(0) as usize)
}

/// Each guard leads to the exit of the reason that it is listed with, other branches to none, and each exit is led to.
#[test]
fn each_guard_leads_to_its_own_exit() {
    let reviewed = reviewed();
    let lists = Form::ALL.into_iter().flat_map(|form| {
        let paths = reviewed.paths(form);
        [
            (form, PathKind::PipeWrite, &paths.pipe_write),
            (form, PathKind::PipeRead, &paths.pipe_read),
        ]
    });
    for (form, kind, list) in lists {
        let made = image(kind, &facts_of(form), &instance(), &target(), PATH_BASE).expect("a path");
        let mut code = reachable(&made.bytes, PATH_BASE, &[made.code.entry]);
        code.retain(|at, _| *at < PATH_BASE + layout::PATH_SLOT as u64);
        let exits = kind.exits().all();
        let mut met = BTreeSet::new();
        let mut names = list.iter();
        for branch in code.values() {
            let to = exit_at(&code, branch.near_branch_target());
            met.extend(to);
            if branch.flow_control() == FlowControl::ConditionalBranch {
                let name = names.next().expect("a branch that is not listed");
                let listed = name.split_once(": ").map(|(_, reason)| reason);
                let leads = to.map(|number| exits[number].reason.name());
                assert_eq!(listed, leads, "{form:?}: {kind:?}: {name}");
            }
        }
        assert_eq!(names.next(), None);
        assert!(met.into_iter().eq(0..exits.len()), "{form:?}: {kind:?}");
    }
}

#[test]
fn every_branch_goes_both_ways() {
    Form::ALL
        .into_iter()
        .for_each(every_branch_goes_both_ways_on);
}

/// On a kernel of that form.
fn every_branch_goes_both_ways_on(form: Form) {
    observe(Some(note));
    pipes::random_calls(form, 2000);
    pipes::each_obstacle_bails_out(form);
    pipes::a_fault_at_each_copy_bails_out(form);
    pipes::slow_copies_are_short(form);
    pipes::what_comes_late_is_left_to_the_tail(form);
    pipes::waiters_at_a_failed_guard_are_woken(form);
    pipes::a_used_up_budget_is_reported(form);
    counts::fast_cases_stay_within_their_budgets(form);
    vectors::random_vectors(60);
    vectors::many_descriptors_fit();
    vectors::halving_keeps_the_price();
    vectors::a_used_up_budget_is_reported();
    observe(None);
    let taken = TAKEN.take();
    KNOWN.take();

    let reviewed = reviewed();
    let (edges, mut wrong) = judge(form, &reviewed, &taken);
    let all = edges.len();
    let covered = edges.values().filter(|&&taken| taken).count();
    println!("engine branches: {form:?}: {covered} of {all} edges covered");
    for ((code, branch, edge), taken) in &edges {
        let listed = reviewed
            .untaken
            .iter()
            .find(|u| (&u.code, &u.branch, u.edge) == (code, branch, *edge));
        match (taken, listed) {
            (false, Some(listed)) => println!(
                "engine branches: {code}: {branch}: {edge:?} is not covered: {}",
                listed.reason
            ),
            (false, None) => wrong.push(format!("{code}: {branch}: {edge:?} is not covered")),
            (true, Some(_)) => wrong.push(format!(
                "{code}: {branch}: {edge:?} is covered, yet listed as untaken"
            )),
            (true, None) => {}
        }
    }
    for listed in &reviewed.untaken {
        let name = (listed.code.clone(), listed.branch.clone(), listed.edge);
        if !edges.contains_key(&name) {
            wrong.push(format!("there is no edge {name:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
