//! What files of sysfs take and show.

use std::fmt::Write;

use synthjit_engine::specs::{Reason, SPECS};
use synthjit_engine::text::{process_number, switch, Bounded, First};

#[test]
fn a_switch_is_one_digit() {
    for (text, is) in [("0", false), ("1", true), ("1\n", true), (" 0\t\n", false)] {
        assert_eq!(switch(text.as_bytes()), Some(is), "{text:?}");
    }
    for text in ["", "\n", "2", "00", "01", "1 1", "-1", "+1", "on", "1\0"] {
        assert_eq!(switch(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(switch(&[0xff]), None);
    assert_eq!(switch(&[b'1', 0xff]), None);
}

#[test]
fn a_process_number_is_digits() {
    for (text, is) in [
        ("0", 0),
        ("1\n", 1),
        (" 4242 ", 4242),
        ("0000000000000007", 7),
        ("2147483647", i32::MAX),
    ] {
        assert_eq!(process_number(text.as_bytes()), Some(is), "{text:?}");
    }
    for text in [
        "",
        "\n",
        "-1",
        "+1",
        "1 2",
        "0x10",
        "1.5",
        "2147483648",
        "99999999999999999999999",
        "1\0",
        "١",
    ] {
        assert_eq!(process_number(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(process_number(&[b'1', 0x80]), None);
}

#[test]
fn a_value_fits_whole_or_is_refused() {
    let mut place = [0; 8];
    for (parts, fits) in [
        (&["1234", "5678"][..], Some(8)),
        (&["12345678"], Some(8)),
        (&[""], Some(0)),
        (&["1234", "56789"], None),
        (&["123456789"], None),
        (&["12345678", ""], Some(8)),
        (&["12345678", "9"], None),
    ] {
        let mut value = Bounded::new(&mut place);
        let all = parts.iter().try_for_each(|part| value.write_str(part));
        let length = value.length();
        assert_eq!(all.ok().map(|()| length), fits, "{parts:?}");
        assert!(length <= 8);
    }
    // Nothing of what does not fit is there.
    let mut place = [0; 8];
    let mut value = Bounded::new(&mut place);
    assert!(value.write_str("abc").is_ok() && value.write_str("defghi").is_err());
    assert_eq!((value.length(), &place), (3, b"abc\0\0\0\0\0"));
}

#[test]
fn many_reasons_are_one_short_text() {
    assert_eq!(First(&[]).to_string(), "");
    assert_eq!(First(&["a"]).to_string(), "a");
    assert_eq!(First(&["a", "b"]).to_string(), "a; and 1 more");
    assert_eq!(First(&["long"; 100]).to_string(), "long; and 99 more");
}

/// What a file of sysfs can say is far shorter than the page that it is made in.
#[test]
fn no_text_of_a_value_is_long() {
    const LONG: usize = 512;
    for reason in Reason::ALL {
        assert!(reason.text().len() < LONG, "{}", reason.text());
    }
    for spec in SPECS {
        let mirrors = spec.mirrors.iter();
        let longest = mirrors.map(|m| m.name.len() + m.file.len()).max();
        assert!(
            longest.unwrap_or(0) + spec.name.len() < LONG,
            "{}",
            spec.name
        );
        assert_eq!(spec.c_name.to_str(), Ok(spec.name));
    }
}
