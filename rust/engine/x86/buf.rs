// SPDX-License-Identifier: GPL-2.0

//! The lowest layer: bytes, labels and the distances between them.
//!
//! A buffer never fails in the middle. What does not fit sets a mark that sticks, emission goes on, and [`Buf::finish`]
//! reports the first fault.
//!
//! Making a path is part of what the first call on a descriptor costs, so this layer is written for few instructions: bytes
//! are stored where they belong, nothing is filled that code will cover, tables are small.

use super::super::specs::Reason;

/// Most labels in one piece of code; a full trap vector needs the most.
const LABELS: usize = 40;
/// Most references to labels in one piece of code.
const LINKS: usize = 64;
/// Size of the distance field of a reference, in bytes.
const FIELD: usize = 4;
/// The same of a near one.
const NEAR: u8 = 1;
/// What `dynasm!` calls a 1-byte distance relative to the end of the instruction.
const RELATIVE_1: u8 = 0;
/// What `dynasm!` calls a 4-byte distance relative to the end of the instruction.
const RELATIVE_4: u8 = 2;
/// The place of a label that has none.
const NOWHERE: u16 = u16::MAX;

/// The byte that fills unused code memory: `int3`.
pub const POISON: u8 = 0xcc;

/// A place in the code being made, or one of a row of pads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(u8);

/// Labels from this number on are pads.
const PADS: u8 = 128;
/// Bytes of a pad.
const PAD: u8 = 4;

impl Label {
    /// The pad of exit `number`; nowhere if there are not so many.
    #[inline(always)]
    pub const fn exit(number: u8) -> Self {
        Self(PADS | number)
    }
}

/// What an instruction refers to relative to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// A place in this code.
    Label(Label),
    /// An external label: an address elsewhere, which must be within 2 GiB.
    External(u64),
}

impl From<Label> for Dest {
    fn from(label: Label) -> Self {
        Self::Label(label)
    }
}

/// A distance to be filled in when all labels are placed.
#[derive(Clone, Copy)]
struct Link {
    /// Offset of the end of the instruction, from which the distance counts.
    end: u16,
    /// How far the field lies before that. A near field is the last byte, so it lies one before.
    back: u8,
    label: Label,
}

/// Puts a distance into the byte at `field`.
fn fill_near(out: &mut [u8], field: usize, distance: Option<i32>) -> Result<(), Reason> {
    let near = distance.and_then(|distance| i8::try_from(distance).ok());
    match (out.get_mut(field), near) {
        (Some(byte), Some(near)) => *byte = near as u8,
        _ => return Err(Reason::Layout),
    }
    Ok(())
}

/// Code on its way into a slice, to be run at `base`.
pub struct Buf<'a> {
    out: &'a mut [u8],
    base: u64,
    at: usize,
    fault: Option<Reason>,
    /// End of the last reference to an address elsewhere: what holds one cannot be moved.
    fixed: usize,
    labels: [u16; LABELS],
    labels_made: u8,
    links: [Link; LINKS],
    links_made: usize,
    /// Where each of two groups of pads begins, and how many pads there are up to its end.
    pads: [(u16, u8); 2],
}

impl<'a> Buf<'a> {
    /// Starts at the beginning of `out`; the code will run at address `base`.
    pub fn new(out: &'a mut [u8], base: u64) -> Self {
        let none = Link {
            end: 0,
            back: 0,
            label: Label(0),
        };
        Self {
            out,
            base,
            at: 0,
            fault: None,
            fixed: 0,
            labels: [NOWHERE; LABELS],
            labels_made: 0,
            links: [none; LINKS],
            links_made: 0,
            pads: [(NOWHERE, 0); 2],
        }
    }

    /// Offset of the next byte.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Address of the next byte.
    pub fn address(&self) -> u64 {
        self.base.wrapping_add(self.at as u64)
    }

    /// Marks the code as failed; the first fault counts.
    #[cold]
    #[inline(never)]
    pub fn fail(&mut self, reason: Reason) {
        self.fault.get_or_insert(reason);
    }

