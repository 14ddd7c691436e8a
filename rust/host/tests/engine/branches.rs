//! Which edges of generated code the tests take: each conditional branch of each path, taken and not taken.
//!
//! The tests of paths and vectors run once more with every instruction stepped, so what is counted is what they execute.
//! `branches.toml` names the branches and lists the edges that may stay untaken, each with its reason.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind};
use serde::Deserialize;
use synthjit_engine::specs::layout;
use synthjit_engine::template::bails::BailCounts;
use synthjit_engine::template::PathKind;
use synthjit_engine::x86::buf::POISON;

use crate::disasm::reachable;
use crate::facts::{facts_of, instance, target, Form, COUNTERS, PATH_BASE};
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

/// A branch of a path or its stubs by its number in the order of addresses; of a vector by what it compares and where it leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Branch {
    Path(usize, usize, Mnemonic),
    /// In the stubs of a path, likewise.
    Stubs(usize, usize, Mnemonic),
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
        Slot::Vector(_) => reachable(bytes, base, &[entry]),
        Slot::Path(_) => {
            let mut entries = vec![entry];
            entries.extend(behind_stubs(&reachable(bytes, base, &entries)));
            reachable(bytes, base, &entries)
        }
        // Each stub is an entry, and which of them is called is the path's business.
        Slot::Stubs(kind) => {
            let kind = PathKind::ALL[kind];
            let counts = BailCounts {
                stubs: base,
                counters: 0,
            };
            let stubs = kind.spec().bails.iter();
            let mut entries: Vec<u64> = stubs.map(|bail| counts.stub(kind, *bail)).collect();
            entries.extend([counts.of_three(kind), counts.of_memory(kind)]);
            // Without fast string copies no guard looks at memory, so there are no stubs for it.
            entries.retain(|at| bytes[(at - base) as usize] != POISON);
            reachable(bytes, base, &entries)
        }
    };
    // Without fast string copies a path has the same branches but for those that look at memory; they would be numbered otherwise.
    let looks = |i: &Instruction| i.code() == Code::Mov_EAX_moffs32;
    if matches!(slot, Slot::Path(_)) && !code.values().any(looks) {
        return BTreeMap::new();
    }
    let conditional = code
        .values()
        .filter(|i| i.flow_control() == FlowControl::ConditionalBranch);
    let name = |(number, branch): (usize, &Instruction)| {
        let is = match slot {
            Slot::Path(kind) => Branch::Path(kind, number, branch.mnemonic()),
            Slot::Vector(_) => Branch::Vector(describe(&code, branch)),
            Slot::Stubs(kind) => Branch::Stubs(kind, number, branch.mnemonic()),
        };
        (branch.ip(), (is, branch.next_ip()))
    };
    conditional.enumerate().map(name).collect()
}

/// Where the stubs that `path` leads to lead in turn.
fn behind_stubs(path: &BTreeMap<u64, Instruction>) -> Vec<u64> {
    let targets = path.values().map(Instruction::near_branch_target);
    let mut behind = Vec::new();
    for target in targets {
        let Some((slot @ Slot::Stubs(_), base)) = slot_of(target) else {
            continue;
        };
        let stub = reachable(&slot_bytes(slot, base), base, &[target]);
        let leads = stub.values().map(Instruction::near_branch_target);
        behind.extend(leads.filter(|to| matches!(slot_of(*to), Some((Slot::Path(_), _)))));
    }
    behind
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
        Some((Slot::Stubs(_), _)) => "stubs",
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
    /// Of both: which of three words was not zero.
    stubs: Vec<String>,
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
        ("pipe_write stubs", &reviewed.stubs),
        ("pipe_read stubs", &reviewed.stubs),
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
            Branch::Path(kind, number, mnemonic) | Branch::Stubs(kind, number, mnemonic) => {
                let mut code = PathKind::ALL[*kind].spec().name.to_owned();
                if matches!(branch, Branch::Stubs(..)) {
                    code += " stubs";
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

/// Each guard leads to the stub of the reason that it is listed with, and other branches to none.
#[test]
fn each_guard_counts_its_own_reason() {
    let reviewed = reviewed();
    let lists = Form::ALL.into_iter().flat_map(|form| {
        let paths = reviewed.paths(form);
        [
            (form, PathKind::PipeWrite, &paths.pipe_write),
            (form, PathKind::PipeRead, &paths.pipe_read),
        ]
    });
    for (form, kind, list) in lists {
        let made = image(
            kind,
            &facts_of(form),
            &instance(),
            Some(COUNTERS),
            &target(),
            PATH_BASE,
        )
        .expect("a path");
        let counts = BailCounts {
            stubs: PATH_BASE + layout::PATH_SLOT as u64,
            counters: COUNTERS,
        };
        let code = reachable(&made.bytes, PATH_BASE, &[made.code.entry]);
        let branches = code.range(..counts.stubs).map(|(_, i)| i);
        let branches: Vec<_> = branches
            .filter(|i| i.flow_control() == FlowControl::ConditionalBranch)
            .collect();
        assert_eq!(branches.len(), list.len());
        for (branch, name) in branches.into_iter().zip(list) {
            let to = branch.near_branch_target();
            let bails = kind.spec().bails.iter();
            let bail = bails.clone().find(|bail| counts.stub(kind, **bail) == to);
            let expected = match bail {
                Some(bail) => Some(bail.name()),
                None if to == counts.of_three(kind) => Some("watched, observed, sigio"),
                None if to == counts.of_memory(kind) => Some("device_memory, memory_changed"),
                None => None,
            };
            let listed = name.split_once(": ").map(|(_, reasons)| reasons);
            assert_eq!(listed, expected, "{form:?}: {kind:?}: {name}");
        }
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
    pipes::each_obstacle_gives_the_call_back(form);
    pipes::a_fault_at_each_copy_gives_the_call_back(form);
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
