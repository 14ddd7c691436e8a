//! What files of sysfs take.

use synthjit_engine::text::{process_number, switch};

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
