//! Arena, waiting, the life of a process and admission: any sequence of operations against simple models.
#![no_main]

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use synthjit_engine::admit::{self, Descriptor, Process};
use synthjit_engine::arena::{Arena, Class, Slot};
use synthjit_engine::backoff::{Backoff, Wait, FIRST_MS, GIVE_UP_MS, TRIES};
use synthjit_engine::lifecycle::{Event, State};
use synthjit_engine::specs::{Facts, Reason};
use synthjit_engine::syscall::Call;
use synthjit_engine::template::PathKind;
use synthjit_fuzz::facts::facts;

#[derive(Arbitrary, Debug)]
enum Step {
    Reserve(u8),
    /// `true`: once more, though it is free.
    Release(u16, bool),
    Penalise(u32),
    Forgive,
    Event(u8, u8),
    Process([bool; 3], u32, u32, u8),
    Descriptor(bool, u8, u32),
}

/// What the parts should be like.
struct Model {
    /// Class and index.
    reserved: BTreeSet<(usize, usize)>,
    slots: Vec<Slot>,
    broken: u32,
    state: State,
}

fn class(number: u8) -> Class {
    Class::ALL[usize::from(number) % Class::ALL.len()]
}

impl Model {
    fn reserve(&mut self, arena: &mut Arena, class: Class) {
        let used = self.used(class);
        match arena.reserve(class) {
            Ok(slot) => {
                assert!(slot.class() == class && slot.index() < class.slots());
                assert!(
                    self.reserved.insert((class as usize, slot.index())),
                    "given twice"
                );
                assert_eq!(slot.offset(), slot.index() * class.bytes());
                self.slots.push(slot);
            }
            Err(reason) => {
                assert_eq!((reason, used), (Reason::ArenaFull, class.slots()));
            }
        }
    }

    fn used(&self, class: Class) -> usize {
        let of_class = |(c, _): &&(usize, usize)| *c == class as usize;
        self.reserved.iter().filter(of_class).count()
    }

    fn release(&mut self, arena: &mut Arena, which: u16, twice: bool) {
        if self.slots.is_empty() {
            return;
        }
        let slot = self
            .slots
            .swap_remove(usize::from(which) % self.slots.len());
        let key = (slot.class() as usize, slot.index());
        assert!(self.reserved.remove(&key));
        assert!(arena.release(slot).is_ok());
        assert!(!twice || arena.release(slot).is_err());
    }

    fn penalise(&mut self, backoff: &mut Backoff, random: u32) {
        match backoff.penalise(random) {
            Wait::Again(ms) => {
                let least = FIRST_MS << self.broken;
                assert!(self.broken < TRIES && ms >= least && ms - least < least / 2);
                self.broken += 1;
            }
            Wait::GiveUp(ms) => assert!(self.broken == TRIES && ms == GIVE_UP_MS),
        }
    }

    fn event(&mut self, event: Event) {
        use State::{Detached, Pending, Specialized, Stock};
        let expected = match event {
            _ if self.state == Detached => None,
            Event::Detach => Some(Detached),
            Event::Lost(reason) => Some(Stock(reason)),
            Event::Ready => (self.state == Pending).then_some(Specialized),
            Event::Retry => matches!(self.state, Stock(_)).then_some(Pending),
            Event::Renew => Some(if matches!(self.state, Stock(_)) {
                self.state
            } else {
                Pending
            }),
        };
        let after = self.state.after(event);
        assert_eq!(after.ok(), expected, "{event:?} in {:?}", self.state);
        self.state = after.unwrap_or(self.state);
        assert_eq!(self.state.is_live(), self.state == Specialized);
    }
}

fn process([enabled, process_enabled, compat]: [bool; 3], users: u32, threads: u32, refused: u8) {
    let platform = Reason::from_number(u32::from(refused));
    let seen = Process {
        platform,
        files_count: users,
        threads,
        compat,
        enabled,
        process_enabled,
    };
    let fit = enabled && process_enabled && !compat && users == 1 && threads == 1;
    let answer = admit::process(&seen);
    assert_eq!(answer.is_ok(), fit && platform == Reason::None);
    assert_ne!(answer, Err(Reason::None), "a refusal without a reason");
}

fn descriptor(writes: bool, kind: u8, f_mode: u32) {
    let facts = Facts {
        write_mode: 0x4_0002,
        read_mode: 0x2_0001,
        mode_refused: 0x4000,
        ..facts()
    };
    let (call, path, needed) = match writes {
        true => (Call::Write, PathKind::PipeWrite, 0x4_0002),
        false => (Call::Read, PathKind::PipeRead, 0x2_0001),
    };
    let f_op = match kind % 3 {
        0 => 0,
        1 => facts.pipeanon_fops ^ u64::from(kind),
        _ => facts.pipeanon_fops,
    };
    let fit = f_op == facts.pipeanon_fops && f_mode & needed == needed && f_mode & 0x4000 == 0;
    let answer = admit::descriptor(&Descriptor { f_op, f_mode }, call, &facts);
    assert_eq!(answer.ok(), fit.then_some(path));
}

fuzz_target!(|steps: Vec<Step>| {
    let (mut arena, mut backoff) = (Arena::new(), Backoff::new());
    let mut model = Model {
        reserved: BTreeSet::new(),
        slots: Vec::new(),
        broken: 0,
        state: State::Pending,
    };
    for step in steps {
        match step {
            Step::Reserve(number) => model.reserve(&mut arena, class(number)),
            Step::Release(which, twice) => model.release(&mut arena, which, twice),
            Step::Penalise(random) => model.penalise(&mut backoff, random),
            Step::Forgive => {
                backoff.forgive();
                model.broken = 0;
            }
            Step::Event(event, reason) => {
                let reason = Reason::ALL[usize::from(reason) % Reason::ALL.len()];
                let events = [
                    Event::Ready,
                    Event::Lost(reason),
                    Event::Retry,
                    Event::Renew,
                    Event::Detach,
                ];
                model.event(events[usize::from(event) % events.len()]);
            }
            Step::Process(flags, users, threads, refused) => {
                process(flags, users, threads, refused)
            }
            Step::Descriptor(writes, kind, f_mode) => descriptor(writes, kind, f_mode),
        }
        for class in Class::ALL {
            assert_eq!(arena.used(class), model.used(class));
        }
    }
});
