//! An attached process that makes one call after the other.

use super::lab::{echo, Lab, Res, SOON};
use crate::proc::{poll_until, Board, Ended, Kid};
use crate::sys::Pipe;
use crate::sysfs::Call::{Read, Write};
use crate::{ensure, same};

/// A child that attaches itself and sends single bytes through its own pipe until it is told to stop.
///
/// Board: flag 0 ready, flag 1 stop; word 0 rounds done, word 1 set if a byte was wrong.
pub struct Looper {
    pub kid: Kid,
    pub board: &'static Board,
    pub r: i32,
    pub w: i32,
    _pipe: Pipe,
}

impl Looper {
    pub fn start(lab: &Lab) -> Res<Looper> {
        let (p, board) = (Pipe::new(0)?, Board::new()?);
        let (r, w) = (p.r, p.w);
        let kid = Kid::spawn(|| -> Res {
            let _me = lab.attach()?;
            lab.warm(&p)?;
            board.raise(0, 1);
            let mut i = 0u64;
            while board.flag(1) == 0 {
                echo(r, w, &[i as u8]).inspect_err(|_| board.put(1, 1))?;
                i += 1;
                board.put(0, i);
            }
            Ok(())
        })?;
        let l = Looper {
            kid,
            board,
            r,
            w,
            _pipe: p,
        };
        ensure!(
            l.board.await_flag(0, 1),
            "the looping process did not get ready"
        );
        Ok(l)
    }

    /// Waits until its calls run specialized, ten seconds at most.
    pub fn fast_again(&self, lab: &Lab) -> Res {
        if lab.stock {
            return Ok(());
        }
        let pid = self.kid.pid;
        let again = poll_until(SOON, || {
            let before = (
                lab.hits_of(pid, self.w, Write),
                lab.hits_of(pid, self.r, Read),
            );
            crate::proc::nap(2);
            let after = (
                lab.hits_of(pid, self.w, Write),
                lab.hits_of(pid, self.r, Read),
            );
            (after.0 > before.0 && after.1 > before.1).then_some(())
        });
        ensure!(
            again.is_some(),
            "does not become specialized again; state {:?}",
            lab.state_of(pid)
        );
        Ok(())
    }

    /// Demands that for a while its calls go on, but none of them specialized.
    pub fn slow_now(&self, lab: &Lab) -> Res {
        let pid = self.kid.pid;
        let before = (
            lab.hits_of(pid, self.w, Write),
            lab.hits_of(pid, self.r, Read),
            self.board.word(0),
        );
        let moved = poll_until(SOON, || (self.board.word(0) > before.2 + 200).then_some(()));
        ensure!(moved.is_some(), "the looping process stands still");
        let after = (
            lab.hits_of(pid, self.w, Write),
            lab.hits_of(pid, self.r, Read),
        );
        ensure!(
            after.0 <= before.0 && after.1 <= before.1,
            "calls ran specialized: {before:?} {after:?}"
        );
        Ok(())
    }

    /// Stops it; every byte must have been right.
    pub fn finish(mut self) -> Res {
        self.board.raise(1, 1);
        same!(
            self.kid.wait(SOON),
            Some(Ended::Exit(0)),
            "the looping process"
        );
        Ok(())
    }
}
