// SPDX-License-Identifier: GPL-2.0

//! The life of an attached process, as a table of allowed moves.
//!
//! ```text
//!            Ready                Lost(reason)
//!  Pending ---------> Specialized ------------> Stock(reason)
//!   ^  ^ \____________________________________/^  |   |
//!   |  |              Lost(reason)                |   | Lost(other reason)
//!   |  \------------------------------------------/   v
//!   |                  Retry                       Stock(other reason)
//!   \-- Renew from Specialized (execve)
//!
//!  Detach leads from each of them to Detached, from which nothing leads on.
//! ```

use super::specs::Reason;

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits until the process passes through the kernel; it runs on the stock path.
    Pending,
    /// Its vector is live whenever it runs.
    Specialized,
    /// It runs on the stock path, for this reason.
    Stock(Reason),
    /// Nothing of it is left; it runs on the stock path.
    Detached,
}

/// What can happen to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its vector is in place.
    Ready,
    /// An assumption does not hold, or somebody asked for the stock path.
    Lost(Reason),
    /// The reason is gone, or the wait is over.
    Retry,
    /// It runs another program: all that was found out is void.
    Renew,
    /// It is to be let go, or it ends.
    Detach,
}

/// The event must not happen in this state: a fault in the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAllowed {
    /// Where the process is, and stays.
    pub state: State,
    /// What should have happened.
    pub event: Event,
}

impl State {
    /// Where `event` leads.
    ///
    /// # Errors
    ///
    /// [`NotAllowed`] if the table has no such move.
    pub fn after(self, event: Event) -> Result<Self, NotAllowed> {
        match (self, event) {
            (Self::Detached, _) => Err(NotAllowed { state: self, event }),
            (_, Event::Detach) => Ok(Self::Detached),
            (_, Event::Lost(reason)) => Ok(Self::Stock(reason)),
            (Self::Pending, Event::Ready) => Ok(Self::Specialized),
            (Self::Stock(_), Event::Retry) => Ok(Self::Pending),
            (Self::Pending | Self::Specialized, Event::Renew) => Ok(Self::Pending),
            // What keeps it on the stock path may outlive the program.
            (Self::Stock(_), Event::Renew) => Ok(self),
            (Self::Pending | Self::Specialized, Event::Retry)
            | (Self::Specialized | Self::Stock(_), Event::Ready) => {
                Err(NotAllowed { state: self, event })
            }
        }
    }

    /// True if the CPU may enter the process's vector.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Specialized)
    }

    /// The word for it in sysfs, and the reason's text if there is one.
    pub fn text(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Pending => ("pending", None),
            Self::Specialized => ("specialized", None),
            Self::Stock(reason) => ("stock", Some(reason.text())),
            Self::Detached => ("detached", None),
        }
    }
}
