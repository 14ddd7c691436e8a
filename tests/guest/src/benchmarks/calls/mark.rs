//! The marks between which the QEMU plugin counts: what the guest executes and `tools/count-plugin` looks for.
//!
//! A mark is a `nop` of eight bytes, whose displacement nobody uses: it does nothing wherever there is no plugin.

/// Counting begins behind this instruction.
pub const BEGIN: u64 = u64::from_le_bytes([0x0f, 0x1f, 0x84, 0x00, b'S', b'Y', b'N', 1]);
/// Counting ends before this instruction.
pub const END: u64 = u64::from_le_bytes([0x0f, 0x1f, 0x84, 0x00, b'S', b'Y', b'N', 2]);
