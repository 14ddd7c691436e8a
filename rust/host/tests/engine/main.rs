//! Tests of the engine on the host: what it writes is read back by another disassembler, compared with golden texts, and
//! really executed on fake kernel objects.

mod admission;
mod bookkeeping;
mod counts;
mod decode;
mod disasm;
mod facts;
mod golden;
mod instructions;
mod machine;
mod model;
mod pipes;
mod structure;
mod vectors;
mod world;
