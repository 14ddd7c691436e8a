// SPDX-License-Identifier: GPL-2.0

//! The constants, assumption tables and reasons that the spec compiler made from `specs/*.toml`.

include!(env!("SYNTHJIT_SPECS"));
