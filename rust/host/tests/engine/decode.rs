//! Whatever a path or vector is made for, its bytes decode, stay in their slot, and contain nothing that a path must not.

use proptest::prelude::*;
use proptest::sample::select;
use synthjit_engine::dispatch::{self, Entry, VectorPlan};
use synthjit_engine::specs::{layout, Reason};
use synthjit_engine::target::Target;
use synthjit_engine::template::{self, Instance, PathKind};

use crate::facts::{
    facts, facts_of, instance, target, target_with, Form, BUDGET, PATH_BASE, SWITCHES, VECTOR_BASE,
};
use crate::lawful;

fn machines() -> impl Strategy<Value = Target> {
    (0..1u32 << SWITCHES).prop_map(target_with)
}

fn instances() -> impl Strategy<Value = Instance> {
    let numbers = (
        0..i32::MAX as u32,
        any::<u64>(),
        any::<u64>(),
        any::<u64>(),
        any::<u32>(),
    );
    numbers.prop_map(|(fd, task, kernel_stack, files, file_mode)| Instance {
        // A descriptor's place in the table must be within an offset's reach.
        fd: fd >> 4,
        task,
        kernel_stack,
        files,
        file_mode,
        ..instance()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn paths_are_lawful(form in select(Form::ALL.to_vec()), target in machines(), instance in instances(), slot in 0..layout::PATH_SLOTS as u64) {
        let base = PATH_BASE + slot * layout::PATH_SLOT as u64;
        for kind in PathKind::ALL {
            let image = lawful::image(kind, &facts_of(form), &instance, &target, base).expect("a path");
            lawful::path(&image, base, &target);
        }
    }

    #[test]
    fn vectors_are_lawful(target in machines(), report: bool, fds in prop::collection::btree_map(0..12u32, any::<bool>(), 0..12)) {
        let entries: Vec<Entry> = fds.iter().map(|(&fd, &path)| Entry { fd, target: path.then_some(PATH_BASE + u64::from(fd) * 1024) }).collect();
        let targets: Vec<u64> = entries.iter().filter_map(|e| e.target).collect();
        let plan = VectorPlan { report, budget: BUDGET, write: &entries, read: &entries[..entries.len() / 2] };
        let mut out = [0; layout::VECTOR_SLOT];
        match dispatch::emit(&plan, &facts(), &target, VECTOR_BASE, instance().kernel_stack, &mut out) {
            Ok(len) => {
                lawful::vector(&out, VECTOR_BASE, len, &target, BUDGET, &targets);
            }
            Err(reason) => prop_assert!(reason == Reason::TooManyDescriptors && fds.len() > 4, "{}", reason.text()),
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_with_a_reason() {
    let mut out = [0; layout::PATH_SLOT];
    let mut refusal = |facts, instance: &Instance, target: &Target, base| {
        template::emit(
            PathKind::PipeWrite,
            &facts,
            instance,
            target,
            base,
            &mut out,
        )
        .map_err(|reason| reason.name())
    };
    let (f, i, g) = (facts(), instance(), target());
    assert!(refusal(f, &i, &g, PATH_BASE).is_ok());
    let mut far = f;
    far.pipeanon_fops = 0xffff_8880_0000_0000;
    assert_eq!(
        refusal(far, &i, &g, PATH_BASE),
        Err("layout"),
        "address that does not sign-extend"
    );
    let mut far = f;
    far.tss_sp2 = 0x1_0000_0000;
    assert_eq!(
        refusal(far, &i, &g, PATH_BASE),
        Err("layout"),
        "per-CPU offset"
    );
    let mut big = f;
    big.buf_size = 128;
    assert_eq!(
        refusal(big, &i, &g, PATH_BASE),
        Err("layout"),
        "size of a buffer"
    );
    assert_eq!(
        refusal(f, &i, &g, 0x7000_0000_0000),
        Err("layout"),
        "stock entry out of reach"
    );
    assert_eq!(
        refusal(f, &Instance { fd: u32::MAX, ..i }, &g, PATH_BASE),
        Err("descriptor_number")
    );
    assert_eq!(
        refusal(
            f,
            &Instance {
                fd: i32::MAX as u32,
                ..i
            },
            &g,
            PATH_BASE
        ),
        Err("layout"),
        "place in the table"
    );
}
