//! Tests of the engine on the host: what it writes is read back by another disassembler, compared with golden texts, and
//! really executed on fake kernel objects.

mod abi_doc;
mod admission;
mod bookkeeping;
mod bounds;
mod branches;
mod counts;
mod decode;
mod disasm;
mod facts;
mod golden;
mod instructions;
mod lawful;
mod machine;
mod memory;
mod model;
mod oracle;
mod pipes;
mod quotes;
mod random;
mod speculation;
mod structure;
mod text;
mod thunks;
mod vector_oracle;
mod vectors;
mod world;
