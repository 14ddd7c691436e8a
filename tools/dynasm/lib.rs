//! Empty: this crate only pins `dynasm` and what it depends on.
