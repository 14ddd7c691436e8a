//! The differential tester is tested itself before its word is taken.

use crate::tests::support::lab::{Lab, Res, Stop};
use crate::{area, ensure};

area!("diff": two_stock_processes_agree = 120, lies_are_found_and_made_small = 120);

fn two_stock_processes_agree(_: &Lab) -> Res {
    crate::diff::agrees_with_itself(41, 60).map_err(Stop::Fail)
}

fn lies_are_found_and_made_small(_: &Lab) -> Res {
    let calls = crate::diff::finds_planted_lies(42).map_err(Stop::Fail)?;
    // A pipe, a write and a read are enough.
    ensure!(calls <= 3, "the failing sequence still has {calls} calls");
    Ok(())
}
