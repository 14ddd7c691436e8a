//! Random tests that repeat: their seed is fixed, so that what they cover is too.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// What `PROPTEST_RNG_SEED` replaces.
const SEED: u64 = 1992;

/// Of a test with this many random cases. Prints the seed.
pub fn config(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    let rng_seed = match default.rng_seed {
        RngSeed::Random => RngSeed::Fixed(SEED),
        given => given,
    };
    println!("{cases} random cases, seed {rng_seed:?}");
    ProptestConfig {
        cases,
        rng_seed,
        failure_persistence: None,
        ..default
    }
}
