//! What the fuzz targets share: the machine, model and oracles of the engine's host tests, the parsers of `vm`.
//!
//! The files are those of the tests and the tool, not copies.

#[path = "../../rust/host/tests/engine/disasm.rs"]
pub mod disasm;
#[path = "../../rust/host/tests/engine/facts.rs"]
pub mod facts;
#[path = "../../rust/host/tests/engine/lawful.rs"]
pub mod lawful;
#[path = "../../rust/host/tests/engine/machine.rs"]
pub mod machine;
#[path = "../../rust/host/tests/engine/model.rs"]
pub mod model;
#[path = "../../rust/host/tests/engine/vector_oracle.rs"]
pub mod vector_oracle;
#[path = "../../rust/host/tests/engine/world.rs"]
pub mod world;

#[path = "../../tools/vm/src/figures.rs"]
pub mod figures;
#[path = "../../tools/vm/src/judge.rs"]
pub mod judge;
#[path = "../../tools/vm/src/ktap.rs"]
pub mod ktap;

pub mod feedback;
