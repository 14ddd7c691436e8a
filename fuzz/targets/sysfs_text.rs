//! What files of sysfs take: any bytes, compared with what they mean said in another way.
#![no_main]

use libfuzzer_sys::fuzz_target;
use synthjit_engine::text::{process_number, switch};

fn meant(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8(bytes.to_vec()).ok()?;
    let text: Vec<char> = text.chars().collect();
    let first = text.iter().position(|c| !c.is_whitespace())?;
    let last = text.iter().rposition(|c| !c.is_whitespace())?;
    Some(text[first..=last].iter().collect())
}

fuzz_target!(|bytes: &[u8]| {
    let text = meant(bytes);
    let is = |wanted: &str| text.as_deref() == Some(wanted);
    let expected = (is("0") || is("1")).then(|| is("1"));
    assert_eq!(switch(bytes), expected);
    let number = text.and_then(|text| {
        text.chars().try_fold(0i64, |sum, c| {
            let digit = i64::from(c.is_ascii().then(|| c.to_digit(10)).flatten()?);
            Some(sum * 10 + digit).filter(|sum| *sum <= i64::from(i32::MAX))
        })
    });
    assert_eq!(process_number(bytes).map(i64::from), number);
});