    /// Moves everything from offset `start` on so that it ends at offset `end`; poison takes its place. Labels and
    /// references in it move along. Returns where it begins now.
    pub fn slide(&mut self, start: usize, end: usize) -> usize {
        let by = match end.checked_sub(self.at) {
            Some(by) if end <= self.out.len() => by,
            _ => {
                self.fail(Reason::SlotFull);
                return start;
            }
        };
        if self.fixed > start {
            self.fail(Reason::Layout);
        }
        let moved = start.wrapping_add(by);
        self.copy_up(start, self.at, end);
        self.poison(start, moved);
        let (from, by) = (start as u16, by as u16);
        for label in self
            .labels
            .get_mut(..usize::from(self.labels_made))
            .unwrap_or(&mut [])
        {
            if *label >= from && *label != NOWHERE {
                *label = label.wrapping_add(by);
            }
        }
        for (pads, _) in &mut self.pads {
            if *pads >= from && *pads != NOWHERE {
                *pads = pads.wrapping_add(by);
            }
        }
        for link in self
            .links
            .get_mut(..self.links_made)
            .unwrap_or(&mut [])
            .iter_mut()
            .rev()
        {
            if link.end <= from {
                break;
            }
            link.end = link.end.wrapping_add(by);
        }
        self.at = end;
        moved
    }

    /// Copies the bytes between offsets `start` and `from` to where they end at `to`, which is not below `from`. Backwards,
    /// since the two may overlap; in large steps, since it is most of a path.
    fn copy_up(&mut self, start: usize, from: usize, to: usize) {
        let (from, to) = self.copy_steps::<32>(start, from, to);
        let (from, to) = self.copy_steps::<8>(start, from, to);
        self.copy_steps::<1>(start, from, to);
    }

    fn copy_steps<const N: usize>(
        &mut self,
        start: usize,
        mut from: usize,
        mut to: usize,
    ) -> (usize, usize) {
        while from.saturating_sub(start) >= N {
            from = from.wrapping_sub(N);
            to = to.wrapping_sub(N);
            let bytes: Option<[u8; N]> = self
                .out
                .get(from..)
                .and_then(|rest| rest.first_chunk())
                .copied();
            let place = self
                .out
                .get_mut(to..)
                .and_then(|rest| rest.first_chunk_mut());
            if let (Some(bytes), Some(place)) = (bytes, place) {
                *place = bytes;
            }
        }
        (from, to)
    }

    fn poison(&mut self, from: usize, to: usize) {
        if let Some(gap) = self.out.get_mut(from..to) {
            gap.iter_mut().for_each(|byte| *byte = POISON);
        }
    }

    /// Makes a label to be placed later.
    pub fn label(&mut self) -> Label {
        let label = Label(self.labels_made);
        if usize::from(self.labels_made) < LABELS {
            self.labels_made = self.labels_made.wrapping_add(1);
        } else {
            self.fail(Reason::SlotFull);
        }
        label
    }

    /// Binds `label` to this place.
    pub fn bind(&mut self, label: Label) {
        let at = self.at as u16;
        match self.labels.get_mut(usize::from(label.0)) {
            Some(place) => *place = at,
            None => self.fail(Reason::SlotFull),
        }
    }

    /// Binds the labels of `count` pads more: they follow here. There may be two such groups.
    pub fn bind_pads(&mut self, count: u8) {
        // CAST: see `finish`.
        let at = self.at as u16;
        self.pads = match self.pads {
            [(NOWHERE, _), other] => [(at, count), other],
            [first, _] => [first, (at, first.1.saturating_add(count))],
        };
    }

    /// Offset of the place that a label is bound to; `NOWHERE` if it is not bound.
    #[inline(always)]
    fn place(&self, label: Label) -> u16 {
        match label.0.checked_sub(PADS) {
            None => {
                let place = self.labels.get(usize::from(label.0));
                place.copied().unwrap_or(NOWHERE)
            }
            Some(pad) => {
                let [(first, many), (second, all)] = self.pads;
                let (from, number) = match pad.checked_sub(many) {
                    None => (first, pad),
                    Some(number) if pad < all => (second, number),
                    Some(_) => return NOWHERE,
                };
                from.wrapping_add(u16::from(number).wrapping_mul(PAD.into()))
            }
        }
    }

