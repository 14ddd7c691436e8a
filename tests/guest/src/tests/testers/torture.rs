//! The torture's checks are tested themselves before their word is taken.

use crate::tests::support::lab::{Lab, Res, Stop};
use crate::torture::{self, Lie};
use crate::{area, ensure};

area!("torture":
    calm_streams_are_right = 120, lost_byte_is_found = 120, duplicated_byte_is_found = 120, swapped_pieces_are_found = 120,
    changed_bit_is_found = 120, hang_is_found = 120,
);

fn found(lab: &Lab, lie: Lie, kinds: &[&str]) -> Res {
    let why = torture::finds(lie, lab.stock).map_err(Stop::Fail)?;
    ensure!(
        kinds.iter().any(|k| why.contains(k)),
        "{lie:?} was taken for something else: {why}"
    );
    Ok(())
}

fn calm_streams_are_right(lab: &Lab) -> Res {
    torture::streams_calmly(3, lab.stock).map_err(Stop::Fail)
}

fn lost_byte_is_found(lab: &Lab) -> Res {
    found(lab, Lie::Lost, &["Lost: stream relay"])
}

fn duplicated_byte_is_found(lab: &Lab) -> Res {
    found(
        lab,
        Lie::Duplicated,
        &["Duplicated: stream relay", "Changed: stream relay"],
    )
}

fn swapped_pieces_are_found(lab: &Lab) -> Res {
    found(
        lab,
        Lie::Swapped,
        &["Reordered: stream relay", "Changed: stream relay"],
    )
}

fn changed_bit_is_found(lab: &Lab) -> Res {
    found(lab, Lie::Flipped, &["Changed: stream relay"])
}

fn hang_is_found(lab: &Lab) -> Res {
    found(lab, Lie::Stuck, &["has not moved a byte"])
}