    /// The address of a label that is bound.
    pub fn address_of(&self, label: Label) -> u64 {
        self.base.wrapping_add(self.place(label).into())
    }

    /// Fills in all distances, and the rest with poison. Returns the offset behind the last byte.
    #[inline(always)]
    pub fn finish(mut self) -> Result<usize, Reason> {
        // A slot is far below 64 KiB, so no offset has been cut off if the code fits.
        if self.at > self.out.len() {
            return Err(self.fault.unwrap_or(Reason::SlotFull));
        }
        for link in self.links.get(..self.links_made).unwrap_or(&[]) {
            let place = self.place(link.label);
            let field = usize::from(link.end).wrapping_sub(usize::from(link.back));
            let distance = match place {
                NOWHERE => None,
                _ => Some(i32::from(place).wrapping_sub(i32::from(link.end))),
            };
            if link.back == NEAR {
                fill_near(self.out, field, distance).map_err(|why| self.fault.unwrap_or(why))?;
                continue;
            }
            let bytes = self
                .out
                .get_mut(field..)
                .and_then(|rest| rest.first_chunk_mut());
            match (bytes, distance) {
                (Some(bytes), Some(distance)) => *bytes = distance.to_le_bytes(),
                _ => return Err(self.fault.unwrap_or(Reason::Layout)),
            }
        }
        self.poison(self.at, self.out.len());
        match self.fault {
            None => Ok(self.at),
            Some(reason) => Err(reason),
        }
    }

    /// For `dynasm!`: constant bytes.
    #[inline(always)]
    pub fn extend(&mut self, bytes: &[u8]) {
        // The length is known where this is inlined, so the copy is a store or two.
        let place = self
            .out
            .get_mut(self.at..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
        // Past the end nothing is written; `finish` sees how far it went.
        self.at = self.at.wrapping_add(bytes.len());
    }

    /// For `dynasm!`: one computed byte.
    #[inline(always)]
    pub fn push(&mut self, byte: u8) {
        if let Some(place) = self.out.get_mut(self.at) {
            *place = byte;
        }
        self.at = self.at.wrapping_add(1);
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.extend(&bytes);
    }

    /// For `dynasm!`: a short displacement or immediate.
    #[inline(always)]
    pub fn push_i8(&mut self, value: i8) {
        self.put(value.to_le_bytes());
    }

    /// For `dynasm!`: a displacement or immediate.
    #[inline(always)]
    pub fn push_i32(&mut self, value: i32) {
        self.put(value.to_le_bytes());
    }

    /// For `dynasm!`: an address.
    #[inline(always)]
    pub fn push_i64(&mut self, value: i64) {
        self.put(value.to_le_bytes());
    }

    /// For `dynasm!`: the instruction that ends here refers to `target` in the bytes that begin `field` bytes back. They are 4,
    /// or one where `target` is near, which only a label can be.
    pub fn dynamic_reloc(&mut self, target: Dest, offset: isize, field: u8, end: u8, kind: u8) {
        let near = kind == RELATIVE_1;
        if offset != 0 || end != 0 || !(near || kind == RELATIVE_4) {
            return self.fail(Reason::Layout);
        }
        match target {
            Dest::External(_) if near => self.fail(Reason::Layout),
            Dest::Label(label) => {
                // CAST: see `finish`.
                let link = Link {
                    end: self.at as u16,
                    back: field,
                    label,
                };
                match self.links.get_mut(self.links_made) {
                    Some(place) => *place = link,
                    None => return self.fail(Reason::SlotFull),
                }
                self.links_made = self.links_made.wrapping_add(1);
            }
            Dest::External(to) => {
                self.fixed = self.at;
                let start = self.at.wrapping_sub(usize::from(field));
                let distance = i32::try_from(to.wrapping_sub(self.address()) as i64);
                match (distance, self.out.get_mut(start..start.wrapping_add(FIELD))) {
                    (Ok(distance), Some(bytes)) => bytes.copy_from_slice(&distance.to_le_bytes()),
                    (Err(_), _) => self.fail(Reason::Layout),
                    (_, None) => {}
                }
            }
        }
    }
}
